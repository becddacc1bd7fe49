"""What runs: against a naive model of the rules, and by examples."""

import contextlib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from avocado_pool_plugin.core.errors import GraphRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph, Made, Node, Want
from avocado_pool_plugin.graph.plan import REUSE, RUN, Found, Wish, make_plan

#: Images of two vms and a vm with its RAM; a state of a lower number can be the parent of a higher.
STATES = tuple(
    State(vm, image, name)
    for name, (vm, image) in product(
        "abc", [("vm1", "image1"), ("vm2", "image1"), ("vm2", None)]
    )
)  # fmt: skip
GOOD, GONE = Found("cache"), Found()
KINDS = (
    GOOD,
    GONE,
    Found(":/pool", (("/pool/x.qcow2", 5), ("/pool/y.qcow2", 7))),
    Found("cache", problem="is corrupt"),
)


# -- random graphs --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Tests, a wish, and what exists."""

    nodes: tuple[Node, ...]
    wish: Wish
    world: Mapping[State, Found]


def cases(kinds=KINDS):
    """Random cases; the smaller ones are tried first when one fails."""
    numbers = (
        st.integers(0, 2**32),
        st.integers(1, len(STATES)),
        st.integers(0, 6),
        st.integers(0, 3),
    )
    return st.builds(random_case, *numbers, st.just(kinds))


def random_case(seed, states, users, wild, kinds):
    """
    :param states: how many states there are
    :param users: how many tests make nothing
    :param wild: how many tests may make circles and rivals
    """
    dice = random.Random(seed)
    known = STATES[:states]
    nodes = [*makers(dice, known), *(Node("", wants(dice, known)) for _ in range(users))]
    for _ in range(wild):
        gets = wants(dice, known)
        made = dice.sample(known, dice.choice([0, 1, 1, min(2, states)]))
        gone = dice.sample(known, dice.choice([0, 0, 1]))
        sets = tuple(Made(state, parent(dice, state, gets)) for state in made)
        nodes.append(Node("", gets, sets, tuple(gone)))
    dice.shuffle(nodes)
    named = tuple(replace(node, name=f"t{number}") for number, node in enumerate(nodes))
    world = {state: dice.choice(kinds) for state in STATES}
    return Case(named, random_wish(dice, [node.name for node in named]), world)


def makers(dice, states):
    """Yield tests that make the states, each from some before it."""
    states = [state for state in states if dice.random() < 0.95]
    while states:
        count = dice.choice([1, 1, 1, 2])
        made, states = states[:count], states[count:]
        gets = wants(dice, STATES[: STATES.index(made[0])])
        yield Node("", gets, tuple(Made(state, parent(dice, state, gets)) for state in made))


def wants(dice, states):
    count = dice.choice([0, 1, 1, 2, 3])
    found = dice.sample(states, min(count, len(states)))
    return tuple(Want(state, dice.random() < 0.2) for state in found)


def parent(dice, state, gets):
    """The state that it stands on: one that the test got of the same object, or none."""
    got = [want.state for want in gets]
    same = [one for one in got if (one.object_id, one.image) == (state.object_id, state.image)]
    return dice.choice([*same, None]) if dice.random() < 0.3 else next(iter(same), None)


def random_wish(dice, names):
    if not names:
        return Wish(())
    tests = dice.sample(names, dice.randint(1, len(names)))
    few = dice.choice([0, 0, 1, 2])
    forced, passed = dice.choices(names, k=few), dice.choices(names, k=dice.choice([0, 0, few]))
    return Wish(tuple(tests), frozenset(forced), dict.fromkeys(passed, "passed before"))


def planned(nodes, wish, world):
    return make_plan(Graph.of(nodes), wish, lambda state: world.get(state, GONE))


# -- the naive model ------------------------------------------------------------------------------


class Refused(Exception):
    """The naive model has no plan either."""


def sets_of(node):
    return {made.state for made in node.sets}


