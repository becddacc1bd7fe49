"""Content with rsync over there: of a new version what differs, the same content in any case."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avocado_pool_plugin.core.copy import allocated
from avocado_pool_plugin.core.errors import FileChanging, HostUnreachable, PoolSilent, SpaceMissing
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.content import Basis
from avocado_pool_plugin.ssh.login import Connection
from avocado_pool_plugin.ssh.rsync import Rsync
from avocado_pool_plugin.ssh.rsync_run import run
from tests.functional.ssh.test_plain import (
    GRID,
    SIZES,
    SLACK,
    SPOTS,
    After,
    check_received,
    check_sent,
    digest_of,
    eventually,
    kill,
    locked,
    same,
    spotted,
)
from tests.support.agents import MIB, download, made, noise, program, upload
from tests.support.mounts import mounted
from tests.support.needs import need_programs
from tests.support.shells import ODD
from tests.support.sshd import Sshd

VERSIONS = st.tuples(SIZES, SPOTS)
#: What stands in for ssh: as the shell of a login would, it runs what comes after the host.
SSH = 'shift; exec sh -c "$*"'
#: Bytes that are said of a file of some MiB besides what differs.
TALK = 100 << 10


@pytest.fixture(scope="module")
def ssh(tmp_path_factory) -> str:
    need_programs("rsync")
    # rsync has words of its own for quoting
    directory = tmp_path_factory.mktemp('it\'s "here" ')
    return program(directory / "ssh", SSH)


class Lab:
    """Content of this host by way of a shell and rsync."""

    def __init__(self, *command: str, timeout: float = 20) -> None:
        self.channel = Channel(["dash"], "host lab", timeout)
        self.rsync = Rsync(self.channel, command)

    def __enter__(self) -> Rsync:
        return self.rsync

    def __exit__(self, *_: object) -> None:
        self.channel.close()


@pytest.fixture
def lab(ssh: str) -> Iterator[Rsync]:
    with Lab(ssh) as found:
        yield found
        # else rsync was given up and nothing of this was tried
        assert found._works


def changed(old: bytes, *places: int) -> bytes:
    """Return content with some spots of 4 KiB changed."""
    new = bytearray(old)
    for place in places:
        new[place : place + 4096] = noise(4096, place + 1)
    return bytes(new)


@pytest.fixture
def versions(tmp_path) -> tuple[Path, Path]:
    """Two versions of a file that differ by 12 KiB."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(noise(8 * MIB))
    new.write_bytes(changed(old.read_bytes(), 5000, 3 * MIB - 1, 7 * MIB))
    return old, new


# -- there and back ------------------------------------------------------------------------------


def test_only_what_differs_travels_there(lab, tmp_path, versions):
    old, new = versions
    told: list[int] = []
    before = digest_of(old)
    sent = upload(lab, new, tmp_path / "part", Basis(str(old)), progress=told.append)
    check_sent(sent, new, tmp_path / "part")
    assert sent.moved <= 6 * 4096 + TALK
    assert sum(told) == 8 * MIB
    assert digest_of(old) == before
    assert lab._works


def test_only_what_differs_travels_here(lab, tmp_path, versions):
    old, new = versions
    told: list[int] = []
    received = download(lab, new, old, basis=True, progress=told.append)
    check_received(received, new, old)
    assert received.moved <= 6 * 4096 + TALK
    assert sum(told) == 8 * MIB
    assert lab._works


@settings(max_examples=20)
@given(old=VERSIONS, new=VERSIONS)
@example(old=(5 * MIB, {0: "much"}), new=(5 * MIB, {}))
@example(old=(MIB, {0: "more"}), new=(0, {}))
@example(old=(0, {}), new=(2 * MIB, {0: "little"}))
def test_any_versions(lab, tmp_path, old, new):
    basis = spotted(tmp_path / "old", *old)
    source = spotted(tmp_path / "new", *new)
    part = tmp_path / "part"
    part.unlink(missing_ok=True)
    check_sent(upload(lab, source, part, Basis(str(basis))), source, part)
    assert allocated(str(part)) <= allocated(str(source)) + MIB + len(new[1]) * GRID + SLACK
    wanted = ("sha256", "s2t1m")
    check_received(download(lab, source, basis, basis=True, algorithms=wanted), source, basis)
    assert allocated(str(basis)) <= allocated(str(source)) + SLACK
    assert lab._works


