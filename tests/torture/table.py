"""The table of all rows, in docs/torture.rst, made of the latest whole run of each module."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.environment import CHECKOUT
from benchmarks.table import machine
from tests.torture.row import Row
from tests.torture.rows import NAMES

_START, _END = ".. table begins\n", ".. table ends\n"
_HEAD = ("what is done to it", "what has to be right", "tries", "held", "of these")


def keep(name: str, seed: int, rows: list[Row]) -> None:
    """Keep the rows of a module for the table."""
    path = _kept(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    day = time.strftime("%Y-%m-%d")
    path.write_text(json.dumps({"seed": seed, "day": day, "rows": [_cells(row) for row in rows]}))


def _kept(name: str) -> Path:
    return CHECKOUT / ".build" / "torture" / f"{name}.json"


def _cells(row: Row) -> tuple[str, ...]:
    held = f"{row.held:,}" if not row.wrong else f"**{row.held:,}**"
    return (row.work, row.right, f"{row.tried:,}", held, row.outcome)


def _all_kept() -> Iterator[dict[str, Any]]:
    for name in NAMES:
        if _kept(name).exists():
            yield json.loads(_kept(name).read_text())


def to_rst() -> str:
    """Return the table as reStructuredText."""
    found = list(_all_kept())
    rows = [row for kept in found for row in kept["rows"]]
    tries = sum(int(row[2].replace(",", "")) for row in rows)
    days = sorted({kept["day"] for kept in found})
    seeds = sorted({kept["seed"] for kept in found})
    about = [*machine()[:3], f"{tries:,} tries in all, {' to '.join(days)}, seed {seeds[0]}"]
    lines = [*(f"* {line}" for line in about), ""]
    lines += [".. list-table::", "   :header-rows: 1", ""]
    for cells in [_HEAD, *rows]:
        lines += [f"   {'* -' if n == 0 else '  -'} {c}".rstrip() for n, c in enumerate(cells)]
    return "\n".join(lines) + "\n"


def write_document() -> None:
    """Put the table between its marks."""
    path = CHECKOUT / "docs" / "torture.rst"
    whole = path.read_text(encoding="utf-8")
    before, after = whole.split(_START)[0], whole.split(_END)[1]
    path.write_text(f"{before}{_START}\n{to_rst()}\n{_END}{after}", encoding="utf-8")
