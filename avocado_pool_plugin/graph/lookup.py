"""What the tests of a graph know of states: whose they are, and who makes them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.read import Owner, Reading
from avocado_pool_plugin.graph.working import quick
from avocado_pool_plugin.states.setup import DEFAULT_BACKENDS


@dataclass(frozen=True)
class Lookup:
    """
    What is known of states from the tests.

    :param owner: returns whose state one is, None if no test names it
    :param maker: returns the test that sets a state, None if none or several do
    :param states: all that the tests name, in their order
    """

    owner: Callable[[State], Owner | None]
    maker: Callable[[State], Reading | None]
    states: tuple[State, ...] = ()

    @classmethod
    def of(cls, readings: Iterable[Reading], defaults: Mapping[str, str] | None = None) -> "Lookup":
        """
        Return what some tests know; those that get a state know best where it is got from.

        :param defaults: a job's settings as params, to look for states that no test names
        """
        named: dict[State, Reading] = {}
        got: dict[State, Reading] = {}
        makers: dict[State, list[Reading]] = {}
        for reading in readings:
            for want in reading.node.gets:
                got.setdefault(want.state, reading)
            for made in reading.node.sets:
                makers.setdefault(made.state, []).append(reading)
            for state in reading.owners:
                named.setdefault(state, reading)

        def owner(state: State) -> Owner | None:
            reading = got.get(state) or named.get(state)
            if reading is None:
                return None if defaults is None else _plain_owner(state, defaults)
            return reading.owners[state]

        def maker(state: State) -> Reading | None:
            found = makers.get(state, [])
            return found[0] if len(found) == 1 else None

        return cls(owner, maker, tuple(named))


def _plain_owner(state: State, defaults: Mapping[str, str]) -> Owner:
    """Return how a get without any test would look for a state."""
    own = {"vms": state.object_id, "object_id": state.object_id, "images": state.image or ""}
    own["object_name"] = "/".join(filter(None, (state.object_id, state.image)))
    own["object_type"] = "vms/images" if state.image else "vms"
    own["states"] = DEFAULT_BACKENDS["images" if state.image else "vms"]
    return Owner(quick({**defaults, **own, "get_state": state.name}), "get")
