"""Steps about tests: which are selected, running them, making their states anew."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.plugins.commands.command import FINE
from avocado_pool_plugin.plugins.text import print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.graph.suite import Prepared
    from avocado_pool_plugin.plugins.steps.context import Context


def noop(context: "Context") -> int:
    """Read all tests, and say how many there are."""
    from avocado_pool_plugin.graph.model import Graph

    whole = context.readings(context.whole())
    Graph.of(reading.node for reading in whole.values())
    context.say("%d tests selected, %d in the configuration", len(context.tests), len(whole))
    return FINE


def list_tests(context: "Context") -> int:
    """Print the selected tests with the states that they get and set."""
    readings = context.readings(context.tests)
    rows = []
    for test in context.tests:
        reading = readings.get(str(test.uri))
        gets = [want.state for want in reading.node.gets] if reading else []
        sets = [made.state for made in reading.node.sets] if reading else []
        rows.append([str(test.uri), _joined(gets), _joined(sets)])
    print_table(("test", "gets", "sets"), rows)
    return FINE


def _joined(states: Sequence[State]) -> str:
    return " ".join(state.title for state in states)


def run(context: "Context") -> int:
    """Run the selected tests, and those that they need."""
    return run_tests(context, context.tests, {})


def update(context: "Context") -> int:
    """Run the tests again that make the states from ``from_state`` to ``to_state``."""
    return run_tests(context, *producers(context))


def run_tests(context: "Context", tests: Sequence[Any], options: Mapping[str, str]) -> int:
    """
    Run tests as ``avocado run`` does.

    :param options: of section ``[pool]``, in place of those of the configuration
    :return: Avocado's exit status
    """
    from avocado.core.job import Job

    suite = context.suite(tests, options)
    with Job(suite.config, [suite]) as job:
        return int(job.run())


def producers(context: "Context") -> tuple[Sequence[Any], dict[str, str]]:
    """
    Return what the step ``update`` runs, and the options with which it does.

    :raises GraphRefused: no test makes such states
    """
    from avocado_pool_plugin.graph.between import makers_between
    from avocado_pool_plugin.graph.model import Graph

    owners = {
        (state.object_id, state.image)
        for reading in context.readings(context.tests).values()
        for state in (
            *(want.state for want in reading.node.gets),
            *(made.state for made in reading.node.sets),
        )
    }
    tests = {str(test.uri): test for test in context.whole()}
    graph = Graph.of(reading.node for reading in context.readings(tests.values()).values())
    chosen = context.selection
    names = makers_between(graph, owners, chosen.from_state, chosen.to_state)
    return [tests[name] for name in names], {"rerun": "*"}


def plan(context: "Context") -> "Prepared":
    """
    Return what a run would do, or, where the step ``update`` is asked for, what that would.

    :raises SettingRefused: other steps are asked for, which run no tests
    :raises GraphRefused: it can't be done
    """
    from avocado_pool_plugin.core.errors import SettingRefused
    from avocado_pool_plugin.graph.resolve import whole_configuration
    from avocado_pool_plugin.graph.suite import prepare
    from avocado_pool_plugin.plugins.runner import passed_in

    steps = context.selection.setup
    if steps not in (("run",), ("update",)):
        raise SettingRefused(
            f"setup={','.join(steps)}: there is a plan for the step 'run' or 'update' alone"
        )
    tests, options = producers(context) if steps == ("update",) else (context.tests, {})
    suite = context.suite(tests, options)
    passed = passed_in(_replayed(suite.config), "")
    return prepare(suite.tests, suite.config, whole_configuration, passed)


def _replayed(config: Mapping[str, Any]) -> str:
    """Return the job whose passed tests are not run again, empty for none."""
    from avocado.core import data_dir

    job = str(config.get("pool.replay") or "")
    if job != "latest":
        return job
    # to a job of its own this link leads to itself, but here is none
    return os.path.join(config.get("run.results_dir") or data_dir.get_logs_dir(), "latest")
