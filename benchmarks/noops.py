"""
Tests that do nothing, run by Avocado's own runner or as a graph; notes the seconds of the job.

As a program: ``noops.py graph|plain DIRECTORY``. Both ways run the same tests, two at a time; the
plain way in an order that would suit their states, if it waited for them.
"""

import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avocado.core.job import Job
from avocado.core.nrunner.runnable import Runnable
from avocado.core.suite import TestSuite
from avocado.plugins.runner_nrunner import Runner

from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph, Made, Node, Want
from avocado_pool_plugin.graph.plan import Found, Plan, Wish, make_plan
from avocado_pool_plugin.graph.run import run_plan
from avocado_pool_plugin.graph.slots import Slots
from avocado_pool_plugin.graph.suite import Prepared

TESTS, SLOTS = 200, 2


def random_graph(dice: random.Random) -> Graph:
    """Return tests of which each sets a state and gets up to two of earlier ones."""
    states = [State("vm1", "image1", f"state{number}") for number in range(TESTS)]
    nodes = []
    for number, state in enumerate(states):
        gets = dice.sample(states[:number], min(number, dice.randint(0, 2)))
        nodes.append(Node(f"test{number}", tuple(map(Want, gets)), (Made(state),)))
    dice.shuffle(nodes)
    return Graph.of(nodes)


class GraphSuite(TestSuite):
    """A suite that a plan says how to run."""

    prepared: Prepared

    def run(self, job: Any) -> set[str]:
        """Run it."""
        slots = Slots(str(job.logdir), SLOTS)
        return run_plan(Runner(), job, self, self.prepared, slots).summary


def suite_of(way: str, plan: Plan, graph: Graph, config: dict[str, Any]) -> TestSuite:
    """Return the suite for one of the two ways."""
    tests = {step.test: Runnable("noop", step.test) for step in plan.steps}
    kind = GraphSuite if way == "graph" else TestSuite
    suite = kind(name="", config=config, tests=list(tests.values()))
    if isinstance(suite, GraphSuite):
        suite.prepared = Prepared(graph, plan, tests, {}, None)  # type: ignore[arg-type]
    return suite


def main(way: str, directory: str) -> None:
    """Run the tests and write to DIRECTORY/seconds how long the job took."""
    graph = random_graph(random.Random(1))
    config = {
        "run.results_dir": directory,
        "run.max_parallel_tasks": SLOTS,
        "run.test_runner": "nrunner",
        "sysinfo.collect.enabled": False,
        "core.show": ["none"],
    }
    started = time.perf_counter()
    plan = make_plan(graph, Wish(tuple(graph.nodes)), lambda _: Found())
    with Job(config, [suite_of(way, plan, graph, config)]) as job:
        status = job.run()
        passed = job.result.passed
    seconds = time.perf_counter() - started
    if status or passed != TESTS:
        sys.exit(f"benchmark: {passed} of {TESTS} tests passed, status {status}")
    (Path(directory) / "seconds").write_text(str(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
