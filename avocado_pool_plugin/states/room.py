"""Keeps the cache under ``cache_limit`` before something is fetched; see upkeep/gc."""

import logging
from collections.abc import Mapping

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.plan import Plan
from avocado_pool_plugin.upkeep.gc import act, size
from avocado_pool_plugin.upkeep.sites import open_site

LOG = logging.getLogger("avocado." + __name__)

#: Part of the limit that is kept free at least, so that not each fetch looks at all states.
_SPARE = 0.05
#: The longest that another process is waited for that makes room at this moment, in seconds.
_LONGEST = 60.0


def make(planned: Plan, params: Mapping[str, str]) -> None:
    """
    Remove states from the cache so that a fetch does not make it pass its limit.

    What can't be reached is told as a warning: whether all fits on the disk is another matter.

    :param planned: what is to be fetched
    :param params: with ``cache_limit``
    """
    limit, cache = settings.cache_limit(params), settings.cache_dir(params)
    room = limit - planned.size
    if size.measure(cache) <= room:
        return
    if room < 0:
        LOG.warning(
            "what is fetched takes %.1f MiB, more than cache_limit allows for all of the cache "
            "(%.1f MiB); nothing is removed for it - raise cache_limit",
            *_mib(planned.size, limit),
        )
        return
    try:
        _collect(cache, room, planned, params)
    except (PoolError, OSError) as error:
        LOG.warning("no room can be made in cache %s: %s", cache, error)


def _collect(cache: str, room: int, planned: Plan, params: Mapping[str, str]) -> None:
    site = open_site(Location(cache), params, cascade=False)
    own = [step.target for step in planned.steps]
    with act.alone(site, min(site.policy.timeout, _LONGEST)):
        if size.measure(cache) <= room:
            return  # another one made it meanwhile
        limit = room + planned.size
        # more than this fetch needs, if it needs little, for the sake of the next ones
        target = limit - max(planned.size, int(limit * _SPARE))
        outcome = act.collect(site, act.decide(site, target, own), own)
    LOG.info("%d MiB of cache %s got free for a fetch", outcome.freed >> 20, cache)
    if outcome.after > room:
        LOG.warning(
            "cache %s takes %.1f MiB and is to get %.1f MiB more, which passes cache_limit "
            "(%.1f MiB): nothing more can go now, see 'avocado pool gc --at cache --dry-run'",
            cache,
            *_mib(outcome.after, planned.size, limit),
        )


def _mib(*sizes: int) -> tuple[float, ...]:
    return tuple(number / 2**20 for number in sizes)
