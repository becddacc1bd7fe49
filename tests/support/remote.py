"""Stores on another host: real servers on the loopback interface, one for each kind of host."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.dependents import Guard
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.store import RemoteStore
from tests.support import stubbed
from tests.support.sshd import UTIL_LINUX, Sshd

#: Kinds of hosts by the programs that they have; None for all that this one has.
KINDS: dict[str, list[str] | None] = {
    "python": None,
    "rsync": [*UTIL_LINUX, "rsync"],
    "plain": [*UTIL_LINUX],
}
_running: dict[str, Sshd] = {}


def server(kind: str = "python") -> Sshd:
    """Return the server of a kind of host, started when first asked for."""
    if kind not in _running:
        directory = Path(tempfile.mkdtemp(prefix=f"pool-{kind}-"))
        _running[kind] = Sshd(directory, programs=stubbed.far_programs(KINDS[kind]), MaxSessions=10)
    return _running[kind]


@contextlib.contextmanager
def servers_stopped() -> Iterator[None]:
    """Stop all servers at the end."""
    try:
        yield
    finally:
        session.close_all()
        for one in _running.values():
            one.stop()
            shutil.rmtree(one.directory, ignore_errors=True)
        _running.clear()


def remote_store(
    policy: Policy, kind: str = "python", guard: Guard | None = None, **changes: object
) -> RemoteStore:
    """Return the store on a host of a kind, whose directories are those of this one."""
    here = LocalStore(policy, qemu.rename_backing, guard=guard)
    return RemoteStore(session.of(server(kind).host(**changes)), here)
