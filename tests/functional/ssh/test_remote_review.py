"""What may lose or corrupt a state of a pool on another host, or keep somebody from a good one."""

import errno
import fcntl
import os
import shutil
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import durable, layout, records, resume, seen
from avocado_pool_plugin.core.digest import SHA256, digest_fd
from avocado_pool_plugin.core.errors import (
    FileChanging,
    FileCorrupt,
    ImageRefused,
    PoolUnreachable,
)
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.place import new_info
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import Record, Stamp
from avocado_pool_plugin.core.seen import Seen
from avocado_pool_plugin.ssh.bulk import Agent
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.plain import Plain
from avocado_pool_plugin.ssh.store import RemoteStore
from avocado_pool_plugin.states.farhomes import FarHome
from tests.support.agents import MIB, made, noise, same
from tests.support.images import chain
from tests.support.mounts import mounted, read_only
from tests.support.needs import need_programs
from tests.support.places import digest_of, put, settle
from tests.support.processes import in_child
from tests.support.remote import remote_store

POLICY = Policy(timeout=10, fsync=False)
NOBODY = 65534
OLD, NEW = noise(MIB + 7, seed=1), noise(MIB + 7)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that users other than root can reach and write to."""
    found = Path(tempfile.mkdtemp(prefix="pool-review-", dir="/tmp"))
    found.chmod(0o777)
    yield found
    shutil.rmtree(found)


def as_nobody(work: Callable[[], object]) -> bool:
    """Do something in a child of this process that is not root; tell whether it went well."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def long_ago(path: str) -> Path:
    """Make a file that was last written to three days ago."""
    found = Path(path)
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_bytes(b"precious")
    os.utime(found, (time.time() - 3 * 86400,) * 2)
    return found


def test_what_no_transfer_left_is_not_swept(tmp_path):
    """Where a pool is somebody's cache, a set has the user's old image there as a part."""
    source, target = tmp_path / "here" / "a.state", tmp_path / "vm1" / "a.state"
    put(source, NEW)
    image = long_ago(layout.part_path(str(target), durable.new_token()))
    left = long_ago(layout.resumable_path(str(target), resume.key_of("other")))
    remote_store(POLICY).publish(str(source), str(target))
    assert image.read_bytes() == b"precious"
    assert not left.exists()


@pytest.mark.parametrize("kind", ["python", "plain"])
def test_link_to_another_file_system_gives_way_in_one_step(tmp_path, file_systems, kind):
    """Else mv copies it into place, and half of it can be seen."""
    source, target = tmp_path / "here" / "a.state", tmp_path / "vm1" / "a.state"
    put(source, NEW)
    real = file_systems["tmpfs"] / kind / "a.state"
    put(real, OLD)
    before = sorted(os.listdir(real.parent / layout.META))
    target.parent.mkdir()
    target.symlink_to(real)
    store = remote_store(POLICY, kind)
    parts = []
    store.publish(str(source), str(target), lambda _: parts.extend(tmp_path.rglob("*.part")))
    assert [part.parent for part in parts[:1]] == [target.parent / layout.META]
    assert not target.is_symlink() and target.read_bytes() == NEW and real.read_bytes() == OLD
    assert sorted(os.listdir(real.parent / layout.META)) == before


def test_part_cut_off_when_it_was_finished_is_gone_on_with_here(open_to_all):
    """It can't be written to any more then, except by root."""
    target = open_to_all / "a.state"
    key = resume.key_of("content")

    def work() -> None:
        with pytest.raises(KeyboardInterrupt), resume.resumable(str(target), key) as (part, fd):
            os.write(fd, b"begun")
            os.chmod(part, 0o444)
            raise KeyboardInterrupt
        with resume.resumable(str(target), key) as (part, fd):
            assert part == resume.part_for(str(target), key)
            assert os.pread(fd, 9, 0) == b"begun"
            os.write(fd, b"more")

    assert as_nobody(work)


