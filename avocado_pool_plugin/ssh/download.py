"""A file over there becomes an open file here."""

import os
from collections.abc import Iterator, Sequence

from avocado_pool_plugin.core.digest import (
    ALGORITHM,
    BLOCK,
    SHA256,
    Progress,
    Tree,
    digest_fd,
    read_block,
    tree_fd,
)
from avocado_pool_plugin.ssh import failures
from avocado_pool_plugin.ssh.content import Received
from avocado_pool_plugin.ssh.far_files import clear, sums, write_at
from avocado_pool_plugin.ssh.frames import ANSWER, DATA, Wire
from avocado_pool_plugin.ssh.pieces import (
    NOTHING,
    Window,
    differing,
    hear_sums,
    looks,
    stretch,
    windows,
)

_ZEROS = bytes(BLOCK)


class Download:
    """
    One download of the file that the agent has opened.

    :param target: open for reading and writing
    :param algorithms: of the digests that are wanted besides ``b3t1m``
    """

    def __init__(
        self, wire: Wire, target: int, algorithms: Sequence[str], progress: Progress | None
    ) -> None:
        self._wire = wire
        self._target = target
        self._stamp = wire.stamp()
        self._size = self._stamp.size
        self._algorithms = [ALGORITHM, *(set(algorithms) - {ALGORITHM})]
        self._trees = [name for name in self._algorithms if name != SHA256]
        self._tell = progress or (lambda done: None)
        self._before = wire.received

    def run(self, basis: bool) -> Received:
        """Receive the file, or what differs from what is here if that may be of use."""
        if basis:
            os.ftruncate(self._target, self._size)
            self._receive_differences()
            tree = tree_fd(self._target, self._size, None, self._trees)
        else:
            os.ftruncate(self._target, 0)
            os.ftruncate(self._target, self._size)
            tree = Tree(self._size, self._trees)
            self._receive_all(tree)
        if self._wire.stamp() != self._stamp:
            raise failures.changed_there(self._wire.place)
        digests = {name: self._digest(tree, name) for name in self._algorithms}
        moved = self._wire.received - self._before
        return Received(digests, tree.leaves(), self._stamp, moved)

    def _digest(self, tree: Tree, algorithm: str) -> str:
        if algorithm == SHA256:
            return digest_fd(self._target, self._size, None, SHA256)
        return tree.digest(algorithm)

    def _data(self) -> Iterator[tuple[int, int]]:
        """Yield place and length of each frame of data until the answer."""
        while True:
            kind, at, length = self._wire.next()
            if kind == ANSWER:
                return
            whole = kind == DATA and 0 < length <= BLOCK - at % BLOCK
            if not whole or at + length > self._size:
                raise self._wire.nonsense()
            yield at, length
            self._tell(length)

    def _receive_all(self, tree: Tree) -> None:
        self._wire.ask("read", spans=[(0, self._size)])
        block = memoryview(bytearray(BLOCK))
        current = -1
        for at, length in self._data():
            number, offset = divmod(at, BLOCK)
            if number != current:
                self._know(tree, current, block)
                if length < BLOCK:
                    block[:] = _ZEROS
                current = number
            piece = block[offset : offset + length]
            self._wire.fill(piece)
            write_at(self._target, piece, at)
        self._know(tree, current, block)

    def _know(self, tree: Tree, number: int, block: memoryview) -> None:
        if number >= 0:
            tree.add(number, block[: min(BLOCK, self._size - number * BLOCK)])

    def _receive_differences(self) -> None:
        waiting: Window | None = None
        for window in windows(looks(self._target, self._size, self._look), self._size):
            if waiting is not None:
                self._settle(waiting)
            asked = [stretch(look.number, self._size) for look in window.blocks]
            self._wire.ask("sums", spans=asked)
            waiting = window
        if waiting is not None:
            self._settle(waiting)

    def _look(self, number: int, buffer: bytearray) -> bytes:
        return sums(read_block(self._target, number, self._size, buffer))

    def _settle(self, window: Window) -> None:
        """Hear how a window is over there, and receive what is not so here."""
        there = hear_sums(self._wire, [look.number for look in window.blocks])
        wanted = window.gaps
        for look in window.blocks:
            start, end = stretch(look.number, self._size)
            same = end - start
            for first, last in differing(look.sums or NOTHING, there[look.number], same):
                clear(self._target, start + first, start + last)
                wanted.append((start + first, start + last))
                same -= last - first
            self._tell(same)
        self._wire.ask("read", spans=wanted)
        piece = memoryview(bytearray(BLOCK))
        for at, length in self._data():
            self._wire.fill(piece[:length])
            write_at(self._target, piece[:length], at)
