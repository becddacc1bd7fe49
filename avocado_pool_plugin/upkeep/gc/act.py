"""
Carries out what was decided, so that nothing goes that somebody needs.

A state is moved to the trash under its lock; then it is looked whether a live pin names it, or
something stands on it that came meanwhile, and if so it is moved back. Who needs a state pins it
before looking for it, so one of the two sees the other. At the very end the pins are read once
more and the trash loses what went there. A kill at any moment leaves each state whole, in place or
in the trash.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from avocado_pool_plugin.core import layout, records
from avocado_pool_plugin.core.dependents import states_on
from avocado_pool_plugin.core.errors import (
    ImageRefused,
    LockTimeout,
    PoolError,
    StateNeeded,
    is_of_space,
)
from avocado_pool_plugin.upkeep.gc import pinned
from avocado_pool_plugin.upkeep.gc.plan import STATE, TRASH, Eviction, Plan, plan
from avocado_pool_plugin.upkeep.gc.survey import intents_of, survey
from avocado_pool_plugin.upkeep.returning import loosened, put_back
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.trashcan import RECORD

LOG = logging.getLogger("avocado." + __name__)

#: Times that it is decided anew because something could not go.
_ROUNDS = 5
#: What the lock of a whole cache or pool is called.
_LOCK = "gc"


@dataclass
class Outcome:
    """
    What was done.

    :param limit: bytes of disk that the cache or pool may take
    :param before: bytes that it took
    :param done: what went, with how much got free
    :param refused: states that were to go and could not, by path, with the reason
    :param plan: as it was decided last
    :param kept: bytes of what went to the trash and stays there, as somebody asks for it now
    """

    limit: int
    before: int
    plan: Plan
    done: list[Eviction] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    kept: int = 0

    @property
    def freed(self) -> int:
        """How many bytes got free."""
        return sum(step.size for step in self.done) - self.kept

    @property
    def after(self) -> int:
        """How many bytes it takes now."""
        return self.before - self.freed

    @property
    def reached(self) -> bool:
        """Whether that is within the limit."""
        return self.after <= self.limit


def decide(site: Site, limit: int, own: Iterable[str] = ()) -> Plan:
    """
    Return what would go now.

    :param limit: bytes of disk that the cache or pool may take
    :param own: files of states that the caller needs
    """
    return plan(survey(site, own=own), limit)


def collect(site: Site, first: Plan, own: Iterable[str] = ()) -> Outcome:
    """
    Remove what was decided to go; what can't go is replaced by what would go next.

    :param first: as it was decided just now
    :param own: files of states that the caller needs
    """
    needed = tuple(own)
    outcome = Outcome(first.limit, first.before, first)
    collector = _Collector(site, outcome)
    try:
        for _ in range(_ROUNDS):
            refused = len(outcome.refused)
            collector.carry_out(outcome.plan.steps)
            if outcome.reached or len(outcome.refused) == refused:
                break
            facts = survey(site, outcome.refused, collector.kept, needed)
            outcome.plan = plan(facts, outcome.limit)
            outcome.before = outcome.plan.before + outcome.freed  # others are at work too
    finally:
        collector.purge()
    return outcome


def collect_agreed(site: Site, agreed: Plan) -> Outcome:
    """
    Remove what a user agreed to, some time ago, as far as it would still go now.

    Nothing else goes in its place.
    """
    now = decide(site, agreed.limit)
    paths = {path for step in agreed.steps for path in step.paths}
    still = tuple(step for step in now.steps if paths.issuperset(step.paths))
    outcome = Outcome(now.limit, now.before, replace(now, steps=still))
    collector = _Collector(site, outcome)
    try:
        collector.carry_out(still)
    finally:
        collector.purge()
    return outcome


@contextlib.contextmanager
def alone(site: Site, timeout: float = 0.0) -> Iterator[None]:
    """
    Make sure that nobody else makes room in a cache or pool at the same time.

    :param timeout: seconds to wait for another one
    :raises LockTimeout: one is at work; the text says who
    """
    with _locked(site, os.path.join(site.root, _LOCK), timeout):
        yield


@contextlib.contextmanager
def _locked(site: Site, path: str, timeout: float) -> Iterator[None]:
    """Hold a lock, but for a disk that is too full to make one: nothing rests on it."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(site.store.lock(path, timeout))
        except PoolError as error:
            if not is_of_space(error):
                raise
            LOG.debug("%s is not locked: %s", path, error)
        yield


@dataclass
class _Moved:
    """A state's file in the trash: where it was and is, its record, bytes that it takes."""

    path: str
    kept: str
    record: bytes | None
    size: int


