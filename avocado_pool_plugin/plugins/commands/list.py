"""``avocado pool list``: the states in the cache and in the pools."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    add_object,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import ALL, add_places, each, sites, tell_nothing
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table, when

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.site import Item, Site

_COLUMNS = ("object", "image", "state", "size", "parent", "made", "where")


def _configure(parser: Any) -> None:
    add_object(parser)
    add_places(parser, ALL)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.upkeep.naming import check_below

    below = check_below(config.get("pool_object") or "")
    found = sites(config)
    rows: list[dict[str, Any]] = []

    def collect(site: "Site") -> None:
        where = str(site.place)
        rows.extend(_row(item, where) for item in site.items(below) if item.state)

    with warnings_shown():
        fine = each(found, collect)
    if config.get("pool_json"):
        print_json(rows)
    elif rows:
        _print(rows)
    if fine and not rows:
        return tell_nothing(config, found, below)
    return FINE if fine else FAILED


def _row(item: "Item", where: str) -> dict[str, Any]:
    """Return what is known of a state without reading it."""
    assert item.state is not None
    return {
        **named(item.state),
        "size": item.entry.allocated,
        "length": item.entry.stamp.size if item.entry.stamp else 0,
        "parent": item.parent,
        "made": item.made,
        "where": where,
        "path": item.path,
        "link": item.entry.link,
        "problem": item.problem,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    troubled = any(row["problem"] for row in rows)
    columns = (*_COLUMNS, "problem") if troubled else _COLUMNS
    print_table(columns, [_cells(row, columns) for row in rows])


def _cells(row: Mapping[str, Any], columns: tuple[str, ...]) -> list[str]:
    shown = {**row, "size": human_size(int(row["size"])), "made": when(row["made"])}
    return [str(shown[column] or "") for column in columns]


LIST = Command(
    name="list",
    help="List the states in the cache and the pools",
    examples=(
        "list",
        "list vm1/image1 --pool-location :/srv/pool",
        "list --at store:/srv/pool --json",
    ),
    configure=_configure,
    run=_run,
)
