"""What was done with states in this process: one line in the log each, and kept for the job."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from typing import Any

LOG = logging.getLogger("avocado." + __name__)

_EVENTS: list["Event"] = []
_LISTENERS: list["Listener"] = []

#: Gets a verb and names of objects, returns those for which the verb was done already.
Listener = Callable[[str, Collection[str]], Collection[str]]


@dataclass(frozen=True)
class Event:
    """
    Something done with a state.

    :param verb: got, fetched, set, published or unset
    :param state: its name
    :param object: whose state, such as ``vm1/image1``
    :param bytes: size of what was handled
    :param seconds: how long it took, without what has an event of its own
    :param where: from or to which place
    :param hit: of what was got: whether nothing had to be fetched for it; None for other verbs
    """

    verb: str
    state: str
    object: str
    bytes: int
    seconds: float
    where: str
    hit: bool | None = None

    def __str__(self) -> str:
        return (
            f"{self.verb} state {self.state!r} of {self.object}: {self.bytes} bytes "
            f"({self.bytes / 2**20:.1f} MiB) in {self.seconds:.2f} s, {self.where}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a file; ``hit`` only of what was got."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def record(event: Event) -> None:
    """Log and keep an event; what was got without a word on it was not fetched."""
    if event.verb == "got" and event.hit is None:
        event = replace(event, hit=True)
    LOG.info("%s", event)
    _EVENTS.append(event)


def size_of(path: str) -> int:
    """Return how many bytes a file has, for an event; 0 if it is gone, as others may remove it."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def events() -> list[Event]:
    """Return what was done in this process so far."""
    return list(_EVENTS)


@dataclass(frozen=True)
class Watch:
    """
    What was recorded since something began, and how long that takes.

    :ivar began: as of ``time.monotonic``
    :ivar first: how many events there were then
    """

    began: float = field(default_factory=time.monotonic)
    first: int = field(default_factory=lambda: len(_EVENTS))

    def seconds(self) -> float:
        """Return the seconds since then, without those that the events since then tell of."""
        told = sum(event.seconds for event in _EVENTS[self.first :])
        return max(0.0, time.monotonic() - self.began - told)

    def hit(self, owner: str) -> bool:
        """Tell whether nothing was fetched since then for an object, or what is part of it."""
        return not any(
            event.verb == "fetched" and f"{event.object}/".startswith(f"{owner}/")
            for event in _EVENTS[self.first :]
        )


_get: ContextVar[Watch | None] = ContextVar("avocado_pool_get", default=None)


@contextlib.contextmanager
def one_get() -> Iterator[None]:
    """Take what is fetched until the end for a part of the get that begins now."""
    token = _get.set(Watch())
    try:
        yield
    finally:
        _get.reset(token)


def watch() -> Watch:
    """Return the watch of the get that goes on, one that begins now if there is none."""
    return _get.get() or Watch()


def begins(verb: str, objects: Collection[str]) -> set[str]:
    """
    Tell those who listen that a verb is about to be done for some objects of a test.

    :param objects: their full names, such as ``vm1/image1``
    :return: those that are to be left out
    """
    return {name for listener in list(_LISTENERS) for name in listener(verb, objects)}


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have a function called with each verb that begins in this process meanwhile."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)