def test_no_two_have_one_part_open_whatever_locks_say(tmp_path, monkeypatch):
    """Threads and processes: what they fill is told by its name."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    target, key = str(tmp_path / "a.state"), resume.key_of("content")
    with resume.resumable(target, key) as (mine, _):
        with resume.resumable(target, key) as (other, _):
            assert other != mine

        def work() -> None:
            with resume.resumable(target, key) as (theirs, fd):
                assert theirs != mine and os.fstat(fd).st_size == 0

        assert in_child(work) == 0
        assert os.path.exists(mine)


def test_what_a_killed_process_left_is_gone_on_with_by_one(tmp_path):
    target, key = str(tmp_path / "a.state"), resume.key_of("content")

    def killed() -> None:
        with resume.resumable(target, key) as (_, fd):
            os.write(fd, b"begun")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(killed) == -signal.SIGKILL
    with resume.resumable(target, key) as (part, fd):
        assert part == resume.part_for(target, key) and os.pread(fd, 9, 0) == b"begun"
        assert len(list(tmp_path.rglob("*.part"))) == 1


@pytest.mark.parametrize("kind", [Agent, Plain])
def test_part_cut_off_when_it_was_finished_is_gone_on_with_over_there(open_to_all, kind):
    need_programs("setpriv", "python3")
    part = open_to_all / "a.resume.part"
    part.write_bytes(NEW[:MIB])
    part.chmod(0o444)
    os.chown(part, NOBODY, NOBODY)
    user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sh")
    channel = Channel(user, "host lab", 20)
    try:
        with (open_to_all / "source").open("w+b") as source:
            source.write(NEW)
            source.flush()
            sent = kind(channel).upload(source.fileno(), len(NEW), str(part), fsync=False)
    finally:
        channel.close()
    assert part.read_bytes() == NEW
    assert sent.moved < MIB


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return digest_fd(file.fileno(), path.stat().st_size, algorithm=SHA256)


def test_adopted_by_another_digest_it_may_be_touched(tmp_path):
    """A host without python3 can't make our digest; the one it can make still tells."""
    there, here = tmp_path / "pool" / "a.state", tmp_path / "cache" / "a.state"
    there.parent.mkdir()
    there.write_bytes(NEW)
    store = remote_store(POLICY, "plain")
    info = store.info(str(there))
    assert info and info.digest is None and info.also == (sha256_of(there),)
    put(here, NEW)
    os.utime(there)
    assert store.equal(str(here), str(there))
    again = store.info(str(there))
    assert again and again.digest == digest_of(here)
    os.utime(there)
    assert store.equal(str(here), str(there))


def test_replacement_of_an_adopted_file_that_was_not_committed_is_good(tmp_path):
    """Its writer was killed after the rename: the pending record speaks for the file."""
    there, here = tmp_path / "pool" / "a.state", tmp_path / "cache" / "a.state"
    there.parent.mkdir()
    there.write_bytes(OLD)
    store = remote_store(POLICY, "plain")
    store.info(str(there))
    part = Path(layout.part_path(str(there), durable.new_token()))
    part.write_bytes(NEW)
    info = replace(new_info(len(NEW)), digest=digest_of(part), also=(sha256_of(part),))
    records.write_pending(str(there), Record(info, Stamp.of(part.stat())), fsync=False)
    part.rename(there)
    assert store.fetch(str(there), str(here)).action == "copied"
    assert here.read_bytes() == NEW
    there.chmod(0o644)
    there.write_bytes(OLD[:-1] + b"?")
    here.unlink()
    with pytest.raises(FileCorrupt, match=r"a\.state"):
        store.fetch(str(there), str(here))


