"""Bulk transfers that break, are told lies, or meet others at work."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core.digest import digest_fd
from avocado_pool_plugin.core.errors import (
    FileChanging,
    HostUnreachable,
    LockTimeout,
    PoolSilent,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
)
from avocado_pool_plugin.ssh.content import Basis
from tests.support.agents import (
    MIB,
    agent,
    basis_of,
    download,
    made,
    noise,
    program,
    same,
    stamp_of,
    traced,
    upload,
    without_blake3,
)
from tests.support.mounts import mounted, read_only
from tests.support.needs import need_programs, need_root


@pytest.fixture
def lab(tmp_path_factory):
    with agent(without_blake3(tmp_path_factory.mktemp("python"))) as found:
        yield found


@pytest.fixture
def small_disk(tmp_path):
    with mounted("tmpfs", tmp_path, 8) as mount:
        yield mount


def after(bytes_done: int, act):
    """Return a progress callback that does something once so many bytes are done."""
    done = [0]

    def tell(more: int) -> None:
        before, done[0] = done[0], done[0] + more
        if before < bytes_done <= done[0]:
            act()

    return tell


def gone(pid: int) -> bool:
    """Wait until a process has ended, whoever may still have to be told."""
    deadline = time.monotonic() + 10
    while runs(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- connections that break ----------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize("mib", [1, 13, 24])
@pytest.mark.parametrize("how", ["killed", "cut"])
def test_what_arrived_before_a_break_is_not_sent_again(tmp_path, mib, how):
    source, part = tmp_path / "source", tmp_path / "part"
    source.write_bytes(noise(24 * MIB))
    # the shell in the middle is what ends; the one around them is not to keep the output open
    with agent(shell=("sh", "-c", "exec 3<&0; cat <&3 | sh | cat & exec >&-; wait")) as lab:

        def act() -> None:
            if how == "killed":
                os.kill(lab.pid, signal.SIGKILL)
                assert gone(lab.pid)
            else:
                raise Stop

        with pytest.raises((HostUnreachable, Stop)):
            upload(lab, source, part, progress=after(mib * MIB, act))
        assert not lab.usable
        assert gone(lab.pid)
        with pytest.raises(HostUnreachable, match="host lab"):
            upload(lab, source, part)
    with agent() as lab:
        sent = upload(lab, source, part)
    assert same(part, source)
    # what was under way is lost
    assert sent.moved <= (24 - mib + 10) * MIB


def test_a_download_that_broke_goes_on(lab, tmp_path):
    path, target = tmp_path / "file", tmp_path / "target"
    path.write_bytes(noise(24 * MIB))
    with (
        agent() as broken,
        pytest.raises(HostUnreachable, match="host lab"),
    ):
        kill = after(16 * MIB, lambda: os.kill(broken.pid, signal.SIGKILL))
        download(broken, path, target, progress=kill)
    received = download(lab, path, target, basis=True)
    assert same(target, path)
    assert received.moved <= 9 * MIB


def test_silence_is_no_break(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(noise(MIB))
    with agent(timeout=0.5) as lab:
        os.kill(lab.pid, signal.SIGSTOP)
        with pytest.raises(PoolSilent, match=r"host lab.*ssh_timeout"):
            lab.digest(str(path))
        assert not lab.usable


def test_silence_in_an_upload_is_noticed(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(noise(32 * MIB))
    with agent(timeout=0.5) as lab:
        stop = after(MIB, lambda: os.kill(lab.pid, signal.SIGSTOP))
        with pytest.raises(PoolSilent, match="host lab"):
            upload(lab, source, tmp_path / "part", progress=stop)


SLOW = {
    "reading": ("preadv,preadv2", 100_000),
    "syncing": ("fsync", 1_500_000),
}  # fmt: skip


@pytest.mark.parametrize("what", SLOW)
def test_slow_work_gives_signs_of_life(tmp_path, what):
    calls, microseconds = SLOW[what]
    options = f"-e trace={calls} -e inject={calls}:delay_enter={microseconds}"
    source, part = tmp_path / "source", tmp_path / "part"
    source.write_bytes(noise(16 * MIB))
    began = time.monotonic()
    with agent(traced(tmp_path, options), timeout=20) as lab:
        # only now: python takes its time to start while it is traced
        lab._wire.channel.timeout = 0.7
        if what == "reading":
            found = lab.digest(str(source))
            assert found.stamp == stamp_of(source)
        else:
            upload(lab, source, part, fsync=True)
    assert time.monotonic() - began > 0.7


@pytest.mark.parametrize("shell", [("yes",), ("sh", "-c", "exit 3"), ("cat",)])
def test_what_is_no_shell_is_an_error(shell):
    with pytest.raises((HostUnreachable, PoolUnreachable, PoolSilent), match="host lab"):  # noqa: SIM117
        with agent(shell=shell, timeout=0.5):
            pass


def test_a_python_that_is_not_there_is_named():
    with pytest.raises(HostUnreachable, match="/nowhere/python3"), agent("/nowhere/python3"):
        pass


def test_answers_that_make_no_sense_are_an_error(tmp_path):
    # begins like python3 does, and then another program has its say
    daemon = program(tmp_path / "daemon", 'echo; echo "$4"; echo hello from another program; cat')
    with pytest.raises(PoolUnreachable, match=r"host lab.*makes no sense"), agent(daemon):
        pass


# -- others at work ------------------------------------------------------------------------------


def test_a_part_is_filled_by_one_at_a_time(lab, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(noise(MIB, 1))
    two.write_bytes(noise(MIB, 2))
    part = tmp_path / "part"
    with agent() as other:
        upload(other, one, part)
        with pytest.raises(LockTimeout, match=r"host lab:.*/part .*another process") as caught:
            upload(lab, two, part)
        assert caught.value.path == str(part)
        assert same(part, one)
        # in its place, it is no part any more
        part.rename(tmp_path / "state")
        upload(lab, two, part)
        other.release()
        assert same((tmp_path / "state"), one)
        lab.release()
        upload(other, one, part)
    assert same(part, one)


@pytest.mark.parametrize("then", ["no part", "another part"])
def test_a_part_that_is_put_in_place_while_it_is_opened_is_left_alone(tmp_path, then):
    one, two, part = tmp_path / "one", tmp_path / "two", tmp_path / "part"
    one.write_bytes(noise(MIB, 1))
    two.write_bytes(noise(MIB, 2))
    state = tmp_path / "state"
    with agent(traced(tmp_path, "-e trace=flock -e inject=flock:delay_enter=300000")) as late:
        part.write_bytes(one.read_bytes())
        thread = threading.Thread(target=upload, args=(late, two, part))
        thread.start()
        while thread.is_alive() and not opened(late.pid, part):
            time.sleep(0.001)
        part.rename(state)
        if then == "another part":
            part.write_bytes(noise(MIB, 3))
        thread.join()
    assert same(state, one)
    assert same(part, two)


def opened(pid: int, path: Path) -> bool:
    """Tell whether a process, or the one that it traces, has a file open."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    pids = [pid, *map(int, children.read_text().split())] if children.exists() else [pid]
    for one in pids:
        for fd in Path(f"/proc/{one}/fd").iterdir():
            try:
                if os.readlink(fd) == str(path):
                    return True
            except FileNotFoundError:
                continue
    return False


