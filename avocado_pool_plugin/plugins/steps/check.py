"""The step ``check``: which states that somebody asks for exist, and where."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin.core.names import ROOTS, State
from avocado_pool_plugin.plugins.commands.command import FAILED, FINE, show_state, warnings_shown
from avocado_pool_plugin.plugins.text import print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.graph.exists import Finder
    from avocado_pool_plugin.graph.read import Reading
    from avocado_pool_plugin.plugins.steps.context import Context

_ASKS = "check_state"
#: A row of the table, and whether its state is missing.
_Row = tuple[list[str], bool]


def check(context: "Context") -> int:
    """
    Print where the states are that the selected tests get, and those of ``check_state``.

    :return: 1 if one does not exist, or can't be used
    """
    from avocado_pool_plugin.graph.exists import Finder
    from avocado_pool_plugin.graph.read import node_of

    objects = _asked(context)
    asked = [node_of(f"{_ASKS} of the command line", own) for own in objects]
    selected = context.readings(context.tests)
    # those that make the states know whether they would be made in the same way
    known = {**context.readings(context.whole()), **selected}
    finder = Finder.of([*known.values(), *asked])
    with warnings_shown():
        rows = [*_states(finder, [*selected.values(), *asked]), *_roots(objects)]
    print_table(("state", "where", "problem"), [cells for cells, _ in rows])
    return FAILED if any(missing for _, missing in rows) else FINE


def _asked(context: "Context") -> list[Any]:
    """Return params of the selected objects that get what ``check_state`` names."""
    params = context.selection.params
    asked = {
        f"get_state{key.removeprefix(_ASKS)}": state
        for key, state in params.items()
        if key == _ASKS or key.startswith(f"{_ASKS}_")
    }
    objects = context.objects(asked) if asked else []
    for own in objects:
        own.update(asked)
    return objects


def _states(finder: "Finder", readings: Iterable["Reading"]) -> Iterator[_Row]:
    wanted: dict[State, bool] = {}
    for reading in readings:
        for want in reading.node.gets:
            wanted[want.state] = wanted.get(want.state, True) and want.optional
    for state, optional in wanted.items():
        found = finder(state)
        good = [place.where for place in finder.places(state) if not place.problem]
        where = ", ".join(good) or (found.where if found.good else "")
        problem = found.note if found.good else found.problem or "does not exist"
        yield [show_state(state), where, problem], not (found.good or optional)


def _roots(objects: Iterable[Any]) -> Iterator[_Row]:
    """Yield what is known of images that are asked for as such."""
    from avocado_pool_plugin.states.images import object_id
    from avocado_pool_plugin.states.setup import BACKENDS, stateful_objects

    for own in (one for params in objects for one in stateful_objects(params)):
        if own.get("get_state") in ROOTS:
            there = BACKENDS[own["states"]].check_root(own)
            name = f"{object_id(own)}/{own['images']}/{own['get_state']}"
            yield [name, "exists" if there else "", "" if there else "does not exist"], not there
