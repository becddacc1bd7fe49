"""
What goes to keep a cache or pool under its limit, and why: decided here, done in act.py.

First what nobody needs: what dead processes left, then the trash, oldest first. Then states, leaves
before what they stand on, by (bytes x idle seconds) / seconds to rebuild, highest first. The state
of a vm goes as a whole. See docs/decisions/0016-eviction.rst.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from avocado_pool_plugin.upkeep.gc.candidates import Candidates, span
from avocado_pool_plugin.upkeep.gc.facts import Facts
from avocado_pool_plugin.upkeep.gc.ledger import Ledger
from avocado_pool_plugin.upkeep.site import Item
from avocado_pool_plugin.upkeep.trashcan import RECORD

#: Kinds of what goes.
LEFTOVER, TRASH, STATE = "leftover", "trash", "state"


@dataclass(frozen=True)
class Eviction:
    """
    Something that goes.

    :param kind: ``LEFTOVER``, ``TRASH`` or ``STATE``
    :param title: what users call it
    :param paths: its files, in the order in which they go
    :param sizes: bytes of disk that get free with each
    :param idle: seconds since it was used, or since it became what it is
    :param rebuild: seconds that it takes to make a state again
    :param score: what goes first has the highest
    :param why: in words
    """

    kind: str
    title: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    idle: float
    rebuild: float = 0.0
    score: float = 0.0
    why: str = ""

    @property
    def size(self) -> int:
        """Bytes of disk that get free."""
        return sum(self.sizes)

    def first(self, number: int) -> "Eviction":
        """Return the part of it that is its first files."""
        return replace(self, paths=self.paths[:number], sizes=self.sizes[:number])


@dataclass(frozen=True)
class Kept:
    """Something that counts and can't go, with the reason."""

    title: str
    path: str
    size: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """
    What goes, in this order.

    :param limit: bytes of disk that the cache or pool may take
    :param before: bytes that it takes
    :param kept: what can't go
    """

    limit: int
    before: int
    steps: tuple[Eviction, ...] = ()
    kept: tuple[Kept, ...] = ()

    @property
    def after(self) -> int:
        """How many bytes it takes when all of it went."""
        return self.before - sum(step.size for step in self.steps)

    @property
    def reached(self) -> bool:
        """Whether that is no more than the limit."""
        return self.after <= self.limit


def plan(facts: Facts, limit: int) -> Plan:
    """
    Decide what goes; nothing that is needed, and nothing if all is within the limit.

    If the limit can't be reached, all goes that can.
    """
    ledger, candidates = Ledger(facts), Candidates(facts)
    awaited = {thrown.path: candidates.awaited(thrown) for thrown in facts.trash}
    before = ledger.total
    steps: list[Eviction] = []
    if before > limit:
        for step in _all(facts, candidates, ledger, awaited):
            steps.append(step)
            if ledger.total <= limit:
                break
        while steps and not steps[-1].size:
            steps.pop()
    kept = list(_kept(facts, candidates, awaited))
    if ledger.total > limit:
        kept += _circles(candidates)
    return Plan(limit, before, tuple(steps), tuple(kept))


def _all(
    facts: Facts, candidates: Candidates, ledger: Ledger, awaited: Mapping[str, str]
) -> Iterator[Eviction]:
    """Yield all that can go, each when the one before it is gone."""
    yield from _leftovers(facts, ledger)
    yield from _trash(facts, ledger, awaited)
    yield from _states(candidates, ledger)


def _leftovers(facts: Facts, ledger: Ledger) -> Iterator[Eviction]:
    for entry in facts.leftovers:
        size = ledger.remove(entry.path)
        if size and entry.stamp:
            idle = max(0.0, facts.now - entry.stamp.mtime_ns / 1e9)
            why = f"left {span(idle)} ago by a process that did not end well"
            title = facts.relative(entry.path)
            yield Eviction(LEFTOVER, title, (entry.path,), (size,), idle, why=why)


def _trash(facts: Facts, ledger: Ledger, awaited: Mapping[str, str]) -> Iterator[Eviction]:
    for thrown in facts.trash:
        if not thrown.quarantined and not awaited[thrown.path]:
            idle = max(0.0, facts.now - thrown.thrown_at)
            paths = (thrown.path, thrown.path + RECORD)
            sizes = tuple(map(ledger.remove, paths))
            why = f"thrown away {span(idle)} ago"
            yield Eviction(TRASH, thrown.title, paths, sizes, idle, why=why)


def _states(candidates: Candidates, ledger: Ledger) -> Iterator[Eviction]:
    """Yield states, what scores highest first; what they stood on may be next."""
    heap: list[tuple[float, str]] = []

    def offer(path: str) -> None:
        if candidates.may_go(path):
            heapq.heappush(heap, (-_score(candidates, ledger, candidates.unit(path)), path))

    for path in candidates.items:
        offer(path)
    while heap:
        negative, path = heapq.heappop(heap)
        if not candidates.may_go(path):
            continue  # it is gone, with another one
        unit = candidates.unit(path)
        if -negative != _score(candidates, ledger, unit):
            offer(path)  # more gets free with it now, or goes with it
            continue
        step = _eviction(candidates, ledger, unit)
        for item in unit:
            for freed in candidates.take(item.path):
                offer(freed)
        yield step


def _score(candidates: Candidates, ledger: Ledger, unit: tuple[Item, ...]) -> float:
    size = sum(ledger.worth(item.path) for item in unit)
    return size * candidates.idle(unit) / candidates.rebuild(unit)


def _eviction(candidates: Candidates, ledger: Ledger, unit: tuple[Item, ...]) -> Eviction:
    idle, rebuild, score = (
        candidates.idle(unit),
        candidates.rebuild(unit),
        _score(candidates, ledger, unit),
    )
    sizes = tuple(ledger.remove(item.path) for item in unit)
    told = (
        f"made in {span(rebuild)}" if candidates.known(unit) else f"made in {span(rebuild)} or so"
    )
    paths = tuple(item.path for item in unit)
    why = f"not used for {span(idle)}, {told}"
    return Eviction(STATE, unit[0].title, paths, sizes, idle, rebuild, score, why)


def _circles(candidates: Candidates) -> Iterator[Kept]:
    """Yield what is left when all went that could: states that stand on each other."""
    for path, item in sorted(candidates.items.items()):
        if path not in candidates.reasons:
            yield Kept(item.title, path, item.entry.allocated, "stands on itself, in a circle")


def _kept(facts: Facts, candidates: Candidates, awaited: Mapping[str, str]) -> Iterator[Kept]:
    """Yield all that counts and can't go; ``awaited``: who needs what is in the trash."""
    for path, reason in sorted(candidates.reasons.items()):
        item = candidates.items[path]
        # links count nothing
        if not item.entry.link:
            yield Kept(item.title, path, item.entry.allocated, reason)
    for thrown in facts.trash:
        if thrown.quarantined:
            yield Kept(thrown.title, thrown.path, thrown.size, "is damaged, and in quarantine")
        elif who := awaited.get(thrown.path):
            yield Kept(thrown.title, thrown.path, thrown.size, f"is needed by {who}")