class Naive:
    """The rules, applied to everything again and again until nothing changes."""

    def __init__(self, nodes, wish, world) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.wish, self.world = wish, world
        self.run: set[str] = set()
        self.circles()
        while self.grow():
            pass
        self.rivals()
        self.befores = {name: self.waits_for(self.nodes[name]) for name in self.run}
        if circle(self.befores):
            raise Refused("circle of waiting")

    def makers(self, state):
        """Those that could make a state: the selected ones, else all."""
        makers = {name for name, node in self.nodes.items() if state in sets_of(node)}
        return makers & set(self.wish.tests) or makers

    @property
    def made(self):
        return {state for name in self.run for state in sets_of(self.nodes[name])}

    @property
    def stale(self):
        return above(self.nodes.values(), self.made)

    def usable(self, state):
        return self.world[state].good and state not in self.stale

    def grow(self):
        """Add one test that has to run; tell whether there was one."""
        new = {name for name in self.wish.tests if self.starts(self.nodes[name])}
        for state in {state for _, state in self.lacking()}:
            if not self.makers(state):
                raise Refused("nobody makes it")
            if len(self.makers(state)) == 1:
                new |= self.makers(state)
        new -= self.run
        self.run |= new
        return bool(new)

    def starts(self, node):
        """Whether a selected test runs for its own sake."""
        if node.name in self.wish.forced:
            return True
        if node.name in self.wish.passed:
            return False
        return not node.sets or any(not self.usable(state) for state in sets_of(node))

    def lacking(self):
        return {
            (name, want.state)
            for name in self.run
            for want in self.nodes[name].gets
            if not want.optional and want.state not in self.made and not self.usable(want.state)
        }

    def rivals(self):
        if self.lacking():
            raise Refused("several could make it")
        matter = self.run | set(self.wish.tests)
        for state in STATES:
            if sum(state in sets_of(self.nodes[name]) for name in matter) > 1:
                raise Refused("several make it")

    def circles(self):
        """Refuse a circle among the selected and all that could make what they get, and so on."""
        gets_from = {
            name: {maker for want in node.gets for maker in self.makers(want.state)}
            for name, node in self.nodes.items()
        }
        reached = closure(gets_from)
        for name in self.wish.tests:
            if any(one in reached[one] for one in reached[name] | {name}):
                raise Refused("circle")

    def waits_for(self, node):
        """Makers of what it gets, of what makes that invalid, and users of what it removes."""
        waits = set()
        for want in node.gets:
            if want.state in self.made:
                waits |= self.makers_here(want.state)
            elif want.optional and want.state in self.stale:
                for below in self.below(want.state):
                    waits |= self.makers_here(below)
        own = sets_of(node) - set(node.unsets)
        gone = above_without(self.nodes.values(), set(node.unsets), own)
        for name in self.run:
            if any(want.state in gone for want in self.nodes[name].gets):
                waits.add(name)
        return waits - {node.name}

    def makers_here(self, state):
        return {name for name in self.run if state in sets_of(self.nodes[name])}

    def below(self, state):
        """The nearest states made here that a state may stand on."""
        found, seen, waiting = set(), set(), {state}
        while waiting:
            one = waiting.pop()
            seen.add(one)
            if one in self.made:
                found.add(one)
                continue
            for node in self.nodes.values():
                waiting |= {made.parent for made in node.sets if made.state == one and made.parent}
            waiting -= seen
        return found


def above(nodes, states):
    """All states that may stand on some others, those left out unless they stand on another."""
    found: set[State] = set()
    while True:
        more = {
            made.state
            for node in nodes
            for made in node.sets
            if made.parent in states | found and made.parent != made.state
        }
        if more <= found:
            return found
        found |= more


def above_without(nodes, states, without):
    """States and all that stands on them, but not by way of some."""
    found = set(states)
    while True:
        more = {
            made.state
            for node in nodes
            for made in node.sets
            if made.parent in found and made.state not in without
        }
        if more <= found:
            return found
        found |= more


