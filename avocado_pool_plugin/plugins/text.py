"""Words, names and ways to print that more than one plugin uses."""

import contextlib
import glob
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin.core import typed

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
            found.append(typed.mapping(file.read()))
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


def ago(moment: float, now: float | None = None) -> str:
    """Return how long ago a time was, in one unit: ``3 d``; empty for 0, which is not known."""
    if not moment:
        return ""
    seconds = max(0.0, (time.time() if now is None else now) - moment)
    for unit, size in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def when(moment: float) -> str:
    """Return a time in seconds since 1970 as people read it; empty for 0, or if there is none."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment)) if moment else ""
    except (OverflowError, OSError, ValueError):
        return ""  # a note may say anything


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream is a terminal; Avocado's paginator is a stream that can't say."""
    return hasattr(stream, "isatty") and bool(stream.isatty())


def accept_all_names() -> None:
    """Have names printed that are no text where output is, with escapes for what is not."""
    if getattr(sys.stdout, "errors", "") == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def end_output() -> None:
    """Let what is still to be printed go nowhere, as nobody reads it any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def print_json(value: Any) -> None:
    """Print what programs read."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns without drawing anything."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    form = "  ".join(f"{{:<{width}}}" for width in widths)
    sys.stdout.write("".join(form.format(*row).rstrip() + "\n" for row in (columns, *rows)))


def print_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Print rows, on a terminal as a drawn table; names are cut nowhere."""
    if not is_terminal(sys.stdout) or len(rows) > _DRAWN:
        # drawing takes half a millisecond a row, and programs want plain columns
        print_plain(columns, rows)
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


@dataclass(frozen=True)
class Branch:
    """
    A line of a tree.

    :param depth: how deep it is, at most one deeper than the line before it
    :param label: what it is
    :param cells: what is told of it, one text for each column
    :param problem: what is wrong with it, empty for nothing
    """

    depth: int
    label: str
    cells: tuple[str, ...] = ()
    problem: str = ""


def print_tree(title: str, columns: Mapping[str, str], branches: Sequence[Branch]) -> None:
    """
    Print a tree: drawn on a terminal, else indented, with what is told of each line in columns.

    :param title: of the first column
    :param columns: titles of the others, and how a drawn tree says what is in it: ``made {} ago``
    """
    if not is_terminal(sys.stdout) or len(branches) > _DRAWN:
        _print_indented(title, columns, branches)
        return
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    console = Console(file=sys.stdout)
    roots: list[Any] = []
    above: list[Any] = []
    for branch in branches:
        text = Text(branch.label, style="bold")
        told = zip(columns.values(), branch.cells, strict=False)
        words = ", ".join(form.format(cell) for form, cell in told if cell)
        text.append(f"  {words}" if words else "", style="not bold")
        text.append(f"  {branch.problem}" if branch.problem else "", style="not bold red")
        del above[branch.depth :]
        above.append(above[-1].add(text) if above else Tree(text))
        if branch.depth == 0:
            roots.append(above[0])
    for root in roots:
        console.print(root)


def _print_indented(title: str, columns: Mapping[str, str], branches: Sequence[Branch]) -> None:
    empty = ("",) * len(columns)
    rows = [
        [
            "  " * branch.depth + branch.label,
            *((cell or "-" for cell in branch.cells) if branch.cells else empty),
            branch.problem,
        ]
        for branch in branches
    ]
    titles = (title, *columns, "problem")
    used = len(titles) if any(branch.problem for branch in branches) else len(titles) - 1
    print_plain(titles[:used], [row[:used] for row in rows])


def print_fields(fields: Sequence[tuple[int, str, str]]) -> None:
    """
    Print what there is to say of something, a line each.

    :param fields: of each how far it is indented, its name, its value; a title has no value
    """
    width = max((len(name) + 2 * depth for depth, name, value in fields if value), default=0)
    if not is_terminal(sys.stdout):
        for depth, name, value in fields:
            start = "  " * depth + name
            sys.stdout.write(f"{start.ljust(width)}  {value}\n" if value else f"{start}\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    for depth, name, value in fields:
        # one by one: a title is not to be squeezed into the column of names
        line = Table.grid(padding=(0, 2))
        line.add_column(width=width if value else None)
        line.add_column(overflow="fold")
        style = "" if value else "bold"
        line.add_row(Text("  " * depth + name, style=style), Text(value))
        console.print(line)
