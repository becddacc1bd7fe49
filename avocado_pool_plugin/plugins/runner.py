"""The suite runner ``pool-graph``: tests that make states run before those that need them."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from avocado.core import data_dir
from avocado.core.exceptions import JobError
from avocado.core.output import LOG_JOB, LOG_UI
from avocado.core.plugin_interfaces import SuiteRunner
from avocado.plugins.runner_nrunner import Runner

from avocado_pool_plugin.core import typed
from avocado_pool_plugin.core.errors import PoolError, SettingRefused
from avocado_pool_plugin.plugins.options import is_off

#: Name of the runner, for ``run.suite_runner``.
NAME = "pool-graph"
#: Start of the reason why a test is not run again.
_PASSED = "passed in job"


class PoolGraphRunner(SuiteRunner):
    """Avocado's nrunner, with the plan of :mod:`avocado_pool_plugin.graph` in between."""

    name = NAME
    description = "nrunner that makes missing VM test states first and reuses those that exist"

    def run_suite(self, job: Any, test_suite: Any) -> set[str]:
        """
        Run a suite as its states need it.

        :raises JobError: it can't be put in an order, or a state is nowhere to be had
        """
        if is_off(test_suite.config) or not test_suite.enabled:
            return set(Runner().run_suite(job, test_suite))
        from avocado_pool_plugin.graph import durations
        from avocado_pool_plugin.graph.pins import pinned
        from avocado_pool_plugin.graph.resolve import whole_configuration
        from avocado_pool_plugin.graph.run import run_plan
        from avocado_pool_plugin.graph.slots import Slots
        from avocado_pool_plugin.graph.suite import durations_path, prepare
        from avocado_pool_plugin.plugins import reports

        config = test_suite.config
        try:
            with in_job_log():
                passed = passed_in(str(config.get("pool.replay") or ""), job.logdir)
                prepared = prepare(test_suite.tests, config, whole_configuration, passed)
        except PoolError as error:
            raise JobError(str(error)) from error
        for note in reports.notes(prepared.plan):
            LOG_UI.warning("POOL       : %s", note)
        if not job.config.get("stdout_claimed_by"):
            LOG_UI.info("POOL       : %s", reports.plan_line(prepared.plan))
        count = int(config.get("run.max_parallel_tasks"))
        slots = Slots(os.path.join(data_dir.get_data_dir(), "pool-slots"), count)
        dry = bool(config.get("run.dry_run.enabled"))
        with contextlib.nullcontext() if dry else pinned(prepared, f"job {job.unique_id}"):
            outcome = run_plan(Runner(), job, test_suite, prepared, slots)
        if not dry:
            good = {test: outcome.seconds[test] for test, result in outcome.results.items()
                    if result == "PASS" and test in outcome.seconds}  # fmt: skip
            durations.remember(durations_path(config), good)
        with in_job_log():
            reports.write(job.logdir, test_suite.name, prepared, outcome)
        return outcome.summary


@contextlib.contextmanager
def in_job_log() -> Iterator[None]:
    """Let what is found out about states before the tests run stand in the job's log."""
    ours = logging.getLogger("avocado.avocado_pool_plugin")
    added = [handler for handler in LOG_JOB.handlers if handler not in ours.handlers]
    for handler in added:
        ours.addHandler(handler)
    try:
        yield
    finally:
        for handler in added:
            ours.removeHandler(handler)


def passed_in(job: str, own: str) -> Mapping[str, str]:
    """
    Return the tests that need not run again because they passed in an earlier job.

    :param job: its id or the start of it, its directory, or ``latest``; empty for none
    :param own: directory of the job that asks
    :return: the reason by test
    :raises SettingRefused: there is no such job, or its results can't be read
    """
    if not job:
        return {}
    directory = _latest(own) if job == "latest" else _directory(job)
    if directory is None:
        raise SettingRefused(f"replay = {job!r} names no job; 'avocado jobs list' shows them")
    try:
        with open(os.path.join(directory, "results.json"), encoding="utf-8") as file:
            results = typed.mapping(file.read())
        return {
            str(test["name"]): f"{_PASSED} {results['job_id'][:7]}"
            for test in results["tests"]
            if test["status"] == "PASS" or str(test["fail_reason"]).startswith(_PASSED)
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingRefused(
            f"replay = {job!r}: the results of the job in {directory} can't be read ({error}); "
            f"only a job that ended has them"
        ) from error


def _directory(job: str) -> str | None:
    try:
        found = data_dir.get_job_results_dir(job)
    except ValueError as error:
        raise SettingRefused(f"replay = {job!r} names no single job: {error}") from error
    return str(found) if found else None


def _latest(own: str) -> str | None:
    """Return the last job that ended before this one; Avocado's link leads to this one already."""
    others = [
        entry.path
        for entry in os.scandir(os.path.dirname(own))
        if entry.name.startswith("job-")
        and os.path.realpath(entry.path) != os.path.realpath(own)
        and os.path.exists(os.path.join(entry.path, "results.json"))
    ]
    return max(others, key=os.path.getmtime, default=None)
