"""Content that changed: in pools and in caches, with a new stamp and with the old one."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import checking
from tests.support.memory import in_memory
from tests.support.places import local_store
from tests.torture.harm.scene import CONTENT, WANTED, Harm, Scene, believe, needs
from tests.torture.row import Row, Wish

#: Whether the stamps of what came to harm tell of it.
CHANGED, UNCHANGED = "the stamp tells", "under the old stamp"
#: So many files come to harm at once, at most.
AT_ONCE = 5
_FOUND = "found"


def in_pools(wish: Wish, stamps: str, number: int) -> Row:
    """Harm files of a pool; use it, check it, repair it from a mirror."""
    row = Row(
        f"bit flips, cuts and zeroed sectors in images and RAM files of a pool, {stamps}",
        "fetch to an empty and to a full cache and publish of a child deliver nothing of it, a "
        "mirror is used instead; verify --all tells each; --repair makes all bytes equal; the "
        "mirror stays as it is",
    )
    with in_memory("harm") as directory:
        scene, dice = Scene(directory / "scene"), wish.dice("damage", stamps)
        while row.tried < number:
            names = dice.sample(sorted(scene.truth), min(AT_ONCE, number - row.tried))
            harms = [Harm(name, dice.choice(CONTENT)(scene.pool / name, dice)) for name in names]
            wish.progress(f"damage: {row.tried} of {number}")
            if stamps == UNCHANGED:
                believe(scene.pool, names)
            wanted = dice.choice(WANTED)
            with tries(row, scene, harms):
                came = scene.fetch_anew(wanted, scene.pool)
                row.count("delivered without it" if came else "refused", len(harms))
                assert scene.fetch_anew(wanted, scene.pool, scene.mirror), "no mirror was used"
                assert scene.fetch(wanted, scene.cache, scene.pool, scene.mirror)
                scene.require_true(scene.cache, "in a cache that had it")
                _require_found(row, scene, scene.pool, harms)
                scene.publish_child(scene.pool, scene.mirror)
                scene.remove_child()
                scene.require_true(scene.pool, "published over a good one", names)
                scene.require_true(scene.mirror, "put into the mirror")
                _repair(row, scene)
    return row


def _require_found(row: Row, scene: Scene, root: Path, harms: list[Harm]) -> None:
    """Make sure that a check tells of all that came to harm."""
    told = {one.title: one.kind for one in scene.verify(root).findings if one.kind != "broken"}
    missed = [harm for harm in harms if harm.title not in told]
    row.count("missed", len(missed))
    row.count(_FOUND, len(harms) - len(missed))
    assert not missed, f"MISSED: {missed}, told {told}"
    others = told.keys() - {harm.title for harm in harms}
    # of a vm state it is told that the images beside it are not its own
    assert not others - {"vm1/running"}, f"told of what is fine: {others}"


def _repair(row: Row, scene: Scene) -> None:
    report = scene.verify(scene.pool, scene.mirror)
    row.count("repaired", sum(one.done == "repaired" for one in report.findings))
    scene.require_whole()
    scene.require_true(scene.mirror, "repaired from, and came back")
    assert scene.pooled.told() == []


def in_caches(wish: Wish, number: int) -> Row:
    """Harm files of a cache and of its only pool; nothing of either is to reach the other."""
    row = Row(
        "the same in a cache, half of the time in the pool as well, under new and old stamps",
        "verify --all tells each; a publish and a repair spread nothing; a fetch brings what is "
        "good where the stamp tells; what nobody has is put into quarantine, not repaired",
    )
    with in_memory("harm") as directory:
        scene, dice = Scene(directory / "scene"), wish.dice("damage", "caches")
        while row.tried < number:
            name = dice.choice(sorted(scene.truth))
            harms = [Harm(name, dice.choice(CONTENT)(scene.cache / name, dice))]
            quiet, both = dice.randrange(2), dice.randrange(2)
            wish.progress(f"damage in caches: {row.tried} of {number}")
            if quiet:
                believe(scene.cache, [name])
            if both:
                harms[0] = Harm(name, f"{harms[0].how}; {_other(scene, name, dice)}")
            with tries(row, scene, harms):
                _require_found(row, scene, scene.cache, harms)
                bad = [name] if both else []
                scene.publish_child(scene.mirror)
                scene.require_true(scene.mirror, "published")
                wanted = dice.choice(WANTED)
                came = scene.fetch(wanted, scene.cache, scene.pool)
                row.count("fetched" if came else "refused")
                scene.require_true(scene.pool, "brought to the pool", bad)
                if came and not quiet and needs(wanted, name):
                    scene.require_true(scene.cache, "fetched")
                scene.verify(scene.pool, scene.cache)
                scene.require_true(scene.pool, "repaired from a damaged cache")
                scene.verify(scene.cache, scene.pool)
                scene.require_true(scene.cache, "repaired from a damaged pool")
                row.count("in quarantine" if _lost(scene, name) else "repaired")
                scene.remove_child()
                _restore(scene)
    return row


def _other(scene: Scene, name: str, dice: random.Random) -> str:
    return f"in the pool {dice.choice(CONTENT)(scene.pool / name, dice)}"


def _lost(scene: Scene, name: str) -> bool:
    return not (scene.cache / name).exists()


def _restore(scene: Scene) -> None:
    """Bring back from the mirror what was put into quarantine."""
    for root in (scene.pool, scene.cache):
        missing = scene.truth.keys() - checking.states(root).keys()
        for name in missing:
            local_store(checking.POLICY).publish(str(scene.mirror / name), str(root / name))
        scene.verify(root, scene.mirror)
        for kept in root.rglob("quarantine"):
            shutil.rmtree(kept)
        scene.require_true(root, "left")


@contextmanager
def tries(row: Row, scene: Scene, harms: list[Harm]) -> Iterator[None]:
    """Do what is one try for each file that came to harm; begin anew after a failure."""
    what = "; ".join(f"{harm.name}: {harm.how}" for harm in harms)
    before = len(row.wrong)
    row.tried += len(harms) - 1
    with row.trying(what):
        yield
    if len(row.wrong) > before:
        if "SPREAD" in row.wrong[-1]:
            row.count("spread")
        scene.fresh()
