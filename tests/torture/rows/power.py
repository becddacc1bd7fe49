"""The power goes: what was written since the last flush is lost, or a part of it is."""

import random
from collections.abc import Iterator
from pathlib import Path

from tests.support.bare import bare_vm
from tests.support.states import OWN
from tests.support.vms import Lab
from tests.support.vmstates import be, params, put
from tests.torture import disk
from tests.torture.outage import Outage
from tests.torture.row import Row, Wish
from tests.torture.scenes import NEW, OLD, SCENES, SYNC, Scene

_RIGHT = (
    "each visible state whole, true to its digest and record, the old one or the new one, and the "
    "new one once the work had ended; the working image sound and with all that was written; the "
    "next try heals"
)
#: Cuts of each scene: while it is at work, when it has just ended, and later.
_DURING, _AT_END, _LATER = 8, 3, 1
#: In a short run: scenes of each file system, and cuts of each.
_SHORT, _SHORT_DURING = 2, 1


def _save(lab: Lab, state: str, pattern: int) -> None:
    """Save a running vm."""
    with bare_vm(params(lab)) as vm:
        be(vm, pattern)
        put(lab, vm, state, **OWN, **SYNC)


def _saved(lab: Lab) -> None:
    """A vm state ``base``, and the image stands on it."""
    lab.make_image()
    _save(lab, "base", OLD)


#: Its RAM is another one each time.
_RUNNING = Scene("save of a running vm", _saved, lambda lab: _save(lab, "s", NEW))
_ALL = (*SCENES, _RUNNING)


def rows(wish: Wish) -> Iterator[Row]:
    """Cut the power on each kind of file system."""
    for kind in disk.MKFS:
        with wish.directory("power", memory=True) as directory:
            yield _cut(wish, kind, directory)


def _cut(wish: Wish, kind: str, directory: Path) -> Row:
    row = Row(f"power cuts on {kind}, each flush takes what was written before it", _RIGHT)
    blank = disk.blank(kind, directory)
    for scene in wish.sample(_ALL, _SHORT, "power", kind):
        with wish.directory("power", memory=True) as place:
            _cut_scene(wish, kind, scene, _recorded(scene, blank, place), row)
    return row


def _recorded(scene: Scene, blank: Path, place: Path) -> Outage:
    return Outage(scene, blank, place, remade="cache/vm1/s.state" if scene is _RUNNING else "")


def _cut_scene(wish: Wish, kind: str, scene: Scene, outage: Outage, row: Row) -> None:
    dice = wish.dice("power", kind, scene.name)
    cuts = _cuts(outage, dice, wish.few(_DURING, _SHORT_DURING))
    for number, how in cuts:
        wish.progress(f"{kind}, {scene.name}: cut at {number}, {how}")
        where = f"{kind}, {scene.name}, seed {wish.seed}: cut after note {number} of "
        where += f"{len(outage.log.notes)}, {how}"
        with row.trying(where):
            outage.cut(number, how, dice, lambda number=number: outage.check(number))
        row.count(how)


def _cuts(outage: Outage, dice: random.Random, during: int) -> list[tuple[int, str]]:
    """Return where to cut, in order, and what is lost."""
    log, act, hows = outage.log, outage.act, list(disk.KEEPS)
    began, ended, last = (log.until(size) for size in (act.began, act.ended, act.last))
    found = [(dice.randrange(began, ended), dice.choice(hows)) for _ in range(during)]
    found += [(ended, how) for how in hows[:_AT_END]]
    found += [(dice.randrange(ended, last), dice.choice(hows)) for _ in range(_LATER)]
    return sorted(found)
