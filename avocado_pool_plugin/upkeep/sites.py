"""The caches and pools that params name, opened for their keeper."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.dependents import Guard
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.upkeep.here import LocalSite
from avocado_pool_plugin.upkeep.site import Site


def open_site(place: Location, params: Mapping[str, str], **policy: Any) -> Site:
    """
    Return a cache or pool; nothing is connected before it is asked for something.

    A pool of links is a directory to its keeper.

    :param params: the options of a job as test params; they say how a host is reached
    :param policy: what is to differ from the policy that these ask for
    :raises SettingRefused: a param makes no sense
    """
    careful = replace(settings.policy(params), **policy)
    guard = Guard(cascade=careful.cascade)
    here = LocalStore(careful, qemu.rename_backing, settings.seen_dir(params), guard)
    if not place.remote:
        return LocalSite(place, here)
    from avocado_pool_plugin.ssh import session
    from avocado_pool_plugin.ssh.store import RemoteStore
    from avocado_pool_plugin.upkeep.there import FarSite

    return FarSite(place, RemoteStore(session.of(settings.host(place.label, params)), here))
