"""An open file here becomes a part over there."""

import os
from hashlib import sha256

from avocado_pool_plugin.core.digest import (
    ALGORITHM,
    BLOCK,
    LEAF,
    SHA256_TREE,
    Progress,
    Spans,
    Tree,
    count,
    data_blocks,
    read_block,
)
from avocado_pool_plugin.core.errors import PoolUnreachable
from avocado_pool_plugin.core.parallel import in_parallel, in_runs
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import failures
from avocado_pool_plugin.ssh.content import Basis, Sent
from avocado_pool_plugin.ssh.far_files import sums
from avocado_pool_plugin.ssh.frames import DATA, PATCH, Wire, far_path
from avocado_pool_plugin.ssh.pieces import (
    NOTHING,
    Window,
    differing,
    hear_sums,
    length,
    looks,
    stretch,
    windows,
)

_NO_LEAF = bytes(LEAF)


class Upload:
    """
    One upload.

    :param algorithm: that the agent computes
    :param source: open for reading
    :param size: bytes of it
    """

    def __init__(
        self,
        wire: Wire,
        algorithm: str,
        source: int,
        size: int,
        *,
        basis: Basis | None,
        progress: Progress | None,
    ) -> None:
        self._wire = wire
        self._algorithm = algorithm
        self._source, self._size = source, size
        self._basis = basis
        self._tell = progress or (lambda done: None)
        self._stamp = Stamp.of(os.fstat(source))
        #: The trees to be known of what is sent.
        self._wanted = tuple({ALGORITHM, algorithm})
        self._tree = Tree(size, self._wanted)
        #: The old version's leaves where they can be trusted.
        self._old: bytes | None = None
        self._patches = sha256()
        self._empty = True
        self._before = wire.sent

    def open(self) -> None:
        """
        Have the part opened, made from the old version if it is new.

        While it is made, that one's leaves are compared with those of what is to be sent.
        """
        basis = self._basis
        self._wire.ask(
            "part",
            path=far_path(self._wire.path),
            size=self._size,
            basis=far_path(basis.path) if basis else "",
        )
        if basis and basis.known:
            self._compare_leaves(basis.leaves or b"")
        answer = self._wire.finish()
        self._empty = bool(answer.get("empty"))
        if self._empty or not basis or not basis.known or not answer.get("basis"):
            return
        if self._wire.stamp("basis") == basis.stamp:
            self._old = basis.leaves
            if basis.far_leaves is None:
                self._wanted = (ALGORITHM,)

    def _compare_leaves(self, old: bytes) -> None:
        """Find the leaves of what is to be sent; those that are as in the old version are done."""

        def work(run: list[tuple[int, Spans]]) -> int:
            buffer = bytearray(BLOCK)
            done = 0
            for number, spans in run:
                data = read_block(self._source, number, self._size, buffer)
                self._tree.add(number, data, (ALGORITHM,))
                if self._tree.leaf(number) == _leaf(old, number):
                    done += length(spans)
            return done

        blocks = data_blocks(self._source, self._size)
        for done in in_parallel(work, in_runs(blocks), self._size):
            self._tell(done)

    def run(self, fsync: bool) -> Sent:
        """Send what the part lacks, and have it compared with what was sent."""
        if self._empty:
            self._send_all()
        else:
            self._send_differences()
        self._finish(fsync)
        return self._sent()

    def _send_all(self) -> None:
        """Send all data to a part that is one hole."""
        buffer = bytearray(BLOCK)
        for number, spans in data_blocks(self._source, self._size):
            self._wire.listen()
            data = read_block(self._source, number, self._size, buffer)
            if self._tree.add(number, data):
                base = number * BLOCK
                for start, end in spans:
                    self._wire.send(DATA, start, data[start - base : end - base])
            self._tell(length(spans))

    def _send_differences(self) -> None:
        """Compare with what the part has, one window while the agent looks at another."""
        waiting: Window | None = None
        found = looks(self._source, self._size, self._look, few=self._old is not None)
        for window in windows(found, self._size):
            if waiting is not None:
                self._settle(waiting)
            asked = [stretch(number, self._size) for number in self._asked(window)]
            self._wire.ask("sums", spans=asked)
            waiting = window
        if waiting is not None:
            self._settle(waiting)

    def _look(self, number: int, buffer: bytearray) -> bytes | None:
        if self._taken_over(number):
            return None
        data = read_block(self._source, number, self._size, buffer)
        # where old leaves were compared, those of ours are known
        unknown = [name for name in self._wanted if self._old is None or name != ALGORITHM]
        if unknown:
            self._tree.add(number, data, unknown)
        return sums(data)

    def _taken_over(self, number: int) -> bool:
        """Tell whether a block is known to be in the part; if so its leaf need not be computed."""
        if self._old is None or self._tree.leaf(number) != _leaf(self._old, number):
            return False
        assert self._basis is not None
        if self._basis.far_leaves is not None and self._algorithm == SHA256_TREE:
            leaf = _leaf(self._basis.far_leaves, number)
            self._tree.put(number, leaf, self._algorithm)
        return True

    def _asked(self, window: Window) -> list[int]:
        """Return which blocks may be anything but zeros over there."""
        old = self._old
        return [
            look.number for look in window.blocks if old is None or any(_leaf(old, look.number))
        ]

    def _settle(self, window: Window) -> None:
        """Hear what a window is over there, and send what is not as it is here."""
        there = hear_sums(self._wire, self._asked(window))
        for start, end in window.gaps:
            old = self._old
            if old is None or any(old[start // BLOCK * LEAF : count(end) * LEAF]):
                self._wire.send_zeros(start, end)
        for look in window.blocks:
            self._wire.listen()
            start, end = stretch(look.number, self._size)
            far = there.get(look.number, NOTHING)
            for first, last in differing(look.sums or NOTHING, far, end - start):
                self._send(start + first, start + last, look.spans)
            self._tell(length(look.spans))

    def _send(self, start: int, end: int, spans: Spans) -> None:
        """Send a stretch of a block, given where there is data in that."""
        inside = [(max(a, start), min(b, end)) for a, b in spans if a < end and b > start]
        if inside != [(start, end)]:
            self._wire.send_zeros(start, end)
        for first, last in inside:
            data = os.pread(self._source, last - first, first)
            if len(data) < last - first:
                raise failures.changed_here(self._wire.place)
            if self._old is None:
                self._wire.send(DATA, first, data)
            else:
                self._patches.update(data)
                self._wire.send(PATCH, first, data)

    def _finish(self, fsync: bool) -> None:
        """Have all written, and compare what the part holds now with what was sent."""
        patched = self._old is not None
        self._wire.ask("finish", leaves=not patched, fsync=fsync)
        far = Tree(self._size, (self._algorithm,))
        self._wire.hear_leaves(far, self._algorithm)
        if Stamp.of(os.fstat(self._source)) != self._stamp:
            raise failures.changed_here(self._wire.place)
        if patched:
            good = self._wire.answer.get("patches") == self._patches.hexdigest()
        else:
            good = far.leaves(self._algorithm) == self._tree.leaves(self._algorithm)
        if not good or self._wire.stamp().size != self._size:
            raise PoolUnreachable(
                f"{self._wire.place} does not hold what was sent there; check the disk and the "
                f"memory of that host, remove the file and try again"
            )

    def _sent(self) -> Sent:
        whole = self._old is None or self._algorithm in self._wanted
        return Sent(
            self._tree.digest(),
            self._tree.digest(self._algorithm) if whole else None,
            self._tree.leaves(),
            self._tree.leaves(SHA256_TREE) if whole and self._algorithm == SHA256_TREE else None,
            self._wire.stamp(),
            self._wire.sent - self._before,
        )


def _leaf(leaves: bytes, number: int) -> bytes:
    """Return a block's digest, that of zeros beyond the end."""
    return leaves[LEAF * number : LEAF * number + LEAF] or _NO_LEAF
