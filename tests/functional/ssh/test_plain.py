"""Content without python3 over there: what arrives is what was sent, whatever happens meanwhile."""

import contextlib
import errno
import fcntl
import filecmp
import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avocado_pool_plugin.core import digest
from avocado_pool_plugin.core.copy import allocated
from avocado_pool_plugin.core.errors import (
    FileChanging,
    HostUnreachable,
    LockTimeout,
    PoolError,
    PoolSilent,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
)
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.login import Connection
from avocado_pool_plugin.ssh.plain import Plain
from tests.support.agents import MIB, download, made, noise, program, stamp_of, upload
from tests.support.mounts import fill, mounted
from tests.support.needs import need_programs
from tests.support.shells import ODD, SHELLS, as_nobody, with_programs
from tests.support.sshd import Sshd

#: All that is needed over there besides a shell.
LEAST = ("cat", "cp", "dd", "head", "sha256sum", "sleep", "stat", "sync", "truncate")
#: Bytes of what a file system may need besides, and of what is sent around each stretch of data.
SLACK, GRID = 64 << 10, 128 << 10

#: Data that may be in a file, and at which places.
KINDS = {
    "byte": b"x",
    "zeros": bytes(5000),
    "little": noise(5000),
    "much": noise(70_000, 1),
    "more": noise(MIB + 1, 2),
}
SPOTS = st.dictionaries(
    st.one_of(st.integers(0, 5 * MIB), st.integers(0, 80).map(lambda n: n << 16)),
    st.sampled_from(list(KINDS)),
    max_size=5,
)
SIZES = st.one_of(st.integers(0, 6 * MIB), st.sampled_from([0, 1, MIB, 65535, 65537, 5 * MIB]))


def spotted(path: Path, size: int, spots: dict[int, str]) -> Path:
    """Make a file of holes with data of some kinds in it."""
    return made(path, size, {at: KINDS[kind] for at, kind in spots.items()})


@contextlib.contextmanager
def plain(
    shell: tuple[str, ...] | list[str] = ("dash",), *, title: str = "host lab", timeout: float = 20
) -> Iterator[Plain]:
    """Content of this host by way of a shell; gone when the context ends."""
    need_programs(shell[0])
    channel = Channel(shell, title, timeout)
    try:
        yield Plain(channel)
    finally:
        channel.close()


@pytest.fixture(scope="module", params=SHELLS)
def lab(request: pytest.FixtureRequest) -> Iterator[Plain]:
    """Each kind of shell in turn."""
    with plain(SHELLS[request.param]) as found:
        yield found


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return digest.digest_fd(file.fileno(), path.stat().st_size)


def same(one: Path, other: Path) -> bool:
    """Tell whether files have the same content; pytest would print what differs at length."""
    return filecmp.cmp(one, other, shallow=False)


