"""Killed or failed at any system call: old or new, never half; the image is never lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.states.recover import recover_states
from tests.support.forked import CALLS, REFUSED, failed, killed, points
from tests.support.images import guest_bytes
from tests.support.states import OWN, get, leftovers, made, other, put, show, unset
from tests.support.vms import Lab, backing, sound, write

OLD, NEW, BASE = 20, 30, 1
SYNC = {"pool_fsync": "yes"}


def reads(image, *patterns):
    """Return which of the patterns a guest would see at 1 MiB; at 0 it has to see BASE."""
    first, second = guest_bytes(image, 2)
    assert first == BASE
    return second if second in patterns else None


class Case:
    """How things are before, what is done then, and what is right afterwards."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        made(lab, "base", "s", first=BASE)
        get(lab, "base")
        write(lab.image(), OLD, "1M")
        put(lab, "s")

    def ready(self) -> None:
        """All was copied to here: what is known of the files is found out again."""
        for directory in (self.lab.cache, self.lab.pool):
            for path in directory.rglob("*.qcow2"):
                if META not in path.parts:
                    knowledge.identify(str(path), Policy())

    def work(self) -> None:
        raise NotImplementedError

    def after(self) -> None:
        """The next operation came: all that is there is whole."""
        for path in (self.lab.state("s"), self.lab.shared("s")):
            sound(path)
            assert reads(path, OLD, NEW) is not None
        sound(self.lab.image())
        assert reads(self.lab.image(), NEW), "what was to be set is not lost"

    def again(self) -> None:
        self.work()
        sound(self.lab.image())
        for path in (self.lab.state("s"), self.lab.shared("s"), self.lab.image()):
            assert reads(path, NEW)


class Replace(Case):
    """The image becomes a state that is there already."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        get(lab, "base")
        write(lab.image(), NEW, "1M")

    def work(self) -> None:
        put(self.lab, "s", **SYNC)


class Refine(Replace):
    """The image stands on the state that is set."""

    def __init__(self, lab: Lab) -> None:
        Case.__init__(self, lab)
        write(lab.image(), NEW, "1M")


class New(Case):
    """The first state, on a base image outside."""

    def __init__(self, lab: Lab) -> None:
        from tests.support.vms import tool

        self.lab = lab
        base = lab.root / "golden.raw"
        tool("qemu-img", "create", "-q", "-f", "raw", base, "4M")
        tool("qemu-io", "-f", "raw", "-c", f"write -P {BASE} 0 64k", base)
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", lab.image())
        write(lab.image(), NEW, "1M")

    def work(self) -> None:
        put(self.lab, "s", **SYNC)

    def after(self) -> None:
        for path in (self.lab.state("s"), self.lab.shared("s")):
            if path.exists():
                sound(path)
                assert reads(path, NEW)
        sound(self.lab.image())
        assert reads(self.lab.image(), NEW)


class Pop(Case):
    """The state becomes the image again."""

    pattern = OLD

    def ready(self) -> None:
        super().ready()
        get(self.lab, "s", **OWN)

    def work(self) -> None:
        unset(self.lab, "s", **OWN, **SYNC)

    def after(self) -> None:
        if self.lab.state("s").exists():
            sound(self.lab.state("s"))
            assert reads(self.lab.state("s"), OLD)
        sound(self.lab.image())
        assert reads(self.lab.image(), self.pattern)

    def again(self) -> None:
        self.work()
        assert show(self.lab, **OWN) == ["base"]
        sound(self.lab.image())
        assert reads(self.lab.image(), self.pattern)
        assert backing(self.lab.image()) == str(self.lab.state("base"))


class Merge(Pop):
    """The image holds writes of its own and takes over the state's content."""

    pattern = NEW

    def ready(self) -> None:
        super().ready()
        write(self.lab.image(), NEW, "1M")


class Fetch(Case):
    """Another worker replaced the state in the pool."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        far = other(lab)
        get(far, "base")
        write(far.image(), NEW, "1M")
        put(far, "s")

    def work(self) -> None:
        get(self.lab, "s", **SYNC)

    def after(self) -> None:
        sound(self.lab.state("s"))
        assert reads(self.lab.state("s"), OLD, NEW)
        assert reads(self.lab.shared("s"), NEW)
        sound(self.lab.image())


CASES: list[Callable[[Lab], Case]] = [Replace, Refine, New, Pop, Merge, Fetch]


class Sweep:
    """Runs a case once for each point; images name absolute paths, so all runs are at one place."""

    def __init__(self, case: Callable[[Lab], Case], root: Path) -> None:
        self.place, self.template = root / "lab", root / "template"
        self.place.mkdir()
        self.case = case(Lab(self.place))
        self.place.rename(self.template)

    def fresh(self) -> Case:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.template, self.place, symlinks=True)
        self.case.ready()
        return self.case

    def points(self, *calls: str) -> list[tuple[str, int]]:
        return points(self.fresh().work, self.place, calls or CALLS)

    def check(self, case: Case, where: str) -> None:
        lab = case.lab
        try:
            recover_states(dict(lab.params()))
            assert lab.image().exists(), "the image is lost"
            case.after()
            left = [name for name in leftovers(lab.root) if "intents/" in name]
            assert [name for name in left if name.endswith(".json")] == []
            case.again()
        except Exception as error:
            raise AssertionError(f"{where}: {error}") from error


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_killed_at_any_call(case, memory):
    sweep = Sweep(case, memory)
    died = []
    for name, number in sweep.points():
        scene = sweep.fresh()
        outcome = killed(scene.work, scene.lab.root, name, number)
        died.append(outcome.status == -9)
        sweep.check(scene, f"killed at {name} number {number}")
    assert sum(died) > 0.9 * len(died), "the sweep mostly missed"


#: What a full or failing disk can refuse.
DISK = ("mkdir", "ftruncate", "write", "pwrite64", "fsync", "link", "rename", "openat", "fchmod")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_any_call_fails(case, error, memory):
    sweep = Sweep(case, memory)
    refused = 0
    for name, number in sweep.points(*DISK)[(error == "EIO") * 2 :: 4]:
        scene = sweep.fresh()
        outcome = failed(scene.work, scene.lab.root, name, number, error)
        where = f"{name} number {number} failed with {error}"
        assert outcome.status in (0, REFUSED), f"{where}: no error of ours: {outcome.said}"
        assert scene.lab.image().exists(), f"{where}: the image is gone: {outcome.said}"
        refused += outcome.status == REFUSED
        sweep.check(scene, where)
    assert refused, "no failure was reported"
