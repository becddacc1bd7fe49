"""What was done with states in this process: one line in the log each, and kept for the job."""

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
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
    :param seconds: how long it took
    :param where: from or to which place
    """

    verb: str
    state: str
    object: str
    bytes: int
    seconds: float
    where: str

    def __str__(self) -> str:
        return (
            f"{self.verb} state {self.state!r} of {self.object}: {self.bytes} bytes "
            f"({self.bytes / 2**20:.1f} MiB) in {self.seconds:.2f} s, {self.where}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a file."""
        return asdict(self)


def record(event: Event) -> None:
    """Log and keep an event."""
    LOG.info("%s", event)
    _EVENTS.append(event)


def events() -> list[Event]:
    """Return what was done in this process so far."""
    return list(_EVENTS)


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
