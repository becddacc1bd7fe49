"""Two hosts and one pool: over ssh from both, on the directory itself from one, and cuts."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.store import RemoteStore
from avocado_pool_plugin.upkeep.here import LocalSite
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.there import FarSite
from tests.support.netns import Namespace
from tests.support.places import POLICY, local_store
from tests.support.remote import KINDS
from tests.support.remote_labs import RemoteLab
from tests.support.sshd import Sshd
from tests.support.vms import Lab
from tests.torture import common_states, crowd
from tests.torture.crowd import Worker
from tests.torture.row import Row, Wish

common_states.RIGHT = (
    "errors are ours; what is there is whole and true, nothing saved is lost, the next one heals"
)
#: Seconds that all workers of a round have.
_PATIENCE = 240


class _FarLab(RemoteLab):
    """
    A worker who reaches the pool's host by an address that both hosts have.

    :param address: of that host
    """

    def __init__(self, root: Path, host: Sshd, address: str) -> None:
        super().__init__(root, host)
        self.address = address

    def params(self, vms: str = "vm1", images: str = "image1", **more: str) -> Any:
        """See :meth:`Lab.params`."""
        return super().params(vms, images, **{"nets_shell_host_lab": self.address, **more})

    def place(self) -> Site:
        """Return the pool as its keeper sees it over ssh."""
        there = session.of(self.host.host(address=self.address))
        store = RemoteStore(there, LocalStore(POLICY, qemu.rename_backing))
        return FarSite(Location(str(self.pool), label="lab"), store)


@dataclass(frozen=True)
class _Round:
    """One round with a host of some kind."""

    root: Path
    net: Namespace
    server: Sshd
    dice: random.Random
    cuts: int
    steps: int

    def workers(self) -> list[Worker]:
        """Return two on the other host, one of this one over ssh, one on the directory itself."""
        found = []
        for number in range(3):
            lab = _FarLab(self.root / f"worker{number}", self.server, self.net.here)
            lab.pool = self.root / "pool"
            found.append(Worker(lab, lab.place, self.net.enter if number < 2 else int))
        lab = self.near("worker3")
        return [*found, Worker(lab, lambda: LocalSite(Location(str(lab.pool)), local_store()))]

    def near(self, name: str) -> Lab:
        """Return a worker of the pool's host."""
        lab = Lab(self.root / name)
        lab.pool = self.root / "pool"
        return lab

    def run(self, row: Row) -> None:
        """Let all work, cut, and look at what is there then."""
        common_states.fill(self.near("first"))
        logs = self.root / "logs"
        logs.mkdir()
        pids = crowd.start(self.workers(), self.dice, self.steps, logs)
        try:
            for _ in range(self.cuts):
                time.sleep(self.dice.uniform(0.3, 1.5))
                name, cut = self.dice.choice(self.all_cuts())
                cut()
                row.count(name)
        finally:
            hung = crowd.ended(pids, _PATIENCE)
        said = crowd.heard(logs, row)
        assert said.wrong == [], "\n".join(said.wrong)
        assert hung == [], f"workers {hung} never came to their end"
        common_states.all_true(self.root / "pool")
        common_states.nothing_lost(self.root / "pool", said.kept)
        common_states.heals(self.near("fresh"), said)

    def all_cuts(self) -> list[tuple[str, Callable[[], object]]]:
        """Return all ways to cut."""
        return [
            ("link down", lambda: self.net.down(self.dice.uniform(0.2, 1.5))),
            ("connections reset", self.net.reset),
            ("sshd killed", self.server.kill_connections),
        ]


def rows(wish: Wish) -> Iterator[Row]:
    """Share a pool of each kind of host."""
    rounds = 1 if wish.short else 3
    with Namespace() as net:
        for kind in wish.sample(KINDS, 1, "kinds"):
            row = Row(f"2 hosts, 4 workers, a pool over ssh ({kind}), cuts", common_states.RIGHT)
            with (
                wish.directory("sshd") as home,
                Sshd(home, programs=KINDS[kind], ListenAddress=net.here, MaxSessions=10) as server,
            ):
                for number in range(rounds):
                    wish.progress(f"{row.work}: {number + 1} of {rounds}")
                    with (
                        row.trying(f"seed {wish.seed}, {kind}, round {number}"),
                        wish.directory(f"hosts{number}") as root,
                    ):
                        dice, steps = wish.dice("hosts", kind, number), wish.few(12, 7)
                        _Round(root, net, server, dice, wish.few(5, 2), steps).run(row)
            yield row
