"""A restore that is killed at any moment: the state is whole in its place, or in the trash."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.upkeep import trashcan
from avocado_pool_plugin.upkeep.restoring import restore
from avocado_pool_plugin.upkeep.site import Site
from tests.support import forked
from tests.support.keepers import fill, whole
from tests.support.places import Dir
from tests.support.processes import in_child
from tests.support.sites import HERE, site

#: What a restore changes things by.
CHANGES = ("write", "move_new", "drop")


def thrown_in(root: Path, hashed: bool) -> Dir:
    pool = fill(root, root.with_name(f"{root.name} scratch"), hashed)
    site(HERE, pool.root).store.remove(str(pool.state("c")))
    return pool


def check(pool: Dir, where: object) -> None:
    """It is whole or in the trash; a second try makes it whole; a third is refused."""
    at = site(HERE, pool.root)
    there, known = pool.state("c").exists(), trashcan.contents(at)
    assert there or known, where
    if there:
        whole(pool.state("c"))
    for thrown in known:
        try:
            restore(at, thrown)
            assert not there, where
        except PoolError as error:
            assert there and "exists" in str(error), (where, error)
    whole(pool.state("c"))
    # in the trash it is known by its record, once more
    at.store.remove(str(pool.state("c")))
    newest = trashcan.contents(at)[-1]
    assert newest.record and newest.record.info.parent == "b", where
    if not there:
        restore(at, newest)
        whole(pool.state("c"))


@pytest.mark.parametrize("hashed", [True, False], ids=["hashed", "not hashed"])
def test_killed_at_any_call(hashed, tmp_path):
    def restoring(pool: Dir) -> None:
        at = site(HERE, pool.root)
        restore(at, trashcan.contents(at)[-1])

    dry = thrown_in(tmp_path / "dry", hashed)
    moves = ("linkat", "rename", "unlink")
    calls = (*moves, "openat", "write") if hashed else moves
    points = forked.points(lambda: restoring(dry), tmp_path, calls)
    assert {name for name, _ in points} == set(calls)

    def sweep(point: tuple[str, int]) -> bool:
        name, number = point
        scratch = tmp_path / f"{name} {number}"
        scratch.mkdir()
        pool = thrown_in(scratch / "pool", hashed)
        done = forked.killed(lambda: restoring(pool), scratch, name, number)
        assert done.status in (0, -signal.SIGKILL), done
        check(pool, point)
        return done.status != 0

    with ThreadPoolExecutor(2) as workers:
        assert sum(workers.map(sweep, points)) > len(points) * 0.7


class Dying:
    """A site whose user is killed right before, or right after, its n-th change."""

    def __init__(self, at: Site, number: int, after: bool) -> None:
        self._at, self._left, self._after = at, number, after

    def __getattr__(self, name: str) -> object:
        found = getattr(self._at, name)
        if name not in CHANGES:
            return found

        def change(*args: object) -> object:
            self._left -= 1
            if not self._left and not self._after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = found(*args)
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return change


def test_killed_between_what_is_done_on_a_host(tmp_path):
    killed = 0
    for number in (1, 2, 3):
        for after in (False, True):
            pool = thrown_in(tmp_path / f"{number} {after}", hashed=number % 2 == 0)

            def restoring(pool: Dir = pool, number: int = number, after: bool = after) -> None:
                at = site("plain", pool.root)
                thrown = trashcan.contents(at)[-1]
                restore(Dying(at, number, after), thrown)  # type: ignore[arg-type]

            session.close_all()
            killed += in_child(restoring) == -signal.SIGKILL
            check(pool, (number, after))
    assert killed == 6
