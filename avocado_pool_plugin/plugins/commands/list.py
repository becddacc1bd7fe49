"""``avocado pool list``: the states in the cache and in the pools."""

import time
from collections.abc import Mapping
from typing import Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import PoolUnreachable
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params import cache_dir, shared_pools
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.cli import SSH, add_arguments
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    warnings_shown,
)
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table

_COLUMNS = ("object", "image", "state", "size", "parent", "made", "where")


def _configure(parser: Any) -> None:
    add_arguments(parser, "shared_pool", "swarm_pool", *SSH)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    params = job_params(config)
    places = [Location(cache_dir(params)), *shared_pools(params)]
    rows: list[dict[str, Any]] = []
    failed = False
    with warnings_shown():
        for place in places:
            try:
                rows += _rows(place, params)
            except PoolUnreachable as error:
                LOG_UI.error("%s is not listed: %s", place, error)
                failed = True
    if config.get("pool_json"):
        print_json(rows)
    elif rows:
        print_table(_COLUMNS, [_cells(row) for row in rows])
    elif not failed:
        LOG_UI.info("no states in %s", ", ".join(map(str, places)))
    return FAILED if failed else FINE


def _rows(place: Location, params: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the states in a cache or pool, in the terms of the table."""
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
        for entry in list_states(place, params)
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    made = row["made"]
    if isinstance(made, int | float):
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(made))
    shown = {**row, "size": human_size(int(row["size"])), "made": made}
    return [str(shown[column] or "") for column in _COLUMNS]


LIST = Command(
    name="list",
    help="List the states in the cache and the pools",
    example="list --pool-location :/srv/pool",
    configure=_configure,
    run=_run,
)
