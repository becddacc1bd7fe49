"""``avocado pool list``: the states in the cache and in local pools."""

import time
from collections.abc import Mapping
from typing import Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params import cache_dir, job_params, shared_pools
from avocado_pool_plugin.plugins.cli import add_arguments
from avocado_pool_plugin.plugins.commands.command import FINE, Command, add_json
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table

_COLUMNS = ("object", "image", "state", "size", "parent", "made", "where")


def _configure(parser: Any) -> None:
    add_arguments(parser, "shared_pool", "swarm_pool")
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    params = job_params(config)
    places = [Location(cache_dir(params)), *shared_pools(params)]
    remote = [str(place) for place in places if place.remote]
    if remote:
        LOG_UI.warning("not listed, only local directories can be: %s", ", ".join(remote))
    local = [place for place in places if not place.remote]
    rows = [row for place in local for row in _rows(place)]
    if config.get("pool_json"):
        print_json(rows)
    elif rows:
        print_table(_COLUMNS, [_cells(row) for row in rows])
    else:
        LOG_UI.info("no states in %s", ", ".join(str(place) for place in local))
    return FINE


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


LIST = Command(
    name="list",
    help="List the states in the cache and local pools",
    example="list --pool-location :/srv/pool",
    configure=_configure,
    run=_run,
)
