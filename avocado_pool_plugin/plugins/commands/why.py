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
    read_state,
    warnings_shown,
)
from avocado_pool_plugin.plugins.selection import read_selection

if TYPE_CHECKING:
    from avocado_pool_plugin.graph.model import Graph
    from avocado_pool_plugin.graph.read import Reading
    from avocado_pool_plugin.plugins.steps.context import Context


def _configure(parser: Any) -> None:
    parser.add_argument(
        "pool_state",
        metavar="OBJECT/STATE",
        help="The state, as OBJECT_ID/IMAGE/STATE; OBJECT_ID/STATE is one of a vm",
    )
    add_words(parser)


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
        lines = [line for found in why(state, finder) for line in found.lines()]
        good = finder(state).good
    lines = lines or [f"{state} does not exist"]
    lines += _makers(graph, state)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return FINE if good else FAILED


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
    users = [node.name for node in graph.nodes.values() if any(w.state == state for w in node.gets)]
    if users:
        yield f"got by {', '.join(map(repr, users))}"


WHY = Command(
    name="why",
    help="Tell where a state is, how it was made, and what changed since",
    examples=(
        "why vm1/image1/customize --vt-config tests.cfg",
        "why vm1/running --vt-config tests.cfg only=vm1",
    ),
    configure=_configure,
    run=_run,
)
