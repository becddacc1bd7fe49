"""Real ``avocado run`` of the tests in benchmarks/suite."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lab import CHECKOUT, Lab

sys.path.insert(0, str(CHECKOUT / "examples"))

from configure import Environment, configure

SUITE = CHECKOUT / "benchmarks" / "suite"


def environment(root: Path, lab: Lab) -> Environment:
    """
    Set up an Avocado that has the suite, and the cache and pool of a lab.

    :param root: directory for its settings, data and results
    """
    try:
        return configure(
            Environment(
                venv=root / "venv",
                data=root / "data",
                pool=lab.pool,
                cache=lab.cache,
                guest=root / "no-guest",
                provider=SUITE,
                configs=SUITE / "cfg",
            )
        )
    except ValueError as error:
        sys.exit(f"benchmark: {error}")


@dataclass(frozen=True)
class Ran:
    """
    A job of one test; what it took is in seconds.

    :param wall: from the command's start to its end; Avocado looks every 0.1 s whether a test ended
    :param test: the test alone
    :param directory: of the job's results
    """

    wall: float
    test: float
    directory: Path


def run_test(
    env: Environment, test: str, verbs: list[str], *options: str, python: Path | None = None
) -> Ran:
    """
    Run a test, which has to pass.

    :param verbs: what the test has to do with states; the figures mean nothing if it does not
    :param options: further ones of ``avocado run``
    :param python: of the environment whose Avocado runs it, by default this one
    """
    program = (python or Path(sys.executable)).with_name("avocado")
    command = [str(program), "run", "--vt-config", str(env.vt_config), *options, test]
    variables = env.variables()
    variables["PATH"] = f"{program.parent}:{variables['PATH']}"
    latest = env.results / "latest"
    latest.unlink(missing_ok=True)
    started = time.perf_counter()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    results = latest / "results.json"
    tests = json.loads(results.read_text())["tests"] if results.exists() else []
    if [one["status"] for one in tests] != ["PASS"] or _verbs(latest) != verbs:
        sys.exit(f"benchmark: '{test}' did not do what it should:\n{done.stdout}{done.stderr}")
    return Ran(wall, float(tests[0]["time_elapsed"]), latest.resolve())


def _verbs(job: Path) -> list[str]:
    """Return what the tests of a job did with states."""
    lines = [
        line
        for path in job.glob("test-results/*/pool-states.jsonl")
        for line in path.read_text().splitlines()
    ]
    return [json.loads(line).get("verb", "error") for line in lines]
