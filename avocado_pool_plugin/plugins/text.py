"""Words, names and ways to print that more than one plugin uses."""

import contextlib
import glob
import json
import os
import sys
from typing import Any

#: File in the directory of a test: what it did with states, one JSON object a line.
EVENTS_FILE = "pool-states.jsonl"

#: Start of the names of files in a job's directory that tell of a graph run.
PLAN_STEM = "pool-graph"

#: More rows than this are not drawn as a table.
_DRAWN = 1000


def read_plans(directory: str) -> list[dict[str, Any]]:
    """Return what graph runs wrote to a job's directory; none that was cut off."""
    found = []
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), f"{PLAN_STEM}*.json"))):
        with contextlib.suppress(ValueError), open(path, encoding="utf-8") as file:
            found.append(dict(json.load(file)))
    return found


def human_size(size: int) -> str:
    """Return a number of bytes as people read it: ``48.0 MiB``."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream is a terminal; Avocado's paginator is a stream that can't say."""
    return hasattr(stream, "isatty") and bool(stream.isatty())


def print_json(value: Any) -> None:
    """Print what programs read."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Print rows, on a terminal as a drawn table; names are cut nowhere."""
    if not is_terminal(sys.stdout) or len(rows) > _DRAWN:
        # drawing takes half a millisecond a row, and programs want plain columns
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        for row in [list(columns), *rows]:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write("  ".join(cells).rstrip() + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout).print(table)