def test_neither_size_nor_time_say_that_it_is_the_same(lab, tmp_path, versions):
    old, new = versions
    for path in versions:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    check_sent(upload(lab, new, tmp_path / "part", Basis(str(old))), new, tmp_path / "part")
    os.utime(tmp_path / "part", (1_700_000_000, 1_700_000_000))
    newer = tmp_path / "newer"
    newer.write_bytes(changed(new.read_bytes(), MIB))
    os.utime(newer, (1_700_000_000, 1_700_000_000))
    # the part is not empty: it is what is gone on with
    sent = upload(lab, newer, tmp_path / "part", Basis(str(old)))
    check_sent(sent, newer, tmp_path / "part")
    os.utime(old, (1_700_000_000, 1_700_000_000))
    check_received(download(lab, newer, old, basis=True), newer, old)
    assert lab._works


def test_nothing_but_content_is_taken_over(lab, tmp_path, versions):
    old, new = versions
    old.chmod(0o751)
    new.chmod(0o714)
    os.utime(new, (1_700_000_000, 1_700_000_000))
    part, umask = tmp_path / "part", os.umask(0)
    os.umask(umask)
    upload(lab, new, part, Basis(str(old)))
    assert part.stat().st_mode & 0o7777 == 0o666 & ~umask
    assert part.stat().st_mtime > 1_700_000_000
    inode = old.stat().st_ino
    download(lab, new, old, basis=True)
    assert old.stat().st_mode & 0o7777 == 0o751
    assert (old.stat().st_ino, old.stat().st_mtime > 1_700_000_000) == (inode, True)


