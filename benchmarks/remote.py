"""The speed of pools on another host beside what people would use instead."""

from benchmarks.far import changed, content, logins, small
from benchmarks.far.place import place
from benchmarks.program import Program

GROUPS = {
    "logins": logins.rows,
    "content": content.rows,
    "changed": changed.rows,
    "sparse": small.sparse,
    "slow": small.slow,
}


def _notes() -> tuple[str, ...]:
    return ("both ends on one ext4, or one XFS where it is named, on a loop device with direct "
            "I/O, and on the same cores",)  # fmt: skip


PROGRAM = Program(GROUPS, place, _notes)