def write(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"X")


CHANGES = {
    "written": write,
    "cut": lambda path: os.truncate(path, 5 * MIB),
    "emptied": lambda path: os.truncate(path, 0),
    "longer": lambda path: os.truncate(path, 40 * MIB),
    "replaced": lambda path: path.with_name("new").rename(path),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("basis", [False, True])
def test_files_that_change_while_they_are_received_are_noticed(lab, tmp_path, change, basis):
    path, target = tmp_path / "file", tmp_path / "target"
    path.write_bytes(noise(24 * MIB))
    target.write_bytes(noise(24 * MIB, 1))
    (tmp_path / "new").write_bytes(noise(24 * MIB, 2))
    time.sleep(0.02)  # a file system may know no shorter time
    act = after(MIB, lambda: CHANGES[change](path))
    with pytest.raises(FileChanging, match=r"host lab:.*/file"):
        download(lab, path, target, basis=basis, progress=act)


def test_files_that_change_while_they_are_hashed_are_noticed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(noise(8 * MIB))
    slow = traced(tmp_path, "-e trace=preadv,preadv2 -e inject=preadv,preadv2:delay_enter=100000")
    with agent(slow) as lab, pytest.raises(FileChanging, match=r"host lab:.*/file"):
        threading.Timer(0.2, write, [path]).start()
        lab.digest(str(path))


@pytest.mark.parametrize("change", ["written", "cut"])
@pytest.mark.parametrize("basis", [False, True])
def test_files_that_change_while_they_are_sent_are_noticed(lab, tmp_path, change, basis):
    source, part = tmp_path / "source", tmp_path / "part"
    source.write_bytes(noise(24 * MIB))
    if basis:
        part.write_bytes(noise(24 * MIB, 1))
    time.sleep(0.02)
    with pytest.raises(FileChanging):
        upload(lab, source, part, progress=after(MIB, lambda: CHANGES[change](source)))


def test_an_old_version_that_is_written_to_meanwhile_is_noticed(lab, tmp_path):
    """Its pieces are compared in its place, not in the part's: both have to be the same."""
    first, old, source = tmp_path / "first", tmp_path / "old", tmp_path / "source"
    first.write_bytes(noise(24 * MIB))
    basis = basis_of(old, upload(lab, first, old))
    lab.release()
    changed = bytearray(noise(24 * MIB))
    for number in range(12):
        changed[number * MIB] ^= 1
    source.write_bytes(changed)
    time.sleep(0.02)
    meanwhile = after(12 * MIB + 1, lambda: CHANGES["written"](old))
    with pytest.raises(PoolUnreachable, match="old version"):
        upload(lab, source, tmp_path / "part", basis, progress=meanwhile)


def test_an_old_version_that_was_replaced_is_not_trusted(lab, tmp_path):
    first, old, source = tmp_path / "first", tmp_path / "old", tmp_path / "source"
    first.write_bytes(noise(6 * MIB))
    basis = basis_of(old, upload(lab, first, old))
    lab.release()
    changed = bytearray(noise(6 * MIB))
    changed[2 * MIB] ^= 1
    old.write_bytes(changed)
    source.write_bytes(noise(6 * MIB))
    sent = upload(lab, source, tmp_path / "part", basis)
    assert same((tmp_path / "part"), source)
    assert sent.far_digest is not None and sent.moved < 100_000


@pytest.mark.parametrize("leaves", [b"", bytes(32), noise(32 * 50)])
def test_leaves_that_can_not_be_true_are_of_no_use(lab, tmp_path, leaves):
    source, old, part = tmp_path / "source", tmp_path / "old", tmp_path / "part"
    old.write_bytes(noise(6 * MIB))
    # where there is nothing, what was there has to go
    made(source, 5 * MIB, {0: noise(MIB, 1), 4 * MIB: noise(1000, 2)})
    upload(lab, source, part, Basis(str(old), stamp_of(old), leaves, leaves))
    assert same(part, source)


def test_an_old_version_that_is_one_hole_is_as_good_as_none(tmp_path):
    source, old, part = tmp_path / "source", made(tmp_path / "old", 3 * MIB, {}), tmp_path / "part"
    source.write_bytes(noise(3 * MIB))
    basis = Basis(str(old), stamp_of(old), bytes(32 * 3))
    lies = f"-e trace=pwrite64 -e inject=pwrite64:retval={MIB}:when=2"
    with agent(without_blake3(tmp_path)) as lab:
        assert upload(lab, source, part, basis).far_digest is not None
    assert same(part, source)
    part.unlink()
    with agent(traced(tmp_path, lies)) as lab, pytest.raises(PoolUnreachable, match="does not"):
        upload(lab, source, part, basis)


def test_leaves_serve_agents_of_any_ability(lab, tmp_path):
    content = noise(5 * MIB)
    first, old, source = tmp_path / "first", tmp_path / "old", tmp_path / "source"
    first.write_bytes(content)
    source.write_bytes(content[: 4 * MIB] + b"X" + content[4 * MIB + 1 :])
    with agent() as able:
        bases = []
        for one in (able, lab):
            bases.append(basis_of(old, upload(one, first, old)))
            one.release()
        for number, (one, basis) in enumerate(zip((lab, able), bases, strict=True)):
            sent = upload(one, source, tmp_path / f"part-{number}", basis)
            with source.open("rb") as file:
                for found in (sent.digest, sent.far_digest or sent.digest):
                    name = found.partition(":")[0]
                    assert found == digest_fd(file.fileno(), 5 * MIB, None, name)


@pytest.mark.parametrize("old", ["absent", "a directory", "a pipe"])
def test_an_old_version_that_is_none_does_no_harm(lab, tmp_path, old):
    source, path, part = tmp_path / "source", tmp_path / "old", tmp_path / "part"
    source.write_bytes(noise(2 * MIB))
    if old == "a directory":
        path.mkdir()
    elif old == "a pipe":
        os.mkfifo(path)
    upload(lab, source, part, Basis(str(path)))
    assert same(part, source)


# -- lies ----------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_a_bit_that_flips_in_what_was_there_is_noticed(lab, tmp_path):
    source, part = tmp_path / "source", tmp_path / "part"
    source.write_bytes(noise(8 * MIB))
    part.write_bytes(noise(8 * MIB))
    write(part)
    with pytest.raises(PoolUnreachable, match=r"host lab:.*/part does not hold what was sent"):
        upload(lab, source, part, progress=after(MIB, lambda: flip(part, 70_000)))


@pytest.mark.parametrize("kind", ["all", "what differs", "patches"])
def test_writes_that_do_not_happen_are_noticed(tmp_path, kind):
    source, part, old = tmp_path / "source", tmp_path / "part", tmp_path / "old"
    old.write_bytes(noise(8 * MIB))
    content = bytearray(noise(8 * MIB))
    content[MIB : MIB + 16384] = content[3 * MIB : 3 * MIB + 16384] = noise(16384, 1)
    source.write_bytes(content)
    with agent(without_blake3(tmp_path)) as good:
        sent = upload(good, old, tmp_path / "sent")
    basis = {
        "all": None,
        "what differs": Basis(str(old)),
        "patches": Basis(str(old), stamp_of(old), sent.leaves),
    }[kind]
    length = MIB if kind == "all" else 16384
    options = f"-e trace=pwrite64 -e inject=pwrite64:retval={length}:when=2"
    with (
        agent(traced(tmp_path, options)) as lab,
        pytest.raises(PoolUnreachable, match="does not hold what was sent"),
    ):
        upload(lab, source, part, basis)


# -- refusals ------------------------------------------------------------------------------------


def test_a_full_disk_ends_an_upload_early(lab, tmp_path, small_disk):
    source = tmp_path / "source"
    source.write_bytes(noise(64 * MIB))
    done: list[int] = []
    with pytest.raises(SpaceMissing, match=r"host lab:.*/part .*No space left"):
        upload(lab, source, small_disk / "part", progress=done.append)
    assert sum(done) < 32 * MIB


def test_a_disk_that_is_too_small_for_the_old_version_as_well(lab, tmp_path, small_disk):
    source, old = tmp_path / "source", small_disk / "old"
    source.write_bytes(noise(5 * MIB))
    old.write_bytes(noise(5 * MIB))
    with pytest.raises(SpaceMissing, match=r"host lab:.*/part"):
        upload(lab, source, small_disk / "part", Basis(str(old)))
    (small_disk / "part").unlink()
    old.unlink()
    with agent() as another:
        upload(another, source, small_disk / "part")
    assert same((small_disk / "part"), source)


def test_a_full_disk_here_ends_a_download(lab, tmp_path, small_disk):
    path = tmp_path / "file"
    path.write_bytes(noise(32 * MIB))
    with pytest.raises(OSError, match="No space left"):
        download(lab, path, small_disk / "target")
    assert not lab.usable and gone(lab.pid)


def test_an_absent_file_is_missing(lab, tmp_path):
    for path in (tmp_path / "absent", tmp_path / "no" / "directory"):
        with pytest.raises(StateMissing, match=f"host lab:{path}"):
            download(lab, path, tmp_path / "target")
        with pytest.raises(StateMissing, match=f"host lab:{path}"):
            lab.digest(str(path))
    assert lab.usable
    assert lab.digest(str(made(tmp_path / "file", 10, {}))).stamp.size == 10


@pytest.mark.parametrize("kind", ["a directory", "a pipe", "a loop"])
def test_what_is_no_file_is_refused(lab, tmp_path, kind):
    path, source = tmp_path / "odd", made(tmp_path / "source", 10, {})
    {"a directory": path.mkdir, "a pipe": lambda: os.mkfifo(path),
     "a loop": lambda: path.symlink_to(path)}[kind]()  # fmt: skip
    with pytest.raises(PoolUnreachable, match=r"host lab:.*/odd can't be read"):
        download(lab, path, tmp_path / "target")
    with pytest.raises(PoolUnreachable, match=r"host lab:.*/odd can't be written"):
        upload(lab, source, path)
    assert lab.usable


def test_a_part_is_never_written_through_a_link(lab, tmp_path):
    source, other = made(tmp_path / "source", 10, {0: b"x"}), tmp_path / "other"
    other.write_bytes(b"other")
    (tmp_path / "part").symlink_to(other)
    with pytest.raises(PoolUnreachable, match="can't be written"):
        upload(lab, source, tmp_path / "part")
    assert other.read_bytes() == b"other"


def test_what_must_not_be_read_or_written_is_told(tmp_path):
    need_root()
    need_programs("setpriv")
    powerless = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "sh")
    path, source = tmp_path / "file", made(tmp_path / "source", 10, {})
    path.write_bytes(b"x")
    path.chmod(0)
    with agent(shell=powerless) as lab:
        with pytest.raises(PoolUnreachable, match="/file can't be read: Permission denied"):
            download(lab, path, tmp_path / "target")
        with pytest.raises(PoolUnreachable, match="/file can't be written: Permission denied"):
            upload(lab, source, path)
        assert lab.usable


def test_a_read_only_file_system_is_told(lab, tmp_path):
    directory, source = tmp_path / "pool", made(tmp_path / "source", 10, {})
    directory.mkdir()
    with (
        read_only(directory),
        pytest.raises(PoolUnreachable, match="/part can't be written: Read-only"),
    ):
        upload(lab, source, directory / "part")
