"""Each write-side call fails once: no space, a broken disk, an interruption or half a write."""

from collections.abc import Iterator

from tests.torture.faults import SHORT
from tests.torture.row import Row, Wish
from tests.torture.rows.kills import swept

_RIGHT = (
    "told by a typed error, or done all the same; nothing half, lost or corrupt; the next try heals"
)


def rows(wish: Wish) -> Iterator[Row]:
    """Sweep all scenes in all ways."""
    what = "ENOSPC, EIO, EINTR or half a write at each call"
    yield from swept(wish, what, _RIGHT, "ENOSPC", "EIO", "EINTR", SHORT)
