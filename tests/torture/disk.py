"""Disks that lose power: all writes to them are recorded, and replayed up to any of them."""

import bisect
import contextlib
import mmap
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.needs import need_programs, need_root
from tests.support.processes import environment
from tests.support.vms import tool
from tests.torture import recorder

#: A kind of file system -> how to make it on a file, and how many MiB it takes.
MKFS = {
    "ext4": (("-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"), 160),
    "xfs": (("-q", "-f", "-K", "-m", "reflink=1"), 320),
    "xfs without reflinks": (("-q", "-f", "-K", "-m", "reflink=0"), 320),
}
#: What of a disk is written as a whole or not at all, in bytes. Neither file system is made for
#: less: a superblock of ext4 or a directory of XFS that is torn further can't be mounted any more.
_SECTOR = 4096
#: How long a disk may take to appear, in seconds.
_PATIENCE = 20.0


def blank(kind: str, directory: Path) -> Path:
    """Make an empty file system on a file."""
    need_root()
    program = f"mkfs.{kind.split(maxsplit=1)[0]}"
    need_programs(program, "nbdkit", "nbdfuse", "fusermount3")
    options, size = MKFS[kind]
    path = directory / "blank"
    with path.open("wb") as file:
        file.truncate(size << 20)
    tool(program, *options, path)
    return path


def copied(source: Path, target: Path) -> Path:
    """Copy a disk, holes as holes."""
    tool("cp", "--reflink=auto", "--sparse=always", source, target)
    return target


@contextlib.contextmanager
def mounted(device: Path, point: Path, *options: str) -> Iterator[None]:
    """Mount a disk; the first one to do so after a power cut lets the file system recover."""
    tool("mount", "-o", ",".join(("noatime", *options)), device, point)
    try:
        yield
    finally:
        done = subprocess.run(["umount", point], capture_output=True, check=False)
        if done.returncode:
            tool("umount", "-l", point)


@contextlib.contextmanager
def recorded(disk: Path, log: Path, point: Path) -> Iterator[None]:
    """Mount a disk that notes in a log what is done to it; see :class:`Log`."""
    log.touch()
    seen = log.with_name("seen")
    seen.mkdir(exist_ok=True)
    plugin = Path(recorder.__file__)
    serve = ("nbdkit", "-s", "--exit-with-parent", "python", plugin, f"disk={disk}", f"log={log}")
    command = ["nbdfuse", seen, "--command", *serve]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) as server:
        try:
            device = tool("losetup", "--find", "--show", _appeared(seen / "nbd", server)).strip()
            try:
                with mounted(Path(device), point):
                    yield
            finally:
                tool("losetup", "--detach", device)
        finally:
            subprocess.run(["fusermount3", "-u", seen], capture_output=True, check=False)
            try:
                server.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()


def _appeared(path: Path, server: subprocess.Popen[bytes]) -> Path:
    deadline = time.monotonic() + _PATIENCE
    while not path.exists():
        assert server.poll() is None and server.stderr, "the disk is gone"
        assert time.monotonic() < deadline, "the disk does not appear"
        time.sleep(0.01)
    return path


@dataclass(frozen=True)
class Note:
    """
    What was done to a disk once.

    :param what: one of the recorder's
    :param at: first byte of the disk
    :param size: bytes
    :param data: where they are in the log
    """

    what: bytes
    at: int
    size: int
    data: int

    @property
    def end(self) -> int:
        """Where the note ends in the log."""
        return self.data + (self.size if self.what == recorder.WRITE else 0)


class Log:
    """
    All notes of a disk.

    :ivar notes: in the order in which it was done
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._data = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self.notes = list(self._read())
        self._ends = [note.end for note in self.notes]

    def _read(self) -> Iterator[Note]:
        at = 0
        while at < len(self._data):
            note = Note(*recorder.NOTE.unpack_from(self._data, at), at + recorder.NOTE.size)
            yield note
            at = note.end

    def until(self, size: int) -> int:
        """Return how many notes there were when the log had a size."""
        return bisect.bisect_right(self._ends, size)

    def flushed(self, number: int) -> int:
        """Return how many of the first notes can't be lost any more after so many of them."""
        while number and self.notes[number - 1].what != recorder.FLUSH:
            number -= 1
        return number

    def bytes_of(self, note: Note) -> bytes:
        """Return what was written."""
        if note.what == recorder.ZERO:
            return bytes(note.size)
        return self._data[note.data : note.end]


#: What is left of a write that was not flushed: pieces, each with where it begins.
Keep = Callable[[random.Random, bytes], list[tuple[int, bytes]]]


def _nothing(_dice: random.Random, _data: bytes) -> list[tuple[int, bytes]]:
    return []


def _some(dice: random.Random, data: bytes) -> list[tuple[int, bytes]]:
    return [(0, data)] if dice.random() < 0.5 else []


def _torn(dice: random.Random, data: bytes) -> list[tuple[int, bytes]]:
    """Keep all, nothing, how it begins, or any of the sectors."""
    sectors = range(0, len(data), _SECTOR)
    how = dice.randrange(4)
    if how < 2:
        return [(0, data)] * how
    if how == 2:
        return [(0, data[: dice.choice(sectors)])]
    return [(at, data[at : at + _SECTOR]) for at in sectors if dice.random() < 0.5]


#: What becomes of writes that were not flushed: all are lost, some of them, or parts of them.
KEEPS: dict[str, Keep] = {"all lost": _nothing, "some lost": _some, "torn": _torn}


class Remains:
    """
    What power cuts leave of a disk; later and later ones.

    :param log: of the disk
    :param disk: how it was before, which is changed
    """

    def __init__(self, log: Log, disk: Path) -> None:
        self._log, self._disk, self._done = log, disk, 0

    def cut(self, number: int, how: str, dice: random.Random, target: Path) -> Path:
        """
        Make the disk as it is when the power goes after so many notes.

        :param how: one of ``KEEPS``
        """
        log, safe = self._log, self._log.flushed(number)
        with _writable(self._disk) as write:
            for note in log.notes[self._done : safe]:
                write(note.at, log.bytes_of(note))
        self._done = max(self._done, safe)
        target.unlink(missing_ok=True)  # it may still be in use for a moment
        copied(self._disk, target)
        with _writable(target) as write:
            for note in log.notes[safe:number]:
                for at, piece in KEEPS[how](dice, log.bytes_of(note)):
                    write(note.at + at, piece)
        return target


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[Callable[[int, bytes], object]]:
    fd = os.open(path, os.O_RDWR)
    try:
        yield lambda at, data: os.pwrite(fd, data, at)
    finally:
        os.close(fd)
