"""What the file system of a directory can do with files, found out by doing it."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator

from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.copy import allocated, can_clone
from avocado_pool_plugin.upkeep.doctor import judge
from avocado_pool_plugin.upkeep.doctor.finding import BAD, NOTE, OK, WARN, Finding

#: Bytes of a file that is replaced, and how often it is.
_SIZE, _ROUNDS = 1 << 16, 200
#: A file that is nearly all hole, and where in it the data is.
_SPARSE, _AT = 8 << 20, 4 << 20
#: Seconds in which a small file should be on the disk.
_PROMPT = 0.5


def rename(place: str, work: str) -> Iterator[Finding]:
    """Replace a file again and again while somebody reads it."""
    path, done = os.path.join(work, "renamed"), threading.Event()
    _write(path, b"a" * _SIZE)
    torn: list[str] = []

    def read() -> None:
        while not done.is_set() and not torn:
            torn.extend(filter(None, [_torn(path)]))

    reader = threading.Thread(target=read, name=f"reader of {path}", daemon=True)
    reader.start()
    try:
        for number in range(_ROUNDS):
            _write(f"{path}.new", bytes([98 + number % 20]) * _SIZE)
            os.rename(f"{path}.new", path)
    finally:
        done.set()
        reader.join()
    yield from judge.torn(place, _ROUNDS, torn[0] if torn else "")


def _torn(path: str) -> str:
    """Return what is wrong with a file that is replaced meanwhile, empty for nothing."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return "absent"
    except OSError as error:
        return f"unreadable ({os.strerror(error.errno or 0)})"
    return "" if len(data) == _SIZE and data == data[:1] * _SIZE else "half written"


def reflink(place: str, work: str) -> Iterator[Finding]:
    """Let two files share their blocks."""
    source = os.path.join(work, "source")
    _write(source, b"r" * _SIZE)
    yield from judge.reflink(place, can_clone(source, os.path.join(work, "target")))


def sparse(place: str, work: str) -> Iterator[Finding]:
    """Look whether the holes of a file take room, and whether they can be found."""
    path = os.path.join(work, "sparse")
    with open(path, "wb") as file:
        os.ftruncate(file.fileno(), _SPARSE)
        os.pwrite(file.fileno(), b"s" * _SIZE, _AT)
        os.fsync(file.fileno())
    fd = os.open(path, os.O_RDONLY)
    try:
        seeks = 0 < os.lseek(fd, 0, os.SEEK_DATA) <= _AT
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        seeks = False
    finally:
        os.close(fd)
    yield from judge.sparse(place, allocated(path), _SPARSE, seeks)


def links(place: str, work: str) -> Iterator[Finding]:
    """Give a file a second name; where that fails, swap two names."""
    one, two = os.path.join(work, "one"), os.path.join(work, "two")
    _write(one, b"1")
    try:
        os.link(one, two)
        linked = os.path.samefile(one, two)
    except OSError:
        linked = False
    with contextlib.suppress(FileNotFoundError):
        os.unlink(two)
    _write(two, b"2")
    swapped = durable.exchange(one, two) and _read(one) == b"2" and _read(two) == b"1"
    if linked:
        yield Finding(place, "hard links", OK, "work")
    elif swapped:
        found = "don't work; names can be swapped instead"
        yield Finding(place, "hard links", NOTE, found)
    else:
        found = "don't work, nor can names be swapped: a state that is replaced is not kept"
        advice = "keep states on another file system, or remove a state before it is set again"
        yield Finding(place, "hard links", WARN, found, advice)
    swap = "works" if swapped else "doesn't work; it is needed only where hard links fail"
    yield Finding(place, "exchange", OK if swapped or linked else NOTE, swap)


def sync(place: str, work: str) -> Iterator[Finding]:
    """Have a file and its name on the disk."""
    path = os.path.join(work, "synced")
    _write(path, b"s" * _SIZE)
    begin = time.monotonic()
    try:
        durable.sync_file(path)
        durable.sync_dir(work)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        found = f"fails ({error.strerror}): states may be lost in a power cut"
        yield Finding(place, "fsync", BAD, found, "check the disk; or set fsync = no to do without")
        return
    seconds = time.monotonic() - begin
    if seconds > _PROMPT:
        advice = (
            "the disk is busy or slow; fsync = no does without, but a power cut may take states"
        )
        yield Finding(place, "fsync", NOTE, f"takes {seconds:.1f} s for a small file", advice)
    else:
        yield Finding(place, "fsync", OK, f"takes {seconds * 1000:.1f} ms for a small file")


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
