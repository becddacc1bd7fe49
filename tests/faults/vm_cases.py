"""Saves of running vms to be killed: how things are before, and what is right afterwards."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from avocado_pool_plugin.core import knowledge, vmstate
from avocado_pool_plugin.core.errors import ImageInUse, MonitorRefused
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.states.live import Live
from tests.support.bare import BareVm, bare_vm
from tests.support.cuts import Point, cut, points
from tests.support.images import guest_bytes
from tests.support.states import OWN, contents, leftovers
from tests.support.vms import Lab, sound
from tests.support.vmstates import TWO, be, get, params, passport, put, ram, show, shown

#: What the guest wrote: for the old state, before the save, since then while there still was the
#: process that saved it, and when that was killed.
OLD, NEW, SINCE, AFTER = 20, 30, 40, 50
SYNC = {**OWN, "pool_fsync": "yes"}


class Case:
    """A vm that is to be saved as ``s``; it stands on ``base``, and there is no ``s`` yet."""

    more: ClassVar[dict[str, str]] = SYNC
    #: What the guest may have written last.
    last: tuple[int, ...] = (AFTER,)
    #: Temporary files that may be left.
    left = "nothing"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        for image in self.images:
            lab.make_image(image=image)
        with bare_vm(params(lab, **self.more)) as vm:
            be(vm, OLD)
            put(lab, vm, "base", **self.more)
            self.prepare(vm)
            be(vm, NEW)
        self.old = self.generation()
        self.ready()

    def ready(self) -> None:
        """All may have been copied to here: what is known of the files is found out again."""
        for path in [*self.lab.cache.rglob("*.qcow2"), *self.lab.cache.rglob("*.state")]:
            if META not in path.parts:
                knowledge.identify(str(path), Policy())

    def prepare(self, vm: BareVm) -> None:
        get(self.lab, vm, "base", **self.more)

    @property
    def images(self) -> list[str]:
        return self.more.get("images", "image1").split()

    def generation(self) -> str | None:
        """Return which state ``s`` it is, None if there is none."""
        if "s" not in show(self.lab, **self.more):
            return None
        known = knowledge.peek(str(ram(self.lab, "s")))
        assert known is not None
        return known.info.generation

    def save(self, vm: BareVm) -> None:
        vm.connect()
        put(self.lab, vm, "s", **self.more)

    def goes_on(self, vm: BareVm) -> None:
        """Nobody watches the guest any more; it goes on, if need be by hand."""
        if vm.status() != "running":
            vm.resume()
        be(vm, AFTER, "1M")

    # -- what is right afterwards ------------------------------------------------------------

    def check(self) -> bool:
        """Make sure that all there is is whole; tell whether the state is the new one."""
        assert show(self.lab, **self.more) == (["base", "s"] if self.exists() else ["base"])
        for state in show(self.lab, **self.more):
            belongs = passport(ram(self.lab, state))
            assert vmstate.strangers(str(ram(self.lab, state)), belongs) == []
            assert knowledge.identify(str(ram(self.lab, state)), Policy())
        new = self.exists() and self.generation() != self.old
        for image in self.images:
            sound(self.lab.image(image=image))
            first, second = guest_bytes(self.lab.image(image=image), 2)
            assert first == NEW and second in self.last, "work is lost"
            if self.exists():
                state = self.lab.state("s", image=image)
                sound(state)
                assert guest_bytes(state, 2) == [NEW if new else OLD, 0]
        return new

    def exists(self) -> bool:
        return ram(self.lab, "s").exists()


class New(Case):
    """Two images become states, no ``s`` is there before."""

    more: ClassVar[dict[str, str]] = {**SYNC, **TWO}


class Replaced(Case):
    """There is an ``s`` on which the vm does not stand."""

    def prepare(self, vm: BareVm) -> None:
        put(self.lab, vm, "s", **self.more)
        super().prepare(vm)


class Merged(Case):
    """The vm stands on the old ``s``."""

    left = "s.qcow2"  # of a copy that was cut off, as with every state that is copied

    def prepare(self, vm: BareVm) -> None:
        put(self.lab, vm, "s", **self.more)
        get(self.lab, vm, "s", **self.more)


class Copied(Replaced):
    """The image can't be taken away, just as if it were on another file system."""

    left = Merged.left

    def ready(self) -> None:
        super().ready()
        keeper = self.lab.image().with_name("keeper")
        keeper.unlink(missing_ok=True)
        keeper.hardlink_to(self.lab.image())


class Refused(Replaced):
    """QEMU refuses something after the guest went on and wrote: all of it is undone."""

    more: ClassVar[dict[str, str]] = {**SYNC, **TWO}
    last = (0, SINCE, AFTER)

    def save(self, vm: BareVm) -> None:
        def refused(*args: object) -> None:
            be(vm, SINCE, "1M")
            raise MonitorRefused("no")

        Live.keep_by_descriptor = refused  # type: ignore[method-assign]
        with contextlib.suppress(MonitorRefused):
            super().save(vm)

    def goes_on(self, vm: BareVm) -> None:
        """Stopped while it is brought back, it does not go on by itself."""
        if vm.status() == "running":
            be(vm, AFTER, "1M")


class Sweep:
    """Runs a case once for each point; images name absolute paths, so all runs are at one place."""

    def __init__(self, kind: type[Case], root: Path) -> None:
        self.place, self.template, self.log = root / "lab", root / "template", root / "log"
        self.place.mkdir()
        self.case = kind(Lab(self.place))
        self.place.rename(self.template)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[BareVm]:
        """Give a vm of the case that runs, and to whose monitor nobody is connected."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.template, self.place, symlinks=True)
        self.case.ready()
        with bare_vm(params(self.case.lab, **self.case.more)) as vm:
            vm.remember(NEW)
            vm.disconnect()
            yield vm

    def points(self) -> list[Point]:
        with self.fresh() as vm:
            return points(lambda: self.case.save(vm), self.log)

    def killed(self, point: Point) -> tuple[bool, bool]:
        """Kill a save; tell whether QEMU was in the way then, and if ``s`` is a new one."""
        with self.fresh() as vm:
            assert cut(lambda: self.case.save(vm), point, self.log), "it did not come there"
            vm.connect()
            settled(vm)
            self.case.goes_on(vm)
            in_the_way = self.looked_at_too_early()
        return in_the_way, self.after(show if point.number % 2 else shown)

    def looked_at_too_early(self) -> bool:
        lab = self.case.lab
        before = contents(lab.root)
        try:
            show(lab, **self.case.more)
        except ImageInUse as error:
            assert "end that QEMU" in str(error) and contents(lab.root) == before
            return True
        return False

    def after(self, look: Callable[..., object]) -> bool:
        """The next operation comes, and all is whole."""
        look(self.case.lab, **self.case.more)
        left = [Path(name).name for name in leftovers(self.place) if not name.endswith(".tmp")]
        assert [name for name in left if not name.startswith(self.case.left)] == []
        return self.case.check()


def settled(vm: BareVm) -> None:
    """Wait until QEMU does not write RAM any more."""
    deadline = time.monotonic() + 10
    while vm.monitor.cmd("query-migrate").get("status") in ("setup", "active", "device"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
