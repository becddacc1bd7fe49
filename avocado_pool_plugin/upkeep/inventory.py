"""What caches and pools hold together: one tree of states for all of them."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.upkeep.comparing import DIFFERENT, UNKNOWN, compare
from avocado_pool_plugin.upkeep.site import Item
from avocado_pool_plugin.upkeep.stock import Stock, allocated

#: Where a state is: in the cache, in pools, in both and equal, in several that differ, or in
#: several of which that is not known.
CACHE, POOL, BOTH, STALE, UNSURE = "cache", "pool", "cache+pool", "stale", "unknown"
#: What the lines of a tree are.
OBJECT, IMAGE, IMAGE_STATE, VM_STATE, ROOT_IMAGE = "object", "image", "state", "vm state", "root"
NEEDED, MISSING = "needs", "missing"


@dataclass(frozen=True)
class Holding:
    """
    A state, or a root image, wherever it is.

    :param copies: the places that have it, the cache first, and its file in each
    """

    copies: tuple[tuple[Stock, Item], ...]

    @property
    def item(self) -> Item:
        """Its file in the first place that has it."""
        return self.copies[0][1]

    @property
    def stock(self) -> Stock:
        """The first place that has it."""
        return self.copies[0][0]

    @functools.cached_property
    def presence(self) -> str:
        """Where it is, in a word."""
        first, item = self.copies[0]
        kinds = {
            compare(item, other, first.host == stock.host).kind for stock, other in self.copies[1:]
        }
        cached, pooled = first.cache, any(not stock.cache for stock, _ in self.copies)
        if DIFFERENT in kinds:
            return STALE
        if UNKNOWN in kinds and cached:
            return UNSURE
        return BOTH if cached and pooled else CACHE if cached else POOL

    @property
    def where(self) -> list[str]:
        """The locations of the places that have it."""
        return [stock.where for stock, _ in self.copies]

    @property
    def size(self) -> int:
        """Bytes on disk of its own file."""
        return allocated([self.item])

    @property
    def chain_size(self) -> int:
        """Bytes on disk of all files that it needs."""
        return allocated(self.stock.needed(self.item))

    @property
    def last_use(self) -> float:
        """When it was used or made last anywhere, in seconds since 1970."""
        return max(stock.last_use(item) for stock, item in self.copies)

    @property
    def problem(self) -> str:
        """What is wrong with it, with the places where that is so; empty if all is well."""
        found: dict[str, list[str]] = defaultdict(list)
        for stock, item in self.copies:
            problem = stock.problem(item)
            if problem:
                found[problem].append(stock.where)
        if len(self.copies) == 1:
            return "; ".join(found)
        return "; ".join(f"{text} ({', '.join(places)})" for text, places in found.items())


@dataclass(frozen=True)
class Line:
    """
    A line of the tree.

    :param depth: how deep it is in the tree, 0 for an object
    :param kind: ``OBJECT``, ``IMAGE``, ``IMAGE_STATE``, ``VM_STATE``, ``ROOT_IMAGE``, ``NEEDED``
        for an image state that a vm state needs, ``MISSING`` for a state that others stand on
    :param name: what it is called there
    :param holding: of a state or root image
    """

    depth: int
    kind: str
    name: str
    holding: Holding | None = None


class Inventory:
    """
    All that some caches and pools hold.

    :param stocks: what each of them holds, the cache first
    """

    def __init__(self, stocks: Sequence[Stock]) -> None:
        copies: dict[str, list[tuple[Stock, Item]]] = defaultdict(list)
        for stock in stocks:
            for item in stock.items:
                copies[stock.key(item)].append((stock, item))
        #: All states and root images by path below a cache or pool.
        self.holdings: Mapping[str, Holding] = {
            key: Holding(tuple(copies[key])) for key in sorted(copies)
        }

    def find(self, state: State) -> Holding | None:
        """Return a state, None if no place has it."""
        return self.holdings.get(state.path)

    def lines(self) -> Iterator[Line]:
        """Yield the tree of all objects, their images and the chains of these, from the top."""
        objects: dict[str, list[Holding]] = defaultdict(list)
        for key, holding in self.holdings.items():
            objects[key.partition("/")[0]].append(holding)
        for name in sorted(objects):
            yield Line(0, OBJECT, name)
            images: dict[str, list[Holding]] = defaultdict(list)
            for holding in objects[name]:
                state = holding.item.state
                if state is not None and state.image is not None:
                    images[state.image].append(holding)
                else:
                    yield from _whole(holding)
            for image in sorted(images):
                yield Line(1, IMAGE, image)
                yield from _chains(images[image])


def _whole(holding: Holding) -> Iterator[Line]:
    """Yield the lines of a vm state or a root image."""
    state = holding.item.state
    if state is None:
        yield Line(1, ROOT_IMAGE, holding.item.title.partition("/")[2], holding)
        return
    yield Line(1, VM_STATE, state.name, holding)
    for part in holding.stock.images(holding.item):
        yield Line(2, NEEDED, part.title.partition("/")[2])


def _chains(states: Iterable[Holding]) -> Iterator[Line]:
    """Yield the lines of all states of an image, each after the one that it stands on."""
    named = {holding.item.state.name: holding for holding in states if holding.item.state}
    tops: dict[str, list[str]] = defaultdict(list)
    for name, holding in named.items():
        tops[holding.item.parent].append(name)
    missing = sorted(tops.keys() - named.keys() - {""})
    done: set[str] = set()
    yield from _below(tops[""], named, tops, done)
    for name in missing:
        yield Line(2, MISSING, name)
        yield from _below(tops[name], named, tops, done, 3)
    # states that stand on themselves
    while len(done) < len(named):
        first = min(named.keys() - done)
        yield from _below([first], named, tops, done)


def _below(
    starts: Iterable[str],
    named: Mapping[str, Holding],
    tops: Mapping[str, list[str]],
    done: set[str],
    depth: int = 2,
) -> Iterator[Line]:
    """Yield the lines of states and of all that stands on them."""
    waiting = [(depth, name) for name in reversed(list(starts))]
    while waiting:
        at, name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        yield Line(at, IMAGE_STATE, name, named[name])
        waiting += [(at + 1, top) for top in reversed(tops.get(name, []))]