def closure(edges):
    """What can be reached from each, in one step or more."""
    reached = {name: set(nexts) for name, nexts in edges.items()}
    changed = True
    while changed:
        changed = False
        for name, nexts in reached.items():
            more = set().union(*(reached[one] for one in nexts), nexts)
            if more != nexts:
                reached[name], changed = more, True
    return reached


def circle(edges):
    return any(name in nexts for name, nexts in closure(edges).items())


def plan_of(case):
    """Return the plan of a case, None if it was refused."""
    try:
        return planned(case.nodes, case.wish, case.world)
    except GraphRefused as refused:
        assert "\n" not in str(refused)
        return None


# -- properties -----------------------------------------------------------------------------------


@settings(max_examples=1500)
@given(cases())
def test_a_plan_is_what_a_naive_model_finds(case):
    """And there is none only if the model sees why: a circle, rivals, nobody to make a state."""
    plan = plan_of(case)
    try:
        naive = Naive(case.nodes, case.wish, case.world)
    except Refused as reason:
        event(f"refused: {reason}")
        assert plan is None
        return
    event(f"runs {min(len(naive.run), 9)}")
    assert plan, "refused"
    assert set(plan.named(RUN)) == naive.run
    for step in plan.steps:
        befores = {*step.needs, *step.after}
        assert befores == (naive.befores[step.test] if step.action == RUN else set())


@settings(max_examples=1000)
@given(cases())
def test_a_plan_is_closed_minimal_and_in_order(case):
    """As its words say, whatever way it was found."""
    plan = plan_of(case)
    assume(plan)
    by_name = {node.name: node for node in case.nodes}
    running = {step.test: step for step in plan.steps if step.action == RUN}
    made = {state: name for name in running for state in sets_of(by_name[name])}
    stale = above(case.nodes, set(made))
    usable = {s for s in STATES if case.world[s].good and s not in stale and s not in made}
    for name, step in running.items():
        gets = {want.state for want in by_name[name].gets}
        check_closed(by_name[name], step, made, usable)
        assert set(step.fetch) == {file for s in gets & usable for file in case.world[s].fetch}
        assert step.selected or any(
            made.get(want.state) == name and not want.optional and lacks(case, want.state, stale)
            for other in running
            for want in by_name[other].gets
        )
    reused = {s: case.world[s] for name in running for s in states_got(by_name[name]) & usable}
    for step in plan.steps:
        if step.action == REUSE:
            assert sets_of(by_name[step.test]) <= usable
            reused |= {s: case.world[s] for s in sets_of(by_name[step.test])}
    assert plan.reused == reused
    check_order(case.wish, plan)


def lacks(case, state, stale):
    return not case.world[state].good or state in stale


def states_got(node):
    return {want.state for want in node.gets}


def check_closed(node, step, made, usable):
    """What a test needs is there and good, or is made by a test that it waits for."""
    for want in node.gets:
        if want.state in made:
            assert made[want.state] in (*step.needs, *(step.after if want.optional else ()))
        elif not want.optional:
            assert want.state in usable
    assert set(step.needs) <= {made.get(want.state) for want in node.gets if not want.optional}


def check_order(wish, plan):
    """Each selected test has one step, and each step comes after what it waits for."""
    seen: set[str] = set()
    for step in plan.steps:
        assert step.test not in seen
        assert {*step.needs, *step.after} <= seen
        assert len({*step.needs, *step.after}) == len((*step.needs, *step.after))
        assert step.selected == (step.test in wish.tests)
        seen.add(step.test)
    assert set(wish.tests) <= seen


