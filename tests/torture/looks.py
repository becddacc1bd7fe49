"""What there is to be looked at when something was hurt."""

from pathlib import Path

from avocado_pool_plugin.core.layout import META
from tests.support.states import leftovers
from tests.support.vms import Lab

#: What a view calls the image that a vm uses.
IMAGE = "the working image"
#: How many MiB of an image are looked at.
LOOKED_AT = 5


def states(lab: Lab) -> dict[str, Path]:
    """Return the files of states in all caches and pools of a lab, by name."""
    paths = [*lab.root.glob("*/vm1/**/*.qcow2"), *lab.root.glob("*/vm1/*.state")]
    return {str(p.relative_to(lab.root)): p for p in sorted(paths) if META not in p.parts}


def unfinished(lab: Lab) -> list[str]:
    """Return the notes on work that was begun and neither completed nor taken back."""
    return [n for n in leftovers(lab.root) if "intents/" in n and n.endswith(".json")]
