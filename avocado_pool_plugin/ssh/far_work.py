"""
What the agent does with a file while it is open, and how it tells; sent there with it.

Only the standard library, and nothing newer than Python 3.6.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import queue
import struct
import threading
import time

from avocado_pool_plugin.ssh.far_files import (
    BLOCK,
    LEAF,
    clear,
    cut,
    data_blocks,
    data_pieces,
    data_spans,
    is_zero,
    leaf_of,
    ordered,
    read_at,
    sums,
    write_at,
)

TYPE_CHECKING = False  # importing typing takes a while
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from avocado_pool_plugin.ssh.far_files import Span

    Task = tuple[bytes, int, int, bytearray]

#: How a frame begins: its kind, a number, and how many bytes follow.
HEAD = struct.Struct("!cQI")

_F_SETPIPE_SZ = 1031
#: Seconds between signs of life, and for how long a single call of the system may last.
_BEAT, _PATIENCE = 0.25, 900
#: Pieces of data that may wait to be written; leaves that are sent at once.
_WAITING, _BATCH = 4, 64


class Line:
    """The connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._said = time.monotonic()
        for fd in (0, 1):
            os.set_blocking(fd, True)
            # not if it is a socket, or if others used up what there is
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, _F_SETPIPE_SZ, BLOCK)

    def hear(self, view: memoryview) -> bool:
        """Fill a buffer; return False if the other side is gone."""
        have = 0
        while have < len(view):
            got = os.readv(0, [view[have:]])
            if not got:
                return False
            have += got
        return True

    def say(self, kind: bytes, number: int = 0, body: "bytes | memoryview" = b"") -> None:
        """Send a frame."""
        head = HEAD.pack(kind, number, len(body))
        with self._lock:
            try:
                sent = os.writev(1, [head, body])
                for part in (head, memoryview(body)):
                    skip = min(sent, len(part))
                    sent -= skip
                    while skip < len(part):
                        skip += os.write(1, part[skip:])
            except OSError:
                os._exit(1)  # nobody listens; whatever thread this is
            self._said = time.monotonic()

    def answer(self, **what: object) -> None:
        """Send the answer that ends a request."""
        if self._done:
            self.beat(now=True)
        self.say(b"r", 0, json.dumps(what).encode())

    def refuse(self, error: OSError) -> None:
        """Send what went wrong."""
        self.answer(error=error.strerror or str(error), errno=error.errno or 0)

    def beat(self, done: int = 0, now: bool = False) -> None:
        """Tell that bytes got done, unless something was told just before."""
        self._done += done
        if now or time.monotonic() - self._said > _BEAT:
            told, self._done = self._done, 0
            self.say(b"b", told)

    def waiting(self, call: "Callable[[], object]") -> None:
        """Do what may take long and can't tell how it gets on, with signs of life."""
        over = threading.Event()

        def live() -> None:
            for _ in range(int(_PATIENCE / _BEAT)):
                if over.wait(_BEAT):
                    return
                self.say(b"b")

        thread = threading.Thread(target=live)
        thread.start()
        try:
            call()
        finally:
            over.set()
            thread.join()


class Reader:
    """An open file."""

    def __init__(self, line: Line, fd: int) -> None:
        self.line = line
        self.fd = fd
        self._own = threading.local()

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def load(self, start: int, end: int) -> memoryview:
        """Read at most a block, into a buffer that this thread uses for the next one as well."""
        if not hasattr(self._own, "buffer"):
            self._own.buffer = bytearray(BLOCK)
        return read_at(self.fd, memoryview(self._own.buffer)[: end - start], start)

    def leaf(self, number: int, algorithm: str) -> bytes:
        """Return the digest of a block."""
        return leaf_of(self.load(number * BLOCK, (number + 1) * BLOCK), algorithm)

    def tell_sums(self, spans: "list[Span]") -> None:
        """Send the digests of the pieces with data in some stretches."""
        # not by several threads: with pieces this small they would mostly wait for each other
        for span in spans:
            for start, end in data_pieces(self.fd, *span):
                self.line.say(b"s", start, sums(self.load(start, end)))

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
        Reader.close(self)

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
