"""In which order tests run: after those that make what they get, and before its removal."""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from avocado_pool_plugin.core.errors import GraphRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph, Node

#: What a test waits for: tests that have to pass, and tests that have to be over.
Befores = tuple[tuple[str, ...], tuple[str, ...]]


def sequence(
    graph: Graph,
    running: Iterable[str],
    made: Mapping[State, str],
    stale: Collection[State],
) -> dict[str, Befores]:
    """
    Return the tests that run, each with what it waits for, in an order that works.

    It is the configuration's order, as far as that works.

    :param made: states made in this run, with the test that does it
    :param stale: states that stand on one made in this run
    :raises GraphRefused: there is no such order, as tests remove what others still get
    """
    places = {name: number for number, name in enumerate(graph.nodes)}
    waits = _Waits(graph, sorted(running, key=places.__getitem__), made, stale)
    try:
        order = _order(waits.edges(), places)
    except CycleError as error:
        raise GraphRefused(
            f"tests wait for each other in a circle: {_arrows(error.args[1], graph)}; each sets a "
            f"state that the next one gets, or gets one that the next one removes"
        ) from error
    numbers = {name: number for number, name in enumerate(order)}
    return {name: waits.of(name, numbers) for name in order}


def _order(edges: Mapping[str, Iterable[str]], places: Mapping[str, int]) -> list[str]:
    """Return the order that works in which tests with a low place come as early as they can."""
    sorter = TopologicalSorter(edges)
    sorter.prepare()
    order: list[str] = []
    ready: list[tuple[int, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (places[name], name))
        order.append(heapq.heappop(ready)[1])
        sorter.done(order[-1])
    return order


class _Waits:
    """What tests wait for, by the states they have in common."""

    def __init__(
        self,
        graph: Graph,
        running: Iterable[str],
        made: Mapping[State, str],
        stale: Collection[State],
    ) -> None:
        self._graph, self._made, self._stale = graph, made, stale
        self._users: dict[State, list[str]] = {}
        nodes = [graph.nodes[name] for name in running]
        for node in nodes:
            for want in node.gets:
                self._users.setdefault(want.state, []).append(node.name)
        self._befores = {node.name: self._befores_of(node) for node in nodes}

    def edges(self) -> dict[str, tuple[str, ...]]:
        """Return all that each test waits for."""
        return {name: (*needs, *after) for name, (needs, after) in self._befores.items()}

    def of(self, name: str, numbers: Mapping[str, int]) -> Befores:
        """Return what a test waits for, sorted by the numbers of tests."""
        needs, after = self._befores[name]
        key = numbers.__getitem__
        return tuple(sorted(needs, key=key)), tuple(sorted(after, key=key))

    def _befores_of(self, node: Node) -> Befores:
        makers = (self._made.get(want.state) for want in node.gets if not want.optional)
        needs = dict.fromkeys(maker for maker in makers if maker)
        over = dict.fromkeys((*self._spoilers(node), *self._disturbed(node)))
        return tuple(needs), tuple(name for name in over if name not in (*needs, node.name))

    def _spoilers(self, node: Node) -> Iterator[str]:
        """Yield the tests that make, or make invalid, what a test gets if it is there."""
        seen: set[State] = set()
        waiting = [want.state for want in node.gets if want.optional]
        while waiting:
            state = waiting.pop()
            if state in self._made:
                yield self._made[state]
            elif state in self._stale and state not in seen:
                seen.add(state)
                waiting.extend(self._graph.parents(state))

    def _disturbed(self, node: Node) -> Iterator[str]:
        """Yield the tests that get what a test removes, or what stands on that."""
        seen = {made.state for made in node.sets if made.state not in node.unsets}
        waiting = list(node.unsets)
        while waiting:
            state = waiting.pop()
            if state not in seen:
                seen.add(state)
                yield from self._users.get(state, ())
                waiting.extend(self._graph.children.get(state, ()))


def refuse_circles(
    graph: Graph, names: Iterable[str], makers: Callable[[State], Collection[str]]
) -> None:
    """
    Refuse tests that get from each other, whether the states they get are there or not.

    :param names: of the tests that matter; those that make what they get matter as well
    :param makers: tells which tests could make a state
    :raises GraphRefused: the text names the tests
    """
    edges: dict[str, dict[str, None]] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in edges:
            continue
        edges[name] = {}
        for want in graph.nodes[name].gets:
            edges[name] |= dict.fromkeys(makers(want.state))
            if name in edges[name]:
                raise GraphRefused(
                    f"test {name!r} gets state {want.state}, which it sets itself; let it set a "
                    f"state of another name"
                )
        waiting.extend(edges[name])
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        raise GraphRefused(
            f"tests need each other in a circle: {_arrows(error.args[1], graph)}; each sets a "
            f"state that the next one gets"
        ) from error


def _arrows(circle: Sequence[str], graph: Graph) -> str:
    """Write down a circle of graphlib: each test is before the one that waits for it."""
    names = set(circle)
    first = circle.index(next(name for name in graph.nodes if name in names))
    return " -> ".join(map(repr, (*circle[first:-1], *circle[:first], circle[first])))
