"""What was seen of other hosts' files, remembered for the length of one operation."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_memory: ContextVar[dict[Any, Any] | None] = ContextVar("avocado_pool_looks", default=None)


@contextlib.contextmanager
def one_glance() -> Iterator[None]:
    """
    Look at each file of a host once at most, until the end or until we change it.

    What others change meanwhile is noticed when the file is read or replaced.
    """
    if _memory.get() is not None:
        yield
        return
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def remembered() -> dict[Any, Any] | None:
    """Return what was seen so far, None outside of any glance."""
    return _memory.get()
