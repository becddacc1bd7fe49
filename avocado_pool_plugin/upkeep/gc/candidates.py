"""The states of a cache or pool, what stands on what, and why one of them can't go."""

import os
import statistics
from collections import defaultdict
from collections.abc import Iterator

from avocado_pool_plugin.core import chain
from avocado_pool_plugin.core.names import VM_SUFFIX
from avocado_pool_plugin.upkeep.gc import pinned
from avocado_pool_plugin.upkeep.gc.facts import Facts
from avocado_pool_plugin.upkeep.site import Item
from avocado_pool_plugin.upkeep.stock import last_uses
from avocado_pool_plugin.upkeep.trashcan import Thrown

#: Seconds for which a state stays after it was made or used: whoever did it may go on with it.
GRACE = 600.0
#: Seconds that it takes to make a state if nothing is known of that of any.
_REBUILD = 60.0
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


class Candidates:
    """
    States that go one by one.

    :ivar items: all of them, and root images, by path
    :ivar reasons: of those that can't go, why
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._used = last_uses(facts.notes)
        items = sorted(facts.items, key=lambda item: item.path)
        self.items = {item.path: item for item in items}
        self._named: dict[tuple[str, str], list[str]] = defaultdict(list)
        for item in items:
            if item.state and item.state.image is not None:
                above = os.path.dirname(os.path.dirname(item.path))
                self._named[above, item.state.name].append(item.path)
        self._on: dict[str, set[str]] = defaultdict(set)
        for item in items:
            for below in self._below(item):
                self._on[below].add(item.path)
        known = [seconds for item in items if (seconds := _seconds(item))]
        self._typical = statistics.median(known) if known else _REBUILD
        self._awaiting = dict(self._below_awaited())
        self.reasons: dict[str, str] = {}
        self._find_reasons()

    def may_go(self, path: str) -> bool:
        """Tell whether a state is there, may go, and nothing stands on it."""
        return path in self.items and path not in self.reasons and not self._on[path]

    def unit(self, path: str) -> tuple[Item, ...]:
        """Return what goes with a state: of a vm state its images' on which nothing else stands."""
        item = self.items[path]
        images = (below for below in self._below(item) if path.endswith(VM_SUFFIX))
        along = (below for below in images if self._on[below] == {path})
        return (item, *(self.items[below] for below in along if below not in self.reasons))

    def take(self, path: str) -> Iterator[str]:
        """Take a state away; yield those that it stood on, and what may have another score now."""
        for below in self._below(self.items.pop(path)):
            self._on[below].discard(path)
            yield below
            if len(self._on[below]) == 1:
                # a vm state that is alone on it now takes it along
                yield from self._on[below]

    def idle(self, unit: tuple[Item, ...]) -> float:
        """Return for how many seconds none of some states was used or made."""
        return max(0.0, self._facts.now - max(map(self._last, unit)))

    def rebuild(self, unit: tuple[Item, ...]) -> float:
        """Return how many seconds it takes to make a state again."""
        return max(_seconds(item) for item in unit) or self._typical

    def known(self, unit: tuple[Item, ...]) -> bool:
        """Tell whether that was recorded."""
        return any(_seconds(item) for item in unit)

    def _last(self, item: Item) -> float:
        return max(self._used.get(item.path, 0.0), item.made)

    def _below(self, item: Item) -> list[str]:
        """Return the states right below a state; a vm's stands on those of its images."""
        if item.state is None:
            return []
        directory = os.path.dirname(item.path)
        if item.state.image is not None:
            path = chain.state_file(directory, item.parent)
            return [path] if item.parent and path in self.items else []
        return self._named.get((directory, item.state.name), [])

    def _find_reasons(self) -> None:
        direct = {path: self._direct(item) for path, item in self.items.items()}
        waiting = [(path, reason) for path, reason in sorted(direct.items()) if reason]
        for path, reason in waiting:
            if path in self.reasons:
                continue
            self.reasons[path] = reason
            item = self.items[path]
            # a vm's state goes as a whole or not at all
            whole = [ram for ram in self._on[path] if ram.endswith(VM_SUFFIX) and direct[path]]
            waiting += [(ram, f"goes with {item.title}, which {reason}") for ram in sorted(whole)]
            waiting += [(below, f"{item.title} stands on it") for below in self._below(item)]

    def awaited(self, thrown: Thrown) -> str:
        """
        Return who needs a file of the trash that may be about to come back, empty if it may go.

        Who makes room moves a state there, looks for pins and puts it back if there is one; it may
        be at that right now where no lock keeps two of them apart.
        """
        stamp = thrown.entry.stamp
        if thrown.original in self.items or stamp is None:
            return ""
        if self._facts.now - stamp.ctime_ns / 1e9 > GRACE:
            return ""
        return pinned.needs(self._facts.pins, thrown.original)

    def _below_awaited(self) -> Iterator[tuple[str, str]]:
        """Yield what stands under files of the trash that may come back, with who needs those."""
        for thrown in self._facts.trash:
            who = self.awaited(thrown)
            if who and thrown.record and thrown.state:
                home = os.path.dirname(thrown.original)
                yield chain.state_file(home, thrown.record.info.parent), who
                for image in self._named.get((home, thrown.state.name), []):
                    yield image, who

    def _direct(self, item: Item) -> str:
        """Return why a state can't go whatever stands on it, empty if it can."""
        if item.state is None:
            return "is a root image"
        if item.entry.link:
            return f"is a link to {item.entry.link}"
        who = pinned.needs(self._facts.pins, item.path) or self._awaiting.get(item.path)
        if who:
            return f"is needed by {who}"
        if item.path in self._facts.held:
            return self._facts.held[item.path]
        if item.problem:
            return f"is not what it should be: {item.problem}"
        recent = self._facts.now - self._last(item)
        return f"was made or used {span(max(0.0, recent))} ago" if recent < GRACE else ""


def _seconds(item: Item) -> float:
    return item.peek.info.seconds if item.peek else 0.0


def span(seconds: float) -> str:
    """Return a number of seconds as people say it: ``3.2 d``."""
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
