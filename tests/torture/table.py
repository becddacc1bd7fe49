"""The table of all rows, in docs/torture.rst."""

from collections.abc import Sequence

from benchmarks.environment import CHECKOUT
from benchmarks.table import machine
from tests.torture.row import Row

_START, _END = ".. table begins\n", ".. table ends\n"


def to_rst(rows: Sequence[Row], seed: int, minutes: float) -> str:
    """Return the table as reStructuredText."""
    tries = sum(row.tried for row in rows)
    about = [*machine()[:3], f"seed {seed}; {tries:,} tries in {minutes:.0f} minutes"]
    lines = [*(f"* {line}" for line in about), ""]
    lines += [".. list-table::", "   :header-rows: 1", ""]
    head = ("what is done to it", "what has to be right", "tries", "held", "of these")
    for cells in [head, *(_cells(row) for row in rows)]:
        lines += [f"   {'* -' if n == 0 else '  -'} {c}".rstrip() for n, c in enumerate(cells)]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    held = f"{row.held:,}" if not row.wrong else f"**{row.held:,}**"
    return (row.work, row.right, f"{row.tried:,}", held, row.outcome)


def write_document(text: str) -> None:
    """Put a table between its marks."""
    path = CHECKOUT / "docs" / "torture.rst"
    whole = path.read_text(encoding="utf-8")
    before, after = whole.split(_START)[0], whole.split(_END)[1]
    path.write_text(f"{before}{_START}\n{text}\n{_END}{after}", encoding="utf-8")
