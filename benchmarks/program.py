"""
What the benchmark programs have in common, and how one of them is run.

Each runs in a process of its own, so that none has what another imported or left in memory:
``python -m benchmarks.program NAME FILE`` leaves its table in FILE. It is what ``python -m
benchmarks`` starts for all of them.
"""

import argparse
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lab import BUILD
from benchmarks.table import Row, Table

#: Programs in the order of their tables: modules of this package with a ``PROGRAM``.
NAMES = ("local", "graph", "vm", "remote", "upkeep")


@dataclass(frozen=True)
class Options:
    """
    What a program is asked for.

    :param runs: counted runs of each contender
    :param build: directory for disks and other scratch files
    """

    runs: int
    build: Path


@dataclass(frozen=True)
class Program:
    """
    A table of rows that share a place.

    :param groups: each yields its rows
    :param place: gives what the rows share
    :param notes: how the figures are found, besides the machine
    """

    groups: Mapping[str, Callable[[Any], Iterator[Row]]]
    place: Callable[[Options], AbstractContextManager[Any]]
    notes: Callable[[], tuple[str, ...]]

    def measure(self, options: Options, only: str = "") -> Table:
        """
        Run the groups, and tell each row on standard error as soon as it is there.

        :param only: the one group to run, empty for all
        """
        if only and only not in self.groups:
            sys.exit(f"benchmark: no group {only!r}; there are {', '.join(self.groups)}")
        # modules of ours are compiled once, as those of an installed package are
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        rows = []
        begun = time.monotonic()
        with self.place(options) as shared:
            for group, work in self.groups.items():
                for row in work(shared) if only in ("", group) else ():
                    now = time.monotonic()
                    print(f"  [{now - begun:3.0f} s, {group}] {row}", file=sys.stderr, flush=True)
                    rows.append(row)
                    begun = now
        return Table(self.notes(), tuple(rows))


def _main() -> None:
    parser = argparse.ArgumentParser(description="Run one benchmark program.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("table", type=Path, help="where its table goes, as JSON")
    parser.add_argument("--group", default="", help="the one group of rows to run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--build", type=Path, default=BUILD)
    asked = parser.parse_args()
    # disks, servers and a user of the machine must not outlive us
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    program: Program = importlib.import_module(f"benchmarks.{asked.name}").PROGRAM
    table = program.measure(Options(asked.runs, asked.build.absolute()), asked.group)
    asked.table.write_text(json.dumps(table.to_json()), encoding="utf-8")


if __name__ == "__main__":
    _main()
