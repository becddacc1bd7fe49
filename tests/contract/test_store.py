"""
What every store promises, asked of each of them on each kind of file system.

A store joins by an entry in ``BACKENDS``: how to make one over a directory, and what its ``fetch``
is allowed to leave behind. All faults are real: files cut short, disks full, directories gone.
"""

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import layout, locks, records
from avocado_pool_plugin.core.copy import allocated
from avocado_pool_plugin.core.digest import digest_fd
from avocado_pool_plugin.core.errors import (
    ChainBroken,
    FileCorrupt,
    LinkRefused,
    LockTimeout,
    PoolError,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.core.link import LinkStore
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.core.store import Store
from tests.support.images import MIB, chain, edit, guest_bytes, image, qemu_img
from tests.support.mounts import fill, fresh
from tests.support.needs import need_root
from tests.support.places import Dir, digest_of, ours, put, put_image, settle
from tests.support.processes import in_child, lock_holder
from tests.support.remote import KINDS, remote_store
from tests.support.sshd import PasswordUser

POLICY = Policy(timeout=10)
CONTENT = b"content!" * (5 * MIB // 8) + b"end"
OTHER = CONTENT[: 2 * MIB] + b"X" + CONTENT[2 * MIB + 1 :]


@dataclass(frozen=True)
class Backend:
    """One kind of store, how to make it, and what sets it apart."""

    make: Callable[[Policy], Store]
    links: bool = False
    remote: bool = False


BACKENDS = {
    "local": Backend(lambda policy: LocalStore(policy, qemu.rename_backing)),
    "link": Backend(lambda policy: LinkStore(policy, qemu.rename_backing), links=True),
    **{
        f"remote-{kind}": Backend(functools.partial(remote_store, kind=kind), remote=True)
        for kind in KINDS
    },
}


#: Each store on each kind of file system; what a host lacks makes no difference between these.
PLACES = [
    (name, kind)
    for name in BACKENDS
    for kind in ("ext4", "xfs", "tmpfs")
    if kind == "ext4" or name not in ("remote-rsync", "remote-plain")
]


@pytest.fixture(params=PLACES, ids="-".join)
def place(request) -> tuple[str, str]:
    return request.param


@pytest.fixture
def backend(place) -> Backend:
    return BACKENDS[place[0]]


@pytest.fixture
def on_disk(place, file_systems, tmp_path) -> Iterator[Path]:
    yield from fresh(file_systems[place[1]], tmp_path)


@pytest.fixture
def store(backend) -> Store:
    return backend.make(POLICY)


@pytest.fixture
def there(on_disk) -> Dir:
    """The store's directory."""
    return Dir(on_disk / "pool")


@pytest.fixture
def here(on_disk) -> Dir:
    """The cache, on the same file system."""
    return Dir(on_disk / "cache")


def plain(path: Path, content: bytes = CONTENT) -> Path:
    """A file that nobody made a record of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def states(store: Store, path: Path) -> list[str]:
    return store.names(str(path.parent))


def clean(path: Path) -> None:
    """Nothing half done is left beside a file."""
    left = [name for name in ours(path.parent) if name.endswith((".part", ".tmp"))]
    assert left == [] and not [name for name in ours(path.parent) if ".next-" in name]


def knows(info: FileInfo, path: Path) -> bool:
    """The digest is known, by an algorithm that the store's host has."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digests = [one for one in (info.digest, *info.also) if one]
        return digests != [] and digests == [
            digest_fd(file.fileno(), size, algorithm=one.partition(":")[0]) for one in digests
        ]


# names and info


def test_names_are_of_states_only(store, here, there):
    paths = [there.ram("a b"), there.ram("é")]
    for path in paths:
        store.publish(str(plain(here.root / path.name)), str(path))
    store.remove(str(store_copy(store, here, there, "gone")))
    for name in ("x.qcow2.lock", "y.part", ".z.state"):
        plain(there.root / "vm1" / name)
    with locks.hold(str(paths[0]), 1):
        assert states(store, paths[0]) == ["a b.state", "é.state"]


def store_copy(store: Store, here: Dir, there: Dir, name: str) -> Path:
    store.publish(str(plain(here.ram(name))), str(there.ram(name)))
    return there.ram(name)


def test_an_absent_directory_has_no_names(store, there):
    assert store.names(str(there.root)) == []
    assert store.names(str(there.root / "a" / "b")) == []
    assert store.info(str(there.root / "a" / "b.state")) is None
    assert not there.root.exists()


def test_an_unreachable_directory_is_an_error_and_not_empty(store, there):
    there.root.mkdir()
    loop = there.root / "loop"
    loop.symlink_to("loop")
    with pytest.raises(PoolUnreachable, match="loop"):
        store.names(str(loop))
    with pytest.raises(PoolError):
        store.info(str(loop / "s.state"))


def test_a_forbidden_directory_is_an_error_and_not_empty(store, backend, here, there):
    need_root()
    path = store_copy(store, here, there, "s")
    for above in path.parents:
        if os.path.ismount(above):
            break
        above.chmod(0o755)
    path.parent.chmod(0o700)
    if backend.remote:
        with PasswordUser() as user:
            other = remote_store(POLICY, user=user.name, password=user.password)
            for ask in (other.names, other.info):
                with pytest.raises(PoolUnreachable, match=r"(?i)permission denied"):
                    ask(str(path.parent if ask == other.names else path))
            other.session.close()
        return

    def stranger():
        os.setgroups([])
        os.setuid(1234)
        for ask in (lambda: store.names(str(path.parent)), lambda: store.info(str(path))):
            try:
                found = ask()
            except PoolError:
                continue
            raise AssertionError(f"forbidden, yet {found!r}")

    reachable = os.stat(path.parent.parent.parent.parent).st_mode & 0o1
    assert reachable
    assert in_child(stranger) == 0


def test_info_is_none_or_has_the_digest(store, here, there):
    assert store.info(str(there.ram("s"))) is None
    assert knows(store.info(str(plain(there.ram("s")))), there.ram("s"))
    put(there.ram("t"), CONTENT, hashed=False)
    assert knows(store.info(str(there.ram("t"))), there.ram("s"))


def test_absent_equals_nothing_not_even_absent(store, here, there):
    with pytest.raises(StateMissing):
        store.fetch(str(there.ram("s")), str(here.ram("s")))
    with pytest.raises(StateMissing):
        store.publish(str(here.ram("s")), str(there.ram("s")))
    assert states(store, here.ram("s")) == states(store, there.ram("s")) == []


@pytest.mark.parametrize("hashed", [True, False])
def test_info_of_a_changed_file_is_an_error(store, there, hashed):
    put(there.ram("s"), CONTENT, hashed=hashed)
    edit(there.ram("s"), 3 * MIB, b"X", keep_mtime=True)
    with pytest.raises(FileCorrupt):
        store.info(str(there.ram("s")))


def test_parents(store, there, tmp_path):
    chain(there.image, "base", "top")
    image(there.state("absolute"), backing=str(there.state("base")))
    image(tmp_path / "golden.qcow2")
    image(there.state("outside"), backing=str(tmp_path / "golden.qcow2"))
    assert store.parent(str(there.state("base"))) == ""
    assert store.parent(str(there.state("top"))) == "base"
    assert store.parent(str(there.state("absolute"))) == "base"
    with pytest.raises(ChainBroken):
        store.parent(str(there.state("outside")))
    with pytest.raises(StateMissing):
        store.parent(str(there.state("absent")))


# publish


def test_publish_makes_directories_and_an_equal_readable_file(store, backend, here, there):
    local = plain(here.ram("s"))
    local.chmod(0o600)
    old = os.umask(0o027)
    try:
        moved = store.publish(str(local), str(there.ram("s")))
    finally:
        os.umask(old)
    assert moved.changed and moved.size == len(CONTENT)
    assert there.ram("s").read_bytes() == CONTENT
    # over there the umask of the login counts
    assert there.ram("s").stat().st_mode & 0o777 == (0o444 if backend.remote else 0o440)
    assert store.info(str(there.ram("s"))).digest == digest_of(local)
    clean(there.ram("s"))


def test_publish_of_an_equal_file_does_nothing(store, here, there):
    store.publish(str(plain(here.ram("s"))), str(there.ram("s")))
    before = there.ram("s").stat()
    assert store.publish(str(here.ram("s")), str(there.ram("s"))).action == "kept"
    assert there.ram("s").stat() == before


@pytest.mark.parametrize("other", [OTHER, CONTENT[:-1], CONTENT + b"\0", b""])
def test_publish_replaces_what_differs_anywhere(store, here, there, other):
    store.publish(str(plain(here.ram("s"), other)), str(there.ram("s")))
    here.ram("s").unlink()
    shutil.rmtree(here.root)
    assert store.publish(str(plain(here.ram("s"))), str(there.ram("s"))).changed
    assert there.ram("s").read_bytes() == CONTENT
    assert states(store, there.ram("s")) == ["s.state"]
    clean(there.ram("s"))


@pytest.mark.parametrize("hashed", [True, False])
def test_a_corrupt_file_never_goes_to_the_store(store, here, there, hashed):
    put(there.ram("s"), OTHER)
    put(here.ram("s"), CONTENT, hashed=hashed)
    edit(here.ram("s"), 4 * MIB, b"X", keep_mtime=True)
    for target in (there.ram("s"), there.ram("new")):
        with pytest.raises(FileCorrupt, match=str(here.ram("s"))):
            store.publish(str(here.ram("s")), str(target))
    assert there.ram("s").read_bytes() == OTHER
    assert states(store, there.ram("s")) == ["s.state"]
    clean(there.ram("s"))


def test_publish_repairs_a_corrupt_file(store, here, there):
    put(there.ram("s"), CONTENT)
    edit(there.ram("s"), 4 * MIB, b"X", keep_mtime=True)
    assert store.publish(str(plain(here.ram("s"))), str(there.ram("s"))).changed
    assert there.ram("s").read_bytes() == CONTENT


def test_publish_under_children_is_refused(store, here, there, tmp_path):
    base, top = chain(tmp_path / "scratch", "base", "top")
    put_image(base, there.state("base"))
    put_image(top, there.state("top"), parent=there.state("base"))
    (other,) = chain(here.image, "base", byte=50)
    before = there.state("base").read_bytes()
    with pytest.raises(StateNeeded, match=r"top\.qcow2"):
        store.publish(str(other), str(there.state("base")))
    assert there.state("base").read_bytes() == before
    clean(there.state("base"))


def test_publish_of_a_missing_file_changes_nothing(store, here, there):
    put(there.ram("s"), CONTENT)
    with pytest.raises(StateMissing, match=str(here.ram("s"))):
        store.publish(str(here.ram("s")), str(there.ram("s")))
    assert there.ram("s").read_bytes() == CONTENT


def test_the_directory_of_ours_is_for_the_same_group(store, here, there):
    need_root()
    there.ram("s").parent.mkdir(parents=True)
    os.chown(there.ram("s").parent, -1, 4242)
    there.ram("s").parent.chmod(0o2770)
    store_copy(store, here, there, "s")
    meta = (there.ram("s").parent / layout.META).stat()
    assert meta.st_gid == 4242 and meta.st_mode & 0o7777 == 0o2770


def test_a_lock_held_by_another_stops_a_publish_in_time(backend, here, there):
    store = backend.make(Policy(timeout=0.1))
    put(there.ram("s"), OTHER)
    plain(here.ram("s"))
    with lock_holder(there.ram("s")) as holder:
        with pytest.raises(LockTimeout, match=f"process {holder.pid}"):
            store.publish(str(here.ram("s")), str(there.ram("s")))
        with pytest.raises(LockTimeout), store.lock(str(there.ram("s")), 0):
            pass
        assert there.ram("s").read_bytes() == OTHER
    assert store.publish(str(here.ram("s")), str(there.ram("s"))).changed


def test_readers_take_no_lock_in_the_store(store, here, there):
    put(there.ram("s"), CONTENT, hashed=False)
    with lock_holder(there.ram("s")):
        assert store.names(str(there.ram("s").parent)) == ["s.state"]
        assert knows(store.info(str(there.ram("s"))), there.ram("s"))
        assert store.fetch(str(there.ram("s")), str(here.ram("s"))).changed


# fetch


def test_fetch_makes_directories_and_an_equal_file(store, backend, here, there):
    info = put(there.ram("s"), CONTENT)
    moved = store.fetch(str(there.ram("s")), str(here.ram("s")))
    assert moved.changed and here.ram("s").read_bytes() == CONTENT
    assert here.ram("s").is_symlink() == backend.links
    assert store.info(str(here.ram("s"))) == info
    clean(here.ram("s"))


@pytest.mark.parametrize("hashed", [True, False])
def test_a_second_fetch_does_nothing(store, here, there, hashed):
    put(there.ram("s"), CONTENT, hashed=hashed)
    store.fetch(str(there.ram("s")), str(here.ram("s")))
    before = here.ram("s").lstat()
    assert store.fetch(str(there.ram("s")), str(here.ram("s"))).action == "kept"
    assert here.ram("s").lstat() == before


@pytest.mark.parametrize("damage", ["changed", "truncated"])
@pytest.mark.parametrize("hashed", [True, False])
def test_a_corrupt_file_is_never_delivered(store, here, there, damage, hashed):
    put(here.ram("s"), OTHER)
    put(there.ram("s"), CONTENT, hashed=hashed)
    if damage == "changed":
        edit(there.ram("s"), 4 * MIB, b"X", keep_mtime=True)
    else:
        os.truncate(there.ram("s"), 4 * MIB)
    for local in (here.ram("s"), here.ram("new")):
        with pytest.raises(FileCorrupt, match=str(there.ram("s"))):
            store.fetch(str(there.ram("s")), str(local))
    assert here.ram("s").read_bytes() == OTHER
    assert states(store, here.ram("s")) == ["s.state"]
    clean(here.ram("s"))


def test_fetch_of_a_missing_file_changes_nothing(store, here, there):
    put(here.ram("s"), OTHER)
    with pytest.raises(StateMissing, match=str(there.ram("s"))):
        store.fetch(str(there.ram("s")), str(here.ram("s")))
    assert here.ram("s").read_bytes() == OTHER


def test_fetch_over_a_differing_file(store, backend, here, there):
    put(there.ram("s"), CONTENT)
    put(here.ram("s"), OTHER)
    if backend.links:
        with pytest.raises(LinkRefused, match=str(here.ram("s"))):
            store.fetch(str(there.ram("s")), str(here.ram("s")))
        assert here.ram("s").read_bytes() == OTHER and not here.ram("s").is_symlink()
        return
    assert store.fetch(str(there.ram("s")), str(here.ram("s"))).changed
    assert here.ram("s").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["dead", "elsewhere"])
def test_fetch_over_a_link_replaces_the_link_only(store, here, there, kind):
    put(there.ram("s"), CONTENT)
    other = there.ram("other")
    if kind == "elsewhere":
        put(other, OTHER)
    here.ram("s").parent.mkdir(parents=True)
    here.ram("s").symlink_to(other)
    assert store.fetch(str(there.ram("s")), str(here.ram("s"))).changed
    assert here.ram("s").read_bytes() == CONTENT
    assert other.exists() == (kind == "elsewhere")
    if kind == "elsewhere":
        assert other.read_bytes() == OTHER
    assert not other.is_symlink()


def test_fetch_repairs_a_corrupt_copy(store, backend, here, there):
    if backend.links:
        here = there
    put(there.ram("s"), CONTENT)
    local = Dir(here.root.parent / "copy").ram("s")
    BACKENDS["local"].make(POLICY).fetch(str(there.ram("s")), str(local))
    edit(local, 4 * MIB, b"X", keep_mtime=True)
    if backend.links:
        with pytest.raises(PoolError):
            store.fetch(str(there.ram("s")), str(local))
        return
    assert store.fetch(str(there.ram("s")), str(local)).changed
    assert local.read_bytes() == CONTENT


def test_sparse_files_stay_sparse(backend, store, here, there):
    local = here.ram("s")
    local.parent.mkdir(parents=True)
    with local.open("wb") as file:
        for spot in range(8):
            file.seek(spot * 25 * MIB)
            file.write(b"d" * 300_000)
        file.truncate(300 * MIB)
    store.publish(str(local), str(there.ram("s")))
    back = Dir(here.root.parent / "back").ram("s")
    store.fetch(str(there.ram("s")), str(back))
    taken = allocated(str(local))
    for copy in (there.ram("s"), back):
        assert copy.stat().st_size == 300 * MIB and allocated(str(copy)) <= taken * 1.05
        assert digest_of(copy) == digest_of(local)


def test_a_full_disk_is_known_before_the_first_byte(store, backend, file_systems, tmp_path):
    disk = file_systems["tmpfs"] / f"full-{tmp_path.name}"
    disk.mkdir()
    content = os.urandom(3 * MIB)
    local = plain(tmp_path / "s.state", content)
    target = disk / "s.state"
    put(target, OTHER[: MIB // 2])
    hog = fill(file_systems["tmpfs"], leave=MIB)
    try:
        with pytest.raises(SpaceMissing, match="nothing"):
            store.publish(str(local), str(target))
        assert target.read_bytes() == OTHER[: MIB // 2]
        clean(target)
        if not backend.links:
            with pytest.raises(SpaceMissing, match="nothing"):
                store.fetch(str(local), str(disk / "new.state"))
            assert store.names(str(disk)) == ["s.state"]
    finally:
        hog.unlink()
    assert store.publish(str(local), str(target)).changed
    assert target.read_bytes() == content
    shutil.rmtree(disk)


# images in chains


def test_a_chain_goes_out_and_back_and_runs_anywhere(store, here, there, tmp_path):
    chain(here.image, "base", "install", "customize")
    names = ("base", "install", "customize")
    for name in names:
        store.publish(str(here.state(name)), str(there.state(name)))
    back = Dir(tmp_path / "another cache")
    for name in names:
        store.fetch(str(there.state(name)), str(back.state(name)))
    shutil.rmtree(here.root)
    assert guest_bytes(back.state("customize")) == [1, 2, 3, 0]
    qemu_img("check", back.state("customize"))
    assert store.info(str(there.state("install"))).parent == "base"


def test_absolute_backing_names_become_relative(store, backend, here, there, tmp_path):
    """A pool that avocado-i2n filled: no records, names of the uploader's cache in the images."""
    uploader = Dir(tmp_path / "uploader")
    chain(uploader.image, "base")
    image(uploader.state("top"), backing=str(uploader.state("base")))
    shutil.copytree(uploader.root, there.root)
    shutil.rmtree(uploader.root)
    store.fetch(str(there.state("base")), str(here.state("base")))
    if backend.links:
        with pytest.raises(LinkRefused, match="absolute"):
            store.fetch(str(there.state("top")), str(here.state("top")))
        return
    assert store.fetch(str(there.state("top")), str(here.state("top"))).changed
    assert guest_bytes(here.state("top")) == [1, 0, 0, 0]
    mine, theirs = store.info(str(here.state("top"))), store.info(str(there.state("top")))
    assert mine.digest == digest_of(here.state("top")) != theirs.digest
    assert mine.same_content(theirs)
    assert store.fetch(str(there.state("top")), str(here.state("top"))).action == "kept"
    assert store.publish(str(here.state("top")), str(there.state("top"))).action == "kept"


def test_a_child_is_not_put_on_another_parent(store, here, there):
    """Neither recorded parents nor those beside the source and the target may differ."""
    chain(here.image, "base", "top")
    chain(there.image, "base", byte=50)
    for directory in (here, there):
        store.info(str(directory.state("base")))
    with pytest.raises(ChainBroken, match="base"):
        store.publish(str(here.state("top")), str(there.state("top")))
    assert states(store, there.state("top")) == ["base.qcow2"]


def test_a_child_with_a_recorded_parent_is_not_put_on_another(store, here, there, tmp_path):
    base, top = chain(tmp_path / "scratch", "base", "top")
    put_image(base, here.state("base"))
    put_image(top, here.state("top"), parent=here.state("base"))
    chain(there.image, "base", byte=50)
    store.info(str(there.state("base")))
    with pytest.raises(ChainBroken, match="base"):
        store.publish(str(here.state("top")), str(there.state("top")))
    assert states(store, there.state("top")) == ["base.qcow2"]


# replaced meanwhile


def test_a_source_replaced_while_it_is_copied_delivers_old_or_new(backend, here, there,
                                                                 monkeypatch):  # fmt: skip
    """Readers take no lock: a writer's replacement in the midst of a copy is nobody's failure."""
    from avocado_pool_plugin.core import local as module

    store = backend.make(POLICY)
    put(there.ram("s"), OTHER)
    real, meddled = module.copy_file, []

    def meddle(source, target, *args):
        copied = real(source, target, *args)
        if source == str(there.ram("s")) and not meddled:
            meddled.append(put(there.ram("s"), CONTENT))
        return copied

    monkeypatch.setattr(module, "copy_file", meddle)
    store.fetch(str(there.ram("s")), str(here.ram("s")))
    assert here.ram("s").read_bytes() in (OTHER, CONTENT)
    assert store.info(str(here.ram("s"))).digest == digest_of(here.ram("s"))


def test_a_source_replaced_while_it_is_read_delivers_old_or_new(store, here, there, monkeypatch):
    put(there.ram("s"), OTHER, hashed=False)
    real, meddled = os.preadv, []

    def meddle(fd, buffers, at):
        if not meddled:
            meddled.append(1)
            put(there.ram("s"), CONTENT, hashed=False)
        return real(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", meddle)
    store.fetch(str(there.ram("s")), str(here.ram("s")))
    assert here.ram("s").read_bytes() in (OTHER, CONTENT)
    assert store.info(str(here.ram("s"))).digest == digest_of(here.ram("s"))


# remove


def test_remove(store, here, there):
    path = store_copy(store, here, there, "s")
    store.remove(str(path))
    assert states(store, path) == [] and store.info(str(path)) is None
    store.remove(str(path))
    assert records.read_record(str(path)) is None
    store.publish(str(here.ram("s")), str(path))
    assert path.read_bytes() == CONTENT


def test_remove_of_an_absent_directory_is_fine(store, there):
    store.remove(str(there.root / "x" / "s.state"))


def test_remove_of_what_others_stand_on_is_refused(store, there):
    chain(there.image, "base", "top")
    with pytest.raises(StateNeeded, match=r"top\.qcow2"):
        store.remove(str(there.state("base")))
    assert there.state("base").exists()


# together


@pytest.mark.stress
def test_many_threads_publish_and_fetch_one_file(store, here, there, locks_on_and_off):
    caches = [Dir(here.root / str(number)) for number in range(6)]
    failures: list[BaseException] = []
    content = CONTENT[: 2 * MIB + 7]

    def work(cache: Dir) -> None:
        try:
            for _ in range(3):
                store.publish(str(cache.ram("s")), str(there.ram("s")))
                store.fetch(str(there.ram("s")), str(cache.ram("back")))
        except BaseException as error:
            failures.append(error)

    for cache in caches:
        put(cache.ram("s"), content)
    threads = [threading.Thread(target=work, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {cache.ram("back").read_bytes() for cache in caches} == {content}
    assert states(store, there.ram("s")) == ["s.state"]
    clean(caches[0].ram("back"))


def test_a_warm_fetch_reads_no_content(store, here, there, monkeypatch):
    put(there.ram("s"), CONTENT, hashed=False)
    store.fetch(str(there.ram("s")), str(here.ram("s")))
    for path in (there.ram("s"), here.ram("s")):
        settle(path)
        store.info(str(path))
    monkeypatch.setattr(os, "preadv", None)
    assert store.fetch(str(there.ram("s")), str(here.ram("s"))).action == "kept"
