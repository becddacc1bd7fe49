"""The state machine: what happens, one step after the other, chosen by hypothesis."""

import shutil
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.upkeep import leftovers
from tests.support import states
from tests.support.images import held_open
from tests.support.vms import sound
from tests.torture.model.crowd import DONE, KILLED, Crowd, Ended, Kill
from tests.torture.model.disk import BASE, SLOTS
from tests.torture.model.draw import anything, crowds, images, kills, workers
from tests.torture.model.known import Known
from tests.torture.model.law import Step
from tests.torture.model.work import GC, GET, RECOVER, SET, UNSET, Op, pinned, work
from tests.torture.model.world import (
    NAMES,
    PLACES,
    POOLS,
    VMS,
    WORKERS,
    Image,
    Key,
    World,
    images_of,
)
from tests.torture.row import Row

#: So many processes have an image open, or a state pinned.
_FEW = 2
_NUMBERS = BASE * BASE - 1


class Machine(RuleBasedStateMachine):
    """
    Workers, caches and pools.

    :param crowd: runs the operations
    :param row: gets the counts
    :param root: directory for everything
    :param wrong: gets what was not right, as hypothesis tells only of what happens again
    """

    def __init__(self, crowd: Crowd, row: Row, root: Path, wrong: list[str]) -> None:
        super().__init__()
        self._crowd, self._row, self._wrong = crowd, row, wrong
        self._world = World(Path(tempfile.mkdtemp(dir=root)))
        self._known, self._number = Known(), 0
        self._killed = self._failed = False
        self._pins: dict[Key, AbstractContextManager[None]] = {}
        self._guests: dict[tuple[int, Image], Any] = {}
        self._log: list[str] = []
        self._view = self._world.look()
        for (worker, image), file in self._view.images.items():
            self._known.wrote[worker, image] = file.content or ()
            self._known.based[worker, image] = ()
        for vm in VMS:
            self._do([Op(SET, vm=vm, state=NAMES[0])])

    # -- steps --------------------------------------------------------------------------------

    def _do(self, ops: Sequence[Op], kill: Kill = Kill()) -> list[Ended]:  # noqa: B008
        """Do operations at once, and make sure of what came of them."""
        ops = [self._likely(op) for op in ops]
        for op in ops:
            for image in images_of(op.vm) if op.verb == SET else ():
                self._known.made[image, op.state].add(self._known.wrote[op.worker, image])
        self._row.tried += 1
        ended = self._crowd.together([work(op, self._world) for op in ops], kill)
        for op, one in zip(ops, ended, strict=True):
            self._log.append(f"{op}: {one.how} {one.kind}")
        self._killed |= any(one.how == KILLED for one in ended)
        before, self._view = self._view, self._world.look()
        step = Step(self._world, self._known, before, self._view, ops, ended)
        with self._told():
            step.check()
        self._count(ops, ended, len(before.states.keys() - self._view.states.keys()))
        return ended

    def _likely(self, op: Op) -> Op:
        """Return an operation on a state that is somewhere, if any is; sets need none."""
        there = sorted({key.state for key in self._view.states if key.image.vm == op.vm})
        if op.verb not in (GET, UNSET) or not there or op.state in there:
            return op
        return replace(op, state=there[NAMES.index(op.state) % len(there)])

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Keep what is not right, with all that happened before."""
        try:
            yield
        except Exception as error:
            self._failed = True
            told = "".join(traceback.format_exception(error))
            self._wrong.append("\n  ".join([told, "after", *self._log]))
            raise

    def _count(self, ops: Sequence[Op], ended: Sequence[Ended], gone: int) -> None:
        for op, one in zip(ops, ended, strict=True):
            self._row.count(f"{op.verb}s" if one.how == DONE else one.how)
        if all(op.verb == GC for op in ops):
            self._row.count("states that gc removed", gone)
        self._row.count("at once", len(ops) > 1)

    @rule(worker=workers, image=images, slot=st.integers(0, SLOTS - 1))
    def write(self, worker: int, image: Image, slot: int) -> None:
        """A guest writes, unless its image is of no use."""
        working = (worker, image)
        found, wrote = self._view.images.get(working), self._known.wrote[working]
        if found and found.content == wrote and working not in self._guests:
            self._number = self._number % _NUMBERS + 1
            self._world.write(worker, image, slot, self._number)
            self._known.wrote[working] = (*wrote[:slot], self._number, *wrote[slot + 1 :])
            self._log.append(f"worker {worker} writes {self._number} to {image} at {slot}")
            self._view = self._world.look()

    @rule(op=anything)
    def alone(self, op: Op) -> None:
        """One works."""
        self._do([op])

    @rule(op=anything, kill=kills)
    def killed(self, op: Op, kill: Kill) -> None:
        """One works, and is killed."""
        self._do([op], kill)

    @rule(ops=crowds)
    def together(self, ops: list[Op]) -> None:
        """Several work."""
        self._do(ops)

    @rule(ops=crowds, kill=kills)
    def together_killed(self, ops: list[Op], kill: Kill) -> None:
        """Several work, and one is killed."""
        self._do(ops, kill)

    @rule(worker=workers, vm=st.sampled_from(list(VMS)))
    def heal(self, worker: int, vm: str) -> None:
        """Somebody completes what was begun."""
        if not self._view.intents:
            return
        self._do([Op(RECOVER, worker, vm)])
        cache = WORKERS[worker]
        left = [i for i in self._view.intents if (i.key.place, i.key.image.vm) == (cache, vm)]
        assert not left, f"not completed: {left}"

    # -- who is there meanwhile ---------------------------------------------------------------

    @rule(which=st.integers(0, 35))
    def pin(self, which: int) -> None:
        """A process needs a state."""
        there = sorted(self._view.states, key=str)
        key = there[which % len(there)] if there else None
        if key and key not in self._pins and len(self._pins) < _FEW:
            self._log.append(f"{key} is pinned")
            self._pins[key] = pinned(self._world, key)
            self._pins[key].__enter__()
            self._known.pins.add(key)

    @rule()
    def unpin(self) -> None:
        """It is done."""
        if not self._pins:
            return
        key, holder = self._pins.popitem()
        self._log.append(f"{key} is pinned no more")
        self._known.pins.discard(key)
        holder.__exit__(None, None, None)

    @rule()
    def a_minute_later(self) -> None:
        """Pins of who was killed are over."""
        if not self._pins:
            self._world.forget_pins()

    @rule(worker=workers, image=images)
    def boot(self, worker: int, image: Image) -> None:
        """A QEMU opens a working image."""
        working, found = (worker, image), self._view.images.get((worker, image))
        if not found or found.content != self._known.wrote[working]:
            return
        if working in {*self._guests, *self._known.loose} or len(self._guests) >= _FEW:
            return  # nobody boots what a killed get left
        self._log.append(f"worker {worker} has {image} open")
        guest = held_open(self._world.image(worker, image))
        self._guests[working] = (guest, guest.__enter__())
        self._known.opened.add(working)

    @rule()
    def shut_down(self) -> None:
        """It is closed."""
        if not self._guests:
            return
        working, (guest, process) = self._guests.popitem()
        self._log.append(f"{working} is open no more")
        self._known.opened.discard(working)
        process.stdin.write("quit\n")  # pins' holders have its end of the pipe as well
        process.stdin.flush()
        process.wait()
        guest.__exit__(None, None, None)

    # -- in the end ---------------------------------------------------------------------------

    def teardown(self) -> None:
        """End all, and look at all that is left as closely as can be."""
        try:
            while self._pins:
                self.unpin()
            while self._guests:
                self.shut_down()
            if not self._failed:
                with self._told():
                    self._settle()
        finally:
            shutil.rmtree(self._world.root)

    def _settle(self) -> None:
        """What was begun is completed, all is sound, the pools give what they have."""
        for cache, image in sorted({(i.key.place, i.key.image.vm) for i in self._view.intents}):
            self.heal(WORKERS.index(cache), image)
        for key, file in self._view.states.items():
            if self._known.whole(key, file):
                assert knowledge.identify(str(self._world.file(key)), Policy(verify="always"))
                sound(self._world.file(key))
        for (worker, image), file in self._view.images.items():
            if file.content is not None:
                sound(self._world.image(worker, image))
        fresh = self._world.fresh_worker()
        for pool in POOLS:
            shutil.rmtree(fresh.cache, ignore_errors=True)
            self._get_all(fresh, pool)
        self._sweep()

    def _get_all(self, fresh: Any, pool: str) -> None:
        """A new worker gets all that a pool has."""
        for key, file in self._view.states.items():
            whole = [self._view.at(pool, image, key.state) for image in images_of(key.image.vm)]
            if key.place != pool or not all(map(self._is_whole, whole)):
                continue
            states.get(fresh, key.state, **self._world.options(key.image.vm, pool))
            path = fresh.image(key.image.vm, key.image.name)
            found = self._world.look_at(path).content
            assert found == file.content, f"{key} is {file}, and a new worker got {found}"

    def _is_whole(self, file: Any) -> bool:
        return file is not None and file.content is not None

    def _sweep(self) -> None:
        """Nothing is left but what killed ones left, and that is removed when it is old."""
        if self._killed:
            real, leftovers.KEEP = leftovers.KEEP, -1e12
            try:
                for place in PLACES:
                    work(Op(GC, place=place), self._world)()
            finally:
                leftovers.KEEP = real
        for place in PLACES:
            for name in states.leftovers(self._world.root / place):
                # of a killed one, it takes no room
                empty = self._killed and not (self._world.root / place / name).stat().st_blocks
                assert empty, f"left over: {place}/{name}"
