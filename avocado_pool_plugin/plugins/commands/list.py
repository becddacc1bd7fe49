"""``avocado pool list``: the states in the cache and in the pools."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import ALL, add_places, each, sites
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table, when

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.site import Item, Site

_COLUMNS = ("object", "image", "state", "size", "parent", "made", "where")


def add_object(parser: Any) -> None:
    """Add ``OBJECT``, the part of caches and pools that a command is about."""
    parser.add_argument(
        "pool_object",
        metavar="OBJECT",
        nargs="?",
        default="",
        help="OBJECT_ID for a vm and its images, OBJECT_ID/IMAGE for one image (default: all)",
    )


def nobody_has(what: str, found: "list[Site]") -> str:
    """Return the sentence about something that is nowhere."""
    places = ", ".join(str(site.place) for site in found)
    return f"{what} is nowhere, looked at: {places}; 'avocado pool list' shows what there is"


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
    if not rows and fine and below:
        LOG_UI.error("%s", nobody_has(below, found))
        return FAILED
    if not rows and fine and not config.get("pool_json"):
        LOG_UI.info("no states in %s", ", ".join(str(site.place) for site in found))
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
