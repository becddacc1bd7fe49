"""Which tests the step ``update`` runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.core.errors import GraphRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.between import makers_between
from avocado_pool_plugin.graph.model import Graph, Made, Node, Want


def state(name, vm="vm1"):
    return State(vm, "image1", name)


def maker(name, parent="", vm="vm1"):
    on = state(parent, vm) if parent else None
    gets = (Want(on),) if on else ()
    return Node(f"make-{vm}-{name}", gets, (Made(state(name, vm), on),))


#: a <- b <- c, a <- d; and the same names on another vm, where c stands on a
GRAPH = Graph.of([
    Node("user", (Want(state("c")),)),
    maker("c", "b"), maker("a"), maker("b", "a"), maker("d", "a"),
    maker("a", vm="vm2"), maker("c", "a", vm="vm2"),
])  # fmt: skip
VM1, VM2 = ("vm1", "image1"), ("vm2", "image1")


@pytest.mark.parametrize(
    ("first", "last", "made"),
    [
        ("", "", "cabd"),
        ("b", "", "cb"),
        ("", "b", "ab"),
        ("a", "c", "cab"),
        ("b", "c", "cb"),
        ("d", "d", "d"),
        ("", "a", "a"),
    ],
)
def test_from_one_state_to_another(first, last, made):
    assert makers_between(GRAPH, [VM1], first, last) == tuple(f"make-vm1-{name}" for name in made)


def test_each_object_has_its_own():
    found = makers_between(GRAPH, [VM1, VM2], "a", "c")
    assert found == tuple(f"make-{n}" for n in ("vm1-c", "vm1-a", "vm1-b", "vm2-a", "vm2-c"))
    # what one object lacks is left out of it
    assert makers_between(GRAPH, [VM1, VM2], "b") == ("make-vm1-c", "make-vm1-b")


@pytest.mark.parametrize(
    ("owners", "first", "last", "told"),
    [
        ([VM2], "b", "", "'b' of vm2/image1"),
        ([VM1], "", "z", "'z' of vm1/image1, they set 'a', 'b', 'c', 'd'"),
        ([VM1], "d", "c", "'c' of vm1/image1 does not stand on state 'd'"),
        ([("vm3", None)], "", "", "no test of the configuration sets a state of vm3"),
        ([], "", "", "any object"),
    ],
)
def test_what_is_not_there_is_one_sentence(owners, first, last, told):
    with pytest.raises(GraphRefused) as error:
        makers_between(GRAPH, owners, first, last)
    assert told in str(error.value)


@st.composite
def trees(draw):
    """Return the parent of each state by number, -1 for none, in a mixed order."""
    size = draw(st.integers(1, 12))
    parents = [draw(st.integers(-1, number - 1)) for number in range(size)]
    return parents, draw(st.permutations(range(size)))


@given(trees(), st.data())
def test_it_is_the_path_between_the_two(tree, data):
    parents, order = tree
    graph = Graph.of(maker(f"s{n}", f"s{parents[n]}" if parents[n] >= 0 else "") for n in order)

    def line(number):
        return [number, *line(parents[number])] if number >= 0 else []

    first, last = (data.draw(st.sampled_from(range(len(parents)))) for _ in "12")
    wanted = {n for n in line(last) if first in line(n)}
    if not wanted:
        with pytest.raises(GraphRefused):
            makers_between(graph, [VM1], f"s{first}", f"s{last}")
        return
    found = makers_between(graph, [VM1], f"s{first}", f"s{last}")
    assert found == tuple(f"make-vm1-s{n}" for n in order if n in wanted)
    above = {n for n in range(len(parents)) if first in line(n)}
    assert set(makers_between(graph, [VM1], f"s{first}")) == {f"make-vm1-s{n}" for n in above}
