"""
Which tests of a graph have to run, and which are spared because their states are there.

A plan is a pure function of the graph, of what was asked for, and of what exists where.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from avocado_pool_plugin.core.errors import GraphRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph, rivals
from avocado_pool_plugin.graph.sequence import refuse_circles, sequence

#: What becomes of a test.
RUN, REUSE, SKIP = "run", "reuse", "skip"


@dataclass(frozen=True)
class Found:
    """
    Where a state is, and whether it can be used.

    :param where: ``cache``, a pool's location, or empty if it is nowhere
    :param fetch: files that a get has to bring to the cache, with their bytes on disk
    :param problem: why the state counts as missing although it is there, empty if it is good
    :param note: what people have to know of a good one
    """

    where: str = ""
    fetch: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    note: str = ""

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
    :param passed: tests not to run again unless they are forced, each with the reason
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
        self.selected = dict.fromkeys(wish.tests)
        self._ask = found
        self._found: dict[State, Found] = {}
        #: tests that run, with the reason
        self.run: dict[str, str] = {}
        #: states that are made in this run, with the test that does it
        self.made: dict[State, str] = {}
        #: states that stand on something that is made in this run
        self.stale: dict[State, State] = {}
        #: selected tests that need not run
        self._spared: dict[str, None] = {}
        #: tests that run and need a state
        self._users: dict[State, list[str]] = {}
        #: states that several tests could make, and none of them is selected
        self._unclear: dict[State, None] = {}
        # what is still to be looked at: tests that run, and states with what they stand on
        self._new: deque[str] = deque()
        self._spoiled: deque[tuple[State, State]] = deque()

    def plan(self) -> Plan:
        self._close()
        self._refuse_rivals()
        refuse_circles(self.graph, self.selected, self._makers)
        waits = sequence(self.graph, self.run, self.made, self.stale)
        steps = [self._spared_step(name) for name in self.selected if name not in self.run]
        steps += [self._step(name, *befores) for name, befores in waits.items()]
        return Plan(tuple(steps), self._reused())

    def found(self, state: State) -> Found:
        if state not in self._found:
            self._found[state] = self._ask(state)
        return self._found[state]

    # -- what runs ---------------------------------------------------------------------------

    def _close(self) -> None:
        """Add tests until those that run have all that they need."""
        for name in self.selected:
            self._consider(name)
        while self._new or self._spoiled:
            if self._spoiled:
                self._spoil(*self._spoiled.popleft())
            else:
                self._provide(self._new.popleft())

    def _consider(self, name: str) -> None:
        """Let a selected test run, unless it need not."""
        sets = self.graph.nodes[name].sets
        if name in self.wish.forced:
            self._add(name, "asked for")
        elif name in self.wish.passed:
            self._spared[name] = None
        elif not sets:
            self._add(name, "selected")
        else:
            self._spared[name] = None
            for made in sets:
                if not self.found(made.state).good:
                    self._add(name, f"makes {made.state}, which {self._lack(made.state)}")

    def _add(self, name: str, reason: str) -> None:
        if name in self.run:
            return
        self.run[name] = reason
        self._new.append(name)
        for made in self.graph.nodes[name].sets:
            self.made[made.state] = name
            children = self.graph.children.get(made.state, ())
            self._spoiled.extend((child, made.state) for child in children)

    def _spoil(self, state: State, parent: State) -> None:
        """Let a state count as missing that stands on one that is made anew."""
        if state in self.stale:
            return
        self.stale[state] = parent
        self._spoiled.extend((child, state) for child in self.graph.children.get(state, ()))
        for maker in self.graph.makers.get(state, ()):
            if maker in self._spared and maker not in self.wish.passed:
                self._add(maker, f"makes {state}, which {self._lack(state)}")
        # those who need it have to wait for it to be made anew
        for user in self._users.get(state, ()):
            self._require(user, state)

    def _provide(self, name: str) -> None:
        """See to it that all is there that a test that runs needs."""
        for want in self.graph.nodes[name].gets:
            if not want.optional:
                self._users.setdefault(want.state, []).append(name)
                self._require(name, want.state)

    def _require(self, name: str, state: State) -> None:
        if state in self.made or self._usable(state):
            return
        makers = self._makers(state)
        if not makers:
            raise GraphRefused(
                f"test {name!r} needs state {state}, which {self._lack(state)} and which no test "
                f"of the configuration sets; add a test that sets it, or a pool that has it"
            )
        if len(makers) == 1:
            self._add(makers[0], f"{name!r} needs {state}, which {self._lack(state)}")
        else:
            # one of them may turn out to run for another state that it sets
            self._unclear[state] = None

    def _usable(self, state: State) -> bool:
        return self.found(state).good and state not in self.stale

    def _makers(self, state: State) -> tuple[str, ...]:
        """Return the tests that could make a state: the selected one, else all."""
        makers = self.graph.makers.get(state, ())
        return tuple(maker for maker in makers if maker in self.selected) or makers

    def _lack(self, state: State) -> str:
        found = self.found(state)
        if found.good:
            return f"stands on {self.stale[state]}, made anew"
        return found.problem or "does not exist"

    # -- what can't be ------------------------------------------------------------------------

    def _refuse_rivals(self) -> None:
        """Refuse tests that set the same state, if it can't be told which of them is meant."""
        for state in self._unclear:
            if state not in self.made:
                raise rivals(self.graph, state, self.graph.makers[state])
        for name in (*self.selected, *self.run):
            for made in self.graph.nodes[name].sets:
                makers = [
                    one
                    for one in self.graph.makers[made.state]
                    if one in self.selected or one in self.run
                ]
                if len(makers) > 1:
                    raise rivals(self.graph, made.state, makers)

    # -- steps --------------------------------------------------------------------------------

    def _step(self, name: str, needs: tuple[str, ...], after: tuple[str, ...]) -> Step:
        node = self.graph.nodes[name]
        fetch = {
            path: size
            for want in node.gets
            if want.state not in self.made and self._usable(want.state)
            for path, size in self.found(want.state).fetch
        }
        replaces = tuple(made.state for made in node.sets if self.found(made.state).where)
        return Step(
            name,
            RUN,
            self.run[name],
            name in self.selected,
            needs,
            after,
            tuple(fetch.items()),
            replaces,
        )

    def _spared_step(self, name: str) -> Step:
        if name in self.wish.passed:
            return Step(name, SKIP, self.wish.passed[name])
        states = [made.state for made in self.graph.nodes[name].sets]
        places = ", ".join(f"{state} is in {self.found(state).where}" for state in states)
        return Step(name, REUSE, places)

    def _reused(self) -> dict[State, Found]:
        """Return the states that somebody gets or was to make, and that are not made here."""
        used = [want.state for name in self.run for want in self.graph.nodes[name].gets]
        for name in self._spared:
            if name not in self.wish.passed and name not in self.run:
                used += [made.state for made in self.graph.nodes[name].sets]
        return {
            state: self.found(state)
            for state in used
            if state not in self.made and self._usable(state)
        }
