"""What the benchmark programs have in common: options, groups of rows, the table of each."""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.lab import BUILD
from benchmarks.table import Row, machine, to_rst, write_document

#: What the rows of a program share.
Place = TypeVar("Place")


@dataclass(frozen=True)
class Options:
    """
    What a program was asked for.

    :param check: few runs, fail on ratios far off, write no table
    :param runs: counted runs of each contender
    :param only: the one group to run, empty for all
    :param build: directory for disks and other scratch files
    """

    check: bool
    runs: int
    only: str
    build: Path


def _options(about: str, groups: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--check", action="store_true", help="few runs, fail on ratios far off")
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each contender")
    parser.add_argument("--only", choices=groups, default="", help="one group, printed only")
    parser.add_argument(
        "--build", type=Path, default=BUILD, metavar="DIR", help="where disks and scratch files are"
    )
    found = parser.parse_args()
    runs = min(found.runs, 3) if found.check else found.runs
    return Options(found.check, runs, found.only, found.build.absolute())


def main(
    about: str,
    name: str,
    groups: Mapping[str, Callable[[Place], Iterator[Row]]],
    place: Callable[[Options], AbstractContextManager[Place]],
    notes: Sequence[str],
) -> int:
    """
    Run the groups of a program and write or judge its table.

    :param about: one sentence for the help
    :param name: of the table in docs/benchmarks.rst
    :param groups: each yields its rows
    :param place: gives what the rows share
    :param notes: how the figures are found, besides the machine
    :return: exit status
    """
    options = _options(about, list(groups))
    # modules of ours are compiled once, as those of an installed package are
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    table: list[Row] = []
    with place(options) as shared:
        for group, rows in groups.items():
            if options.only in ("", group):
                for row in rows(shared):
                    table.append(row)
                    print(row, flush=True)
    if options.check:
        far = [row.work for row in table if row.far_off]
        print(f"far off: {', '.join(far)}" if far else "no ratio is far off")
        return 1 if far else 0
    about_figures = [*machine(), *notes]
    if options.only:
        print(*about_figures, sep="\n")
        return 0
    write_document(name, to_rst(table, about_figures))
    print(f"the table is in docs/benchmarks.rst; scratch: {os.path.relpath(options.build)}")
    return 0
