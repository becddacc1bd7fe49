#!/usr/bin/env python3
"""
What graph runs cost: plans of large graphs.

Nothing passes or fails here; with ``--check`` the exit status is 1 if a figure is far off (three
times its aim).
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lab import CHECKOUT, MIB
from benchmarks.measure import Contender, alternate
from benchmarks.program import Options, main
from benchmarks.table import SLACK, Row


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
    )


GROUPS = {
    "plan": plan_rows,
}
NOTES = ("what exists is looked up in memory; reading configurations and looking for files is not "
         "counted",)  # fmt: skip


if __name__ == "__main__":
    about = __doc__.strip().splitlines()[0]
    sys.exit(main(about, "graph", GROUPS, contextlib.nullcontext, NOTES))
