"""
Which tests of a graph have to run, and which are spared because their states are there.

A plan is a pure function of the graph, of what was asked for, and of what exists where.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from avocado_pool_plugin.core.errors import GraphRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph, Node

#: What becomes of a test.
RUN, REUSE, SKIP = "run", "reuse", "skip"


@dataclass(frozen=True)
class Found:
    """
    Where a state is, and whether it can be used.

    :param where: ``cache``, a pool's location, or empty if it is nowhere
    :param fetch: files that a get has to bring to the cache, with their bytes on disk
    :param problem: why the state counts as missing although it is there, empty if it is good
    """

    where: str = ""
    fetch: tuple[tuple[str, int], ...] = ()
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether a test can get it."""
        return bool(self.where) and not self.problem


@dataclass(frozen=True)
class Wish:
    """
    What was asked for.

    :param tests: names of the selected tests, in the order of the selection
    :param forced: names of tests to run although their states exist
    :param passed: tests not to run again, each with the reason
    """

    tests: tuple[str, ...]
    forced: frozenset[str] = frozenset()
    passed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """
    What becomes of one test.

    :param action: ``run``, ``reuse`` or ``skip``
    :param reason: why, in words
    :param selected: whether it was asked for, not only needed by others
    :param needs: tests that have to pass before it can run
    :param after: tests that have to be over before it may run, whatever became of them
    :param fetch: files to bring to the cache, with their bytes on disk
    :param replaces: states that are there but are made anew, with all that stands on them
    """

    test: str
    action: str
    reason: str
    selected: bool = True
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    fetch: tuple[tuple[str, int], ...] = ()
    replaces: tuple[State, ...] = ()


@dataclass(frozen=True)
class Plan:
    """
    What becomes of all tests that matter.

    :param steps: in an order in which they can run one after the other
    :param reused: states that are used and not made in this run, with where they are
    """

    steps: tuple[Step, ...]
    reused: Mapping[State, Found] = field(default_factory=dict)

    def named(self, *actions: str) -> tuple[str, ...]:
        """Return the names of the tests with one of some actions."""
        return tuple(step.test for step in self.steps if step.action in actions)

    @property
    def fetch(self) -> int:
        """Bytes to bring to the cache, each file once."""
        return sum({path: size for step in self.steps for path, size in step.fetch}.values())


def make_plan(graph: Graph, wish: Wish, found: Callable[[State], Found]) -> Plan:
    """
    Decide what runs, in which order.

    A selected test runs, unless all it is good for is there already: then its states are reused.
    Whatever a test that runs needs and what is not there is made by the test that sets it,
    selected or not; what stands on a state made anew has to be made anew as well.

    :param found: tells what exists; asked once for each state that matters
    :raises GraphRefused: the tests depend on each other in a circle; a state is needed that is
        nowhere and that no test sets, or that several tests set
    """
    unknown = [name for name in wish.tests if name not in graph.nodes]
    if unknown:
        raise GraphRefused(f"there is no test {unknown[0]!r} in the configuration")
    return _Planner(graph, wish, found).plan()


