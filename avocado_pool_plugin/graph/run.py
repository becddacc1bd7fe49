"""
Runs a plan with Avocado's nrunner: its spawners, status server, results and options.

This module is the only one that touches Avocado's inner parts: the names ``RuntimeTaskGraph``,
``TaskStateMachine`` and ``Worker`` in ``avocado.plugins.runner_nrunner``, which are replaced while
a suite runs, and the methods overridden below. ``tests/unit/test_graph_run.py`` fails where a new
version of Avocado has changed one of them.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from avocado.core.task.runtime import RuntimeTaskGraph, RuntimeTaskStatus
from avocado.core.task.statemachine import TaskStateMachine, Worker
from avocado.core.utils import messages
from avocado.plugins import runner_nrunner

from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.graph.desk import Desk, Order, Turn
from avocado_pool_plugin.graph.order import remaining
from avocado_pool_plugin.graph.plan import REUSE, RUN, Step
from avocado_pool_plugin.graph.slots import Slots
from avocado_pool_plugin.graph.suite import Prepared

#: Seconds until a worker that has nothing to do looks again.
_PAUSE = 0.02
#: Param that lets a set replace a state that others stand on.
_CASCADE = "set_cascade"
#: What replaces names of Avocado's module.
_REPLACED = ("RuntimeTaskGraph", "TaskStateMachine", "Worker")


@dataclass(frozen=True)
class Outcome:
    """
    What became of the tests of a suite.

    :param summary: the results that occurred, as Avocado's suite runners return them
    :param results: by test, in upper case; those that were under way when a job was cut short lack
    :param seconds: how long the tests took that ran
    """

    summary: set[str]
    results: dict[str, str]
    seconds: dict[str, float]


@dataclass
class _Running:
    """
    What the parts of one run share.

    :ivar accepted: results that are good enough besides those that Avocado takes for it
    :ivar desk: made once Avocado made its tasks
    :ivar turn: held by the worker that hands a task on
    :ivar names: tests by their task
    """

    prepared: Prepared
    slots: Slots
    limit: int
    shuffle: bool
    accepted: frozenset[str]
    desk: Desk | None = None
    turn: asyncio.Lock | None = None
    names: dict[Any, str] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_plan(runner: Any, job: Any, suite: Any, prepared: Prepared, slots: Slots) -> Outcome:
    """
    Run what a plan says, through the stock runner's own ``run_suite``.

    :param runner: the stock runner
    """
    config = suite.config
    dry = bool(config.get("run.dry_run.enabled"))
    shared = _Running(
        prepared,
        slots,
        int(config.get("run.max_parallel_tasks")),
        bool(config.get("run.shuffle")),
        # what a dry run does not run would be left out otherwise
        frozenset({"cancel"} if dry else ()),
    )
    suite.tests = [_runnable(prepared, step) for step in prepared.plan.steps]
    if dry:
        # Avocado does this for its own runner only
        for runnable in suite.tests:
            runnable.kind = "dry-run"
    with _replaced(shared):
        summary = set(runner.run_suite(job, suite))
    return Outcome(summary, shared.results, shared.seconds)


def _runnable(prepared: Prepared, step: Step) -> Any:
    """Return Avocado's test of a step; it may replace what the plan says is made anew."""
    runnable = prepared.runnables[step.test]
    if step.replaces:
        # all that stands on it is made anew as well, if anybody needs it
        runnable.kwargs[_CASCADE] = "yes"
    return runnable


@contextlib.contextmanager
def _replaced(shared: _Running) -> Iterator[None]:
    saved = {name: getattr(runner_nrunner, name) for name in _REPLACED}

    def graph(*args: Any, **kwargs: Any) -> Any:
        return _TaskGraph(shared, *args, **kwargs)

    def machine(*args: Any, **kwargs: Any) -> Any:
        return _Machine(shared, *args, **kwargs)

    def worker(*args: Any, **kwargs: Any) -> Any:
        return _Worker(shared, *args, **kwargs)

    try:
        for name, ours in zip(_REPLACED, (graph, machine, worker), strict=True):
            setattr(runner_nrunner, name, ours)
        yield
    finally:
        for name, stock in saved.items():
            setattr(runner_nrunner, name, stock)