@settings(max_examples=500)
@given(cases(), st.randoms(use_true_random=False))
def test_a_plan_does_not_depend_on_the_order_of_anything(case, dice):
    nodes, tests = list(case.nodes), list(case.wish.tests)
    dice.shuffle(nodes)
    dice.shuffle(tests)
    one = plan_of(case)
    other = plan_of(Case(tuple(nodes), replace(case.wish, tests=tuple(tests)), case.world))
    assert plan_of(case) == one
    assert (one is None) == (other is None)
    assume(one)
    by_name = {step.test: step for step in other.steps}
    for step in one.steps:
        again = by_name[step.test]
        assert (again.action, again.selected) == (step.action, step.selected)
        assert (set(again.needs), set(again.after)) == (set(step.needs), set(step.after))
    assert one.reused == other.reused


@settings(max_examples=300)
@given(cases(kinds=[GOOD]))
def test_where_all_is_there_only_what_makes_nothing_runs(case):
    plan = plan_of(replace(case, wish=replace(case.wish, forced=frozenset())))
    assume(plan)
    makers = {node.name for node in case.nodes if node.sets}
    assert set(plan.named(RUN)) == set(case.wish.tests) - makers - set(case.wish.passed)


@settings(max_examples=500)
@given(cases(), st.sampled_from(STATES))
def test_the_more_there_is_the_less_runs(case, state):
    one = plan_of(case)
    other = plan_of(replace(case, world={**case.world, state: GOOD}))
    assume(one and other)
    assert set(other.named(RUN)) <= set(one.named(RUN))


@settings(max_examples=300)
@given(cases())
def test_each_state_is_looked_for_once(case):
    asked = []
    with contextlib.suppress(GraphRefused):
        make_plan(
            Graph.of(case.nodes),
            case.wish,
            lambda state: asked.append(state) or case.world[state],
        )
    assert len(set(asked)) == len(asked)


# -- examples -------------------------------------------------------------------------------------


def image(name):
    return State("vm1", "image1", name)


def test_of(name, gets="", sets="", unsets=""):
    """A test of one image; gets, sets and unsets are names of states, ``x?`` is optional."""
    got = [Want(image(one.rstrip("?")), one.endswith("?")) for one in gets.split()]
    parent = got[0].state if got else None
    made = tuple(Made(image(one), parent) for one in sets.split())
    return Node(name, tuple(got), made, tuple(map(image, unsets.split())))


test_of.__test__ = False  # type: ignore[attr-defined]

#: a chain of three states and a test at its end
CHAIN = (
    test_of("installs", "", "install"),
    test_of("customizes", "install", "customize"),
    test_of("connects", "customize", "connect"),
    test_of("uses", "connect"),
)


def plan_for(nodes, tests, there="", **wish):
    """A plan for some tests, where some states are there."""
    world = {image(name): GOOD for name in there.split()}
    return planned(nodes, Wish(tuple(tests.split()), **wish), world)


def refusal(nodes, tests, there=""):
    with pytest.raises(GraphRefused) as caught:
        plan_for(nodes, tests, there)
    return str(caught.value)


def test_all_that_is_needed_runs_although_one_test_was_selected():
    plan = plan_for(CHAIN, "uses")
    assert plan.named(RUN) == ("installs", "customizes", "connects", "uses")
    assert [step.selected for step in plan.steps] == [False, False, False, True]
    assert [step.needs for step in plan.steps] == [(), *((name,) for name in plan.named(RUN)[:3])]
    assert [step.reason for step in plan.steps] == [
        "'customizes' needs 'install' of vm1/image1, which does not exist",
        "'connects' needs 'customize' of vm1/image1, which does not exist",
        "'uses' needs 'connect' of vm1/image1, which does not exist",
        "selected",
    ]


def test_a_state_that_is_there_spares_all_below_it():
    plan = plan_for(CHAIN, "uses", "connect")
    assert plan.named(RUN) == ("uses",)
    assert plan.reused == {image("connect"): GOOD}


