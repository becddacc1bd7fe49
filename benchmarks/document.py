"""All that one run found: docs/benchmarks.rst, the plot in it, and the figures behind both."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import plot
from benchmarks.environment import CHECKOUT
from benchmarks.table import Row, Table

DOCS = CHECKOUT / "docs"
#: Files in a directory like that.
PAGE, PLOT, FIGURES = "benchmarks.rst", "benchmarks.svg", "benchmarks.json"
_HEAD = ("work", "aim", "ours: median (min - max)", "beside", "more")


@dataclass(frozen=True)
class Results:
    """
    One run of all programs.

    :param date: when it was begun
    :param minutes: how long it took
    :param machine: sentences on where the figures come from
    :param tables: by the program's name
    """

    date: str
    minutes: float
    machine: tuple[str, ...]
    tables: Mapping[str, Table]

    @property
    def rows(self) -> Iterator[Row]:
        """All rows."""
        for table in self.tables.values():
            yield from table.rows

    def to_json(self) -> dict[str, Any]:
        """Return all of it in JSON's terms."""
        tables = {name: table.to_json() for name, table in self.tables.items()}
        about = {"date": self.date, "minutes": self.minutes, "machine": list(self.machine)}
        return {**about, "tables": tables}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Results":
        """Return what became of it."""
        tables = {name: Table.from_json(table) for name, table in told["tables"].items()}
        return cls(told["date"], told["minutes"], tuple(told["machine"]), tables)


def load(docs: Path = DOCS) -> Results:
    """Return what the latest run found."""
    return Results.from_json(json.loads((docs / FIGURES).read_text(encoding="utf-8")))


def save(results: Results, docs: Path = DOCS) -> None:
    """Write the figures, and draw them."""
    text = json.dumps(results.to_json(), indent=1)
    (docs / FIGURES).write_text(f"{text}\n", encoding="utf-8")
    draw(results, docs)


def draw(results: Results, docs: Path = DOCS) -> None:
    """Write the plot, and everything between the marks of the page."""
    about = [*results.machine, f"{results.date}, all in one run of {results.minutes:.0f} minutes"]
    title = f"Time relative to ours: {results.machine[0]}, {results.date}"
    (docs / PLOT).write_text(plot.svg(list(results.rows), title), encoding="utf-8")
    page = docs / PAGE
    text = _between(page.read_text(encoding="utf-8"), "machine", _bullets(about))
    for name, table in results.tables.items():
        text = _between(text, name, to_rst(table))
    page.write_text(text, encoding="utf-8")


def _between(text: str, name: str, new: str) -> str:
    """Put a text between its two marks: ``.. table <name> begins`` and ``ends``."""
    start, end = f".. table {name} begins\n", f".. table {name} ends\n"
    before, (_, after) = text.partition(start)[0], text.split(end)
    return f"{before}{start}\n{new}\n{end}{after}"


def _bullets(lines: Sequence[str]) -> str:
    return "".join(f"* {line}\n" for line in lines)


def to_rst(table: Table) -> str:
    """Return a table as a part of a page."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for cells in [_HEAD, *((r.work, r.aim, r.ours, r.other, r.note) for r in table.rows)]:
        lines += [
            f"   {'* -' if n == 0 else '  -'} {cell}".rstrip() for n, cell in enumerate(cells)
        ]
    return "\n".join([_bullets(table.notes), *lines]) + "\n"
