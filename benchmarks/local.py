"""The local speed of states beside what people would use instead."""

import contextlib
from collections.abc import Iterator

from benchmarks.lab import Peer, disk
from benchmarks.measure import drop_caches
from benchmarks.program import Options, Program
from benchmarks.rows import around, commands, copies, locks, many, sets, warm
from benchmarks.rows.bench import Bench
from benchmarks.table import starting

GROUPS = {
    "warm": warm.rows,
    "around": around.rows,
    "copies": copies.rows,
    "sets": sets.rows,
    "many": many.rows,
    "locks": locks.rows,
    "commands": commands.rows,
}


@contextlib.contextmanager
def place(options: Options) -> Iterator[Bench]:
    """Give fresh file systems, and the peer at work."""
    with contextlib.ExitStack() as stack:
        ext4 = stack.enter_context(disk("ext4", 30, options.build))
        xfs = stack.enter_context(disk("xfs", 30, options.build))
        peer = Peer()
        stack.callback(peer.close)
        drop_caches()
        yield Bench(ext4, xfs, peer, options.runs)


def _notes() -> tuple[str, ...]:
    return (starting(), "ext4 and XFS (reflink) on loop devices with direct I/O, on one disk")


PROGRAM = Program(GROUPS, place, _notes)