def test_a_state_that_is_there_spares_its_selected_maker():
    plan = plan_for(CHAIN, "customizes uses", "customize")
    assert [(step.test, step.action, step.reason) for step in plan.steps] == [
        ("customizes", "reuse", "'customize' of vm1/image1 is in cache"),
        ("connects", "run", "'uses' needs 'connect' of vm1/image1, which does not exist"),
        ("uses", "run", "selected"),
    ]
    assert plan.reused == {image("customize"): GOOD}


def test_a_deleted_state_in_the_middle_is_made_again_alone():
    plan = plan_for(CHAIN, "customizes", "install connect")
    assert plan.named(RUN) == ("customizes",)
    assert plan.steps[0].reason == "makes 'customize' of vm1/image1, which does not exist"


def test_what_stands_on_a_state_made_anew_is_made_anew_if_it_is_needed():
    plan = plan_for((*CHAIN, test_of("looks", "customize")), "looks uses", "install connect")
    assert plan.named(RUN) == ("customizes", "connects", "uses", "looks")
    connects = plan.steps[1]
    assert connects.reason == (
        "'uses' needs 'connect' of vm1/image1, which stands on 'customize' of vm1/image1, made anew"
    )
    assert connects.replaces == (image("connect"),)


@pytest.mark.parametrize("tests", ["installs connects", "connects installs"])
def test_what_was_selected_is_made_anew_with_what_it_stands_on(tests):
    """In whatever order they were selected."""
    plan = plan_for(CHAIN, tests, "install customize connect", forced=frozenset({"installs"}))
    assert plan.named(RUN) == ("installs", "customizes", "connects")


def test_what_stands_on_a_state_made_anew_is_left_alone_if_nobody_needs_it():
    plan = plan_for(CHAIN, "installs", "install connect", forced=frozenset({"installs"}))
    assert [(step.test, step.reason) for step in plan.steps] == [("installs", "asked for")]
    assert plan.steps[0].replaces == (image("install"),)


def test_a_state_with_a_problem_is_made_anew_and_the_reason_says_which():
    world = {image("install"): Found(":/pool", problem="is corrupt in :/pool")}
    plan = planned(CHAIN, Wish(("customizes",)), world)
    assert plan.steps[0].reason.endswith("'install' of vm1/image1, which is corrupt in :/pool")
    assert plan.steps[0].replaces == (image("install"),)


def test_what_passed_before_is_not_run_again():
    nodes = (*CHAIN, test_of("looks", "customize"))
    passed = {"uses": "passed in job 1a2b", "customizes": "passed in job 1a2b"}
    plan = plan_for(nodes, "customizes uses looks", "customize", passed=passed)
    assert [(step.test, step.action, step.reason) for step in plan.steps] == [
        ("customizes", "skip", "passed in job 1a2b"),
        ("uses", "skip", "passed in job 1a2b"),
        ("looks", "run", "selected"),
    ]


def test_what_passed_before_runs_if_its_state_is_needed_and_gone_or_if_it_is_forced():
    passed = dict.fromkeys(["customizes", "uses"], "passed")
    plan = plan_for(CHAIN, "customizes uses connects", "install", passed=passed)
    assert plan.named(RUN) == ("customizes", "connects")
    assert plan.named("skip") == ("uses",)
    forced = frozenset({"uses"})
    assert plan_for(CHAIN, "uses", "connect", passed=passed, forced=forced).named(RUN) == ("uses",)


def test_a_state_that_is_not_needed_makes_nothing_run_but_is_waited_for():
    """And the failure of its maker is no reason not to run."""
    nodes = (test_of("tries", "install?"), test_of("installs", "", "install"))
    assert plan_for(nodes, "tries").named(RUN) == ("tries",)
    step = plan_for(nodes, "tries installs").steps[1]
    assert (step.test, step.needs, step.after) == ("tries", (), ("installs",))