def check_sent(sent, source: Path, part: Path) -> None:
    assert same(part, source)
    assert sent.digest == digest_of(source)
    assert sent.far_digest == sha256(source)
    assert sent.stamp == stamp_of(part)
    assert len(sent.leaves) == -(-source.stat().st_size // MIB) * 32


def check_received(received, path: Path, target: Path) -> None:
    assert same(target, path)
    assert received.digest == digest_of(path)
    assert received.stamp == stamp_of(path)


def eventually(there) -> bool:
    """Tell whether something comes true before long."""
    deadline = time.monotonic() + 5
    while not there():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def kill(lab: Plain, how: int = signal.SIGKILL) -> None:
    """Send a signal to the far shell and all that it started."""
    os.killpg(lab._channel._process.pid, how)


class After:
    """A progress that does something once, after so many bytes."""

    def __init__(self, most: int, act) -> None:
        self.done, self._most, self._act = 0, most, act

    def __call__(self, done: int) -> None:
        self.done += done
        if self.done >= self._most and self._act is not None:
            act, self._act = self._act, None
            act()


# -- there and back ------------------------------------------------------------------------------


@settings(max_examples=25)
@given(spots=SPOTS, size=SIZES)
@example(spots={}, size=0)
@example(spots={0: "byte"}, size=1)
@example(spots={MIB - 1: "more"}, size=2 * MIB)
@example(spots={}, size=3 * MIB + 7)
@example(spots={800_000: "much", MIB + 200_000: "much"}, size=3 * MIB)
def test_there_and_back(lab, tmp_path, spots, size):
    source, part, target = spotted(tmp_path / "s", size, spots), tmp_path / "p", tmp_path / "t"
    part.unlink(missing_ok=True)
    told: list[int] = []
    with source.open("rb") as file:
        data = sum(end - start for start, end in digest.data_spans(file.fileno(), size))

    sent = upload(lab, source, part, progress=told.append)
    check_sent(sent, source, part)
    assert sum(told) == data
    assert sent.moved <= data + len(spots) * (MIB + GRID)
    assert allocated(str(part)) <= data + len(spots) * GRID + SLACK

    target.write_bytes(b"rubbish" * 100_000)
    received = download(lab, part, target)
    check_received(received, part, target)
    assert allocated(str(target)) <= allocated(str(source)) + SLACK


@pytest.mark.parametrize("around", [digest.BLOCK, 1 << 16, 4096, 2 * digest.BLOCK])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_sizes_at_edges(lab, tmp_path, around, more):
    size = around + more
    source = made(tmp_path / "source", size, {0: noise(size)})
    check_sent(upload(lab, source, tmp_path / "part"), source, tmp_path / "part")
    received = download(lab, source, tmp_path / "target")
    check_received(received, source, tmp_path / "target")
    assert received.moved == size


def test_many_stretches(lab, tmp_path):
    """More than are announced at once."""
    spots = {n * MIB + (n * 4096) % MIB: noise(4096, n) for n in range(300)}
    source = made(tmp_path / "source", 301 * MIB, spots)
    sent = upload(lab, source, tmp_path / "part")
    assert sent.digest == digest_of(source)
    assert sent.digest == digest_of(tmp_path / "part")
    assert sent.moved <= 2 * 300 * GRID
    assert allocated(str(tmp_path / "part")) <= 300 * GRID


def test_zeros_become_holes(lab, tmp_path):
    content = noise(MIB) + bytes(2 * MIB) + noise(MIB, 1)
    (tmp_path / "source").write_bytes(content)
    upload(lab, tmp_path / "source", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == content
    assert allocated(str(tmp_path / "part")) <= 2 * MIB + SLACK
    download(lab, tmp_path / "source", tmp_path / "target")
    assert allocated(str(tmp_path / "target")) <= 2 * MIB + SLACK


def test_digests_that_are_wanted(lab, tmp_path):
    path = made(tmp_path / "file", 3 * MIB, {MIB: noise(5000)})
    for algorithms in (("sha256",), ("s2t1m", "sha256", "b3t1m"), ()):
        for basis in (False, True):
            got = download(lab, path, tmp_path / "t", algorithms=algorithms, basis=basis)
            assert got.digest == digest_of(path)
            assert set(got.digests) == {"b3t1m", *algorithms}
            assert got.digests.get("sha256", sha256(path)) == sha256(path)
    with path.open("rb") as file:
        tree = digest.digest_fd(file.fileno(), 3 * MIB, algorithm="s2t1m")
    assert download(lab, path, tmp_path / "t", algorithms=("s2t1m",)).digests["s2t1m"] == tree


def test_digest_of_a_file_over_there(lab, tmp_path):
    path = made(tmp_path / "file", 5 * MIB + 3, {MIB: noise(70_000)})
    found = lab.digest(str(path))
    assert (found.digest, found.stamp) == (sha256(path), stamp_of(path))
    assert lab.algorithm == "sha256"
    with pytest.raises(ValueError, match="b3t1m"):
        lab.digest(str(path), algorithm="b3t1m")


@pytest.mark.parametrize("name", ODD)
def test_odd_names(lab, tmp_path, name):
    directory = tmp_path / name
    directory.mkdir()
    source = made(directory / "source", MIB + 5, {0: noise(100_000)})
    part = directory / f"{name}.part"
    check_sent(upload(lab, source, part), source, part)
    check_received(download(lab, part, directory / name), part, directory / name)
    assert lab.digest(str(part)).digest == sha256(source)
    assert sorted(os.listdir(tmp_path)) == [name]
    assert sorted(os.listdir(directory)) == sorted({"source", f"{name}.part", name})


# -- what is there already -----------------------------------------------------------------------


@pytest.mark.parametrize("old", [3 * MIB, 8 * MIB])
def test_a_part_with_something_else(lab, tmp_path, old):
    source = made(tmp_path / "source", 5 * MIB, {MIB: noise(100_000)})
    part = tmp_path / "part"
    part.write_bytes(noise(old, 7))
    check_sent(upload(lab, source, part), source, part)
    assert allocated(str(part)) <= GRID * 2
    check_sent(upload(lab, source, part), source, part)


def test_a_longer_part_that_begins_right(lab, tmp_path):
    source = made(tmp_path / "source", 3 * MIB + 5, {0: noise(3 * MIB + 5)})
    part = tmp_path / "part"
    part.write_bytes(source.read_bytes() + noise(MIB, 3))
    sent = upload(lab, source, part)
    check_sent(sent, source, part)
    assert sent.moved == 5


def test_a_target_with_something_else(lab, tmp_path):
    path = made(tmp_path / "path", 5 * MIB, {MIB: noise(100_000), 4 * MIB: noise(10)})
    target = tmp_path / "target"
    for old in (noise(3 * MIB, 7), noise(9 * MIB, 7), path.read_bytes() + b"more"):
        target.write_bytes(old)
        check_received(download(lab, path, target, basis=True), path, target)


@pytest.mark.parametrize("at", [1, 9, 20])
def test_an_upload_goes_on_where_it_was(tmp_path, at):
    source = made(tmp_path / "source", 24 * MIB, {0: noise(20 * MIB), 22 * MIB: noise(9)})
    part = tmp_path / "part"
    with plain() as first, pytest.raises(HostUnreachable):
        upload(first, source, part, progress=After(at * MIB, lambda: kill(first)))
    assert not first.usable
    assert eventually(lambda: not locked(part))
    begun = part.stat().st_size // MIB * MIB
    told: list[int] = []
    with plain() as second:
        sent = upload(second, source, part, progress=told.append)
    check_sent(sent, source, part)
    # what was still in pipes was lost
    assert begun >= (at - 4) * MIB
    assert sent.moved <= 20 * MIB - begun + 2 * GRID
    assert sum(told) <= allocated(str(source))


@pytest.mark.parametrize("at", [1, 9, 20])
def test_a_download_goes_on_where_it_was(tmp_path, at):
    path = made(tmp_path / "path", 24 * MIB, {0: noise(24 * MIB)})
    target = tmp_path / "target"
    with plain() as first, pytest.raises(HostUnreachable):
        download(first, path, target, progress=After(at * MIB, lambda: kill(first)))
    kept = min(24 * MIB, (at - 2) * MIB)
    assert target.read_bytes()[: max(0, kept)] == path.read_bytes()[: max(0, kept)]
    os.truncate(target, max(0, kept) + 3)
    with plain() as second:
        received = download(second, path, target, basis=True)
    check_received(received, path, target)
    assert received.moved == 24 * MIB - max(0, kept)


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_part_that_somebody_fills(lab, tmp_path):
    source = made(tmp_path / "source", MIB, {0: noise(MIB)})
    part = tmp_path / "part"
    with plain() as other:
        upload(other, source, part)
        with pytest.raises(LockTimeout, match="part is being written by another") as busy:
            upload(lab, source, part)
        assert busy.value.path == str(part)
        other.release()
        check_sent(upload(lab, source, part), source, part)
    lab.release()
    assert not locked(part)


def test_a_part_that_goes_into_its_place(tmp_path):
    """Somebody else had it locked, and was done before we got the lock."""
    source = made(tmp_path / "source", MIB, {0: noise(MIB)})
    part, place = tmp_path / "part", tmp_path / "place"
    part.write_bytes(b"theirs")
    (tmp_path / "bin").mkdir()
    line = f'[ -e {place} ] || mv {part} {place}; exec {shutil.which("flock")} "$@"'
    program(tmp_path / "bin" / "flock", line)
    with plain(["env", f"PATH={tmp_path / 'bin'}:{os.environ['PATH']}", "dash"]) as lab:
        check_sent(upload(lab, source, part), source, part)
    assert place.read_bytes() == b"theirs"


def test_a_part_that_is_taken_away(tmp_path):
    source = made(tmp_path / "source", 40 * MIB, {0: noise(9 * MIB), 30 * MIB: noise(MIB)})
    part = tmp_path / "part"
    with plain() as lab, pytest.raises(PoolUnreachable, match=r"part can't be written: .*No such"):
        upload(lab, source, part, progress=After(1, part.unlink))
    assert not part.exists()


@pytest.mark.parametrize("shell", [("dash",), ("dash", "-c", "dash; exit 0")])
def test_the_lock_ends_with_the_channel_while_it_hashes(tmp_path, shell):
    """A hash of a large file must not keep the next attempt out, killed as its shell is or not."""
    need_programs("dash")
    source = made(tmp_path / "source", MIB, {0: noise(MIB)})
    slow = ["env", f"PATH={slowly(tmp_path / 'bin', 30)}:{os.environ['PATH']}", *shell]
    part = tmp_path / "part"
    with plain(slow) as lab, pytest.raises(KeyboardInterrupt):
        lab._far.channel.receive_line = raising(lab._far.channel.receive_line, b"beat")
        upload(lab, source, part)
    assert not lab.usable
    assert eventually(lambda: not locked(part))


def raising(receive, text: bytes):
    """Return what behaves as if Ctrl-C came when a line was received."""

    def received() -> bytes:
        line = receive()
        if text in line:
            raise KeyboardInterrupt
        return line

    return received


def slowly(directory: Path, seconds: float) -> Path:
    """Make programs that hash slowly but surely."""
    directory.mkdir()
    program(directory / "openssl", "exit 1")
    read = f"for i in 1 2 3 4 5 6 7 8; do head -c 10000; sleep {seconds / 8}; done; cat"
    program(directory / "sha256sum", f"( {read} ) | {shutil.which('sha256sum')}")
    return directory


def test_slow_but_at_work(tmp_path):
    path = made(tmp_path / "file", MIB, {0: noise(MIB)})
    slow = ["env", f"PATH={slowly(tmp_path / 'bin', 2.4)}:{os.environ['PATH']}", "dash"]
    with plain(slow, timeout=1.2) as lab:
        assert lab.digest(str(path)).digest == sha256(path)


def test_silent(tmp_path):
    path = made(tmp_path / "file", MIB, {0: noise(MIB)})
    directory = slowly(tmp_path / "bin", 0.1)
    program(directory / "sha256sum", "sleep 3")
    with plain(["env", f"PATH={directory}:{os.environ['PATH']}", "dash"], timeout=1.2) as lab:
        with pytest.raises(PoolSilent, match=r"host lab gave no answer for 1\.2 seconds"):
            lab.digest(str(path))
        assert not lab.usable
        with pytest.raises(HostUnreachable, match="closed after an error"):
            lab.digest(str(path))


def test_stopped_and_killed(tmp_path):
    source = made(tmp_path / "source", 8 * MIB, {0: noise(8 * MIB)})
    with plain(timeout=0.7) as lab:
        stop = After(MIB, lambda: kill(lab, signal.SIGSTOP))
        with pytest.raises(PoolSilent):
            upload(lab, source, tmp_path / "part", progress=stop)
        with contextlib.suppress(ProcessLookupError):
            kill(lab)
    with plain() as lab:
        with pytest.raises(StateMissing):
            lab.digest(str(tmp_path / "absent"))
        assert lab.usable
        kill(lab)
        with pytest.raises(HostUnreachable, match="host lab broke"):
            lab.digest(str(source))
        assert not lab.usable


def test_a_full_disk_over_there(tmp_path):
    source = made(tmp_path / "source", 256 * MIB, {0: noise(64 * MIB)})
    with mounted("tmpfs", tmp_path, 8) as small, plain() as lab:
        told: list[int] = []
        with pytest.raises(SpaceMissing, match=r"host lab:.*/part \(.*No space left on device"):
            upload(lab, source, small / "part", progress=told.append)
        assert sum(told) < 32 * MIB
        assert not lab.usable
        little = made(tmp_path / "little", 6 * MIB, {0: noise(6 * MIB)})
        with plain() as again:
            assert eventually(lambda: not locked(small / "part"))
            check_sent(upload(again, little, small / "part"), little, small / "part")


def test_content_is_never_taken_for_commands(tmp_path):
    """What still comes when a disk is full."""
    content = b"touch %s\n" % os.fsencode(tmp_path / "evil")
    source = tmp_path / "source"
    source.write_bytes(content * (8 * MIB // len(content)))
    with mounted("tmpfs", tmp_path, 1) as small:
        fill(small, 300 << 10)
        for _ in range(5):
            with plain() as lab, pytest.raises(SpaceMissing):
                upload(lab, source, small / "part")
            (small / "part").unlink(missing_ok=True)
    assert not (tmp_path / "evil").exists()


def test_a_full_disk_here(tmp_path):
    path = made(tmp_path / "path", 16 * MIB, {0: noise(16 * MIB)})
    with mounted("tmpfs", tmp_path, 4) as small, plain() as lab:
        with pytest.raises(OSError) as full:
            download(lab, path, small / "target")
        assert full.value.errno == errno.ENOSPC
        assert not lab.usable


def test_what_can_not_be_had(lab, tmp_path):
    source = made(tmp_path / "source", MIB, {0: noise(MIB)})
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StateMissing, match=r"host lab:.*/absent is not there"):
        download(lab, tmp_path / "absent", tmp_path / "target")
    with pytest.raises(StateMissing):
        lab.digest(str(source / "below"))
    with pytest.raises(PoolUnreachable, match=r"circle can't be read: .*levels of symbolic"):
        lab.digest(str(tmp_path / "circle"))
    for name in ("directory", "fifo"):
        with pytest.raises(PoolUnreachable, match=f"not a regular file but a {name}"):
            lab.digest(str(tmp_path / name))
        with pytest.raises(PoolUnreachable, match="can't be written: not a regular file"):
            upload(lab, source, tmp_path / name)
    with pytest.raises(PoolUnreachable, match="symbolic link"):
        upload(lab, source, tmp_path / "link")
    with pytest.raises(PoolUnreachable, match=r"part can't be written: .*nonexist|No such"):
        upload(lab, source, tmp_path / "no" / "part")
    # none of that was the end
    check_sent(upload(lab, source, tmp_path / "part"), source, tmp_path / "part")
    assert source.read_bytes() == noise(MIB)


def test_what_is_not_allowed():
    with tempfile.TemporaryDirectory(dir="/tmp") as name, plain(as_nobody("dash")) as lab:
        directory = Path(name)
        directory.chmod(0o755)
        secret = made(directory / "secret", 10, {0: b"x"})
        secret.chmod(0o600)
        with pytest.raises(PoolUnreachable, match=r"secret can't be read: .*Permission denied"):
            lab.digest(str(secret))
        with pytest.raises(PoolUnreachable, match=r"part can't be written: .*Permission denied"):
            upload(lab, secret, directory / "part")
        assert lab.usable


@pytest.mark.parametrize("how", ["grown", "shrunk", "replaced", "touched"])
def test_a_file_that_changes_while_it_is_read(tmp_path, how):
    path = made(tmp_path / "path", 9 * MIB, {0: noise(9 * MIB)})

    def change() -> None:
        if how == "replaced":
            (tmp_path / "other").write_bytes(b"other")
            os.link(path, tmp_path / "kept")
            os.replace(tmp_path / "other", path)
        elif how == "touched":
            os.utime(path)
        else:
            os.truncate(path, {"grown": 10, "shrunk": 5}[how] * MIB)

    with plain() as lab, pytest.raises(FileChanging, match=r"host lab:.*/path"):
        download(lab, path, tmp_path / "target", progress=After(MIB, change))
    with plain() as lab:
        check_received(download(lab, path, tmp_path / "target"), path, tmp_path / "target")


def test_a_large_file_that_becomes_short_while_it_is_read(tmp_path):
    """Not all that was asked for comes then, and nobody waits for it."""
    path = made(tmp_path / "path", 200 * MIB, {})
    change = After(MIB, lambda: os.truncate(path, 3 * MIB))
    told: list[int] = []
    with plain() as lab, pytest.raises(FileChanging, match="became shorter while it was read"):
        download(lab, path, tmp_path / "target", progress=lambda n: (change(n), told.append(n)))
    assert sum(told) < 200 * MIB


@pytest.mark.parametrize("to", [2 * MIB, 12 * MIB])
def test_a_file_that_changes_while_it_is_sent(tmp_path, to):
    source = made(tmp_path / "source", 9 * MIB, {0: noise(9 * MIB)})
    change = After(4 * MIB, lambda: os.truncate(source, to))
    with plain() as lab, pytest.raises(FileChanging):
        upload(lab, source, tmp_path / "part", progress=change)


@pytest.mark.parametrize("how", ["printf X | dd of=$2 bs=1 seek=7 conv=notrunc", "rm -- $2"])
def test_a_part_that_is_damaged(tmp_path, how):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "sync", how)
    source = made(tmp_path / "source", MIB, {0: noise(MIB)})
    shell = ["env", f"PATH={tmp_path / 'bin'}:{os.environ['PATH']}", "dash"]
    with plain(shell) as lab, pytest.raises(PoolError, match=r"part (does not hold what|can't be)"):
        upload(lab, source, tmp_path / "part", fsync=True)


def test_a_disk_that_can_not_be_synced(tmp_path):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "sync", "echo 'sync: error syncing: Input/output error' >&2; exit 1")
    source = made(tmp_path / "source", MIB, {0: noise(MIB)})
    with plain(["env", f"PATH={tmp_path / 'bin'}:{os.environ['PATH']}", "dash"]) as lab:
        with pytest.raises(PoolUnreachable, match="Input/output error"):
            upload(lab, source, tmp_path / "part", fsync=True)
        check_sent(upload(lab, source, tmp_path / "part"), source, tmp_path / "part")


# -- hosts ---------------------------------------------------------------------------------------


def test_the_least_of_programs(tmp_path):
    source = made(tmp_path / "source", 3 * MIB, {MIB: noise(MIB)})
    with plain(with_programs(tmp_path / "bin", *LEAST)) as lab:
        check_sent(upload(lab, source, tmp_path / "part"), source, tmp_path / "part")
        received = download(lab, source, tmp_path / "target")
        check_received(received, source, tmp_path / "target")


def test_programs_that_are_missing(tmp_path):
    few = with_programs(tmp_path / "bin", *(set(LEAST) - {"dd", "truncate"}))
    with pytest.raises(PoolUnreachable, match=r"host lab lacks dd, truncate; install"), plain(few):
        pass


def test_a_host_that_talks(tmp_path):
    source = made(tmp_path / "source", 3 * MIB, {MIB: noise(MIB)})
    banner = "echo welcome; printf 'no end of line'; echo noise >&2; exec dash"
    with plain(["dash", "-c", banner]) as lab:
        check_sent(upload(lab, source, tmp_path / "part"), source, tmp_path / "part")
        check_received(download(lab, source, tmp_path / "t"), source, tmp_path / "t")


def test_over_ssh(tmp_path):
    """With nothing over there but a shell and coreutils."""
    source = made(tmp_path / "source", 9 * MIB, {0: noise(5 * MIB), 8 * MIB: noise(9)})
    with Sshd(tmp_path / "sshd", programs=[]) as sshd:
        connection = Connection.open(sshd.host())
        try:
            lab = Plain(connection.channel())
            part = tmp_path / "two $(words)"
            check_sent(upload(lab, source, part, fsync=True), source, part)
            check_received(download(lab, part, tmp_path / "t"), part, tmp_path / "t")
            with pytest.raises(HostUnreachable, match="host lab"):
                upload(lab, source, tmp_path / "p", progress=After(MIB, sshd.kill_connections))
        finally:
            connection.close()
