"""The step ``check``: which states that somebody asks for exist, and where."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin.core.names import ROOTS, State
from avocado_pool_plugin.plugins.commands.command import FAILED, FINE, warnings_shown
from avocado_pool_plugin.plugins.text import print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.graph.exists import Finder
    from avocado_pool_plugin.graph.read import Reading
    from avocado_pool_plugin.plugins.steps.context import Context

_ASKS = "check_state"


@dataclass(frozen=True)
class Checked:
    """
    What is known of a state.

    :param object: whose state, such as ``vm1/image1``
    :param state: its name
    :param exists: whether it can be had
    :param where: the places that have it
    :param problem: why it can't be had, or what is to be said of it
    :param needed: whether nobody gets along without it
    """

    object: str
    state: str
    exists: bool
    where: tuple[str, ...] = ()
    problem: str = ""
    needed: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for programs, without those that have nothing to tell."""
        found = {"object": self.object, "state": self.state, "exists": self.exists}
        more = {"where": list(self.where), "problem": self.problem}
        return {
            **found,
            "needed": self.needed,
            **{key: value for key, value in more.items() if value},
        }


def check(context: "Context") -> int:
    """
    Print where the states are that the selected tests get, and those of ``check_state``.

    :return: 1 if one does not exist, or can't be used
    """
    found = look(context)
    rows = [
        [f"{one.object}/{one.state}", ", ".join(one.where) or _elsewhere(one), one.problem]
        for one in found
    ]
    print_table(("state", "where", "problem"), rows)
    return status(found)


def status(found: Iterable[Checked]) -> int:
    """Return the exit status: whether one is missing that is needed."""
    return FAILED if any(one.needed and not one.exists for one in found) else FINE


def _elsewhere(one: Checked) -> str:
    """Return what is told of the place of an image, which is its own."""
    return "exists" if one.exists else ""


def look(context: "Context") -> Sequence[Checked]:
    """Return what is known of the states that :func:`check` is about."""
    from avocado_pool_plugin.graph.exists import Finder
    from avocado_pool_plugin.graph.read import node_of

    objects = _asked(context)
    asked = [node_of(f"{_ASKS} of the command line", own) for own in objects]
    selected = context.readings(context.tests)
    # those that make the states know whether they would be made in the same way
    known = {**context.readings(context.whole()), **selected}
    finder = Finder.of([*known.values(), *asked])
    with warnings_shown():
        return [*_states(finder, [*selected.values(), *asked]), *_roots(objects)]


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


def _states(finder: "Finder", readings: Iterable["Reading"]) -> Iterator[Checked]:
    wanted: dict[State, bool] = {}
    for reading in readings:
        for want in reading.node.gets:
            wanted[want.state] = wanted.get(want.state, True) and want.optional
    for state, optional in wanted.items():
        found = finder(state)
        good = tuple(place.where for place in finder.places(state) if not place.problem)
        where = good or ((found.where,) if found.good and found.where else ())
        problem = found.note if found.good else found.problem or "does not exist"
        yield Checked(state.owner, state.name, bool(found.good), where, problem, not optional)


def _roots(objects: Iterable[Any]) -> Iterator[Checked]:
    """Yield what is known of images that are asked for as such."""
    from avocado_pool_plugin.states.images import object_id
    from avocado_pool_plugin.states.setup import BACKENDS, stateful_objects

    for own in (one for params in objects for one in stateful_objects(params)):
        if own.get("get_state") in ROOTS:
            there = bool(BACKENDS[own["states"]].check_root(own))
            owner, problem = f"{object_id(own)}/{own['images']}", "" if there else "does not exist"
            yield Checked(owner, own["get_state"], there, problem=problem)
