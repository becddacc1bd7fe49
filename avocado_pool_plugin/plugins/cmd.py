"""The command ``avocado pool``."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from avocado.core import exit_codes
from avocado.core.output import LOG_UI
from avocado.core.plugin_interfaces import CLICmd

from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params import cache_dir, shared_pools
from avocado_pool_plugin.plugins.cli import add_arguments
from avocado_pool_plugin.plugins.options import as_params, check_files, check_values
from avocado_pool_plugin.plugins.text import human_size

#: More rows than this are not drawn as a table.
_DRAWN = 1000
_COLUMNS = ("object", "image", "state", "size", "parent", "made", "where")


class Pool(CLICmd):
    """Shows states and what can keep them."""

    name = "pool"
    description = "States of virtual machines in the cache and in shared pools"

    def configure(self, parser: Any) -> None:
        """Add the sub-commands."""
        command = super().configure(parser)
        actions = command.add_subparsers(dest="pool_subcommand", metavar="sub-command")
        actions.required = True
        show = actions.add_parser("list", help="List the states in the cache and local pools")
        add_arguments(show, "shared_pool", "swarm_pool")
        show.add_argument("--json", dest="pool_json", action="store_true", help="Print JSON")
        actions.add_parser("backends", help="List what can keep states, and what can't be loaded")

    def run(self, config: dict[str, Any]) -> int:
        """
        Run a sub-command.

        :return: one of Avocado's exit codes
        """
        try:
            if config.get("pool_subcommand") == "backends":
                return _backends()
            check_files()
            check_values(config)
            return _list(config)
        except PoolError as error:
            LOG_UI.error("%s", error)
            return int(exit_codes.AVOCADO_FAIL)


def _list(config: Mapping[str, Any]) -> int:
    params = as_params(config)
    places = [Location(cache_dir(params)), *shared_pools(params)]
    remote = [str(place) for place in places if place.remote]
    if remote:
        LOG_UI.warning("not listed, only local directories can be: %s", ", ".join(remote))
    local = [place for place in places if not place.remote]
    rows = [row for place in local for row in _rows(place)]
    if config.get("pool_json"):
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif rows:
        _print_table(_COLUMNS, [_cells(row) for row in rows])
    else:
        LOG_UI.info("no states in %s", ", ".join(str(place) for place in local))
    return int(exit_codes.AVOCADO_ALL_OK)


def _rows(place: Location) -> list[dict[str, Any]]:
    """Return the states in a directory, in the terms of the table."""
    from avocado_pool_plugin.states.catalog import list_states

    return [
        {
            "object": entry.object_id,
            "image": entry.image,
            "state": entry.state,
            "size": entry.size,
            "parent": entry.parent,
            "made": entry.made,
            "where": str(place),
        }
        for entry in list_states(place.path)
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    made = row["made"]
    if isinstance(made, int | float):
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(made))
    shown = {**row, "size": human_size(int(row["size"])), "made": made}
    return [str(shown[column] or "") for column in _COLUMNS]


def _backends() -> int:
    from avocado_pool_plugin.states.backends import known_backends

    backends = known_backends()
    _print_table(
        ("name", "from", "error"),
        [[backend.name, backend.origin, backend.error] for backend in backends],
    )
    return int(exit_codes.AVOCADO_ALL_OK)


def _print_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Print rows, on a terminal as a drawn table; names are cut nowhere."""
    if not sys.stdout.isatty() or len(rows) > _DRAWN:
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