class _TaskGraph(RuntimeTaskGraph):
    """Avocado's tasks: those of tests and those that its own plugins put around them."""

    def __init__(self, shared: _Running, tests: list[Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(tests, *args, **kwargs)
        by_runnable = {id(task.task.runnable): task for task in self.graph}
        tasks = (by_runnable[id(test)] for test in tests)
        steps = shared.prepared.plan.steps
        shared.names = {task: step.test for step, task in zip(steps, tasks, strict=True)}
        shared.desk = Desk(_orders(shared, list(self.graph)), shared.limit)

    def get_tasks_in_topological_order(self) -> list[Any]:
        """Return the tasks; the order is found while they run."""
        return list(self.graph)


def _orders(shared: _Running, tasks: list[Any]) -> Iterator[Order]:
    """Yield what has to be done for each task."""
    prepared, names = shared.prepared, shared.names
    steps = {step.test: step for step in prepared.plan.steps}
    tests = {name: task for task, name in names.items()}
    urgency = remaining(prepared.plan, prepared.seconds)
    # a task before a test waits for what the test waits for
    owners = {pre: name for task, name in names.items() for pre in task.dependencies}
    for task in tasks:
        step = steps.get(names.get(task) or owners.get(task, ""))
        order = Order(
            key=task,
            name=names.get(task, str(task.task.identifier)),
            needs=tuple(task.dependencies),
            accepts=frozenset(task.satisfiable_deps_execution_statuses) | shared.accepted,
        )
        if step is None:
            yield order
        elif step.action != RUN:
            yield replace(order, spared=_spared(step.action, step.reason))
        else:
            yield replace(
                order,
                needs=order.needs + tuple(tests[name] for name in step.needs),
                after=tuple(tests[name] for name in step.after),
                urgency=random.random() if shared.shuffle else urgency[step.test],
                files=prepared.files(step.test) if task in names else frozenset(),
            )


def _spared(action: str, reason: str) -> str:
    return f"reused: {reason}" if action == REUSE else reason


class _Machine(TaskStateMachine):
    """Avocado's queues; tells the desk what is over."""

    def __init__(self, shared: _Running, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shared = shared
        shared.turn = asyncio.Lock()

    async def finish_task(self, runtime_task: Any, status_reason: Any = None) -> None:
        """See the stock method."""
        await super().finish_task(runtime_task, status_reason)
        result = runtime_task.result or "error"
        if self._shared.desk is not None:
            self._shared.desk.over(runtime_task, result)
        name = self._shared.names.get(runtime_task)
        if name is not None and name not in self._shared.results:
            self._shared.results[name] = result.upper()
            seconds = self._seconds(str(runtime_task.task.identifier))
            if seconds is not None:
                self._shared.seconds[name] = seconds

    def _seconds(self, identifier: str) -> float | None:
        """Return how long a task took, None if it did not run."""
        told = self._status_repo.get_all_task_data(identifier) or []
        # what a message is called is changed once it was handled, so that only this is left of it
        began = [one["time"] for one in told if one.get("status") == "started"]
        ended = [one["time"] for one in told if "result" in one]
        return float(ended[-1] - began[0]) if began and ended else None


class _Worker(Worker):
    """A worker that takes what the desk hands out."""

    def __init__(self, shared: _Running, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shared = shared

    async def bootstrap(self) -> None:
        """Let all tasks be considered at once."""
        machine = self._state_machine
        async with machine.lock:
            machine.triaging.extend(machine.requested)
            machine.requested.clear()

    async def triage(self) -> None:
        """Take one task that waits for nothing, or leave one out."""
        desk, turn = self._shared.desk, self._shared.turn
        if desk is None or turn is None:
            return
        async with turn:
            taken = desk.next()
            if taken is not None:
                if taken.reason:
                    await self._end(taken.key, "skip", taken.reason)
                else:
                    await self._take(taken, desk)
                return
        await asyncio.sleep(_PAUSE)

    async def _take(self, taken: Turn, desk: Desk) -> None:
        """Let the stock method look at the task that was handed out, and at no other."""
        task: Any = taken.key
        try:
            self._shared.slots.place(task.task.runnable, taken.slot)
        except PoolError as error:
            await self._end(task, "error", str(error))
            return
        async with self._state_machine.lock:
            if task not in self._state_machine.triaging:
                return  # the job was aborted meanwhile
            self._state_machine.triaging.remove(task)
            self._state_machine.triaging.insert(0, task)
        await super().triage()
        if task in self._state_machine.triaging:
            desk.put_back(task)

    async def _end(self, task: Any, result: str, reason: str) -> None:
        """End a task with the reason why it does not run."""
        async with self._state_machine.lock:
            if task not in self._state_machine.triaging:
                return  # the job was aborted meanwhile
            self._state_machine.triaging.remove(task)
        ids = {"id": str(task.task.identifier), "job_id": task.task.job_id}
        repo = self._state_machine._status_repo
        directory = task.task.runnable.output_dir
        repo.process_message(messages.StartedMessage.get(output_dir=directory, **ids))
        repo.process_message(messages.LogMessage.get(f"not run: {reason}", **ids))
        repo.process_message(messages.FinishedMessage.get(result, reason, **ids))
        task.result = result
        await self._state_machine.finish_task(task, RuntimeTaskStatus.FAIL_TRIAGE)
