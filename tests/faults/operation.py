"""
One operation on files, as a program: what is killed in tests.

Arguments: the operation, its paths, ``locks`` or ``none``. Everything is imported before the
marker, an access to ``/marker``, so that system calls can be counted from there.
"""

import os
import sys
from collections import deque  # noqa: F401
from concurrent.futures import ThreadPoolExecutor  # noqa: F401

import blake3  # noqa: F401
import filelock  # noqa: F401

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import locks
from avocado_pool_plugin.core.dependents import Guard
from avocado_pool_plugin.core.link import LinkStore
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.policy import Policy


def main(verb: str, one: str, other: str, locking: str) -> None:
    if locking == "none":
        locks.skip = lambda: True
    policy = Policy(timeout=20)
    store = LocalStore(policy, qemu.rename_backing, guard=Guard())
    os.access("/marker", os.F_OK)
    if verb == "publish":
        store.publish(one, other)
    elif verb == "fetch":
        store.fetch(one, other)
    else:
        LinkStore(policy, qemu.rename_backing).fetch(one, other)


if __name__ == "__main__":
    main(*sys.argv[1:])