def test_a_part_that_somebody_wrote_to_is_not_committed(tmp_path):
    """Without flock over there two who send the same fill one part."""
    source, target = tmp_path / "here" / "a.state", tmp_path / "vm1" / "a.state"
    put(source, NEW)
    store = remote_store(POLICY)
    part = Path(layout.part_path(str(target), "a" * 16))
    with store.session.shell() as shell, store.session.bulk() as bulk:
        shell.prepare(str(target))
        fd = os.open(source, os.O_RDONLY)
        sent = bulk.upload(fd, len(NEW), str(part), fsync=False)
        os.close(fd)
        os.truncate(part, 5)
        template = records.template(new_info(len(NEW)))
        with pytest.raises(FileChanging, match=r"a\.state"):
            shell.commit(
                str(part), str(target), template, trash="1-x", fsync=False, made=sent.stamp
            )
        assert not target.exists()


def test_failures_of_this_system_are_errors_of_ours(tmp_path):
    source, target = tmp_path / "here" / "a.state", tmp_path / "vm1" / "a.state"
    put(source, noise(9 * MIB))
    store = remote_store(POLICY)

    def away(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(PoolUnreachable, match=r"a\.state"):
        store.publish(str(source), str(target), away)
    assert not target.exists()


def test_a_look_from_here_that_can_not_be_kept_is_an_error_of_ours(tmp_path):
    """A host without blake3, and a record without any digest of that host's kind."""
    path, known = tmp_path / "vm1" / "a.state", tmp_path / "seen"
    put(path, NEW)
    os.utime(path, (0, 0))
    known.mkdir()
    here = LocalStore(POLICY, qemu.rename_backing, seen_dir=str(known))
    store = RemoteStore(remote_store(POLICY, "plain").session, here)
    with read_only(known), pytest.raises(PoolUnreachable, match=f"{known} can't be used"):
        store.info(str(path))


@pytest.mark.parametrize("kind", ["python", "rsync", "plain"])
def test_old_content_that_has_no_room_twice_is_no_reason_to_fail(tmp_path, kind):
    """It only spares what travels: a new version is made from it where that can be."""
    size = 16 * MIB
    with mounted("tmpfs", tmp_path / "disk", 24) as disk:
        here, there = tmp_path / "a.state", disk / "pool" / "a.state"
        made(here, size, {0: b"new"})
        put(there, noise(size))
        store = remote_store(POLICY, kind)
        assert store.publish(str(here), str(there)).action == "copied"
        shutil.rmtree(there.parent)
        local = disk / "cache" / "a.state"
        put(local, noise(size))
        assert store.fetch(str(here), str(local)).action == "copied"
        assert same(here, local)


def test_state_with_its_parents_name_far_down_the_header_is_no_reason_to_go_on(tmp_path):
    """QEMU writes it near the begin; what is further down is not looked at from afar."""
    base, top = chain(tmp_path / "vm1" / "image1", "base", "top")
    with top.open("r+b") as file:
        at, size = struct.unpack_from(">QI", file.read(4096), 8)
        file.seek(at)
        name = file.read(size)
        file.seek(at)
        file.write(bytes(size))
        file.seek(3000)
        file.write(name)
        file.seek(8)
        file.write(struct.pack(">QI", 3000, size))
    with pytest.raises(ImageRefused, match=r"top\.qcow2"):
        remote_store(POLICY).remove(str(base))
    assert base.exists()


def test_files_without_any_record_are_not_equal_for_that(tmp_path):
    """Both are known only to readers, who keep no generation of such."""
    one, other = tmp_path / "pool" / "a.qcow2", tmp_path / "cache" / "a.qcow2"
    store = remote_store(POLICY)
    for path, content in ((one, OLD), (other, NEW)):
        path.parent.mkdir()
        path.write_bytes(content)
        settle(path)
        seen.write_seen(str(path), Seen(digest_of(path), "", Stamp.of(path.stat())), None)
    home = FarHome(f"lab:{one.parent}", str(one.parent), store.view)
    assert not home.equals("a.qcow2", str(other))
    other.write_bytes(OLD)
    settle(other)
    seen.write_seen(str(other), Seen(digest_of(other), "", Stamp.of(other.stat())), None)
    assert home.equals("a.qcow2", str(other))
