"""A disk that gets full: known before the first byte or found out later; nothing half is left."""

import errno
import os
import threading
from pathlib import Path

import pytest

from avocado_pool_plugin.core import digest, records
from avocado_pool_plugin.core import local as stores
from avocado_pool_plugin.core.errors import SpaceMissing
from avocado_pool_plugin.core.plan import check_space, plan_transfer
from tests.support.images import MIB, chain
from tests.support.mounts import mounted
from tests.support.places import Dir, local_store, ours, put


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file system of 16 MiB."""
    with mounted("tmpfs", tmp_path_factory.mktemp("small"), 16) as point:
        yield point


@pytest.fixture
def disk(small, tmp_path):
    directory = Dir(small / tmp_path.name)
    yield directory
    import shutil

    shutil.rmtree(small / tmp_path.name, ignore_errors=True)


def left(path: Path) -> list[str]:
    return [name for name in ours(path.parent) if name.endswith((".part", ".tmp"))]


@pytest.mark.parametrize("verb", ["fetch", "publish"])
def test_too_little_room_is_known_before_the_first_byte(disk, pool, verb, monkeypatch):
    put(pool.ram("s"), os.urandom(17 * MIB))
    put(disk.ram("s"), b"old")
    monkeypatch.setattr(digest, "_write_spans", None)  # copies write with this
    with pytest.raises(SpaceMissing, match=r"17\.0 MiB"):
        getattr(local_store(), verb)(str(pool.ram("s")), str(disk.ram("s")))
    assert disk.ram("s").read_bytes() == b"old"
    assert left(disk.ram("s")) == []


def test_holes_need_no_room(disk, pool):
    pool.ram("s").parent.mkdir(parents=True)
    with pool.ram("s").open("wb") as file:
        file.truncate(10 << 30)
        file.seek(5 << 30)
        file.write(b"data")
    local_store().fetch(str(pool.ram("s")), str(disk.ram("s")))
    assert disk.ram("s").stat().st_size == 10 << 30


def test_a_whole_chain_is_planned_before_any_of_it(disk, pool):
    for name in ("a", "b", "c"):
        put(pool.ram(name), os.urandom(6 * MIB))
    steps = [(str(pool.ram(name)), str(disk.ram(name))) for name in ("a", "b", "c")]
    with pytest.raises(SpaceMissing, match=r"18\.0 MiB"):
        check_space(plan_transfer(steps))
    check_space(plan_transfer(steps[:2]))


@pytest.mark.parametrize("verb", ["fetch", "publish"])
@pytest.mark.parametrize("old", [None, b"old content"])
def test_another_process_fills_the_disk_meanwhile(disk, pool, verb, old, monkeypatch):
    small = disk.root.parent
    put(pool.ram("s"), os.urandom(9 * MIB))
    if old:
        put(disk.ram("s"), old)
    hog = small / "hog"
    real = stores.copy_file

    def copy_file(*args):
        free = os.statvfs(small)
        with hog.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 3 * MIB)
        return real(*args)

    monkeypatch.setattr(stores, "copy_file", copy_file)
    store = local_store()
    try:
        with pytest.raises(SpaceMissing, match="no room left"):
            getattr(store, verb)(str(pool.ram("s")), str(disk.ram("s")))
        assert (disk.ram("s").read_bytes() if disk.ram("s").exists() else None) == old
        assert left(disk.ram("s")) == []
        found = store.info(str(disk.ram("s")))
        assert (found is None) == (old is None)
    finally:
        hog.unlink()
    monkeypatch.undo()
    getattr(store, verb)(str(pool.ram("s")), str(disk.ram("s")))
    assert disk.ram("s").read_bytes() == pool.ram("s").read_bytes()


def test_a_disk_without_room_for_a_record(disk, pool, small):
    """Every byte taken: whatever fails, there is no wrong state; with room the next try works."""
    put(pool.ram("s"), b"")
    put(disk.ram("s"), b"old")
    hog = small / "hog"
    free = os.statvfs(small)
    with hog.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    store = local_store()
    try:
        with pytest.raises(SpaceMissing):
            store.publish(str(pool.ram("s")), str(disk.ram("s")))
        assert store.info(str(disk.ram("s"))) is not None
        assert disk.ram("s").read_bytes() in (b"old", b"")
    finally:
        hog.unlink()
    store.publish(str(pool.ram("s")), str(disk.ram("s")))
    assert disk.ram("s").read_bytes() == b"" and store.info(str(disk.ram("s"))).size == 0


def test_reading_needs_no_room(disk, small):
    put(disk.ram("s"), b"content" * 1000, hashed=False)
    disk.ram("t").write_bytes(b"unrecorded")
    hog = small / "hog"
    free = os.statvfs(small)
    with hog.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
    try:
        assert local_store().info(str(disk.ram("s"))).digest
        assert local_store().info(str(disk.ram("t"))).digest
    finally:
        hog.unlink()


def test_clones_need_no_room(on_xfs, file_systems):
    from tests.support.mounts import fill

    chain(on_xfs / "pool" / "vm1" / "image1", "base")
    source = Dir(on_xfs / "pool").ram("s")
    put(source, os.urandom(3 * MIB))
    hog = fill(file_systems["xfs"], leave=2 * MIB)
    try:
        moved = local_store().fetch(str(source), str(Dir(on_xfs / "cache").ram("s")))
        assert moved.action == "cloned"
    finally:
        hog.unlink()


def test_two_at_once_on_the_last_room_leave_whole_files(disk, pool):
    """Both see enough room; one or both fail, and what is there is whole."""
    for name in ("a", "b"):
        put(pool.ram(name), os.urandom(10 * MIB))
    outcome: dict[str, str] = {}
    barrier = threading.Barrier(2)

    def work(name: str) -> None:
        barrier.wait()
        try:
            local_store().fetch(str(pool.ram(name)), str(disk.ram(name)))
            outcome[name] = "there"
        except SpaceMissing:
            outcome[name] = "no room"

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcome) == {"a", "b"} and "no room" in outcome.values()
    for name, how in outcome.items():
        if how == "there":
            assert disk.ram(name).read_bytes() == pool.ram(name).read_bytes()
        else:
            assert not disk.ram(name).exists()
    assert left(disk.ram("a")) == []


def test_no_room_for_the_final_record_is_no_failure(pool, cache, monkeypatch):
    """The file is whole and in place, and the pending record goes on speaking for it."""
    put(pool.ram("s"), b"content")

    def full(path, record, fsync):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_record", full)
        assert local_store().fetch(str(pool.ram("s")), str(cache.ram("s"))).changed
    there, here = local_store().info(str(pool.ram("s"))), local_store().info(str(cache.ram("s")))
    assert there and here and here.same_content(there) and here.generation == there.generation
