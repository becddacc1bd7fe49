"""
What the agent does with a file while it is open, and how it tells; sent there with it.

Only the standard library, and nothing newer than Python 3.6.
"""

import errno
import hashlib
import os
import queue
import struct
import threading

from avocado_pool_plugin.ssh.far_files import (
    BLOCK,
    LEAF,
    clear,
    cut,
    data_blocks,
    data_pieces,
    data_spans,
    fill,
    is_zero,
    leaf_of,
    open_source,
    ordered,
    read_at,
    stamp,
    sums,
    write_at,
)
from avocado_pool_plugin.ssh.far_line import Line

TYPE_CHECKING = False  # importing typing takes a while
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from avocado_pool_plugin.ssh.far_files import Span

    Task = tuple[bytes, int, int, bytearray]

#: Pieces of data that may wait to be written; leaves that are sent at once.
_WAITING, _BATCH = 4, 64


class Reader:
    """An open file."""

    def __init__(self, line: Line, fd: int) -> None:
        self.line = line
        self.fd = fd
        self._own = threading.local()

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def load(self, start: int, end: int, fd: "int | None" = None) -> memoryview:
        """
        Read at most a block, into a buffer that this thread uses for the next one as well.

        :param fd: of another file to read
        """
        if not hasattr(self._own, "buffer"):
            self._own.buffer = bytearray(BLOCK)
        where = self.fd if fd is None else fd
        return read_at(where, memoryview(self._own.buffer)[: end - start], start)

    def leaf(self, number: int, algorithm: str) -> bytes:
        """Return the digest of a block."""
        return leaf_of(self.load(number * BLOCK, (number + 1) * BLOCK), algorithm)

    def tell_sums(self, spans: "list[Span]") -> None:
        """Send the digests of the pieces with data in some stretches."""
        self.tell_sums_of(self.fd, spans)

    def tell_sums_of(self, fd: int, spans: "list[Span]") -> None:
        """Do so for a file that is open otherwise."""
        # not by several threads: with pieces this small they would mostly wait for each other
        for span in spans:
            for start, end in data_pieces(fd, *span):
                self.line.say(b"s", start, sums(self.load(start, end, fd)))

    def tell_data(self, spans: "list[Span]") -> None:
        """Send the data in some stretches; zeros are not sent."""
        for first, last in spans:
            for start, end in data_spans(self.fd, first, last):
                for piece in cut(start, end):
                    data = self.load(*piece)
                    if is_zero(data):
                        self.line.beat(len(data))
                    else:
                        self.line.say(b"d", piece[0], data)

    def find_leaves(
        self, numbers: "Iterable[int]", algorithm: str
    ) -> "Iterator[tuple[int, bytes]]":
        """Yield number and digest of some blocks."""
        size = os.fstat(self.fd).st_size
        return ordered(lambda number: (number, self.leaf(number, algorithm)), numbers, size)

    def tell_leaves(self, algorithm: str) -> None:
        """Send the digests of all blocks that are not zero."""
        size = os.fstat(self.fd).st_size
        leaves = bytearray(-(-size // BLOCK) * LEAF)
        for number, leaf in self.find_leaves(data_blocks(self.fd, size), algorithm):
            leaves[number * LEAF : number * LEAF + LEAF] = leaf
            self.line.beat(min(BLOCK, size - number * BLOCK))
        self.send_leaves(leaves)

    def send_leaves(self, leaves: bytearray) -> None:
        """Send digests, and leave out where none is."""
        step = _BATCH * LEAF
        for at in range(0, len(leaves), step):
            batch = bytes(leaves[at : at + step])
            if batch.strip(b"\0"):
                self.line.say(b"l", at // LEAF, batch)


class Part(Reader):
    """
    A file that is filled: written to by a thread of its own, which reads back what it wrote.

    Data (``d``) shows in the leaves of its blocks, that of patches (``p``) in one digest of all
    patches in their order.
    """

    def __init__(self, line: Line, fd: int, size: int, algorithm: str) -> None:
        Reader.__init__(self, line, fd)
        self.size = size
        self.algorithm = algorithm
        self.patches = hashlib.sha256()
        self.failed = False
        #: An old version that it began as, and its stamp then; each None if there is none.
        self.old: int | None = None
        self.old_stamp: list[int] | None = None
        count = -(-size // BLOCK)
        #: Whether the leaf of a block is known, and those that are.
        self._known = bytearray(count)
        self._leaves = bytearray(count * LEAF)
        self._last = -1
        self._todo: queue.Queue[Task | None] = queue.Queue()
        self._free: queue.Queue[bytearray] = queue.Queue()
        for _ in range(_WAITING):
            self._free.put(bytearray(BLOCK))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close it, and let go of its lock."""
        self._stop()
        if self.old is not None:
            os.close(self.old)
        Reader.close(self)

    def begin_as(self, basis: bytes) -> None:
        """Take the content of an old version, if there is one that can be read."""
        try:
            self.old = open_source(basis)
        except OSError:
            return
        self.old_stamp = fill(self.fd, self.old, self.size, self.line.beat)

    def tell_sums(self, spans: "list[Span]") -> None:
        """See ``Reader``: of what it began as, which may be in memory when its clone is not."""
        known = self.old is not None and self.old_stamp is not None
        self.tell_sums_of(self.old if known and self.old is not None else self.fd, spans)

    def take(self, kind: bytes, number: int, length: int) -> bool:
        """Hear what is to be written; return False if nobody speaks any more."""
        buffer = self._free.get()
        if not self.line.hear(memoryview(buffer)[:length]):
            return False
        self._todo.put((kind, number, length, buffer))
        return True

    def finish(self, leaves: bool, fsync: bool) -> None:
        """
        Write what waits.

        :param leaves: whether to read what was not read yet, and to send the leaves of all blocks
        """
        self.line.waiting(self._stop)
        if self.failed:
            return
        if self._old_changed():
            self.line.refuse(OSError(errno.ESTALE, "the old version was written to meanwhile"))
            self.failed = True
            return
        if leaves:
            blocks = data_blocks(self.fd, self.size)
            todo = (number for number in blocks if not self._known[number])
            for number, leaf in self.find_leaves(todo, self.algorithm):
                self._know(number, leaf)
                self.line.beat()
        if fsync:
            self.line.waiting(lambda: os.fsync(self.fd))
        if leaves:
            self.send_leaves(self._leaves)

    def _old_changed(self) -> bool:
        if self.old is None or self.old_stamp is None:
            return False
        # its ctime changes when somebody replaces it, who keeps it in the trash
        return stamp(self.old)[:3] != self.old_stamp[:3]

    def _stop(self) -> None:
        self._todo.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            task = self._todo.get()
            if task is None:
                return
            kind, at, length, buffer = task
            try:
                if not self.failed:
                    self._write(kind, at, memoryview(buffer)[:length])
            except OSError as error:
                self.failed = True
                self.line.refuse(error)
            self._free.put(buffer)

    def _write(self, kind: bytes, at: int, data: memoryview) -> None:
        if kind == b"z":
            end = min(self.size, struct.unpack("!Q", data)[0])
            self._forget(at // BLOCK, -(-end // BLOCK))
            clear(self.fd, at, end)
            return
        number = at // BLOCK
        if self._last not in (-1, number):
            self._read_back(self._last)
        self._forget(number, number + 1)
        write_at(self.fd, data, at)
        if kind == b"p":
            self.patches.update(self.load(at, at + len(data)))
        else:
            self._last = number
            if len(data) == BLOCK:
                self._read_back(number)

    def _forget(self, first: int, last: int) -> None:
        if last > first:
            self._known[first:last] = bytes(last - first)
            self._leaves[first * LEAF : last * LEAF] = bytes(LEAF * (last - first))

    def _read_back(self, number: int) -> None:
        """Find the leaf of a block that seems to be complete."""
        if not self._known[number]:
            self._know(number, self.leaf(number, self.algorithm))

    def _know(self, number: int, leaf: bytes) -> None:
        self._known[number] = 1
        self._leaves[number * LEAF : number * LEAF + LEAF] = leaf
