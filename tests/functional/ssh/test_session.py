"""Programs over there that a session hands out: none is left behind."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import HostUnreachable, PoolUnreachable
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.ssh.lost import Program
from avocado_pool_plugin.ssh.session import Session
from tests.support.remote_faults import children, name_of
from tests.support.sshd import Sshd


@contextlib.contextmanager
def session(host: Host) -> Iterator[Session]:
    found = Session(host)
    try:
        yield found
    finally:
        found.close()


def clients() -> set[int]:
    """Return the ssh processes that this one has started."""
    return {pid for pid in children(os.getpid()) if name_of(pid) == "ssh"}


def test_what_can_not_be_started_leaves_no_channel(tmp_path):
    before = clients()
    with (
        Sshd(tmp_path, ForceCommand="PATH=/nowhere exec /bin/sh") as server,
        session(server.host()) as far,
    ):
        with pytest.raises(PoolUnreachable, match="can't keep states, its shell finds no") as told:
            far.abilities  # noqa: B018
        # the error is still there, and with it all that its frames refer to
        assert told.value and clients() <= before


def test_a_program_that_could_not_be_ended_is_ended_later(tmp_path: Path):
    with Sshd(tmp_path) as server, session(server.host()) as far, session(server.host()) as other:
        with other.shell() as left, far.shell() as shell:
            far._lost.append(Program.of(left))
            mine = shell.pid
        os.kill(mine, signal.SIGKILL)
        with far.shell() as shell, pytest.raises(HostUnreachable):
            shell.names("/")
        with far.shell() as shell:
            assert shell.names("/")
        with pytest.raises(HostUnreachable), other.shell() as left:
            left.names("/")
