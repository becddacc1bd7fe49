"""
Locks that are stubbed in all programs that tests start, here and on other hosts.

``REAL`` is as usual. ``NONE``: no lock is taken at all, and other hosts have no program for it.
``BLIND``: each lock is taken at once, whoever else has it. Python is to be started with them:
``tests.torture.locking`` does.
"""

import os

REAL, NONE, BLIND = "real", "none", "blind"
#: Variables: which of them it is, and the library whose flock(2) always succeeds.
KIND, LIBRARY = "POOL_TESTS_LOCKS", "POOL_TESTS_FLOCK"


def kind() -> str:
    """Return how locks are in this process."""
    return os.environ.get(KIND, REAL)


def exclude() -> bool:
    """Tell whether locks keep anybody out, so that work is saved."""
    return kind() == REAL


def far_variables() -> str:
    """Return what sessions on other hosts have in their environment, as ``SetEnv`` takes it."""
    return "" if exclude() else f"LD_PRELOAD={os.environ[LIBRARY]}"


def far_programs(programs: list[str] | None) -> list[str] | None:
    """Return which programs another host has instead of some; None is all that this one has."""
    if kind() != NONE:
        return programs
    found = ["python3", "rsync", "setsid", "fallocate"] if programs is None else programs
    return [name for name in found if name != "flock"]
