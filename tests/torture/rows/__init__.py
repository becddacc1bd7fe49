"""All rows by the name of their module, in the order in which they run."""

import importlib
from collections.abc import Iterator

from tests.torture.row import Row, Rows, Wish


def _rows(name: str) -> Rows:
    """Return the rows of a module, which is imported when they run."""

    def run(wish: Wish) -> Iterator[Row]:
        yield from importlib.import_module(f"{__name__}.{name}").rows(wish)

    return run


NAMES = (
    "kills",
    "errors",
    "live",
    "guests",
    "power",
    "machine",
    "locks",
    "sshfs",
    "hosts",
    "damage",
    "hostile",
)
MODULES: dict[str, Rows] = {name: _rows(name) for name in NAMES}
