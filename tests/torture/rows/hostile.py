"""Hostile input: whatever is read was written by somebody who means no good, or by chance."""

from collections.abc import Iterator

from tests.torture.hostile import far, images, lines, notes, words
from tests.torture.row import Row, Wish

#: What reads what, from texts to whole hosts.
_KINDS = (words, notes, images, far, lines)


def rows(wish: Wish) -> Iterator[Row]:
    """Yield the rows of all kinds of input."""
    for kind in _KINDS:
        yield from kind.rows(wish)
