"""What graph runs rely on inside Avocado: fails where a new version of it has changed that."""

import asyncio
import inspect

import pytest
from avocado.core import suite as avocado_suite
from avocado.core.nrunner.runnable import Runnable
from avocado.core.task.runtime import RuntimeTask, RuntimeTaskGraph
from avocado.core.task.statemachine import TaskStateMachine, Worker
from avocado.plugins import runner_nrunner

from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph import run
from avocado_pool_plugin.graph.model import Graph, Made, Node, Want
from avocado_pool_plugin.graph.plan import Found, Wish, make_plan
from avocado_pool_plugin.graph.slots import Slots
from avocado_pool_plugin.graph.suite import Prepared

STATE = State("vm1", "image1", "install")


def test_the_runner_takes_its_parts_from_where_they_are_replaced():
    source = inspect.getsource(runner_nrunner.Runner.run_suite)
    for name in run._REPLACED:
        assert hasattr(runner_nrunner, name)
        assert f"{name}(" in source, f"the runner does not use {name} any more"


def test_the_parts_are_replaced_for_one_run_only():
    before = {name: getattr(runner_nrunner, name) for name in run._REPLACED}
    with pytest.raises(ZeroDivisionError), run._replaced(None):
        assert all(getattr(runner_nrunner, name) is not was for name, was in before.items())
        1 / 0  # noqa: B018
    assert before == {name: getattr(runner_nrunner, name) for name in run._REPLACED}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        (RuntimeTaskGraph.get_tasks_in_topological_order, ["self"]),
        (TaskStateMachine.finish_task, ["self", "runtime_task", "status_reason"]),
        (Worker.bootstrap, ["self"]),
        (Worker.triage, ["self"]),
    ],
)
def test_what_is_overridden_is_there_and_called_the_same(method, arguments):
    assert list(inspect.signature(method).parameters) == arguments


def test_a_worker_goes_through_the_stations_that_are_overridden():
    source = inspect.getsource(Worker.run)
    stations = ["bootstrap", "triage", "start", "monitor"]
    places = [source.index(f"self.{station}()") for station in stations]
    assert places == sorted(places)


def test_a_task_has_what_orders_are_made_of():
    task = RuntimeTask.from_runnable(Runnable("noop", "x"), 1, 1, "/base")
    assert task.dependencies == [] and task.result is None
    assert task.satisfiable_deps_execution_statuses == ["pass"]
    assert task.task.runnable.output_dir.startswith("/base")
    machine = TaskStateMachine([task], None)
    assert list(machine.requested) == [task] and machine.triaging == []
    assert isinstance(machine.lock, asyncio.Lock)


def test_dry_runs_are_avocados_own_matter_only_for_its_own_runner():
    # ours has to do it itself; should Avocado begin to, it would be done twice
    assert '== "nrunner"' in inspect.getsource(avocado_suite.TestSuite._convert_to_dry_run)


def prepared(*nodes):
    graph = Graph.of(nodes)
    plan = make_plan(graph, Wish(tuple(graph.nodes)), lambda state: Found())
    tests = {node.name: Runnable("noop", node.name) for node in nodes}
    return Prepared(graph, plan, tests, {}, None)


def shared(ready):
    return run._Running(ready, Slots("/slots", 2), 2, False, frozenset())


def test_tasks_wait_as_the_plan_says(tmp_path):
    ready = prepared(Node("b", gets=(Want(STATE),)), Node("a", sets=(Made(STATE),)))
    tests = [ready.runnables[step.test] for step in ready.plan.steps]
    parts = shared(ready)
    graph = run._TaskGraph(parts, tests, "", None, "job", str(tmp_path))
    names = {task.task.runnable.uri: task for task in graph.get_tasks_in_topological_order()}
    first = parts.desk.next()
    assert first.key is names["a"] and parts.desk.next() is None
    parts.desk.over(names["a"], "pass")
    assert parts.desk.next().key is names["b"]


def test_a_test_may_replace_what_is_made_anew_only(tmp_path):
    graph = Graph.of([Node("a", sets=(Made(STATE),)), Node("b")])
    plan = make_plan(
        graph, Wish(("a", "b")), lambda state: Found("cache", problem="is corrupt in the cache")
    )
    tests = {name: Runnable("noop", name) for name in graph.nodes}
    ready = Prepared(graph, plan, tests, {}, None)
    kwargs = {step.test: run._runnable(ready, step).kwargs for step in plan.steps}
    assert kwargs == {"a": {"set_cascade": "yes"}, "b": {}}
