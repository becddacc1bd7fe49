"""
Bits that flip and files that are cut off: found, missed, and spread.

What a program writes changes a file's stamp (inode, size, times). What a disk does by itself does
not. A file that was judged under its stamp is not read again for that by default, so a state that
is *used where it is* (run from a cache, or through a link) with such damage is found by ``verify
--all`` or ``verify = always`` only. What is *copied* is read and compared whatever the stamp says.
"""

import logging
from collections.abc import Iterator

from tests.torture.harm.content import CHANGED, UNCHANGED, in_caches, in_pools
from tests.torture.harm.notes import in_notes
from tests.torture.row import Row, Wish


def rows(wish: Wish) -> Iterator[Row]:
    """Harm pools, then caches, then what we note of both."""
    # what is said of damaged files is said in vain here
    logging.getLogger("avocado").addHandler(logging.NullHandler())
    yield in_pools(wish, CHANGED, wish.few(300, 30))
    yield in_pools(wish, UNCHANGED, wish.few(300, 30))
    yield in_caches(wish, wish.few(120, 5))
    yield from in_notes(wish, wish.few(300, 30))
