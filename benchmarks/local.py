#!/usr/bin/env python3
"""
The local speed of states beside what people would use instead; ``make bench``.

Each row times all its contenders in turn, in this very run. Nothing passes or fails here; with
``--check`` the exit status is 1 if a ratio is far off (three times its aim).
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.environment import PEER
from benchmarks.lab import Peer, disk
from benchmarks.measure import drop_caches
from benchmarks.program import Options, main
from benchmarks.rows import around, commands, copies, locks, many, sets, warm
from benchmarks.rows.bench import Bench

GROUPS = {
    "warm": warm.rows,
    "around": around.rows,
    "copies": copies.rows,
    "sets": sets.rows,
    "many": many.rows,
    "locks": locks.rows,
    "commands": commands.rows,
}
NOTES = (
    f"peer: {PEER.replace('==', ' ')}",
    "ext4 and XFS (reflink) on loop devices with direct I/O, on one disk",
)


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


if __name__ == "__main__":
    sys.exit(main(__doc__.strip().splitlines()[0], "local", GROUPS, place, NOTES))
