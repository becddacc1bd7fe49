"""What is done once for a job: its options are checked, its states are summed up."""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from avocado.core.exceptions import JobError
from avocado.core.output import LOG_UI
from avocado.core.plugin_interfaces import JobPost, JobPre

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.plugins.connections import close_connections
from avocado_pool_plugin.plugins.options import check_files, check_values, is_off
from avocado_pool_plugin.plugins.text import EVENTS_FILE, human_size, read_plans

#: What a summary line speaks of, in this order; bytes are told for those that move content.
_VERBS = ("got", "fetched", "set", "published", "unset")
_MOVING = ("fetched", "published")


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
        """Print one line, if any test did something with states; close what the plan needed."""
        close_connections()
        parts = [summary(read_events(job.test_results_path)), *graph_parts(job.logdir)]
        line = ", ".join(part for part in parts if part)
        if line and not job.config.get("stdout_claimed_by"):
            LOG_UI.info("POOL       : %s", line)


def graph_parts(directory: str) -> list[str]:
    """Return what graph runs spared, from the files that they left in a job's directory."""
    parts = []
    for told in read_plans(directory):
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


def summary(events: Iterable[dict[str, Any]]) -> str:
    """Return counts and sizes of events as a line of text, empty if there are none."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for event in events:
        verb = "error" if "error" in event else str(event.get("verb"))
        counts[verb] += 1
        sizes[verb] += int(event.get("bytes", 0))
    parts = [
        f"{counts[verb]} {verb}" + (f" ({human_size(sizes[verb])})" if verb in _MOVING else "")
        for verb in _VERBS
        if counts[verb]
    ]
    if counts["error"]:
        parts.append(f"{counts['error']} error{'s' if counts['error'] > 1 else ''}")
    return ", ".join(parts)