def test_a_state_about_to_become_invalid_is_not_used_by_who_can_do_without():
    """It waits for the replacement below it: that would be refused while a test stands on it."""
    nodes = (test_of("tries", "customize?"), *CHAIN[:2])
    plan = plan_for(nodes, "tries installs", "customize")
    step = plan.steps[1]
    assert (step.test, step.needs, step.after, step.fetch) == ("tries", (), ("installs",), ())
    assert not plan.reused


def test_a_state_is_removed_after_all_have_used_it():
    nodes = (test_of("cleans", "", "", "customize"), *CHAIN)
    plan = plan_for(nodes, "cleans uses", "install")
    cleans = next(step for step in plan.steps if step.test == "cleans")
    assert plan.steps[-1] == cleans
    assert (cleans.needs, cleans.after) == ((), ("connects", "uses"))


def test_a_plan_keeps_to_the_order_of_the_configuration():
    nodes = [test_of(name) for name in "cab"] + [test_of("x", "", "s"), test_of("d")]
    nodes.insert(1, test_of("y", "s"))
    assert plan_for(nodes, "d c b a y").named(RUN) == ("c", "a", "b", "x", "y", "d")


def test_files_to_bring_are_counted_once():
    world = {image("install"): KINDS[2]}
    nodes = (CHAIN[0], test_of("one", "install"), test_of("two", "install"))
    plan = planned(nodes, Wish(("one", "two")), world)
    assert [step.fetch for step in plan.steps] == [KINDS[2].fetch] * 2
    assert plan.fetch == 12


def test_several_states_of_a_test_are_made_by_one_run_of_it():
    nodes = (test_of("makes", "", "a b"), test_of("one", "a"), test_of("two", "b"))
    plan = plan_for(nodes, "one two", "a")
    assert plan.named(RUN) == ("makes", "one", "two")
    assert plan.steps[0].replaces == (image("a"),)
    assert plan.steps[1].needs == ("makes",)


def test_of_several_makers_the_selected_one_runs():
    nodes = (test_of("one", "", "s"), test_of("two", "", "s"), test_of("uses", "s"))
    assert plan_for(nodes, "uses two").named(RUN) == ("two", "uses")
    assert plan_for(nodes, "uses", "s").named(RUN) == ("uses",)


@pytest.mark.parametrize("tests", ["needs_s needs_t", "needs_t needs_s"])
def test_of_several_makers_the_one_that_runs_anyway_is_taken(tests):
    nodes = (
        test_of("one", "", "s"),
        test_of("two", "", "s t"),
        test_of("needs_s", "s"),
        test_of("needs_t", "t"),
    )
    assert plan_for(nodes, tests).named(RUN) == ("two", "needs_s", "needs_t")


def test_a_selected_maker_that_was_spared_is_taken_when_its_state_becomes_invalid():
    nodes = (
        CHAIN[0],
        test_of("one", "install", "customize"),
        test_of("two", "install", "customize"),
        test_of("uses", "customize"),
    )
    plan = plan_for(nodes, "uses two installs", "customize")
    assert plan.named(RUN) == ("installs", "two", "uses")


def test_a_circle_does_not_matter_where_another_maker_was_selected():
    nodes = (test_of("one", "", "s"), test_of("two", "t", "s"), test_of("uses", "s", "t"))
    assert plan_for(nodes, "uses one").named(RUN) == ("one", "uses")


def test_a_long_chain_is_no_matter_of_recursion():
    """Neither made from scratch nor made anew from below."""
    count = 3000
    nodes = [test_of("t0", "", "s0")]
    nodes += [test_of(f"t{n}", f"s{n - 1}", f"s{n}") for n in range(1, count)]
    last = nodes[-1].name
    assert len(plan_for(nodes, last).steps) == count
    there = " ".join(f"s{n}" for n in range(count))
    names = " ".join(node.name for node in nodes)
    assert len(plan_for(nodes, names, there, forced=frozenset({"t0"})).named(RUN)) == count


def test_two_tests_of_the_same_name_are_refused():
    with pytest.raises(GraphRefused, match="two tests are called 'a'; give their variants"):
        Graph.of([test_of("a"), test_of("b"), test_of("a")])


