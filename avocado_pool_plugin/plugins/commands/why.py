"""``avocado pool why``: where a state is, how it was made, and how it would be made now."""

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.commands.arguments import add_words
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    add_state,
    named,
    read_state,
    warnings_shown,
)
from avocado_pool_plugin.plugins.selection import read_selection
from avocado_pool_plugin.plugins.text import print_json

if TYPE_CHECKING:
    from avocado_pool_plugin.graph.model import Graph
    from avocado_pool_plugin.graph.read import Reading
    from avocado_pool_plugin.graph.why import Why
    from avocado_pool_plugin.plugins.steps.context import Context


def _configure(parser: Any) -> None:
    add_state(parser)
    # before the options of avocado run, one of which is called so as well
    add_json(parser)
    add_words(parser, looks=True)


def _run(config: Mapping[str, Any]) -> int:
    state = read_state(config["pool_state"])
    selection = read_selection(config["pool_words"])
    from avocado_pool_plugin.graph.exists import Finder
    from avocado_pool_plugin.graph.model import Graph
    from avocado_pool_plugin.graph.why import why
    from avocado_pool_plugin.plugins.steps.context import Context

    context = Context.of(config, selection)
    readings = _readings(context)
    finder = Finder.of(readings, job_params(context.config))
    graph = Graph.of(reading.node for reading in readings)
    with warnings_shown():
        places = why(state, finder)
        good = finder(state).good
    if config.get("pool_json"):
        print_json({**named(state), "good": good, **_as_dict(places, graph, state)})
        return FINE if good else FAILED
    lines = [line for place in places for line in place.lines()]
    lines = lines or [f"{state} does not exist"]
    lines += _makers(graph, state)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return FINE if good else FAILED


def _as_dict(places: "list[Why]", graph: "Graph", state: State) -> dict[str, Any]:
    """Return where a state is, and who makes and gets it, for programs."""
    ways = [(name, graph.made(name, state).parent) for name in graph.makers.get(state, ())]
    return {
        "places": [_place(place) for place in places],
        "makers": [
            {"test": name, "parent": parent.title if parent else ""} for name, parent in ways
        ],
        "users": _users(graph, state),
    }


def _place(place: "Why") -> dict[str, Any]:
    info = place.info
    recipe = info.recipe if info else None
    return {
        "where": place.where,
        "problem": place.problem,
        "made": info.made if info else 0.0,
        "made_by": info.made_by if info else "",
        "parent": info.parent if info else "",
        "recipe": recipe.key if recipe else None,
        "test": place.maker,
        "verdict": place.verdict.rstrip(":"),
        "changes": [
            {"part": change.part, "before": change.before, "now": change.now}
            for change in place.changes
        ],
    }


def _readings(context: "Context") -> list["Reading"]:
    """Return all tests of the configuration; none if nobody named one and there is no other."""
    try:
        return list(context.readings(context.whole()).values())
    except SettingRefused as error:
        if context.config.get("vt.config"):
            raise
        LOG_UI.warning("no test is known, give --vt-config: %s", error)
        return []


def _makers(graph: "Graph", state: State) -> Iterator[str]:
    """Yield which tests make a state now, and on what."""
    makers = graph.makers.get(state, ())
    if not makers:
        yield "no test of the configuration sets it"
    for name in makers:
        parent = graph.made(name, state).parent
        yield f"test {name!r} sets it, on {parent or 'no other state'}"
    users = _users(graph, state)
    if users:
        yield f"got by {', '.join(map(repr, users))}"


def _users(graph: "Graph", state: State) -> list[str]:
    """Return the tests that get a state."""
    return [node.name for node in graph.nodes.values() if any(w.state == state for w in node.gets)]


WHY = Command(
    name="why",
    help="Tell where a state is, how it was made, and what changed since",
    examples=(
        "why vm1/image1/customize --vt-config tests.cfg",
        "why vm1/running --vt-config tests.cfg only=vm1",
        "why vm1/image1/customize --vt-config tests.cfg --json",
    ),
    configure=_configure,
    run=_run,
)
