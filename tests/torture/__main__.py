#!/usr/bin/env python3
"""Hurt it in all ways there are, and print what held; ``make torture``."""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture import faults
from tests.torture.row import Row, Wish
from tests.torture.rows import MODULES
from tests.torture.table import keep, write_document


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.torture")
    parser.add_argument("--seed", type=int, default=1, help="the same seed does the same")
    parser.add_argument("--short", action="store_true", help="a small part of each row")
    parser.add_argument("--only", choices=MODULES, action="append", help="rows of one kind")
    parser.add_argument(
        "--write", action="store_true", help="put what ran last of each kind into docs/torture.rst"
    )
    return parser.parse_args()


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a directory for everything."""
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def main() -> int:
    """Run rows; return 1 if one of them did not hold."""
    wanted = options()
    faults.load()
    # what is logged of each of some thousand faults is not for the terminal
    logging.getLogger("avocado").addHandler(logging.NullHandler())
    rows: list[Row] = []
    began = time.monotonic()
    with scratch() as directory:
        wish = Wish(wanted.seed, wanted.short, directory, _say)
        for name in wanted.only or MODULES:
            found = _run(name, wish)
            rows += found
            if not wanted.short:
                keep(name, wanted.seed, found)
    minutes = (time.monotonic() - began) / 60
    if wanted.write:
        write_document()
    wrong = [row for row in rows if row.wrong or not row.tried]
    verdict = f"{len(wrong)} of {len(rows)} rows did not hold" if wrong else "all held"
    tries = f"{sum(row.tried for row in rows):,} tries"
    print(f"{tries} in {minutes:.1f} min, seed {wanted.seed}: {verdict}")
    return 1 if wrong else 0


def _run(name: str, wish: Wish) -> list[Row]:
    found = []
    for row in MODULES[name](wish):
        found.append(row)
        print(row, *row.wrong, sep="\n  ", flush=True)
    return found


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
