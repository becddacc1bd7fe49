"""Hosts to work with: real sshds on loopback, each with other programs for its sessions."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import Answering
from benchmarks.lab import disk
from benchmarks.measure import drop_caches
from benchmarks.program import Options
from tests.support.sshd import UTIL_LINUX, PasswordUser, Sshd

#: What users call the host.
LABEL = "lab"
#: Hosts by the best that they have; None for all programs of this machine.
_PROGRAMS = {"python3": None, "rsync": [*UTIL_LINUX, "rsync"], "coreutils": [*UTIL_LINUX]}


@dataclass(frozen=True)
class Far:
    """
    What the rows share.

    :param disk: an empty ext4; both ends are on it, as there is one machine only
    :param reflinks: the same as XFS, where files can share blocks
    :param servers: hosts by the best that they have to move content with
    :param user: someone with a password there
    :param peer: avocado-i2n at work, see far/peer.py
    :param runs: counted runs of each contender
    """

    disk: Path
    reflinks: Path
    servers: Mapping[str, Sshd]
    user: PasswordUser
    peer: Answering
    runs: int

    @property
    def few(self) -> int:
        """Counted runs of what has no aim or takes long."""
        return min(self.runs, 3)

    @property
    def usual(self) -> Sshd:
        """The host that has all that helps."""
        return self.servers["python3"]

    def ask(self, do: str, **what: str) -> dict[str, Any]:
        """Have the peer work, logged in by password, and return its answer."""
        login = {"user": self.user.name, "password": self.user.password}
        self.peer.tell(do, **login, port=str(self.usual.port), **what)
        return self.peer.answer()

    def timed(self, do: str, **what: str) -> float:
        """Have the peer do what it can, and return its seconds."""
        told = self.ask(do, **what)
        if "error" in told:
            raise RuntimeError(f"avocado-i2n, {do}: {told['text']}")
        return float(told["seconds"])


def _sshd(directory: Path, programs: list[str] | None) -> Sshd:
    return Sshd(directory, programs=programs, Subsystem="sftp internal-sftp")


@contextlib.contextmanager
def place(options: Options) -> Iterator[Far]:
    """Give a fresh file system, hosts, and the peer at work; end all sessions afterwards."""
    from avocado_pool_plugin.ssh import session

    with contextlib.ExitStack() as stack:
        ext4 = stack.enter_context(disk("ext4", 20, options.build))
        xfs = stack.enter_context(disk("xfs", 5, options.build))
        servers = {
            name: stack.enter_context(_sshd(ext4 / f"sshd-{name}", programs))
            for name, programs in _PROGRAMS.items()
        }
        user = stack.enter_context(PasswordUser())
        peer = Answering("benchmarks.far.peer")
        stack.callback(peer.close)
        stack.callback(session.close_all)
        far = Far(ext4, xfs, servers, user, peer, options.runs)
        far.timed("load")
        drop_caches()
        yield far
