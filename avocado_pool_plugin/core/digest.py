"""
The digest of a file's whole content: blake3 over its size and the digests of its 1 MiB blocks.

A block of zeros has a constant digest, so a hole is never read and equals written zeros; blocks are
hashed in parallel. Written as ``b3t1m:<64 hex digits>``.

Hosts that only keep states may lack blake3: ``s2t1m`` is the same tree with sha256 in its place,
``sha256`` what coreutils make of the whole content.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence

from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.parallel import in_parallel, in_runs

#: What states on this host have; the others are for hosts that can't compute it.
ALGORITHM, SHA256_TREE, SHA256 = "b3t1m", "s2t1m", "sha256"
#: Bytes of a block.
BLOCK = 1 << 20
#: Bytes of a block's digest.
LEAF = 32
_ZERO_LEAF = bytes(LEAF)
_ZEROS = bytes(BLOCK)
#: Data that begins with fewer zeros, in bytes, is no block of zeros.
_GLANCE = 64

#: Told how many bytes are done since the last call.
Progress = Callable[[int], None]
Spans = list[tuple[int, int]]
_Hash = Callable[[bytes | memoryview], bytes]


class Tree:
    """
    The digests of a file's blocks, in any order; blocks that nobody adds are zeros.

    :param size: bytes of the file
    :param algorithms: one or both of ``ALGORITHM`` and ``SHA256_TREE``
    """

    def __init__(self, size: int, algorithms: Sequence[str] = (ALGORITHM,)) -> None:
        self.size = size
        self._hashes = {algorithm: _hash(algorithm) for algorithm in algorithms}
        self._leaves = {algorithm: bytearray(LEAF * count(size)) for algorithm in algorithms}

    def add(self, number: int, data: memoryview, algorithms: Sequence[str] = ()) -> bool:
        """
        Take in the whole content of a block; several threads may do so.

        :param algorithms: those for which, none for all
        :returns: whether there is anything but zeros in it
        """
        zero = all_zero(data)
        for name in algorithms or self._hashes:
            self.put(number, _ZERO_LEAF if zero else self._hashes[name](data), name)
        return not zero

    def put(self, number: int, leaves: bytes, algorithm: str = ALGORITHM) -> None:
        """Take in the digests of a block and of those that follow it."""
        self._leaves[algorithm][LEAF * number : LEAF * number + len(leaves)] = leaves

    def leaf(self, number: int, algorithm: str = ALGORITHM) -> bytes:
        """Return the digest of a block."""
        return bytes(self._leaves[algorithm][LEAF * number : LEAF * number + LEAF])

    def leaves(self, algorithm: str = ALGORITHM) -> bytes:
        """Return the digests of all blocks."""
        return bytes(self._leaves[algorithm])

    def digest(self, algorithm: str = ALGORITHM) -> str:
        """Return the digest of the whole file."""
        root = self._hashes[algorithm](self.size.to_bytes(8, "little") + self._leaves[algorithm])
        return f"{algorithm}:{root.hex()}"


def _hash(algorithm: str) -> _Hash:
    """Return what hashes one piece of data for a tree."""
    if algorithm == ALGORITHM:
        from blake3 import blake3

        return lambda data: blake3(data).digest()
    if algorithm == SHA256_TREE:
        from hashlib import sha256

        return lambda data: sha256(data).digest()
    raise ValueError(f"there is no tree of {algorithm!r} digests")


def count(size: int) -> int:
    """Return how many blocks a file of so many bytes has."""
    return -(-size // BLOCK)


def all_zero(data: memoryview) -> bool:
    """Tell whether a block, or less, is all zeros."""
    zeros = _ZEROS if len(data) == BLOCK else _ZEROS[: len(data)]
    whole = data.obj
    if isinstance(whole, bytes | bytearray) and len(whole) == len(data):
        return whole == zeros
    # views are compared byte by byte: it pays to copy what has a chance
    return data[:_GLANCE] == zeros[:_GLANCE] and bytes(data) == zeros


def digest_fd(
    fd: int, size: int, progress: Progress | None = None, algorithm: str = ALGORITHM
) -> str:
    """
    Return the digest of an open file's first ``size`` bytes.

    :param algorithm: ``ALGORITHM``, ``SHA256_TREE`` or ``SHA256``
    :raises FileChanging: it became shorter meanwhile
    """
    if algorithm == SHA256:
        return _plain(fd, size, progress)
    return tree_fd(fd, size, progress, (algorithm,)).digest(algorithm)


def tree_fd(
    fd: int,
    size: int,
    progress: Progress | None = None,
    algorithms: Sequence[str] = (ALGORITHM,),
) -> Tree:
    """Return the digests of the blocks of an open file's first ``size`` bytes; same errors."""
    tree = Tree(size, algorithms)
    _scan(fd, tree, None, progress)
    return tree


def copy_fd(source: int, target: int, size: int, progress: Progress | None = None) -> str:
    """
    Copy the first ``size`` bytes between open files and return their digest; holes stay holes.

    :param target: an empty file
    :raises FileChanging: the source became shorter meanwhile
    """
    os.ftruncate(target, size)
    tree = Tree(size)
    _scan(source, tree, target, progress)
    return tree.digest()


def data_spans(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each stretch of data in an open file, in bytes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:  # not because only a hole is left
                yield position, size
            return
        if start >= size:
            return
        yield start, end
        position = end


def data_blocks(fd: int, size: int) -> Iterator[tuple[int, Spans]]:
    """Yield each block of an open file that holds data: its number, and the data in it."""
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


def _scan(source: int, tree: Tree, target: int | None, progress: Progress | None) -> None:
    size = tree.size

    def work(run: list[tuple[int, Spans]]) -> int:
        buffer = bytearray(BLOCK)
        done = 0
        for number, spans in run:
            data = read_block(source, number, size, buffer)
            if tree.add(number, data) and target is not None:
                _write_spans(target, number, spans, data)
            done += sum(end - start for start, end in spans)
        return done

    for done in in_parallel(work, in_runs(data_blocks(source, size)), size):
        if progress is not None:
            progress(done)
    _require_length(source, size)


def _require_length(fd: int, size: int) -> None:
    if os.fstat(fd).st_size < size:
        # what is missing at its end would pass for a hole
        raise FileChanging(f"a file of {size} bytes became shorter while it was read")


def _plain(fd: int, size: int, progress: Progress | None) -> str:
    """Return the digest of all bytes one after the other, zeros as well."""
    from hashlib import sha256

    whole = sha256()
    buffer = bytearray(BLOCK)
    following = 0
    for number, spans in data_blocks(fd, size):
        for _ in range(following, number):
            whole.update(_ZEROS)
        whole.update(read_block(fd, number, size, buffer))
        following = number + 1
        if progress is not None:
            progress(sum(end - start for start, end in spans))
    for start in range(following * BLOCK, size, BLOCK):
        whole.update(_ZEROS[: size - start])
    _require_length(fd, size)
    return f"{SHA256}:{whole.hexdigest()}"


def read_block(fd: int, number: int, size: int, buffer: bytearray) -> memoryview:
    """
    Read a block of a file of ``size`` bytes, and return the part of the buffer that holds it.

    :raises FileChanging: the file ends before the block does
    """
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


def _write_spans(fd: int, number: int, spans: Spans, data: memoryview) -> None:
    base = number * BLOCK
    for start, end in spans:
        position = start
        while position < end:
            position += os.pwrite(fd, data[position - base : end - base], position)
