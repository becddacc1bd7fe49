"""Which tests make the states of some objects, from one state to another."""

from collections.abc import Callable, Collection, Iterable

from avocado_pool_plugin.core.errors import GraphRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph

#: Whose states: object id, and the image or None for the vm itself.
Owner = tuple[str, str | None]


def makers_between(
    graph: Graph, owners: Collection[Owner], first: str = "", last: str = ""
) -> tuple[str, ...]:
    """
    Return the tests that make states of some objects, in the order of the configuration.

    :param first: name of a state: only it and what stands on it count, empty: all do
    :param last: name of a state: only it and what it stands on count, empty: all do
    :raises GraphRefused: no test sets such a state, or none is between the two
    """
    states = {state for state in graph.makers if (state.object_id, state.image) in owners}
    whose = ", ".join(sorted({_title(owner) for owner in owners}))
    if not states:
        raise GraphRefused(f"no test of the configuration sets a state of {whose or 'any object'}")
    found = states
    if first:
        above = _closure(_named(first, states, whose), lambda one: graph.children.get(one, ()))
        found = found & above
    if last:
        found = found & _closure(_named(last, states, whose), graph.parents)
    if not found:
        raise GraphRefused(f"state {last!r} of {whose} does not stand on state {first!r}")
    return tuple(
        node.name for node in graph.nodes.values() if any(made.state in found for made in node.sets)
    )


def _named(name: str, states: Iterable[State], whose: str) -> list[State]:
    found = [state for state in states if state.name == name]
    if not found:
        known = ", ".join(sorted({repr(state.name) for state in states}))
        raise GraphRefused(f"no test sets a state {name!r} of {whose}, they set {known}")
    return found


def _closure(states: list[State], following: Callable[[State], Iterable[State]]) -> set[State]:
    """Return states and all that follows from them."""
    found, new = set(states), list(states)
    while new:
        more = [state for state in following(new.pop()) if state not in found]
        found.update(more)
        new += more
    return found


def _title(owner: Owner) -> str:
    return owner[0] if owner[1] is None else f"{owner[0]}/{owner[1]}"
