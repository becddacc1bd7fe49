#!/usr/bin/env python3
"""Start Python with stubbed locks: ``python -m tests.torture.locking none|blind -m pytest ...``"""

import os
import sys

from tests.support import stubbed
from tests.support.processes import ROOT, environment
from tests.torture.faults import library

_STUB = ROOT / "tests" / "support" / "nolocks"


def variables(kind: str) -> dict[str, str]:
    """Return the environment of a program whose locks are of some kind, see ``stubbed``."""
    found = environment()
    for name in ("LD_PRELOAD", "POOL_FAULTS", stubbed.KIND, stubbed.LIBRARY):
        found.pop(name, None)
    if kind == stubbed.REAL:
        return found
    blind = str(library("flock"))
    found |= {stubbed.KIND: kind, stubbed.LIBRARY: blind}
    if kind == stubbed.NONE:
        return found | {"PYTHONPATH": f"{_STUB}{os.pathsep}{found['PYTHONPATH']}"}
    return found | {"LD_PRELOAD": blind}


if __name__ == "__main__":
    os.execve(sys.executable, [sys.executable, *sys.argv[2:]], variables(sys.argv[1]))
