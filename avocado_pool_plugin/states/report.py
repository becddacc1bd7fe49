"""What was done with states in this process: one line in the log each, and kept for the job."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

LOG = logging.getLogger("avocado." + __name__)

_EVENTS: list["Event"] = []


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
