"""What graph runs cost and save: large plans, many small tests, the example suite."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import CHECKOUT, MIB
from benchmarks.measure import Contender, alternate
from benchmarks.program import Options, Program
from benchmarks.table import SLACK, Row, versus

sys.path.insert(0, str(CHECKOUT / "examples"))

from configure import configure, default_environment, stop_machines


def plan_rows(options: Options) -> Iterator[Row]:
    """Yield the row for a plan, made in a process of its own each time."""
    seconds_aim, mib_aim = 2, 300
    command = [sys.executable, str(CHECKOUT / "benchmarks" / "planning.py")]
    peaks: list[float] = []
    running = ""

    def plan() -> float:
        nonlocal running
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, peak, running = done.stdout.split()
        peaks.append(int(peak) / MIB)
        return float(seconds)

    found = alternate({"ours": Contender(plan)}, options.runs)["ours"]
    yield Row(
        "plan of 10,000 tests with 2,000 states, half of them there",
        f"<= {seconds_aim} s, <= {mib_aim} MiB",
        str(found),
        "",
        f"{max(peaks):.0f} MiB at the peak of the process; {int(running):,} tests run",
        found.median > SLACK * seconds_aim or max(peaks) > SLACK * mib_aim,
        {"ours": found},
    )


def runner_rows(options: Options) -> Iterator[Row]:
    """Yield the row for tests that do nothing, beside Avocado's own runner."""
    program = CHECKOUT / "benchmarks" / "noops.py"

    def job(way: str) -> float:
        with tempfile.TemporaryDirectory(dir=options.build) as directory:
            command = [sys.executable, str(program), way, directory]
            variables = {
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            }
            subprocess.run(command, capture_output=True, env=variables, check=True)
            return float((Path(directory) / "seconds").read_text())

    options.build.mkdir(parents=True, exist_ok=True)
    found = alternate(
        {"ours": Contender(lambda: job("graph")), "plain": Contender(lambda: job("plain"))},
        min(options.runs, 3),
        uncounted=0,
    )
    yield versus(
        "200 no-op tests, a random graph, 2 slots", "<= 1.1 x plain", found, 1.1, elsewhere=True
    )


def suite_rows(options: Options) -> Iterator[Row]:
    """Yield the row for the example suite with real guests, from an empty pool each time."""

    def job(root: Path, slots: int) -> float:
        env = configure(default_environment(root))
        program = str(Path(sys.executable).with_name("avocado"))
        command = [program, "pool", "run", "--vt-config", str(env.vt_config)]
        command += ["--max-parallel-tasks", str(slots)]
        started = time.perf_counter()
        subprocess.run(command, env=env.variables(), capture_output=True, check=True)
        seconds = time.perf_counter() - started
        stop_machines(env)
        return seconds

    root = options.build / "suite"

    def before() -> None:
        shutil.rmtree(root, ignore_errors=True)

    found = alternate(
        {
            "2 slots": Contender(lambda: job(root, 2), before),
            "1 slot": Contender(lambda: job(root, 1), before),
        },
        min(options.runs, 3),
        uncounted=0,
    )
    before()
    yield versus(
        "example suite, real guests, 2 slots", "<= 0.7 x 1 slot", found, 0.7, elsewhere=True
    )


GROUPS = {
    "plan": plan_rows,
    "runner": runner_rows,
    "suite": suite_rows,
}


def _notes() -> tuple[str, ...]:
    return ("what exists is looked up in memory; reading configurations and looking for files is "
            "not counted",)  # fmt: skip


PROGRAM = Program(GROUPS, contextlib.nullcontext, _notes)
