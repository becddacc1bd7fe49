"""
The documented interface: moving states between cache and pools, and backends that do so.

Usable in the place of avocado-i2n's ``states.pool``: same names, parameters and test params. The
contract of each name is in docs/reference.rst, the code in transfer.py, ops.py, sourced.py and
rooted.py.
"""

import contextlib
import os
from collections.abc import Iterator

from avocado_pool_plugin.core import locks
from avocado_pool_plugin.states.ops import TransferOps
from avocado_pool_plugin.states.sourced import RootSourcedStateBackend, SourcedStateBackend
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

__all__ = [
    "SKIP_LOCKS",
    "QCOW2ImageTransfer",
    "RootSourcedStateBackend",
    "SourcedStateBackend",
    "TransferOps",
    "image_lock",
    "os",
]

#: True: take no locks, for pools that everyone only reads; looked at whenever one would be taken.
SKIP_LOCKS = False

locks.skip = lambda: SKIP_LOCKS


@contextlib.contextmanager
def image_lock(resource_path: str, timeout: int | float | str = 300) -> Iterator[None]:
    """
    Hold the lock of a file against all processes and threads.

    :param timeout: seconds to wait, 0 tries once; a number as text is fine
    :raises LockTimeout: someone else held it; a RuntimeError and a TimeoutError that says who
    """
    with locks.hold(resource_path, float(timeout)):
        yield
