"""
Reading and writing files on whichever host this runs: for the agent, which sends it there.

Only the standard library, and nothing newer than Python 3.6.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat

TYPE_CHECKING = False  # importing typing takes a while
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    Item = TypeVar("Item")
    Result = TypeVar("Result")
    Span = tuple[int, int]
    Beat = Callable[[], None]

#: Bytes of a block, whose digests make up that of a file.
BLOCK = 1 << 20
#: Bytes of the pieces in which two versions of a file are compared.
PIECE = 1 << 14
#: Bytes of the digest of a piece, and of a block; of zeros it is zero.
SUM, LEAF = 16, 32
#: The trees of digests that an agent may be able to compute, see core/digest.py.
BLAKE3_TREE, SHA256_TREE = "b3t1m", "s2t1m"

#: The faster hash function if this host has it, else None.
blake3: "Any" = None
with contextlib.suppress(Exception):  # whatever is wrong with it
    blake3 = __import__("blake3").blake3

_ZEROS = bytes(BLOCK)
_ZERO_SUM = bytes(SUM)
_FICLONE = 0x40049409
_KEEP_SIZE_PUNCH_HOLE = 3
#: Bytes copied by one call of the system.
_STRIDE = 32 << 20
#: Less than so many bytes are not worth starting threads for.
_SERIAL = 4 * BLOCK
_THREADS = 4


def stamp(fd: int) -> "list[int]":
    """Return what changes when a file does."""
    found = os.fstat(fd)
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def data_spans(fd: int, start: int, end: int) -> "Iterator[Span]":
    """Yield start and end of each stretch of data between two places in a file."""
    while start < end:
        try:
            found = os.lseek(fd, start, os.SEEK_DATA)
            stop = min(os.lseek(fd, found, os.SEEK_HOLE), end)
        except OSError as error:
            if error.errno != errno.ENXIO:  # that is: only a hole is left
                yield start, min(end, os.fstat(fd).st_size)
            return
        if found >= end:
            return
        yield found, stop
        start = stop


def cut(start: int, end: int) -> "Iterator[Span]":
    """Yield start and end of what a stretch has of each block."""
    while start < end:
        stop = min(end, (start // BLOCK + 1) * BLOCK)
        yield start, stop
        start = stop


def data_pieces(fd: int, start: int, end: int) -> "Iterator[Span]":
    """Yield the pieces with data between two places in a file, those of a block at once."""
    at = start
    for first, last in data_spans(fd, start, end):
        begin = max(at, first // PIECE * PIECE)
        at = min(end, -(-last // PIECE) * PIECE)
        yield from cut(begin, at)


def data_blocks(fd: int, size: int) -> "Iterator[int]":
    """Yield the number of each block with data in it."""
    following = 0
    for start, end in data_spans(fd, 0, size):
        for number in range(max(following, start // BLOCK), -(-end // BLOCK)):
            yield number
            following = number + 1


def read_at(fd: int, view: memoryview, at: int) -> memoryview:
    """Read from a file and return what there was: less than asked for only at its end."""
    have = 0
    while have < len(view):
        if hasattr(os, "preadv"):
            got = os.preadv(fd, [view[have:]], at + have)
        else:
            data = os.pread(fd, len(view) - have, at + have)
            got = len(data)
            view[have : have + got] = data
        if not got:
            break
        have += got
    return view[:have]


def write_at(fd: int, data: memoryview, at: int) -> None:
    """Write to a file."""
    while data:
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done


def clear(fd: int, start: int, end: int) -> None:
    """Make a stretch of a file a hole, or zeros where that can't be had."""
    for first, last in list(data_spans(fd, start, end)):
        if not _punch(fd, first, last - first):
            for at, stop in cut(first, last):
                write_at(fd, memoryview(_ZEROS)[: stop - at], at)


def _punch(fd: int, start: int, length: int) -> bool:
    import ctypes

    library = ctypes.CDLL(None)
    try:
        fallocate = library.fallocate64
    except AttributeError:  # a C library in which it is the same
        fallocate = library.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return bool(fallocate(fd, _KEEP_SIZE_PUNCH_HOLE, start, length) == 0)


def is_zero(data: memoryview) -> bool:
    """Tell whether a block or less holds only zeros."""
    # views are compared byte by byte: it pays to copy what has a chance
    return data[:64] == _ZEROS[: min(64, len(data))] and bytes(data) == _ZEROS[: len(data)]


def sums(data: memoryview) -> bytes:
    """Return the digests of the pieces of a block or less."""
    found = []
    for at in range(0, len(data), PIECE):
        piece = data[at : at + PIECE]
        found.append(_ZERO_SUM if is_zero(piece) else hashlib.sha256(piece).digest()[:SUM])
    return b"".join(found)


def leaf_of(data: memoryview, algorithm: str) -> bytes:
    """Return the digest of a block."""
    if is_zero(data):
        return bytes(LEAF)
    if algorithm == BLAKE3_TREE:
        return bytes(blake3(data).digest())
    return hashlib.sha256(data).digest()


def ordered(
    work: "Callable[[Item], Result]", items: "Iterable[Item]", size: int
) -> "Iterator[Result]":
    """Yield the result of work on each item, by several threads if so many bytes are worth it."""
    if size <= _SERIAL:
        for item in items:
            yield work(item)
        return
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    threads = min(_THREADS, len(os.sched_getaffinity(0)))
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def open_source(path: bytes) -> int:
    """Open a file to read it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd


def open_part(path: bytes) -> int:
    """Open and lock a part, made if there is none; BlockingIOError if somebody else fills it."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        fd = _open_shared(path, flags | os.O_CREAT)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                pass  # a file system without locks
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            try:
                # who had the lock before may have put the file where it belongs
                now = os.lstat(path)
            except FileNotFoundError:
                continue
            if (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino):
                mine, fd = fd, -1
                return mine
        finally:
            if fd >= 0:
                os.close(fd)


def _open_shared(path: bytes, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except PermissionError:
        if not os.path.lexists(path):
            raise
        # whoever was cut off just before the end had made it read-only already
        os.chmod(path, os.lstat(path).st_mode & 0o777 | 0o200)
        return os.open(path, flags, 0o666)


def fill(fd: int, old: int, size: int, beat: "Beat") -> "list[int] | None":
    """
    Give an empty file the content of an old version.

    :param old: open for reading
    :param size: bytes that are of use
    :returns: the old version's stamp, None if it was written to meanwhile or is of no use:
        unreadable or too large
    """
    try:
        before = stamp(old)
        try:
            fcntl.ioctl(fd, _FICLONE, old)
        except OSError:
            for start, end in data_spans(old, 0, min(size, before[1])):
                _copy(old, fd, start, end, beat)
        return before if stamp(old) == before else None
    except OSError:
        os.ftruncate(fd, 0)
        return None


def _copy(source: int, target: int, start: int, end: int, beat: "Beat") -> None:
    """Copy a stretch of data to the same place of another file."""
    try:
        while start < end:
            length = min(_STRIDE, end - start)
            done = os.copy_file_range(source, target, length, start, start)  # Python 3.8
            if not done:
                break
            start += done
            beat()
    except (AttributeError, OSError):
        pass  # the rest the long way: what is really wrong comes up there
    buffer = memoryview(bytearray(BLOCK))
    for at, stop in cut(start, end):
        write_at(target, read_at(source, buffer[: stop - at], at), at)
        beat()
