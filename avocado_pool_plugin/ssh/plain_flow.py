"""Streams of content between an open file here and the shell of plain.sh over there."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from avocado_pool_plugin.core.digest import (
    ALGORITHM,
    BLOCK,
    SHA256,
    Progress,
    Tree,
    count,
    data_blocks,
    read_block,
)
from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.ssh.far_files import is_zero, write_at
from avocado_pool_plugin.ssh.pieces import length
from avocado_pool_plugin.ssh.plain_far import Far

#: A stretch that is sent takes a process there; zeros between two cost less up to so many bytes.
_GAP = BLOCK // 2
#: Where stretches begin and end, in bytes: what is written there at once.
_GRID = 1 << 12
#: Stretches, and blocks, that are announced at once.
_STRETCHES, _BLOCKS = 256, 4096
#: Bytes that come from there at once: as many may come in vain when the file became shorter.
_CHUNK = 64 * BLOCK
#: The least that becomes a hole here, in bytes.
_PAGE = 4096
_ZEROS = bytes(BLOCK)


class Content:
    """
    The digests of a file that is read from its begin to its end.

    :param size: bytes of the file
    :param algorithms: of the digests that are wanted besides ``b3t1m``
    :param whole: whether ``sha256`` is wanted
    """

    def __init__(self, size: int, algorithms: Sequence[str], whole: bool) -> None:
        names = dict.fromkeys([ALGORITHM, *algorithms])
        self.tree = Tree(size, [name for name in names if name != SHA256])
        self._names = list(names)
        self._size = size
        self._whole = hashlib.sha256() if whole or SHA256 in names else None
        self._next = 0

    def add(self, number: int, data: memoryview) -> bool:
        """Take in a block; those before that nobody took in are zeros. Tell if this one is not."""
        self._skip(number * BLOCK)
        if self._whole is not None:
            self._whole.update(data)
        self._next = number + 1
        return self.tree.add(number, data)

    def sha256(self, size: int) -> str:
        """Return ``sha256`` of so many first bytes, in hexadecimal digits."""
        self._skip(size)
        assert self._whole is not None
        return self._whole.hexdigest()

    def digests(self) -> dict[str, str]:
        """Return the digests of the whole file by algorithm."""
        found = {name: self.tree.digest(name) for name in self._names if name != SHA256}
        if SHA256 in self._names:
            found[SHA256] = f"{SHA256}:{self.sha256(self._size)}"
        return found

    def read(self, fd: int, first: int, last: int) -> int:
        """Take in some blocks of an open file; return how many bytes of them are no holes."""
        buffer = bytearray(BLOCK)
        done = 0
        for number, spans in data_blocks(fd, min(self._size, last * BLOCK)):
            if number >= first:
                self.add(number, read_block(fd, number, self._size, buffer))
                done += length(spans)
        return done

    def _skip(self, end: int) -> None:
        while self._next * BLOCK < end:
            if self._whole is not None:
                self._whole.update(_ZEROS[: min(BLOCK, end - self._next * BLOCK)])
            self._next += 1


class Outgoing:
    """
    An open file that becomes a part over there.

    :param source: open for reading
    :param size: bytes of it
    """

    def __init__(self, far: Far, source: int, size: int, progress: Progress | None) -> None:
        self.far, self.source, self.size = far, source, size
        self.content = Content(size, (), whole=True)
        self.tell = progress or (lambda done: None)
        #: Bytes that travelled.
        self.moved = 0
        self._hashed = 0

    def run(self, part: str, have: int) -> None:
        """
        Fill the part.

        :param have: bytes that it has already
        """
        first = min(have, self.size) // BLOCK
        if first and not self._same_begin(part, first):
            first = 0
        end = first * BLOCK
        for blocks, stretches in self._batches(first):
            pairs = [value for start, stop in stretches for value in (start, stop - start)]
            self.far.ask("pool_fill", part, end, *pairs)
            self.far.answer("ready")
            self._send(blocks)
            self.far.answer("filled")
            end = stretches[-1][1] if stretches else end
        self._hashed = count(self.size)

    def complete(self) -> None:
        """Take in what did not go through here."""
        if self._hashed < count(self.size):
            self.content.read(self.source, self._hashed, count(self.size))

    def _same_begin(self, part: str, blocks: int) -> bool:
        """Tell whether the part begins as the file does."""
        self.far.ask("pool_begin", part, blocks * BLOCK)
        done = self.content.read(self.source, 0, blocks)
        self._hashed = blocks
        if self.far.sha256() != self.content.sha256(blocks * BLOCK):
            return False
        self.tell(done)
        return True

    def _batches(self, first: int) -> Iterator[tuple[list["_Block"], list[list[int]]]]:
        """Yield blocks with data in them, and the stretches that they make up; once at least."""
        blocks: list[_Block] = []
        stretches: list[list[int]] = []
        for number, spans in data_blocks(self.source, self.size):
            if number < first:
                continue
            if len(blocks) == _BLOCKS or len(stretches) == _STRETCHES:
                yield blocks, stretches
                blocks, stretches = [], []
            start = spans[0][0] // _GRID * _GRID
            end = min(self.size, -(-spans[-1][1] // _GRID) * _GRID)
            if stretches and start - stretches[-1][1] < _GAP:
                blocks[-1].end = start = number * BLOCK
                stretches[-1][1] = end
            else:
                stretches.append([start, end])
            blocks.append(_Block(number, start, end, length(spans)))
        yield blocks, stretches

    def _send(self, blocks: list["_Block"]) -> None:
        with working_behind() as behind:
            for block, buffer in zip(blocks, buffers(), strict=False):
                data = read_block(self.source, block.number, self.size, buffer)
                if block.number >= self._hashed:
                    behind(partial(self.content.add, block.number, data))
                self.far.listen()
                base = block.number * BLOCK
                self.far.channel.send(data[block.start - base : block.end - base])
                self.moved += block.end - block.start
                self.tell(block.data)


@dataclass
class _Block:
    """What is sent of a block: from start to end in the file, with so many bytes of data in it."""

    number: int
    start: int
    end: int
    data: int


class Incoming:
    """
    A file over there that becomes an open file here.

    :param target: open for reading and writing
    :param size: bytes of the file
    :param algorithms: of the digests that are wanted besides ``b3t1m``
    """

    def __init__(
        self, far: Far, target: int, size: int, algorithms: Sequence[str], progress: Progress | None
    ) -> None:
        self.far, self.target, self.size = far, target, size
        self.content = Content(size, algorithms, whole=False)
        #: Bytes that travelled.
        self.moved = 0
        self._algorithms = algorithms
        self._tell = progress or (lambda done: None)

    def run(self, basis: bool) -> None:
        """Fill the open file, whose begin may be right already."""
        first = self._same_begin() if basis else 0
        os.ftruncate(self.target, first * BLOCK)
        self.far.ask("pool_send", first * BLOCK, self.size, _CHUNK)
        with working_behind() as behind:
            for start in range(first * BLOCK, self.size, _CHUNK):
                end = min(self.size, start + _CHUNK)
                self._receive(start, end, behind)
                self._require(end - start)
        # only now: how long it is says what a later attempt need not have sent again
        os.ftruncate(self.target, self.size)

    def _same_begin(self) -> int:
        """Return how many blocks are here already."""
        blocks = min(os.fstat(self.target).st_size, self.size) // BLOCK
        if not blocks:
            return 0
        self.far.ask("pool_hash", blocks * BLOCK)
        content = Content(self.size, self._algorithms, whole=True)
        done = content.read(self.target, 0, blocks)
        if self.far.sha256() != content.sha256(blocks * BLOCK):
            return 0
        self.content = content
        self._tell(done)
        return blocks

    def _receive(self, start: int, end: int, behind: "Behind") -> None:
        for at, buffer in zip(range(start, end, BLOCK), buffers(), strict=False):
            data = memoryview(buffer)[: min(BLOCK, end - at)]
            self.far.channel.receive_into(data)
            behind(partial(self._keep, at, data))
            self.moved += len(data)
            self._tell(len(data))

    def _require(self, wanted: int) -> None:
        """Make sure that what came was in the file."""
        found, _, said = self.far.answer("sent").partition(" ")
        if found == str(wanted):
            return
        if said.startswith("dd: "):
            raise self.far.failed(said)
        raise FileChanging(f"{self.far.place} became shorter while it was read; try again")

    def _keep(self, at: int, data: memoryview) -> None:
        if self.content.add(at // BLOCK, data):
            for start, end in filled(data):
                write_at(self.target, data[start:end], at + start)


Behind = Callable[[Callable[[], object]], None]


@contextlib.contextmanager
def working_behind() -> Iterator[Behind]:
    """Give who does one thing after the other, each while the caller goes on until the next."""
    last: list[Future[object]] = []
    with ThreadPoolExecutor(1) as pool:

        def behind(work: Callable[[], object]) -> None:
            while last:
                last.pop().result()
            last.append(pool.submit(work))

        yield behind
        while last:
            last.pop().result()


def buffers() -> Iterator[bytearray]:
    """Yield two buffers in turn: one to fill while work behind is done with the other."""
    one, two = bytearray(BLOCK), bytearray(BLOCK)
    while True:
        yield one
        yield two


def filled(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield start and end of each stretch of pages in a block that are not all zeros."""
    start = -1
    for at in range(0, len(data), _PAGE):
        page = data[at : at + _PAGE]
        if is_zero(page):
            if start >= 0:
                yield start, at
            start = -1
        elif start < 0:
            start = at
    if start >= 0:
        yield start, len(data)
