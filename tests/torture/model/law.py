"""
What may become of all states and working images in one step, and what has to.

A step is one operation, or several at once; any may have been killed. What is found after it is
where the next one begins, so what was left open by a kill is known again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avocado_pool_plugin.core import chain
from avocado_pool_plugin.core.errors import ChainBroken, StateMissing
from avocado_pool_plugin.core.policy import Policy
from tests.torture.model import errors
from tests.torture.model.crowd import BROKE, DONE, KILLED, REFUSED, Ended
from tests.torture.model.disk import Content
from tests.torture.model.known import UNKNOWN, Known, Working
from tests.torture.model.work import GC, GET, RECOVER, SET, UNSET, Op
from tests.torture.model.world import (
    CACHES,
    POOLS,
    WORKERS,
    File,
    Image,
    Key,
    View,
    World,
    every_image,
    images_of,
)


@dataclass(frozen=True)
class Step:
    """
    What was done, and what was to be seen before and after.

    :param ops: what was done
    :param ended: how each ended
    """

    world: World
    known: Known
    before: View
    after: View
    ops: Sequence[Op]
    ended: Sequence[Ended]

    # -- what kind of a step ------------------------------------------------------------------

    @property
    def alone(self) -> bool:
        """Whether one operation ran, to its end."""
        return len(self.ops) == 1 and self.ended[0].how != KILLED

    def on(self, image: Image, *verbs: str) -> list[Op]:
        """Return the operations on the states of an image."""
        return [op for op in self.ops if op.verb in verbs and op.vm == image.vm]

    def contents(self, image: Image, state: str, *places: str) -> set[Content]:
        """Return what a state was in some places."""
        found = (self.before.at(place, image, state) for place in places)
        return {file.content for file in found if file and file.content is not None}

    def broken(self, image: Image) -> bool:
        """Tell whether any state of an image could not be used."""
        return any(
            key.image == image and not self.known.whole(key, file)
            for key, file in self.before.states.items()
        )

    # -- all of it ----------------------------------------------------------------------------

    def check(self) -> None:
        """
        Make sure that all is as it has to be.

        :raises AssertionError: it is not
        """
        for op, ended in zip(self.ops, self.ended, strict=True):
            assert ended.how != BROKE, f"{op} ended with no error of ours: {ended.said}"
            if ended.how == REFUSED:
                errors.check(self, op, ended)
        for key in sorted(self.before.states.keys() | self.after.states.keys(), key=str):
            self._state(key)
        for worker in range(len(WORKERS)):
            for image in every_image():
                self._image((worker, image))
        if self.alone and self.ended[0].how == DONE:
            self._done(self.ops[0])

    # -- states -------------------------------------------------------------------------------

    def _state(self, key: Key) -> None:
        old, new = self.before.states.get(key), self.after.states.get(key)
        if new is None:
            assert self._may_go(key), f"{key} is lost, nobody removed it; it was {old}"
        elif not self.known.whole(key, new):
            assert self._may_break(key, old), f"{key} is {new}, which nobody set; it was {old}"
            self._refused(key, new)
        elif not (old and old.inode == new.inode and old.content in (None, new.content)):
            allowed = self._may_hold(key)
            assert new.content in allowed, f"{key} became {new}, not of {allowed}; it was {old}"

    def _may_go(self, key: Key) -> bool:
        begun = (intent.key == key and intent.verb == UNSET for intent in self.before.intents)
        return any(begun) or any(
            self._removes(op, key) for op in self.ops if key.place in op.places
        )

    def _removes(self, op: Op, key: Key) -> bool:
        if op.verb == GC:
            return not self._pinned(key)
        if op.vm != key.image.vm:
            return False
        if op.cascade or (op.verb == UNSET and op.state == key.state):
            return True
        if op.verb != GET or op.own:
            return False
        # another version of what it stands on came, and so can this one come again
        fetchable = any(view.at(pool, key.image, key.state)
                        for view in (self.before, self.after) for pool in POOLS)  # fmt: skip
        return fetchable and self._changed_below(key)

    def _pinned(self, key: Key) -> bool:
        return any(
            (pin.place, pin.image) == (key.place, key.image)
            and key.state in self.before.chain(pin.place, pin.image, pin.state)
            for pin in self.known.pins
        )

    def _changed_below(self, key: Key) -> bool:
        names = self.before.chain(key.place, key.image, key.state)
        return any(self._inodes(key, name)[0] != self._inodes(key, name)[1] for name in names[1:])

    def _inodes(self, key: Key, name: str) -> list[int]:
        found = (view.at(key.place, key.image, name) for view in (self.before, self.after))
        return [file.inode if file else 0 for file in found]

    def _may_break(self, key: Key, old: File | None) -> bool:
        """Tell whether a state may have lost what it stands on; nobody may be given it then."""
        if old and not self.known.whole(key, old):
            return True
        at_work = [op for op in self.on(key.image, GET, SET, UNSET) if key.place in op.places]
        if self.alone:
            return False
        return len(at_work) > 1 or any(op.cascade for op in at_work)

    def _refused(self, key: Key, file: File) -> None:
        path = self.world.file(key)
        try:
            chain.verify(str(path.parent), key.state, Policy())
        except (ChainBroken, StateMissing):
            return
        raise AssertionError(f"{key} passes for good, and is {file}")

    def _may_hold(self, key: Key) -> set[Content]:
        found = set(self._begun(key.image, key.state))
        for op in self.on(key.image, GET, SET):
            if key.place not in op.places:
                continue
            if op.verb == SET and op.state == key.state:
                found.add(self.known.wrote[op.worker, key.image])
            if op.verb == SET and key.place in POOLS:
                found |= self.contents(key.image, key.state, op.cache)
            if op.verb == GET and not op.own:
                found |= self.contents(key.image, key.state, *POOLS)
            if not self.alone:
                found |= self._anywhere(key.image, key.state)
        return found

    def _begun(self, image: Image, state: str) -> Iterator[Content]:
        """Yield what sets were to make that had begun before, and are completed now."""
        paths = {str(self.world.image(*working)): working for working in self.known.wrote}
        for intent in self.before.intents:
            if intent.verb == SET and (intent.key.image, intent.key.state) == (image, state):
                yield self.known.wrote[paths[intent.image]]

    def _anywhere(self, image: Image, state: str) -> set[Content]:
        """Return all that a state was, or is made in this step."""
        sets = [op for op in self.on(image, SET) if op.state == state]
        made = {self.known.wrote[op.worker, image] for op in sets}
        return made | self.contents(image, state, *CACHES, *POOLS)

    # -- working images -----------------------------------------------------------------------

    def _image(self, working: Working) -> None:
        worker, image = working
        found, wrote = self.after.images.get(working), self.known.wrote[working]
        gets = [op for op in self.on(image, GET) if op.worker == worker]
        allowed = {wrote}.union(*(self.given(op, image) for op in gets))
        if found and found.content in allowed:
            self._found(working, found)
            return
        assert working not in self.known.opened, f"{working} is open and became {found}"
        was = self.before.images.get(working)
        if was and was.content == wrote:
            assert self._may_spoil(working), f"{working} was {wrote} and is lost: {found}"
        self.known.based[working] = UNKNOWN

    def _found(self, working: Working, found: File) -> None:
        """Note what a guest finds in an image."""
        assert found.content is not None
        self.known.wrote[working] = found.content
        worker, image = working
        before = self.before.images.get(working)
        cut = any((op.worker, op.vm, ended.how) == (worker, image.vm, KILLED) and op.verb != GC
                  for op, ended in zip(self.ops, self.ended, strict=True))  # fmt: skip
        if before and before.inode == found.inode:
            # a get that is about to replace an image forgets first who stands on its state
            self.known.loose |= {working} if cut else set()
            return
        here = [op for op in self.on(image, GET, SET, UNSET) if op.cache == WORKERS[worker]]
        # another one may have replaced what it was made on right after that
        own = [op.worker for op in here] == [worker] and not self.before.intents
        self.known.based[working] = self.after.files_below(*working) if own else UNKNOWN
        self.known.loose.discard(working)
        self.known.loose |= {working} if cut else set()

    def given(self, op: Op, image: Image) -> set[Content]:
        """Return what a get may give."""
        if not self.alone or self.broken(image) or self.before.intents:
            return self._anywhere(image, op.state).union(self._begun(image, op.state))
        for place in () if op.own else POOLS:
            if self.before.at(place, image, op.state):
                return self.contents(image, op.state, place)
        return self.contents(image, op.state, op.cache)

    def _may_spoil(self, working: Working) -> bool:
        """Tell whether what a guest wrote may be of no use, or out of its place."""
        worker, image = working
        if self.after.pending(self.world.image(worker, image)):
            return True
        for op in self.ops:
            if WORKERS[worker] not in op.places:
                continue
            if op.verb in (GC, SET) and op.vm in ("", image.vm) and working in self.known.loose:
                return True
            if op.vm != image.vm or op.verb == RECOVER:
                continue
            # closed overlays do not keep a state from being replaced by a get, or removed
            if op.verb == GET or op.cascade or (op.verb == UNSET and op.worker != worker):
                return True
        return False

    # -- what was done ------------------------------------------------------------------------

    def _done(self, op: Op) -> None:
        for image in images_of(op.vm) if op.vm else ():
            if op.verb == SET:
                self._was_set(op, image)
            elif op.verb == UNSET:
                left = [place for place in op.places if self.after.at(place, image, op.state)]
                assert not left, f"{op}: still in {left}"
            elif op.verb == GET:
                found = self.after.images.get((op.worker, image))
                given = self.given(op, image)
                assert found and found.content in given, f"{op}: {found}, not of {given}"

    def _was_set(self, op: Op, image: Image) -> None:
        wrote = self.known.wrote[op.worker, image]
        for place in op.places:
            found = self.after.at(place, image, op.state)
            if not (found and found.content == wrote):
                assert self._kept(op, image), f"{op}: {place} has {found}, not {wrote}"

    def _kept(self, op: Op, image: Image) -> bool:
        """Tell whether there was a reason to keep the old state."""
        if op.cascade:
            return False
        if any(self.before.children(place, image, op.state) for place in op.places):
            return True
        return any(
            op.state in self.before.below(worker, image)[:1]
            or self.before.pending(self.world.image(worker, image))
            for worker in range(len(WORKERS))
            if worker != op.worker and WORKERS[worker] == op.cache
        )
