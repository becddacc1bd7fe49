"""A scene on a disk that loses power, at any moment, and what has to be right afterwards."""

import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

# what each child would import otherwise
import filelock  # noqa: F401
import virttest.storage  # noqa: F401

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, knowledge, vmstate
from avocado_pool_plugin.states.recover import recover_states
from tests.support.checking import ALWAYS
from tests.support.images import guest_bytes
from tests.support.places import digest_of
from tests.support.states import OWN, get, put
from tests.support.vms import Lab, holds, tool, write
from tests.torture import disk
from tests.torture.apart import apart
from tests.torture.looks import IMAGE, LOOKED_AT, states, unfinished
from tests.torture.scenes import SYNC, Scene

#: What is written to an image in the end, beyond what is looked at of it.
_LAST, _THERE = 77, "7M"


@dataclass(frozen=True)
class Found:
    """
    What was found at a place.

    :param digest: of the file
    :param generation: of the state, as it is recorded
    :param guest: what a guest would see of it
    """

    digest: str
    generation: str = ""
    guest: str = ""


View = dict[str, Found]


@dataclass(frozen=True)
class Act:
    """
    What happened on the disk while there was power.

    :param before: what was there, all of it on the disk
    :param after: what was there when the work had ended
    :param began: size of the disk's log when the work began
    :param ended: and when it ended
    :param last: and when something else had been done, too
    """

    before: View
    after: View
    began: int
    ended: int
    last: int


class Outage:
    """
    Records a scene, and lets the power go at any moment of it.

    :param scene: what is done
    :param blank: an empty disk
    :param directory: for all of it
    :param remade: a file that is another one each time that the work is done
    """

    def __init__(self, scene: Scene, blank: Path, directory: Path, remade: str = "") -> None:
        self._scene, self._directory, self._remade = scene, directory, remade
        self.point = directory / "point"
        self.point.mkdir()
        self._log, told = directory / "log", directory / "act"
        original = disk.copied(blank, directory / "original")
        with disk.recorded(disk.copied(blank, directory / "disk"), self._log, self.point):
            # what it notes on itself is of another boot for all who come later
            apart(lambda: told.write_bytes(pickle.dumps(self._live())), directory, elsewhere=True)
        self.act: Act = pickle.loads(told.read_bytes())
        assert self.act.before != self.act.after, f"{scene.name} does nothing"
        self.log = disk.Log(self._log)
        self._remains = disk.Remains(self.log, original)

    @property
    def lab(self) -> Lab:
        """The scene's lab, of those who look at it now."""
        return Lab(self.point / "lab")

    def _live(self) -> Act:
        lab = self.lab
        self._scene.make(lab)
        self._scene.ready(lab)
        before = look(lab)
        tool("sync", "-f", self.point)
        began = self._size()
        self._scene.work(lab)
        ended = self._size()
        # makes the file system write its journal, with all that the work left to it
        write(other(lab).make_image(), 1)
        put(other(lab), "other", **OWN, **SYNC)
        last = self._size()
        # comes last, as QEMU's tools flush what they look at
        after = look(lab)
        return Act(before, after, began, ended, last)

    def _size(self) -> int:
        return self._log.stat().st_size

    def cut(self, number: int, how: str, dice: random.Random, check: Callable[[], None]) -> None:
        """
        Let the power go after a note of the log, and have somebody look at what is left.

        :param how: one of ``KEEPS``
        :raises AssertionError: the check failed
        """
        left = self._remains.cut(number, how, dice, self._directory / "left")
        with disk.mounted(left, self.point, "loop"):
            apart(check, self._directory)

    def promised(self, number: int) -> bool:
        """Tell whether the work had ended by then."""
        return number >= self.log.until(self.act.ended)

    # -- what is right afterwards ---------------------------------------------------------------

    def check(self, number: int) -> None:
        """
        Make sure that nothing is lost or half, and that the next try heals.

        :raises AssertionError: it is not so
        """
        lab, act = self.lab, self.act
        views = [act.after] if self.promised(number) else [act.before, act.after]
        check_states(lab, views)
        done = recover_states(dict(lab.params()))
        # a set that is completed now is one that was made now
        check_states(lab, views, whose=not done)
        check_image(lab, views)
        self._scene.work(lab)
        check_same(look(lab), act.after, self._remade)
        assert unfinished(lab) == [], "notes on something unfinished stay"
        go_on(lab)


def other(lab: Lab) -> Lab:
    """Return another lab on the same disk."""
    return Lab(lab.root.with_name("other"))


def look(lab: Lab) -> View:
    """Return what is there."""
    found = {}
    for name, path in states(lab).items():
        found[name] = replace(_found(path), guest=_guest(path))
    if lab.image().exists():
        found[IMAGE] = Found("", "", _guest(lab.image()))
    return found


def _guest(path: Path) -> str:
    """Return what a guest would see of an image; nothing of what is none, or is damaged."""
    try:
        return str(guest_bytes(path, LOOKED_AT)) if path.suffix == ".qcow2" else ""
    except AssertionError:
        return ""


def check_states(lab: Lab, views: list[View], whose: bool = True) -> None:
    """
    Make sure that each visible state is one of those that may be there, and true.

    :param whose: whether its record has to be the one from then
    """

    def told(found: Found | None) -> tuple[str, ...] | None:
        return found and ((found.digest, found.generation) if whose else (found.digest,))

    paths = states(lab)
    for name in {name for view in views for name in view} - {IMAGE} | paths.keys():
        allowed, path = [told(view.get(name)) for view in views], paths.get(name)
        found = told(_found(path)) if path else None
        assert found in allowed, f"{name} is {found}, not of {allowed}"
        if path and found == allowed[-1]:
            _check_true(path)


def _found(path: Path) -> Found:
    known = knowledge.peek(str(path))
    return Found(digest_of(path), known.info.generation if known else "")


def _check_true(path: Path) -> None:
    info = knowledge.identify(str(path), ALWAYS)
    assert info is not None and info.digest == digest_of(path), f"{path} is not what is recorded"
    if path.suffix != ".state":
        qemu.check(str(path))
        chain.verify(str(path.parent), path.stem, ALWAYS)
    elif "pool" not in path.parts:  # a pool's files are replaced one by one
        assert info.passport is not None
        assert vmstate.strangers(str(path), info.passport) == []


def check_image(lab: Lab, views: list[View]) -> None:
    """Make sure that the working image holds what it may hold."""
    allowed = [view.get(IMAGE) for view in views]
    found = None
    if lab.image().exists():
        qemu.check(str(lab.image()))
        found = Found("", "", _guest(lab.image()))
    assert found in allowed, f"the working image is {found}, not of {allowed}"


def check_same(found: View, wanted: View, remade: str = "") -> None:
    """
    Make sure that a guest would see the same of two views.

    :param remade: a file that need not be the same
    """
    assert found.keys() == wanted.keys(), f"there are {sorted(found)}, not {sorted(wanted)}"
    for name, one in wanted.items():
        other_ = found[name]
        same = one.guest == other_.guest if one.guest else one.digest == other_.digest
        assert same or name == remade, f"{name} is {other_}, not {one}"


def go_on(lab: Lab) -> None:
    """Use it: get a state, write something, and set that as another one."""
    names = sorted(path.stem for path in (lab.cache / "vm1" / "image1").glob("*.qcow2"))
    if names:
        get(lab, names[-1], **OWN)
    elif not lab.image().exists():
        lab.make_image()
    write(lab.image(), _LAST, _THERE)
    put(lab, "last", **OWN)
    get(lab, "last", **OWN)
    assert holds(lab.image(), _LAST, _THERE)
