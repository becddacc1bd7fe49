from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.graph.order import remaining
from avocado_pool_plugin.graph.plan import REUSE, RUN, SKIP, Plan, Step


def plan(*steps):
    """A plan of tests, each with what it needs, in an order that works."""
    return Plan(tuple(Step(name, RUN, "", needs=tuple(needs.split())) for name, needs in steps))


#: a chain, a short way beside it, and a test on its own
TESTS = plan(
    ("alone", ""),
    ("install", ""),
    ("quick", "install"),
    ("customize", "install"),
    ("connect", "customize"),
)


def urgent_first(plan, seconds):
    found = remaining(plan, seconds)
    return sorted(found, key=lambda name: (-found[name], name))


def test_without_any_knowledge_the_longest_chain_is_first():
    assert remaining(TESTS, {}) == {
        "install": 3.0, "customize": 2.0, "alone": 1.0, "quick": 1.0, "connect": 1.0,
    }  # fmt: skip


def test_a_long_test_outweighs_a_long_chain():
    seconds = {"alone": 100, "install": 5, "quick": 20, "customize": 3, "connect": 4}
    assert remaining(TESTS, seconds) == {
        "alone": 100, "install": 25, "quick": 20, "customize": 7, "connect": 4,
    }  # fmt: skip
    assert urgent_first(TESTS, seconds)[:2] == ["alone", "install"]


def test_an_unknown_test_takes_the_mean_of_those_known():
    seconds = {"install": 10.0, "quick": 50.0, "of another suite": 1e6}
    found = remaining(TESTS, seconds)
    assert found["alone"] == found["connect"] == 30.0
    assert found["install"] == 10 + 30 + 30


def test_who_waits_without_need_counts_as_well():
    steps = (*TESTS.steps, replace(TESTS.steps[0], test="cleans", after=("quick", "connect")))
    found = remaining(Plan(steps), {})
    assert (found["install"], found["quick"], found["connect"]) == (4.0, 2.0, 2.0)


@pytest.mark.parametrize("action", [REUSE, SKIP])
def test_only_what_runs_counts(action):
    steps = (Step("spared", action, ""), *TESTS.steps)
    seconds = {"spared": 1000.0}
    assert remaining(Plan(steps), seconds) == remaining(TESTS, {})


def test_nothing_to_do():
    assert remaining(Plan(()), {"install": 1.0}) == {}


@st.composite
def plans(draw):
    """Tests whose needs come before them, and another order of the same."""
    count = draw(st.integers(1, 8))
    steps = []
    for number in range(count):
        before = [f"t{n}" for n in range(number)]
        needs = draw(st.lists(st.sampled_from(before), unique=True)) if before else []
        split = draw(st.integers(0, len(needs)))
        steps.append(
            Step(f"t{number}", RUN, "", needs=tuple(needs[:split]), after=tuple(needs[split:]))
        )
    left, order = list(steps), []
    while left:
        done = {step.test for step in order}
        ready = [step for step in left if {*step.needs, *step.after} <= done]
        order.append(draw(st.sampled_from(ready)))
        left.remove(order[-1])
    return Plan(tuple(steps)), Plan(tuple(order))


@given(plans(), st.dictionaries(st.sampled_from([f"t{n}" for n in range(9)]), st.floats(0, 1e6)))
def test_the_order_of_the_steps_does_not_matter(both, seconds):
    one, other = both
    assert remaining(one, seconds) == remaining(other, seconds)


@given(plans(), st.dictionaries(st.sampled_from([f"t{n}" for n in range(9)]), st.floats(0, 1e6)))
def test_who_is_waited_for_is_at_least_as_urgent(both, seconds):
    found = remaining(both[0], seconds)
    for step in both[0].steps:
        for before in (*step.needs, *step.after):
            assert found[before] >= found[step.test]
