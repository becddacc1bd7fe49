"""
Measure everything in one run: ``python -m benchmarks``, or ``make bench``.

The programs run one after the other, each in a process of its own. Nothing is written to docs/
before all of them are through. With ``--check`` nothing is written at all, and the exit status is 1
if a figure is far off (three times its aim).
"""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import document
from benchmarks.environment import CHECKOUT
from benchmarks.lab import BUILD
from benchmarks.program import NAMES
from benchmarks.table import Table, machine, others


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure all that docs/benchmarks.rst tells of."
    )
    parser.add_argument("--check", action="store_true", help="few runs, fail on figures far off")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each contender")
    parser.add_argument(
        "--only",
        metavar="NAME[.GROUP]",
        default="",
        help=f"one program ({', '.join(NAMES)}) or one group of its rows, printed only",
    )
    parser.add_argument(
        "--redraw", action="store_true", help="measure nothing, write tables and plot once more"
    )
    parser.add_argument(
        "--build", type=Path, default=BUILD, metavar="DIR", help="where disks and scratch files are"
    )
    asked = parser.parse_args()
    if asked.only and asked.only.partition(".")[0] not in NAMES:
        parser.error(f"no program {asked.only!r}; there are {', '.join(NAMES)}")
    if asked.check:
        asked.runs = min(asked.runs, 3)
    return asked


def _measure(name: str, group: str, options: argparse.Namespace) -> Table | None:
    """Run a program; None if it failed, which it has told of."""
    print(f"{name}:", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "table.json"
        command = [sys.executable, "-m", "benchmarks.program", name, str(result)]
        command += ["--group", group, "--runs", str(options.runs), "--build", str(options.build)]
        if _run(command):
            return None
        return Table.from_json(json.loads(result.read_text(encoding="utf-8")))


def _run(command: list[str]) -> int:
    """Run a program, and let it clean up in any case; return its exit status."""
    # what other programs print on the way is no progress
    child = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    try:
        return child.wait()
    except SystemExit:
        child.terminate()
        raise
    finally:
        child.wait()  # Ctrl+C reaches it as well


def _judged(tables: Sequence[Table]) -> int:
    far = [row.work for table in tables for row in table.rows if row.far_off]
    print(f"far off: {', '.join(far)}" if far else "no ratio is far off")
    return 1 if far else 0


def main() -> int:
    """Do what was asked for, and return the exit status."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    options = _options()
    if options.redraw:
        document.draw(document.load())
        return 0
    only, _, group = options.only.partition(".")
    options.build = options.build.absolute()
    date, begun = f"{datetime.datetime.now():%Y-%m-%d}", time.monotonic()
    found = {name: _measure(name, group, options) for name in NAMES if only in ("", name)}
    minutes = (time.monotonic() - begun) / 60
    print(f"{minutes:.1f} minutes", file=sys.stderr)
    tables = {name: table for name, table in found.items() if table}
    if failed := set(found) - set(tables):
        print(f"failed: {', '.join(sorted(failed))}; nothing is written", file=sys.stderr)
        return 1
    about = (*machine(), others())
    if options.only:
        print(*about, *(row for table in tables.values() for row in table.rows), sep="\n")
    if options.check:
        return _judged(list(tables.values()))
    if not options.only:
        document.save(document.Results(date, minutes, about, tables))
        print(f"docs/{document.PAGE} is new; scratch: {os.path.relpath(options.build)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
