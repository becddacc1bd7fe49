"""Tests by the states they get and set; nothing here knows Avocado, params or files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from avocado_pool_plugin.core.errors import GraphRefused
from avocado_pool_plugin.core.names import State


@dataclass(frozen=True)
class Want:
    """
    A state that a test gets.

    :param optional: the test runs without it as well (its mode ignores a missing state)
    """

    state: State
    optional: bool = False


@dataclass(frozen=True)
class Made:
    """
    A state that a test sets.

    :param parent: the state of the same object that it stands on, None for none
    """

    state: State
    parent: State | None = None


@dataclass(frozen=True)
class Node:
    """
    A test.

    :param name: unique in a graph, as users know it
    :param gets: states it gets, before it begins
    :param sets: states it leaves behind when it passed
    :param unsets: states it removes when it passed
    :param files: absolute paths of working images that it shares with others who name them
    """

    name: str
    gets: tuple[Want, ...] = ()
    sets: tuple[Made, ...] = ()
    unsets: tuple[State, ...] = ()
    files: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Graph:
    """
    All tests of a configuration.

    :param nodes: by name, in the order of the configuration
    :param makers: names of the tests that set a state
    :param children: states made on a state
    """

    nodes: Mapping[str, Node]
    makers: Mapping[State, tuple[str, ...]] = field(repr=False)
    children: Mapping[State, tuple[State, ...]] = field(repr=False)

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> "Graph":
        """
        Return the graph of some tests.

        :raises GraphRefused: two tests have the same name
        """
        by_name: dict[str, Node] = {}
        makers: dict[State, dict[str, None]] = {}
        children: dict[State, dict[State, None]] = {}
        for node in nodes:
            if node.name in by_name:
                raise GraphRefused(
                    f"two tests are called {node.name!r}; give their variants different names"
                )
            by_name[node.name] = node
            for made in node.sets:
                makers.setdefault(made.state, {})[node.name] = None
                if made.parent and made.parent != made.state:
                    children.setdefault(made.parent, {})[made.state] = None
        return cls(
            by_name,
            {state: tuple(names) for state, names in makers.items()},
            {state: tuple(found) for state, found in children.items()},
        )

    def made(self, name: str, state: State) -> Made:
        """Return how a test makes a state."""
        return next(made for made in self.nodes[name].sets if made.state == state)

    def parents(self, state: State) -> tuple[State, ...]:
        """Return the states that a state may stand on, one for each test that makes it on one."""
        ways = (self.made(name, state).parent for name in self.makers.get(state, ()))
        return tuple(parent for parent in ways if parent)


def rivals(graph: Graph, state: State, names: Iterable[str]) -> GraphRefused:
    """Return the error for several tests that set the same state."""
    parents = {name: graph.made(name, state).parent for name in names}
    if len(set(parents.values())) > 1:
        ways = ", ".join(
            f"by {name!r} on {f'state {parent}' if parent else 'no other state'}"
            for name, parent in parents.items()
        )
        return GraphRefused(
            f"state {state} is made from different parents: {ways}; give the states different "
            f"names, or select one of the tests"
        )
    return GraphRefused(
        f"state {state} is set by several tests: {', '.join(map(repr, parents))}; select one of "
        f"them, or give the states different names"
    )