def test_a_test_may_name_a_state_twice():
    node = Node("a", sets=(Made(image("s")), Made(image("s"))))
    assert planned([node], Wish(("a", "a")), {}).named(RUN) == ("a",)


REFUSALS = {
    "unknown test": (CHAIN, "uses nobody", "", "there is no test 'nobody' in the configuration"),
    "circle": (
        (test_of("one", "s", "t"), test_of("two", "t", "s"), test_of("uses", "s")),
        "uses",
        "",
        "tests need each other in a circle: 'one' -> 'two' -> 'one'; each sets a state that the "
        "next one gets",
    ),
    "circle of states that are there": (
        (test_of("one", "s", "t"), test_of("two", "t", "s"), test_of("uses", "s")),
        "uses",
        "s t",
        "tests need each other in a circle: 'one' -> 'two' -> 'one'; each sets a state that the "
        "next one gets",
    ),
    "circle of itself": (
        (test_of("grows", "s", "s"),),
        "grows",
        "s",
        "test 'grows' gets state 's' of vm1/image1, which it sets itself; let it set a state of "
        "another name",
    ),
    "nobody has it and nobody makes it": (
        (test_of("uses", "s"),),
        "uses",
        "",
        "test 'uses' needs state 's' of vm1/image1, which does not exist and which no test of the "
        "configuration sets; add a test that sets it, or a pool that has it",
    ),
    "two makers selected": (
        (test_of("one", "", "s"), test_of("two", "", "s"), test_of("three", "", "s")),
        "three one",
        "s",
        "state 's' of vm1/image1 is set by several tests: 'one', 'three'; select one of them, or "
        "give the states different names",
    ),
    "two makers, none selected": (
        (test_of("one", "", "s"), test_of("two", "", "s"), test_of("uses", "s")),
        "uses",
        "",
        "state 's' of vm1/image1 is set by several tests: 'one', 'two'; select one of them, or "
        "give the states different names",
    ),
    "another maker runs for another state": (
        (test_of("one", "", "s"), test_of("two", "", "s t"), test_of("uses", "t")),
        "one uses",
        "",
        "state 's' of vm1/image1 is set by several tests: 'one', 'two'; select one of them, or "
        "give the states different names",
    ),
    "different parents": (
        (*CHAIN[:2], test_of("two", "", "customize"), test_of("uses", "customize")),
        "uses",
        "install",
        "state 'customize' of vm1/image1 is made from different parents: by 'customizes' on state "
        "'install' of vm1/image1, by 'two' on no other state; give the states different names, or "
        "select one of the tests",
    ),
    "removed too early": (
        (CHAIN[0], test_of("moves", "", "other", "install"), test_of("uses", "install other")),
        "uses",
        "install",
        "tests wait for each other in a circle: 'moves' -> 'uses' -> 'moves'; each sets a state "
        "that the next one gets, or gets one that the next one removes",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_sentence_with_the_names(name):
    nodes, tests, there, text = REFUSALS[name]
    assert refusal(nodes, tests, there) == text
    assert not re.search(r"[.\n]", text)


def test_ten_thousand_tests_are_planned():
    states = [State("vm1", "image1", f"s{number}") for number in range(2000)]
    nodes = [
        Node(f"make{number}", (Want(states[number // 2]),) if number else (), (Made(state),))
        for number, state in enumerate(states)
    ]
    nodes += [Node(f"use{number}", (Want(states[number % 2000]),)) for number in range(8000)]
    graph = Graph.of(reversed(nodes))
    plan = make_plan(graph, Wish(tuple(graph.nodes)), lambda state: Found())
    assert len(plan.named(RUN)) == 10_000
    places = {step.test: number for number, step in enumerate(plan.steps)}
    assert all(places[need] < places[step.test] for step in plan.steps for need in step.needs)
