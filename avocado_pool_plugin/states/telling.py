"""What is told, and waited for, once in an operation, however often it is come across."""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from avocado_pool_plugin.core import answers
from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    LoginRefused,
    PoolError,
    PoolSilent,
)
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.ssh import glance

LOG = logging.getLogger("avocado." + __name__)

#: After these a mirror is not asked again: it would only take time, and logins are counted.
_SILENT = (PoolSilent, HostUnreachable, LoginRefused)


@dataclass
class _Memory:
    told: set[tuple[str, str]] = field(default_factory=set)
    silent: dict[str, PoolError] = field(default_factory=dict)


_memory: ContextVar[_Memory | None] = ContextVar("avocado_pool_operation", default=None)


@contextlib.contextmanager
def one_operation() -> Iterator[None]:
    """Remember what was told until the end; within another operation that one goes on."""
    if _memory.get() is not None:
        yield
        return
    token = _memory.set(_Memory())
    try:
        with glance.one_glance():
            yield
    finally:
        _memory.reset(token)


def warn(error: PoolError, mirror: str = "", doing: str = "") -> None:
    """
    Log a problem as a warning, or as a detail if this operation has told it before.

    :param mirror: whose problem it is; empty if the text alone says it
    :param doing: what it kept from being done
    """
    memory, text = _memory.get(), str(error)
    known = memory is not None and bool({(mirror, text), ("", text)} & memory.told)
    if memory is not None:
        memory.told.add((mirror, text))
    told = f"mirror {mirror} failed, {doing}: {text}" if mirror else text
    LOG.log(logging.DEBUG if known else logging.WARNING, "%s", told)


def require_answer(mirror: str, timeout: float) -> None:
    """
    Make sure that a mirror is not waited for in vain, and that no more than once in an operation.

    :param timeout: seconds for which the file system of a local one may keep us waiting
    :raises PoolError: it gives no answer, or gave none earlier in this operation
    """
    memory, place = _memory.get(), Location.parse(mirror)
    silence = memory.silent.get(mirror) if memory else None
    if silence is not None:
        raise silence
    if not place.remote:
        answers.require_answer(place.path, timeout)


def has_answer(mirror: str, timeout: float) -> bool:
    """Tell whether a mirror gives an answer; see :func:`require_answer`."""
    try:
        require_answer(mirror, timeout)
    except _SILENT as error:
        keep_silence(mirror, error)
        return False
    return True


def keep_silence(mirror: str, error: PoolError) -> None:
    """Remember that a mirror gave no answer, or could not be reached, if that is the error."""
    memory = _memory.get()
    if memory is not None and isinstance(error, _SILENT):
        memory.silent[mirror] = error
