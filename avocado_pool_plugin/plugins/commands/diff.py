"""``avocado pool diff``: how the states of two places differ."""

import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params import cache_dir, shared_pools
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.cli import SSH, add_arguments
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import each, location, look_at, require_directory
from avocado_pool_plugin.plugins.text import print_json, print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.comparing import Difference
    from avocado_pool_plugin.upkeep.site import Site
    from avocado_pool_plugin.upkeep.stock import Stock

_CACHE, _POOL = "cache", "pool"
_COLUMNS = ("state", "what", "reason")


def _configure(parser: Any) -> None:
    for dest, metavar, default in (("pool_here", "CACHE", _CACHE), ("pool_there", "POOL", _POOL)):
        parser.add_argument(
            dest,
            metavar=metavar,
            nargs="?",
            default=default,
            help=f"'{_CACHE}', '{_POOL}' for the first pool of shared_pool, or a location such as "
            f"':/dir' or 'label:/dir' (default: {default})",
        )
    parser.add_argument(
        "--read",
        dest="pool_read",
        action="store_true",
        help="Read the content of states of which too little is known",
    )
    parser.add_argument(
        "--all", dest="pool_all", action="store_true", help="Also print states that are equal"
    )
    add_arguments(parser, "shared_pool", "swarm_pool", "lock_timeout", *SSH)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.core.progress import reporting
    from avocado_pool_plugin.plugins import bars
    from avocado_pool_plugin.upkeep.comparing import EQUAL, differences, reader
    from avocado_pool_plugin.upkeep.sites import open_site

    params = job_params(config)
    words = [config.get("pool_here") or _CACHE, config.get("pool_there") or _POOL]
    found = [open_site(_place(word, params), params) for word in words]
    for word, site in zip(words, found, strict=True):
        if word not in (_CACHE, _POOL):
            require_directory(site)
    machine = bool(config.get("pool_json"))
    stocks: list[Stock] = []

    def look(site: "Site") -> None:
        stocks.append(look_at(config, site, ""))

    with warnings_shown(), reporting(bars.reporter(None if machine else LOG_UI)):
        if not each(found, look):
            return FAILED
        read = reader(found[0], found[1]) if config.get("pool_read") else None
        all_of_it = differences(stocks[0], stocks[1], read)
    if machine:
        print_json({"here": stocks[0].where, "there": stocks[1].where, "states": _dicts(all_of_it)})
    else:
        _print(all_of_it, stocks, bool(config.get("pool_all")))
    return FINE if all(one.kind == EQUAL for one in all_of_it) else FAILED


def _place(word: str, params: Mapping[str, str]) -> Location:
    """
    Return a place by the word for it.

    :raises SettingRefused: the first pool is asked for, and there is none
    :raises LocationRefused: it is no location
    """
    if word == _CACHE:
        return Location(cache_dir(params))
    if word == _POOL:
        pools = list(shared_pools(params))
        if not pools:
            raise SettingRefused(
                "no pool is named to compare with; name two places, or give --pool-location, or "
                "set shared_pool in section [pool] of avocado.conf"
            )
        return pools[0]
    return location(word, _CACHE, _POOL)


def _dicts(found: "list[Difference]") -> list[dict[str, str | None]]:
    return [
        {**named(one.state, one.title), "what": one.kind, "reason": one.reason} for one in found
    ]


def _print(found: "list[Difference]", stocks: "list[Stock]", everything: bool) -> None:
    from avocado_pool_plugin.upkeep.comparing import EQUAL

    rows = [[one.title, one.kind, one.reason] for one in found if everything or one.kind != EQUAL]
    if rows:
        print_table(_COLUMNS, rows)
    counts = Counter(one.kind for one in found)
    told = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    sys.stdout.write(f"{stocks[0].where} and {stocks[1].where}: {told or 'no states'}\n")


DIFF = Command(
    name="diff",
    help="Tell how the states of two places differ",
    examples=(
        "diff",
        "diff cache :/srv/pool --read",
        "diff :/srv/pool store:/srv/pool --json",
    ),
    configure=_configure,
    run=_run,
)