class _Collector:
    """Removes things one by one; what went to the trash is there until :meth:`purge`."""

    def __init__(self, site: Site, outcome: Outcome) -> None:
        self._site, self._outcome = site, outcome
        self._moved: list[_Moved] = []

    @property
    def kept(self) -> list[str]:
        """The files in the trash that are about to go."""
        return [path for moved in self._moved for path in _files(moved)]

    def carry_out(self, steps: Iterable[Eviction]) -> None:
        """Remove what was decided to go, as far as it is not needed."""
        for step in steps:
            if step.kind == STATE:
                self._state(step)
            elif step.kind == TRASH:
                self._site.drop(step.paths)
                self._done(step)
            elif self._site.drop_idle(step.paths):
                self._done(step)
            else:
                self._stays(step.paths[0], "somebody writes to it")

    def _state(self, step: Eviction) -> None:
        for number, (path, size) in enumerate(zip(step.paths, step.sizes, strict=True)):
            try:
                reason = self._evict(path, size)
            except (StateNeeded, LockTimeout, ImageRefused) as error:
                reason = str(error)
            if reason:
                self._stays(path, reason)
                if number:
                    # of a vm's state the rest goes when it is its turn again
                    self._done(step.first(number))
                return
        self._done(step)

    def _stays(self, path: str, reason: str) -> None:
        LOG.info("%s stays: %s", self._site.title(path), reason)
        self._outcome.refused[path] = reason

    def _done(self, step: Eviction) -> None:
        LOG.info("removed %s: %s bytes, %s", step.title, step.size, step.why)
        self._outcome.done.append(step)

    def _evict(self, path: str, size: int) -> str:
        """Move a state's file to the trash; return why it stays, empty if it went."""
        site, record = self._site, layout.record_path(path)
        with _locked(site, path, 0.0):
            who = pinned.needs(pinned.live(site), path)
            if who:
                return f"is needed by {who}"
            moved = _Moved(path, "", site.read([record]).get(record), size)
            moved.kept = site.evict(path)
            if not moved.kept:
                # for good, or to put it back: what it stands on waits for a new decision
                return "is gone from its place, somebody else removes it"
            try:
                reason = _needed(site, path)
            except ImageRefused as error:
                reason = str(error)
            except BaseException:
                # interrupted, or cut off: nobody said that it may go
                self._put_back(moved)
                raise
            if reason:
                self._put_back(moved)
                return reason
        self._moved.append(moved)
        return ""

    def _put_back(self, moved: _Moved) -> None:
        """Move a file back to its place, with its record; there may be a new one by now."""
        site, path = self._site, moved.path
        # the one that went with it is of this very file, whoever wrote others meanwhile
        beside = moved.kept + RECORD
        text = site.read([beside]).get(beside) or moved.record
        try:
            back = put_back(site, moved.kept, path, loosened(text) if text else None)
        except PoolError as error:
            if not is_of_space(error):
                raise
            back = self._back_without_room(moved, text)
        if back:
            site.store.used(path)

    def _back_without_room(self, moved: _Moved, text: bytes | None) -> bool:
        """Move a file back, and its record from the trash, which takes no room."""
        site, record = self._site, layout.record_path(moved.path)
        known = records.decode(text) if text else None
        # without a digest it would speak against the file, whose ctime is another one now
        useful = known and (known.info.digest or known.info.also or known.stamp is None)
        if not (useful and site.move_new(moved.kept + RECORD, record)):
            LOG.warning("the record of %s is lost: the disk is full", site.title(moved.path))
        return put_back(site, moved.kept, moved.path, None)

    def purge(self) -> None:
        """Remove from the trash what went there, unless somebody asks for it now."""
        pins = pinned.live(self._site) if self._moved else {}
        asked = [moved for moved in self._moved if pinned.needs(pins, moved.path)]
        gone = [moved for moved in self._moved if moved not in asked]
        self._site.drop(path for moved in gone for path in _files(moved))
        self._outcome.kept += sum(moved.size for moved in asked)
        self._moved.clear()


def _needed(site: Site, path: str) -> str:
    """Return why a state that is out of its place has to go back, empty if it has not."""
    directories = (layout.pins_dir(site.root), *intents_of(path))
    entries = site.ours(*directories)
    who = pinned.needs(pinned.among(site, entries), path)
    if who:
        return f"is needed by {who}"
    if any(os.path.dirname(entry.path) in directories[1:] for entry in entries):
        return "is beside an image that is being saved"
    # only now: what is being saved is noted until it is in place
    tops = [os.path.basename(top) for top in states_on(path, shelf=site.shelf(path))]
    return f"is needed by {', '.join(tops)}" if tops else ""


def _files(moved: _Moved) -> tuple[str, str]:
    return moved.kept, moved.kept + RECORD
