"""Takes over a directory, for tests that kill it: ``python -m tests.faults.adopting DIR``."""

import os
import sys

from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.upkeep.adopt import plan
from avocado_pool_plugin.upkeep.adopt.act import Adoption, Outcome
from avocado_pool_plugin.upkeep.here import LocalSite
from tests.support.places import local_store


def adopt(root: str) -> list[Outcome]:
    """Take over a directory; return what became of each file that was not ours."""
    site = LocalSite(Location(root), local_store())
    return list(Adoption(site, plan.make(site, None), None, force=False).run())


if __name__ == "__main__":
    os.access("/marker", os.F_OK)
    problems = [outcome.problem for outcome in adopt(sys.argv[1]) if outcome.problem]
    if problems:
        sys.exit(str(problems))
