"""
Real guests are saved by tests of real jobs, and the test's process is killed.

There is no short run of it: nine points are tests of their own, see
tests/functional/guests/test_vm_kills.py.
"""

from collections.abc import Iterator

from tests.support.guest_saves import KilledSaves
from tests.torture.row import Row, Wish

#: How many points of a save are tried, spread evenly over all of them.
_POINTS = 12


def rows(wish: Wish) -> Iterator[Row]:
    """Kill saves of a guest under avocado run."""
    row = Row(
        "set of a vm state of a real guest under avocado run, its process killed",
        "the state old or new as a whole; its image sound; in the guest that is resumed, memory "
        "and files of one moment",
    )
    with wish.directory("guests") as directory:
        saves = KilledSaves(directory)
        for point in range(_POINTS):
            after = saves.steps * point // _POINTS
            wish.progress(f"guests: killed after step {after} of {saves.steps}")
            with row.trying(f"killed after step {after} of {saves.steps}"):
                new = saves.killed(after, resumed=point % 3 == 1)
                row.count("new" if new else "old")
    yield row
