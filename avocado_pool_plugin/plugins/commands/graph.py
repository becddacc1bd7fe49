"""``avocado pool graph``: the picture of a plan."""

from collections.abc import Mapping
from typing import Any

from avocado_pool_plugin.plugins.commands.arguments import add_words
from avocado_pool_plugin.plugins.commands.command import FINE, Command, warnings_shown
from avocado_pool_plugin.plugins.selection import read_selection


def _configure(parser: Any) -> None:
    parser.add_argument(
        "--output",
        dest="pool_output",
        metavar="FILE",
        required=True,
        help="The picture: *.svg is drawn by Graphviz, *.dot is Graphviz' own text",
    )
    add_words(parser)


def _run(config: Mapping[str, Any]) -> int:
    selection = read_selection(config["pool_words"])
    from avocado_pool_plugin.graph import picture
    from avocado_pool_plugin.plugins.steps import tests
    from avocado_pool_plugin.plugins.steps.context import Context

    with warnings_shown():
        prepared = tests.plan(Context.of(config, selection))
    picture.write(config["pool_output"], prepared.graph, prepared.plan)
    return FINE


GRAPH = Command(
    name="graph",
    help="Draw the tests that 'run' would run, and their states",
    examples=(
        "graph --vt-config tests.cfg only=customize --output plan.svg",
        "graph --vt-config tests.cfg --output plan.dot",
    ),
    configure=_configure,
    run=_run,
)
