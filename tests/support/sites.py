"""Caches and pools as their keeper sees them, on this host and on others of each kind."""

from pathlib import Path

from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.upkeep.here import LocalSite
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.there import FarSite
from tests.support.places import POLICY, local_store
from tests.support.remote import KINDS, remote_store

#: A directory of this host.
HERE = "here"
#: All kinds of sites.
SITES = (HERE, *KINDS)


def site(kind: str, root: Path, policy: Policy = POLICY) -> Site:
    """Return a directory of this host, seen from here or as one of another host."""
    if kind == HERE:
        return LocalSite(Location(str(root)), local_store(policy))
    return FarSite(Location(str(root), label="lab"), remote_store(policy, kind))
