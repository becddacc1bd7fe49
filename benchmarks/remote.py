#!/usr/bin/env python3
"""
The speed of pools on another host beside what people would use instead; ``make bench``.

The host is a real sshd on loopback. Each row times all its contenders in turn, in this very run.
Nothing passes or fails here; with ``--check`` the exit status is 1 if a ratio is far off (three
times its aim).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.environment import PEER
from benchmarks.far import changed, content, logins, small
from benchmarks.far.place import place
from benchmarks.program import main

GROUPS = {
    "logins": logins.rows,
    "content": content.rows,
    "changed": changed.rows,
    "sparse": small.sparse,
    "slow": small.slow,
}
NOTES = (
    f"peer: {PEER.replace('==', ' ')}",
    "both ends on one ext4, or one XFS where it is named, on a loop device with direct I/O, and on "
    "the same cores",
)


if __name__ == "__main__":
    sys.exit(main(__doc__.strip().splitlines()[0], "remote", GROUPS, place, NOTES))
