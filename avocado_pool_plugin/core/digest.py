"""
The digest of a file's whole content: blake3 over its size and the digests of its 1 MiB blocks.

A block of zeros has a constant digest, so a hole is never read and equals written zeros; blocks are
hashed in parallel. Written as ``b3t1m:<64 hex digits>``.
"""

import os
import time
from collections.abc import Callable, Iterator

from avocado_pool_plugin.core.errors import FileChanging

ALGORITHM = "b3t1m"
#: Bytes of a block.
BLOCK = 1 << 20
_ZERO_DIGEST = bytes(32)
_ZEROS = bytes(BLOCK)
#: Hashing less than this is not worth starting threads for, in bytes.
_SERIAL = 4 * BLOCK
_THREADS = 4
#: How often, and with how many seconds in between, it is looked whether others are at work.
_LOOKS, _PAUSE = 4, 0.001
#: Blocks handed to a thread at once.
_RUN = 4

#: Told how many bytes are done since the last call.
Progress = Callable[[int], None]
Spans = list[tuple[int, int]]


def digest_fd(fd: int, size: int, progress: Progress | None = None) -> str:
    """
    Return the digest of an open file's first ``size`` bytes.

    :raises FileChanging: it became shorter meanwhile
    """
    return _scan(fd, size, None, progress)


def copy_fd(source: int, target: int, size: int, progress: Progress | None = None) -> str:
    """
    Copy the first ``size`` bytes between open files and return their digest; holes stay holes.

    :param target: an empty file
    :raises FileChanging: the source became shorter meanwhile
    """
    os.ftruncate(target, size)
    return _scan(source, size, target, progress)


def data_spans(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each stretch of data in an open file, in bytes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != 6:  # ENXIO: only a hole is left
                yield position, size
            return
        if start >= size:
            return
        yield start, end
        position = end


def _blocks(fd: int, size: int) -> Iterator[tuple[int, Spans]]:
    """Yield each block that holds data: its number, and the data in it."""
    number = -1
    spans: Spans = []
    for start, end in data_spans(fd, size):
        for current in range(start // BLOCK, -(-end // BLOCK)):
            if current != number:
                if spans:
                    yield number, spans
                number, spans = current, []
            spans.append((max(start, current * BLOCK), min(end, (current + 1) * BLOCK)))
    if spans:
        yield number, spans


def _scan(source: int, size: int, target: int | None, progress: Progress | None) -> str:
    from blake3 import blake3

    count = -(-size // BLOCK)
    digests = bytearray(32 * count)

    def work(run: list[tuple[int, Spans]]) -> int:
        buffer = bytearray(BLOCK)
        done = 0
        for number, spans in run:
            data = _read_block(source, number, size, buffer)
            if not _all_zero(buffer, len(data)):
                digests[32 * number : 32 * number + 32] = blake3(data).digest()
                if target is not None:
                    _write_spans(target, number, spans, data)
            done += sum(end - start for start, end in spans)
        return done

    for done in _in_parallel(work, _runs(_blocks(source, size)), size):
        if progress is not None:
            progress(done)
    if os.fstat(source).st_size < size:
        # what is missing at its end would pass for a hole
        raise FileChanging(f"a file of {size} bytes became shorter while it was read")
    tree = blake3(size.to_bytes(8, "little"))
    tree.update(digests)
    return f"{ALGORITHM}:{tree.hexdigest()}"


def _runs(blocks: Iterator[tuple[int, Spans]]) -> Iterator[list[tuple[int, Spans]]]:
    run: list[tuple[int, Spans]] = []
    for block in blocks:
        run.append(block)
        if len(run) == _RUN:
            yield run
            run = []
    if run:
        yield run


def _in_parallel(
    work: Callable[[list[tuple[int, Spans]]], int],
    runs: Iterator[list[tuple[int, Spans]]],
    size: int,
) -> Iterator[int]:
    """Yield the result of work on each run, with few runs under way at any time."""
    threads = 1 if size <= _SERIAL else min(_THREADS, _idle_cores())
    if threads == 1:
        yield from map(work, runs)
        return
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[Future[int]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for run in runs:
                waiting.append(pool.submit(work, run))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _idle_cores() -> int:
    """
    Return how many cores a scan may use, at least its own.

    Where others are at work too, further threads only stand in each other's way: eight copies at
    once on two cores take a third longer with two threads each.
    """
    cores = len(os.sched_getaffinity(0))
    others = _running() - 1
    for _ in range(_LOOKS):
        if others <= 0:
            break
        # those who only wait for a lock wake up now and then, those at work are there every time
        time.sleep(_PAUSE)
        others = min(others, _running() - 1)
    return max(1, cores - max(0, others))


def _running() -> int:
    """Return how many threads of the whole machine run or could run now; 1 if that is not known."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1


def _read_block(fd: int, number: int, size: int, buffer: bytearray) -> memoryview:
    start = number * BLOCK
    wanted = min(BLOCK, size - start)
    view = memoryview(buffer)[:wanted]
    done = 0
    while done < wanted:
        got = os.preadv(fd, [view[done:]], start + done)
        if not got:
            raise FileChanging(f"a file of {size} bytes ended at {start + done} while it was read")
        done += got
    return view


def _all_zero(buffer: bytearray, length: int) -> bool:
    if length == BLOCK:
        return buffer == _ZEROS
    return buffer[:length] == _ZEROS[:length]


def _write_spans(fd: int, number: int, spans: Spans, data: memoryview) -> None:
    base = number * BLOCK
    for start, end in spans:
        position = start
        while position < end:
            position += os.pwrite(fd, data[position - base : end - base], position)
