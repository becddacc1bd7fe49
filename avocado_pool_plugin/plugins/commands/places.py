"""Which caches and pools a command is about, and where its user says so."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import LocationRefused, PoolError, SettingRefused
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params import cache_dir, shared_pools
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.cli import SSH, add_arguments
from avocado_pool_plugin.plugins.commands.command import FAILED, FINE

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.site import Site
    from avocado_pool_plugin.upkeep.stock import Stock

#: Words for places of the configuration.
CACHE, POOLS, ALL = "cache", "pools", "all"


def add_places(parser: Any, default: str) -> None:
    """
    Add the arguments that name caches and pools.

    :param default: what the command is about if nobody says: ``CACHE``, ``POOLS`` or ``ALL``
    """
    parser.add_argument(
        "--at",
        dest="pool_at",
        metavar="PLACE",
        action="append",
        help=f"{CACHE}, {POOLS}, {ALL}, or a location such as ':/dir' or 'label:/dir'; may be "
        f"given several times (default: {default})",
    )
    parser.set_defaults(pool_at_default=default)
    add_arguments(parser, "shared_pool", "swarm_pool", "lock_timeout", *SSH)


def chosen(config: Mapping[str, Any], default: str = ALL) -> list[Location]:
    """
    Return the places that a command is about, the cache first, each once.

    :raises LocationRefused: one is no location
    :raises SettingRefused: the pools are asked for and there is none
    """
    params = job_params(config)
    found: list[Location] = []
    for word in config.get("pool_at") or [config.get("pool_at_default") or default]:
        found += _named(word, params)
    return list(dict.fromkeys(found))


def _named(word: str, params: Mapping[str, str]) -> list[Location]:
    cache, pools = Location(cache_dir(params)), list(shared_pools(params))
    if word == CACHE:
        return [cache]
    if word == ALL:
        return [cache, *pools]
    if word == POOLS:
        if not pools:
            raise SettingRefused(
                "no pool is named; give --pool-location, or set shared_pool in section [pool] of "
                "avocado.conf"
            )
        return pools
    return [location(word, CACHE, POOLS, ALL)]


def location(text: str, *words: str) -> Location:
    """
    Return a location that a user wrote.

    :param words: what could have been written instead
    :raises LocationRefused: it is none
    """
    try:
        return Location.from_setting(text)
    except LocationRefused as error:
        raise LocationRefused(f"{error}, or one of {', '.join(words)}") from error


def sites(config: Mapping[str, Any], default: str = ALL, **policy: Any) -> "list[Site]":
    """
    Return the places that a command is about, opened; errors of :func:`chosen`.

    :param policy: see ``upkeep.sites.open_site``
    :raises LocationRefused: one that is named by its location does not exist
    """
    return opened(chosen(config, default), config, **policy)


def opened(places: Iterable[Location], config: Mapping[str, Any], **policy: Any) -> "list[Site]":
    """Return places as :func:`sites` does, with its errors."""
    from avocado_pool_plugin.upkeep.sites import open_site

    params = job_params(config)
    found = [open_site(place, params, **policy) for place in places]
    words = {word for word in config.get("pool_at") or () if word not in (CACHE, POOLS, ALL)}
    named = set(map(Location.from_setting, words))
    for site in found:
        if site.place in named:
            require_directory(site)
    return found


def require_directory(site: "Site") -> None:
    """
    Make sure that a place which a user names exists: nothing is found in a mistyped one.

    One that can't be reached, or is a file, is left to those who will tell what is wrong with it.

    :raises LocationRefused: there is no such directory
    """
    try:
        absent = not site.exists() and not site.items()
    except PoolError:
        return
    if absent:
        raise LocationRefused(
            f"there is no directory {site.title(site.root)}; correct the location, or mount its "
            f"file system"
        )


def each(found: "Iterable[Site]", work: "Callable[[Site], None]") -> bool:
    """
    Do something at each place; one that fails is told and does not keep it from the others.

    :returns: whether all went well
    """
    fine = True
    for site in found:
        try:
            work(site)
        except PoolError as error:
            told = site.title(site.root) in str(error)
            LOG_UI.error("%s", error if told else f"{site.place}: {error}")
            fine = False
    return fine


def look_at(config: Mapping[str, Any], site: "Site", below: str) -> "Stock":
    """
    Look at all that a place holds.

    :param below: an object id, or one with an image, for that only
    """
    from avocado_pool_plugin.upkeep.stock import take

    is_cache = not site.place.remote and site.root == Location(cache_dir(job_params(config))).path
    return take(site, is_cache, below)


def nobody_has(what: str, found: "list[Site]") -> str:
    """Return the sentence about something that is nowhere."""
    places = ", ".join(str(site.place) for site in found)
    return f"{what} is nowhere, looked at: {places}; 'avocado pool list' shows what there is"


def tell_nothing(config: Mapping[str, Any], found: "list[Site]", below: str) -> int:
    """
    Tell that places hold nothing, all of which could be looked at; return the exit status.

    :param below: the object that was asked for, empty for all
    """
    if below:
        LOG_UI.error("%s", nobody_has(below, found))
        return FAILED
    if not config.get("pool_json"):
        LOG_UI.info("no states in %s", ", ".join(str(site.place) for site in found))
    return FINE
