"""Real ``avocado run`` in an environment of its own, and what it left behind."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from configure import Environment, configure, kvm_works, stop_machines  # noqa: E402

__all__ = ["EXAMPLES", "Job", "Worker", "configure", "kvm_works", "stop_machines"]

#: Seconds a whole job may take; a guest boots in some seconds, without KVM in some more.
PATIENCE = 280


@dataclass(frozen=True)
class Job:
    """
    A job that ran.

    :param status: exit status of ``avocado run``
    :param output: what it printed
    :param results: its results.json
    :param directory: its directory
    """

    status: int
    output: str
    results: dict[str, Any]
    directory: Path

    def test(self, name: str) -> dict[str, Any]:
        """Return the result of the test whose name holds ``name``."""
        found = [test for test in self.results["tests"] if name in test["name"]]
        assert len(found) == 1, (name, [test["name"] for test in self.results["tests"]])
        return dict(found[0])

    def statuses(self) -> list[str]:
        """Return the status of each test."""
        return [test["status"] for test in self.results["tests"]]

    def log(self, name: str) -> str:
        """Return the log of the test whose name holds ``name``."""
        return (Path(self.test(name)["logdir"]) / "debug.log").read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what the test did with states."""
        path = Path(self.test(name)["logdir"]) / "pool-states.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def passed(self) -> "Job":
        """Make sure that all tests passed."""
        told = self.output + "".join(
            (Path(test["logdir"]) / "debug.log").read_text(errors="replace")[-6000:]
            for test in self.results.get("tests", [])
            if test["status"] != "PASS"
        )
        assert self.status == 0, told
        assert set(self.statuses()) == {"PASS"}, told
        return self


class Worker:
    """A worker: an Avocado set up with a cache, a pool, its own data and images."""

    #: directory of the programs that it runs
    programs = Path(sys.executable).parent

    def __init__(self, root: Path, pool: Path | str, **options: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.env = configure(
            Environment(
                venv=root / "venv",
                data=root / "data",
                pool=pool,
                cache=root / "cache",
                pool_options=options,
            )
        )

    @property
    def cache(self) -> Path:
        return self.env.cache

    def with_configs(self, directory: Path) -> "Worker":
        """Return the same worker with a suite of other Cartesian configs."""
        other = object.__new__(Worker)
        other.env = configure(replace(self.env, configs=directory))
        return other

    def avocado(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line program."""
        variables = self.env.variables()
        variables["PATH"] = f"{self.programs}{os.pathsep}{variables['PATH']}"
        return subprocess.run(
            [str(self.programs / "avocado"), *arguments],
            env=variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def run(self, *arguments: str, config: Path | None = None) -> Job:
        """Run tests of the suite."""
        latest = self.env.results / "latest"
        before = latest.resolve() if latest.exists() else None
        try:
            done = self.avocado("run", "--vt-config", str(config or self.env.vt_config), *arguments)
        finally:
            stop_machines(self.env)
        directory = latest.resolve()
        results = directory / "results.json"
        known = results.exists() and directory != before
        return Job(
            done.returncode,
            done.stdout + done.stderr,
            json.loads(results.read_text()) if known else {},
            directory,
        )

    def config(self, name: str, text: str) -> Path:
        """Write a Cartesian config that may include those of the suite."""
        path = self.env.vt_config.parent / name
        path.write_text(text)
        return path
