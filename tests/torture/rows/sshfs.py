"""Two sshfs mounts of one directory: locks that keep nobody out, coarse times, cuts."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.upkeep.here import LocalSite
from tests.support.places import local_store
from tests.support.sshd import Sshd
from tests.support.sshfs import Mount, sftp_server, two_mounts
from tests.support.vms import Lab
from tests.torture import common_states, crowd
from tests.torture.crowd import Worker
from tests.torture.row import Row, Wish

common_states.RIGHT = (
    "errors are ours; what is there is whole and true, nothing saved is lost, the next one heals"
)
#: Seconds that all workers of a round have.
_PATIENCE = 180
WORKERS = 4
#: How a mount is cut: it is gone for a moment and a plain file, or an empty directory, is there; or
#: it says nothing for some time.
NO_CUT, GONE, EMPTY, FROZEN = "no cut", "gone", "an empty directory", "frozen"


@dataclass(frozen=True)
class _Round:
    """One round: where it is, what is shared and how it is cut."""

    root: Path
    server: Sshd
    shared: str
    how: str
    dice: random.Random
    steps: int

    @property
    def plain(self) -> Path:
        """The directory that both mounts show."""
        return self.root / "disk"

    def points(self) -> tuple[Path, Path]:
        """Make the directories to mount at, and what is seen when the mount is gone."""
        found = (self.root / "mount0", self.root / "mount1")
        for point in found:
            point.mkdir()
            if self.how != EMPTY:
                # who finds no mount makes nothing there
                (point / self.shared).write_text("")
        return found

    def labs(self, points: tuple[Path, Path]) -> list[Lab]:
        """Return the labs of all workers, half of them on each mount."""
        found = []
        for number in range(WORKERS):
            lab, mount = Lab(self.root / f"worker{number}"), points[number % 2]
            lab.cache = lab.root / "cache"
            lab.pool = self.root / "pool"
            if self.shared == "pool":
                lab.pool = mount / "pool"
            else:
                lab.cache = mount / "cache"
            found.append(lab)
        return found

    def run(self, row: Row) -> None:
        """Let all work, cut, and look at what is there then."""
        self.plain.mkdir()
        points, logs = self.points(), self.root / "logs"
        logs.mkdir()
        with two_mounts(self.server, self.plain, points) as mounts:
            labs = self.labs(points)
            common_states.fill(labs[0])
            unsure, mixed = self.shared == "cache", self.how in (FROZEN, EMPTY)
            workers = [Worker(lab, _keeper(lab), unsure=unsure, mixed=mixed) for lab in labs]
            pids = crowd.start(workers, self.dice, self.steps, logs)
            try:
                self._cut(mounts, row)
            finally:
                hung = crowd.ended(pids, _PATIENCE)
        said = crowd.heard(logs, row)
        assert said.wrong == [], "\n".join(said.wrong)
        assert hung == [], f"workers {hung} never came to their end"
        shared = self.plain / self.shared
        common_states.all_true(shared)
        for point in points:
            common_states.all_true(point)
        common_states.all_true(self.root / "pool")
        # what was saved while an empty directory was there went with it
        allowed = said.tried if self.how == EMPTY else said.kept
        pool = self.root / "pool" if self.shared == "cache" else shared
        common_states.nothing_lost(pool, allowed)
        fresh = Lab(self.root / "fresh")
        fresh.pool = self.plain / "pool" if self.shared == "pool" else self.root / "pool"
        if self.shared == "cache":
            fresh.cache = shared
        common_states.heals(fresh, said)

    def _cut(self, mounts: tuple[Mount, Mount], row: Row) -> None:
        if self.how == NO_CUT:
            return
        for _ in range(2):
            time.sleep(self.dice.uniform(0.3, 2.0))
            mount = self.dice.choice(mounts)
            if self.how == FROZEN:
                mount.freeze()
                time.sleep(self.dice.uniform(0.2, 1.5))
                mount.thaw()
            else:
                mount.cut()
                time.sleep(self.dice.uniform(0, 0.3))
                mount.unmount()
                time.sleep(self.dice.uniform(0, 0.5))
                mount.mount()
            row.count("cuts")


def _keeper(lab: Lab) -> Callable[[], LocalSite]:
    return lambda: LocalSite(Location(str(lab.pool)), local_store())


def rows(wish: Wish) -> Iterator[Row]:
    """Share a pool by two mounts, then the cache that is on them."""
    hows = {"pool": [NO_CUT, GONE, FROZEN, EMPTY, NO_CUT, GONE], "cache": [NO_CUT, FROZEN]}
    if wish.short:
        hows = {"pool": [NO_CUT, GONE, FROZEN]}
    with wish.directory("sshfs") as directory, sftp_server(directory / "sshd") as server:
        for shared, cuts in hows.items():
            row = Row(
                f"{WORKERS} workers, two sshfs mounts of one {shared}, cuts", common_states.RIGHT
            )
            for number, how in enumerate(cuts):
                wish.progress(f"{row.work}: {number + 1} of {len(cuts)}")
                dice, steps = wish.dice("sshfs", shared, number), wish.few(12, 6)
                with (
                    row.trying(f"seed {wish.seed}, {shared}, round {number}, {how}"),
                    wish.directory(f"{directory.name}/{shared}{number}") as root,
                ):
                    _Round(root, server, shared, how, dice, steps).run(row)
            yield row
