"""What is done once for a job: its options are checked, its states are summed up."""

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Iterable
from typing import Any

from avocado.core.exceptions import JobError
from avocado.core.output import LOG_JOB, LOG_UI
from avocado.core.plugin_interfaces import JobPost, JobPre, Result

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.plugins.connections import close_connections
from avocado_pool_plugin.plugins.options import check_files, check_values, is_off
from avocado_pool_plugin.plugins.sums import summary, sums
from avocado_pool_plugin.plugins.text import EVENTS_FILE, read_plans

#: What Avocado writes about a job, and the key in it under which our numbers are.
_RESULTS, _KEY = "results.json", "pool"
_LINE = "POOL       : %s"
#: Tells users that its results lack our numbers.
_NOT_ADDED = "what was done with states is missing in %s: %s"


class PoolJob(JobPre, JobPost):
    """Checks the options before the first test, says what was done after the last."""

    name = "pool"
    description = "VM test states of a job"

    def pre(self, job: Any) -> None:
        """
        Check the options of the job and of each of its suites.

        It is done here and not where the command line is read, because jobs made through Avocado's
        Python interface pass here as well.

        :raises JobError: an option is unknown or has a value that makes no sense
        """
        configs = [job.config, *(suite.config for suite in job.test_suites)]
        used = [config for config in configs if not is_off(config)]
        if not used:
            return
        try:
            check_files()
            for config in used:
                check_values(config)
        except SettingRefused as error:
            raise JobError(str(error)) from error

    def post(self, job: Any) -> None:
        """Tell in one line what tests did with states, if any did; close what the plan needed."""
        close_connections()
        events, plans = read_events(job.test_results_path), read_plans(job.logdir)
        parts = [summary(events), *graph_parts(plans)]
        line = ", ".join(part for part in parts if part)
        if not line:
            return
        LOG_JOB.info(_LINE, line)
        if not job.config.get("stdout_claimed_by"):
            LOG_UI.info(_LINE, line)
        try:
            add_to_results(job.logdir, sums(events, plans))
        except (OSError, ValueError) as error:
            LOG_UI.warning(_NOT_ADDED, os.path.join(job.logdir, _RESULTS), error)


class PoolResult(Result):
    """
    Adds what was done with states to ``results.json``, before an archive is made of the results.

    Avocado renders results in the order of the plugins' names, unless its configuration says
    otherwise: after ``json``, before ``zip_archive``. If it does, :class:`PoolJob` adds them later.
    """

    name = "pool"
    description = "VM test states of a job, in its JSON result"

    def render(self, result: Any, job: Any) -> None:
        """Add what is known when all tests have ended."""
        found = sums(read_events(job.test_results_path), read_plans(job.logdir))
        # the job tries again when it ends, and says why it can't be done
        with contextlib.suppress(OSError, ValueError):
            add_to_results(job.logdir, found)


def add_to_results(directory: str, found: dict[str, Any]) -> None:
    """
    Add numbers to a job's ``results.json`` in one step, if there is one and they are not in it.

    :param found: see :func:`sums.sums`; nothing is added if it is empty
    :raises OSError: the file can't be read or replaced; it stays as it is
    :raises ValueError: it makes no sense
    """
    path = os.path.join(directory, _RESULTS)
    if not found or not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    if not isinstance(results, dict):
        raise ValueError("it holds no JSON object")
    if _KEY in results:
        return
    part = f"{path}.{_KEY}"
    try:
        with open(part, "w", encoding="utf-8") as file:
            # as Avocado writes it
            json.dump({**results, _KEY: found}, file, sort_keys=True, indent=4)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, part)
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def graph_parts(plans: Iterable[dict[str, Any]]) -> list[str]:
    """Return what graph runs spared, in words; see :func:`read_plans`."""
    parts = []
    for told in plans:
        if not told["reused"]:
            continue
        saved = f" (saves {told['saved_seconds']:.0f} s)" if told["saved_seconds"] >= 1 else ""
        parts.append(f"{told['reused']} reused{saved}")
    return parts


def read_events(results: str) -> list[dict[str, Any]]:
    """
    Return what the tests of a job recorded.

    :param results: the directory with one directory for each test
    """
    events = []
    for path in sorted(glob.glob(os.path.join(glob.escape(results), "*", EVENTS_FILE))):
        with open(path, encoding="utf-8") as lines:
            events += [event for event in map(_event, lines) if event]
    return events


def _event(line: str) -> dict[str, Any]:
    """Return an event, or nothing if its test was killed while it wrote the line."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
