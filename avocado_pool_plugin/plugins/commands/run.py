"""``avocado pool run``: tests with the states they need, and other steps around them."""

from collections.abc import Mapping
from typing import Any

from avocado_pool_plugin.plugins.commands.arguments import add_words
from avocado_pool_plugin.plugins.commands.command import Command
from avocado_pool_plugin.plugins.selection import read_selection


def _configure(parser: Any) -> None:
    add_words(parser, runs=True)


def _run(config: Mapping[str, Any]) -> int:
    selection = read_selection(config["pool_words"])
    from avocado_pool_plugin.plugins.steps.context import Context, run_chain

    return run_chain(Context.of(config, selection))


RUN = Command(
    name="run",
    help="Run tests as a graph: make states that are missing first",
    examples=(
        "run --vt-config tests.cfg only=customize..vm1 --max-parallel-tasks 2",
        "run --vt-config tests.cfg replay=latest",
        "run --vt-config tests.cfg setup=collect,run vms=vm1",
    ),
    configure=_configure,
    run=_run,
)
