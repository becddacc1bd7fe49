"""A pool with a mirror and a cache, whose files come to harm while users go on."""

import itertools
import random
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from avocado_pool_plugin.core import knowledge, records
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.states import exchange
from avocado_pool_plugin.upkeep.verify.findings import Report
from tests.support import checking
from tests.support.checking import ALL, Checked, copied, make_pool, put_ram, site_of, states
from tests.support.images import image, write
from tests.support.places import POLICY, local_store, put_image

#: States that a user asks for: one of an image, and one of a vm with two images.
WANTED = (State("vm1", "image1", "last"), State("vm1", None, "running"))
#: Where the tables of an image are that QEMU makes of 32 MiB: bytes from its start.
_TABLES = (0x10000, 0x50000)
Hurt = Callable[[Path, random.Random], str]


def flip_table(path: Path, dice: random.Random) -> str:
    """Change a bit of the tables of an image."""
    end = min(_TABLES[1], path.stat().st_size)
    return checking.flip(path, dice, min(_TABLES[0], end - 1), end)


def zero(path: Path, dice: random.Random) -> str:
    """Have a sector become zeros, or another one that holds something."""
    data = bytearray(path.read_bytes())
    full = [at for at in range(0, len(data), 512) if any(data[at : at + 512])]
    at = dice.choice(full)
    data[at : at + 512] = bytes(512) if any(data[at : at + 512]) else b"\xff" * 512
    checking.write(path, bytes(data))
    return f"sector at {at} of {path.name} became zeros"


#: What may happen to content.
CONTENT: tuple[Hurt, ...] = (
    checking.flip, checking.flip_header, flip_table, checking.cut, zero,
)  # fmt: skip


@dataclass(frozen=True)
class Harm:
    """What was done to a file: its name below the pool, and how."""

    name: str
    how: str

    @property
    def title(self) -> str:
        """What users call the state."""
        return self.name.rpartition(".")[0]


class Scene:
    """
    Two chains and a vm state on both in a pool, a copy of it, and a cache that has all of it.

    :ivar truth: what all files have to contain, by name
    """

    def __init__(self, root: Path) -> None:
        self._root, self._number = root, itertools.count()
        self.fresh()

    def fresh(self) -> None:
        """Make all of it anew, as it was before anything."""
        shutil.rmtree(self._root, ignore_errors=True)
        self.pool, self.mirror = self._root / "pool", self._root / "mirror"
        self.cache = self._root / "cache"
        make_pool(self.pool, "base", "install", "running", "later", "last")
        make_pool(self.pool, "data", "running", name="image2")
        put_ram(self.pool / "vm1" / "running.state", b"memory" * 50_000, "image1", "image2")
        copied(self.pool, self.mirror)
        self.truth = states(self.pool)
        self.known = checking.infos(self.pool)
        for wanted in WANTED:
            self.fetch(wanted, self.cache, self.pool)
        home = self.cache / "vm1" / "image1"
        child = write(image(home.with_name("child.qcow2"), backing="image1/last.qcow2"), 9, "20M")
        checking.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "last.qcow2", child)
        put_image(child, home / "child.qcow2", parent=home / "last.qcow2")
        child.unlink()
        self.pooled = Checked(self.pool)
        # read once by whoever looks, as pools are
        for root in (self.pool, self.mirror, self.cache):
            checking.settled(root)
            assert Checked(root).told(ALL) == [], root

    # -- what users do ---------------------------------------------------------------------------

    def _params(self, cache: Path, *pools: Path, **more: str) -> dict[str, str]:
        return {
            "swarm_pool": str(cache),
            "shared_pool": " ".join(f":{pool}" for pool in pools),
            "pool_fsync": "no",
            "update_pool_timeout": "20",
            **more,
        }

    def fetch(self, wanted: State, cache: Path, *pools: Path, **more: str) -> bool:
        """Fetch a state; return whether it came, the alternative is an error of ours."""
        with suppress(PoolError):
            exchange.fetch(wanted, self._params(cache, *pools, **more))
            return True
        return False

    def fetch_anew(self, wanted: State, *pools: Path) -> bool:
        """Fetch a state into an empty cache, and make sure of all that came."""
        cache = self._root / f"fresh{next(self._number)}"
        try:
            came = self.fetch(wanted, cache, *pools)
            self.require_true(cache, "delivered to an empty cache")
            if came:
                assert (cache / wanted.path).exists(), f"{wanted} was told to be there, and is not"
            return came
        finally:
            shutil.rmtree(cache, ignore_errors=True)

    def publish_child(self, *pools: Path) -> bool:
        """Publish what stands on the last state; return whether it came."""
        child = State("vm1", "image1", "child")
        with suppress(PoolError):
            return not exchange.publish(child, self._params(self.cache, *pools)).problems
        return False

    def remove_child(self) -> None:
        """Remove that from the pools again."""
        for pool in (self.pool, self.mirror):
            path = pool / "vm1" / "image1" / "child.qcow2"
            if path.exists():
                local_store(POLICY).remove(str(path))

    def verify(self, root: Path, *mirrors: Path) -> Report:
        """Check all of a place; with mirrors, repair it."""
        sites = [site_of(mirror, policy=checking.ALWAYS) for mirror in mirrors]
        return Checked(root).check(ALL, *sites)

    # -- what has to be --------------------------------------------------------------------------

    def require_true(self, root: Path, what: str, but: Iterable[str] = ()) -> None:
        """
        Make sure that all states in a place are what they were.

        :param but: names of those that need not be
        """
        left_out = set(but)
        for name, content in states(root).items():
            if name in self.truth and name not in left_out:
                assert content == self.truth[name], f"SPREAD: {name} was {what} with other content"

    def require_whole(self) -> None:
        """Make sure that the pool is as it was, with its records."""
        assert states(self.pool) == self.truth
        assert checking.infos(self.pool) == self.known


def needs(wanted: State, name: str) -> bool:
    """Tell whether a state stands on a file, or is it."""
    if wanted.image:
        return name.startswith("vm1/image1/")
    return not name.endswith(("later.qcow2", "last.qcow2"))


def believe(root: Path, names: Iterable[str]) -> None:
    """Have files look as if nobody had written to them: what a disk does."""
    for name in names:
        path = root / name
        checking.believe(path)
        known = knowledge.peek(str(path))
        record = records.read_record(str(path))
        assert known is not None and known.fresh and record is not None