class _Planner:
    """The work on one plan: tests are added to those that run until nothing is missing."""

    def __init__(self, graph: Graph, wish: Wish, found: Callable[[State], Found]) -> None:
        self.graph, self.wish = graph, wish
        self._ask = found
        self._found: dict[State, Found] = {}
        #: tests that run, with the reason
        self.run: dict[str, str] = {}
        #: states that are made in this run, with the test that does it
        self.made: dict[State, str] = {}
        #: states that are there but stand on something that is made in this run
        self.stale: dict[State, State] = {}
        #: tests that run and need a state
        self._users: dict[State, list[str]] = {}
        self._work: deque[str] = deque()
        self._spared: dict[str, str] = {}

    def plan(self) -> Plan:
        self._refuse_rivals()
        selected = dict.fromkeys(self.wish.tests)
        for name in selected:
            self._consider(name)
        while self._work:
            self._provide(self._work.popleft())
        order = self._order()
        position = {name: number for number, name in enumerate(order)}
        spared = [name for name in selected if name not in self.run]
        steps = [self._spared_step(name) for name in spared]
        steps += [self._step(name, name in selected, position) for name in order]
        return Plan(tuple(steps), self._reused())

    def found(self, state: State) -> Found:
        if state not in self._found:
            self._found[state] = self._ask(state)
        return self._found[state]

    # -- what runs ---------------------------------------------------------------------------

    def _consider(self, name: str) -> None:
        """Let a selected test run, unless it need not."""
        node = self.graph.nodes[name]
        if name in self.wish.passed:
            self._spared[name] = self.wish.passed[name]
        elif name in self.wish.forced:
            self._add(name, "asked for")
        elif not node.sets:
            self._add(name, "selected")
        else:
            lacking = [made.state for made in node.sets if not self.found(made.state).good]
            if lacking:
                self._add(name, f"makes {lacking[0]}, which {self._lack(lacking[0])}")
            else:
                self._spared[name] = ""

    def _add(self, name: str, reason: str) -> None:
        if name in self.run:
            return
        self.run[name] = reason
        self._work.append(name)
        for made in self.graph.nodes[name].sets:
            self.made[made.state] = name
            for child in self.graph.children.get(made.state, ()):
                self._spoil(child, made.state)

    def _spoil(self, state: State, parent: State) -> None:
        """Let a state count as missing that stands on one that is made anew."""
        spoiled = deque([(state, parent)])
        while spoiled:
            state, parent = spoiled.popleft()
            if state in self.stale:
                continue
            self.stale[state] = parent
            # those who need it have to wait for it to be made anew
            for user in self._users.get(state, ()):
                self._require(user, state)
            for maker in self.graph.makers.get(state, ()):
                if maker in self._spared and maker not in self.wish.passed:
                    self._add(maker, f"makes {state}, which {self._lack(state)}")
            spoiled.extend((child, state) for child in self.graph.children.get(state, ()))

    def _provide(self, name: str) -> None:
        """See to it that all is there that a test that runs needs."""
        for want in self.graph.nodes[name].gets:
            if not want.optional:
                self._users.setdefault(want.state, []).append(name)
                self._require(name, want.state)

    def _require(self, name: str, state: State) -> None:
        if state in self.made or (self.found(state).good and state not in self.stale):
            return
        makers = self.graph.makers.get(state, ())
        if not makers:
            raise GraphRefused(
                f"test {name!r} needs state {state}, which {self._lack(state)} and which no test "
                f"of the configuration sets; add a test that sets it, or a pool that has it"
            )
        if len(makers) > 1:
            raise self._rivals(state, makers)
        self._add(makers[0], f"{name!r} needs {state}, which {self._lack(state)}")

    def _lack(self, state: State) -> str:
        if state in self.stale:
            return f"stands on {self.stale[state]}, made anew"
        return self.found(state).problem or "does not exist"

    # -- what can't be ------------------------------------------------------------------------

    def _refuse_rivals(self) -> None:
        """Refuse selected tests that set the same state."""
        selected = set(self.wish.tests)
        for name in dict.fromkeys(self.wish.tests):
            for made in self.graph.nodes[name].sets:
                rivals = [one for one in self.graph.makers[made.state] if one in selected]
                if len(rivals) > 1:
                    raise self._rivals(made.state, rivals)

    def _rivals(self, state: State, makers: Iterable[str]) -> GraphRefused:
        by = {maker: self.graph.made(maker, state).parent for maker in makers}
        if len(set(by.values())) > 1:
            ways = ", ".join(
                f"by {maker!r} on {f'state {parent}' if parent else 'no other state'}"
                for maker, parent in by.items()
            )
            return GraphRefused(
                f"state {state} is made from different parents: {ways}; give the states different "
                f"names, or select one of the tests"
            )
        return GraphRefused(
            f"state {state} is set by several tests: {', '.join(map(repr, by))}; select one of "
            f"them, or give the states different names"
        )

    # -- order --------------------------------------------------------------------------------

    def _needs(self, name: str) -> tuple[str, ...]:
        makers = (self.made.get(want.state) for want in self.graph.nodes[name].gets)
        return tuple(dict.fromkeys(maker for maker in makers if maker))

    def _after(self, node: Node, users: Mapping[State, list[str]]) -> tuple[str, ...]:
        """Return the tests that use what a test removes."""
        names = (name for state in node.unsets for name in users.get(state, ()))
        return tuple(dict.fromkeys(name for name in names if name != node.name))

    def _order(self) -> list[str]:
        """Return the tests that run in an order that works, near to the configuration's."""
        self._refuse_cycles()
        users: dict[State, list[str]] = {}
        for name in self.run:
            for want in self.graph.nodes[name].gets:
                users.setdefault(want.state, []).append(name)
        self._befores = {
            name: (self._needs(name), self._after(self.graph.nodes[name], users))
            for name in sorted(self.run, key=self._place())
        }
        sorter = TopologicalSorter(
            {name: (*needs, *after) for name, (needs, after) in self._befores.items()}
        )
        try:
            return list(sorter.static_order())
        except CycleError as error:
            raise _circle(error.args[1]) from error

    def _place(self) -> Callable[[str], int]:
        places = {name: number for number, name in enumerate(self.graph.nodes)}
        return places.__getitem__

    def _refuse_cycles(self) -> None:
        """Refuse a circle among all that matters, whether its states are there or not."""
        edges: dict[str, tuple[str, ...]] = {}
        waiting = list(self.wish.tests) + list(self.run)
        while waiting:
            name = waiting.pop()
            if name in edges:
                continue
            gets = self.graph.nodes[name].gets
            edges[name] = tuple(
                maker for want in gets for maker in self.graph.makers.get(want.state, ())
            )
            waiting.extend(edges[name])
        for name, needed in edges.items():
            if name in needed:
                raise _circle([name, name])
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            raise _circle(error.args[1]) from error

    # -- steps --------------------------------------------------------------------------------

    def _step(self, name: str, selected: bool, position: Mapping[str, int]) -> Step:
        node = self.graph.nodes[name]
        needs, after = self._befores[name]
        fetch = {
            path: size
            for want in node.gets
            if want.state not in self.made and self.found(want.state).good
            for path, size in self.found(want.state).fetch
        }
        replaces = tuple(made.state for made in node.sets if self.found(made.state).where)
        return Step(
            name,
            RUN,
            self.run[name],
            selected,
            tuple(sorted(needs, key=position.__getitem__)),
            tuple(sorted(after, key=position.__getitem__)),
            tuple(fetch.items()),
            replaces,
        )

    def _spared_step(self, name: str) -> Step:
        if self._spared[name]:
            return Step(name, SKIP, self._spared[name])
        states = [made.state for made in self.graph.nodes[name].sets]
        places = ", ".join(f"{state} is in {self.found(state).where}" for state in states)
        return Step(name, REUSE, places)

    def _reused(self) -> dict[State, Found]:
        """Return the states that somebody gets or was to make, and that are not made here."""
        used = [want.state for name in self.run for want in self.graph.nodes[name].gets]
        for name, reason in self._spared.items():
            if not reason and name not in self.run:
                used += [made.state for made in self.graph.nodes[name].sets]
        return {
            state: self.found(state)
            for state in used
            if state not in self.made and self.found(state).good
        }


def _circle(names: Iterable[str]) -> GraphRefused:
    # graphlib names each test before the one that it is needed by
    return GraphRefused(
        f"tests need each other in a circle: {' -> '.join(map(repr, names))}; each sets a state "
        f"that the next one gets"
    )