@pytest.mark.parametrize("name", [*ODD, "a:b", "[*", "a*b[c]d?", "\\*"])
def test_odd_names(lab, tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    # what patterns would find as well
    for other in ("anything", "a-b-c-d", "axb", "a", "d"):
        (tmp_path / other).mkdir(exist_ok=True)
        (tmp_path / other / "part").write_bytes(b"other")
    (directory / "axx").write_bytes(b"other")
    old, new = directory / f"{name}-old", directory / name
    old.write_bytes(noise(100_000))
    new.write_bytes(noise(100_000)[:50_000] + noise(60_000, 1))
    part = directory / f"{name}part"
    sent = upload(lab, new, part, Basis(str(old)))
    check_sent(sent, new, part)
    assert sent.moved <= 80_000
    received = download(lab, part, old, basis=True)
    check_received(received, part, old)
    assert received.moved <= 80_000
    assert sorted(os.listdir(directory)) == sorted({"axx", old.name, new.name, part.name})
    assert (directory / "axx").read_bytes() == b"other"
    assert lab._works


def test_settings_of_users_do_not_matter(lab, tmp_path, versions, monkeypatch):
    old, new = versions
    monkeypatch.setenv("RSYNC_PARTIAL_DIR", "elsewhere")
    monkeypatch.setenv("RSYNC_CHECKSUM_LIST", "none such")
    monkeypatch.setenv("RSYNC_RSH", "false")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    sent = upload(lab, new, tmp_path / "part", Basis(str(old)))
    check_sent(sent, new, tmp_path / "part")
    assert sent.moved <= 6 * 4096 + TALK


# -- what goes wrong -----------------------------------------------------------------------------


def test_an_upload_goes_on_where_it_was(ssh, tmp_path):
    """After rsync and all else was killed."""
    old, new, part = tmp_path / "old", tmp_path / "new", tmp_path / "part"
    old.write_bytes(noise(32 * MIB))
    new.write_bytes(noise(24 * MIB, 1) + noise(32 * MIB)[24 * MIB :])
    with Lab(ssh) as first, pytest.raises(KeyboardInterrupt):
        upload(first, new, part, Basis(str(old)), progress=After(12 * MIB, interrupt))
    assert not first.usable
    # what was written by rsync over there goes on until it notices
    assert eventually(lambda: not locked(part) and not running("rsync", str(tmp_path)))
    assert not same(part, old)
    with Lab(ssh) as second:
        sent = upload(second, new, part, Basis(str(old)))
    check_sent(sent, new, part)
    assert sent.moved <= 18 * MIB


def interrupt() -> None:
    raise KeyboardInterrupt


def running(name: str, text: str) -> bool:
    """Tell whether a program runs that has something to do with a text."""
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes()
            files = [os.readlink(file) for file in (process / "fd").iterdir()]
        except OSError:
            continue
        if name.encode() in command and any(text in file for file in files):
            return True
    return False


def test_without_an_old_version(lab, tmp_path, versions, caplog):
    _, new = versions
    for number, basis in enumerate((None, Basis(str(tmp_path / "gone")), Basis(str(tmp_path)))):
        sent = upload(lab, new, tmp_path / f"part{number}", basis)
        check_sent(sent, new, tmp_path / f"part{number}")
        assert sent.moved == 8 * MIB
    check_received(download(lab, new, tmp_path / "target"), new, tmp_path / "target")
    assert lab._works


@pytest.mark.parametrize("where", [0, 20 * MIB, 96 * MIB - 4096])
def test_holes_do_not_travel_here(lab, tmp_path, where):
    new, target, told = tmp_path / "new", tmp_path / "target", []
    with new.open("wb") as file:
        file.truncate(96 * MIB)
        file.seek(where)
        file.write(noise(4096))
    received = download(lab, new, target, progress=told.append)
    check_received(received, new, target)
    assert received.moved <= 4096 + TALK
    assert allocated(str(target)) <= MIB
    assert sum(told) == 96 * MIB
    assert sorted(os.listdir(tmp_path)) == ["new", "target"]


def test_what_a_killed_process_received_goes_when_it_is_old(lab, tmp_path):
    new = tmp_path / "new"
    made(new, 96 * MIB, {0: noise(4096)})
    for name, hours in (("old", 30), ("young", 20)):
        left = tmp_path / f".rsync-{name}" / ".x.part.AbCdEf"
        left.parent.mkdir()
        left.write_bytes(b"begun")
        for path in (left, left.parent):
            os.utime(path, (time.time() - hours * 3600,) * 2)
    check_received(download(lab, new, tmp_path / "target"), new, tmp_path / "target")
    assert sorted(os.listdir(tmp_path)) == [".rsync-young", "new", "target"]


def test_a_target_without_a_name(lab, tmp_path, versions):
    old, new = versions
    with old.open("r+b") as file:
        old.unlink()
        received = lab.download(str(new), file.fileno(), basis=True)
        assert received.digest == digest_of(new)
        file.seek(0)
        (tmp_path / "read").write_bytes(file.read())
        assert same(tmp_path / "read", new)
    other, target = tmp_path / "other", tmp_path / "target"
    other.write_bytes(b"other")
    target.write_bytes(b"target")
    check_received(download(lab, new, target, basis=True, target_path=str(other)), new, target)
    assert other.read_bytes() == b"other"


@pytest.mark.parametrize(
    "line", ["exit 1", "exit 255", "echo welcome; " + SSH, "echo no rsync >&2; exit 127"]
)
def test_where_rsync_does_not_work(tmp_path, versions, caplog, line):
    need_programs("rsync")
    old, new = versions
    with caplog.at_level(logging.INFO), Lab(program(tmp_path / "ssh", line)) as lab:
        for part in (tmp_path / "one", tmp_path / "two"):
            check_sent(upload(lab, new, part, Basis(str(old))), new, part)
        check_received(download(lab, new, old, basis=True), new, old)
    told = [record.message for record in caplog.records if "rsync is not used" in record.message]
    assert len(told) == 1
    assert "host lab" in told[0]


def test_without_rsync_here(ssh, tmp_path, versions, monkeypatch):
    old, new = versions
    with Lab(ssh) as lab:
        monkeypatch.setenv("PATH", str(tmp_path))
        check_sent(upload(lab, new, tmp_path / "part", Basis(str(old))), new, tmp_path / "part")


def test_a_connection_that_breaks(tmp_path, versions):
    need_programs("rsync")
    old, new = versions
    broken = program(tmp_path / "ssh", f"kill -9 $(cat '{tmp_path}/pid'); exit 255")
    for work in (
        lambda: upload(lab, new, tmp_path / "part", Basis(str(old))),
        lambda: download(lab, new, old, basis=True),
    ):
        with Lab(broken) as lab:
            (tmp_path / "pid").write_text(str(lab._channel._process.pid))
            with pytest.raises(HostUnreachable, match="host lab broke"):
                work()
            assert not lab.usable


def test_a_connection_on_which_nothing_moves(tmp_path, versions):
    need_programs("rsync")
    old, new = versions
    hanging = program(tmp_path / "ssh", f"exec sleep 1000 3<'{tmp_path}/ssh'")
    since = time.monotonic()
    with Lab(hanging, timeout=1) as lab:
        with pytest.raises(PoolSilent, match=r"part can't be written: rsync moved nothing for 1 s"):
            upload(lab, new, tmp_path / "part", Basis(str(old)))
        assert not lab.usable
    assert time.monotonic() - since < 15
    assert eventually(lambda: not running("sleep", str(tmp_path)))


@pytest.mark.parametrize("status", ["ends", "is interrupted"])
def test_what_rsync_started_ends_with_it(tmp_path, status):
    program(tmp_path / "ssh", f"exec sleep 1000 3<'{tmp_path}/ssh'")
    end = "sleep 0.5; echo rsync: why; exit 7" if status == "ends" else "echo '1000 5%'; wait"
    command = ["sh", "-c", f"'{tmp_path}/ssh' & {end}"]
    if status == "ends":
        outcome = run(command, (), lambda done: None)
        assert (outcome.status, outcome.cause) == (7, "rsync: why")
    else:
        with pytest.raises(KeyboardInterrupt):
            run(command, (), lambda done: interrupt())
    assert eventually(lambda: not running("sleep", str(tmp_path)))


def test_a_file_that_changes_while_it_is_read(ssh, versions):
    old, new = versions
    with Lab(ssh) as lab, pytest.raises(FileChanging, match=r"host lab:.*/new"):
        download(lab, new, old, basis=True, progress=After(1, lambda: os.utime(new)))


@pytest.mark.parametrize("more", [2 * MIB, 30 * MIB])
def test_a_full_disk_over_there(ssh, tmp_path, more):
    """Full when the old version is copied, or when the new one is made of that."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(noise(30 * MIB if more < 10 * MIB else 4 * MIB))
    new.write_bytes(old.read_bytes() + noise(more, 1))
    with mounted("tmpfs", tmp_path, 16) as small, Lab(ssh) as lab:
        part = small / "part"
        with pytest.raises(SpaceMissing, match=r"host lab:.*/part \("):
            upload(lab, new, part, Basis(str(old)))


def test_a_full_disk_here(ssh, tmp_path):
    path = tmp_path / "path"
    path.write_bytes(noise(30 * MIB))
    with mounted("tmpfs", tmp_path, 16) as small, Lab(ssh) as lab:
        (small / "target").write_bytes(noise(4 * MIB))
        with pytest.raises(OSError, match="No space left"):
            download(lab, path, small / "target", basis=True)
        assert not lab.usable


def test_killed_while_the_part_is_made(ssh, tmp_path, versions):
    old, new = versions
    with Lab(ssh) as lab, pytest.raises(HostUnreachable):
        upload(lab, new, tmp_path / "part", Basis(str(old)), progress=After(1, lambda: kill(lab)))


# -- hosts ---------------------------------------------------------------------------------------


def test_over_ssh(tmp_path, versions):
    need_programs("rsync")
    old, new = versions
    with Sshd(tmp_path / "sshd", programs=["rsync", "flock", "fallocate"]) as sshd:
        connection = Connection.open(sshd.host())
        try:
            lab = Rsync(connection.channel(), connection.ssh)
            part = tmp_path / "two $(words) [a]*"
            sent = upload(lab, new, part, Basis(str(old)), fsync=True)
            check_sent(sent, new, part)
            assert sent.moved <= 6 * 4096 + TALK
            received = download(lab, part, old, basis=True)
            check_received(received, part, old)
            assert received.moved <= 6 * 4096 + TALK
            assert lab._works
            breaking = After(MIB, sshd.kill_connections)
            part.write_bytes(b"x")
            with pytest.raises(HostUnreachable, match="host lab"):
                upload(lab, new, part, Basis(str(old)), progress=breaking)
        finally:
            connection.close()
