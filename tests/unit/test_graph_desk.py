"""The desk hands out tests; a simple simulation plays Avocado."""

from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.graph.desk import Desk, Order


def play(orders, slots, fails=(), choose=lambda running: running[0]):
    """Run all orders; return what was started and left out, in order, with reasons and slots."""
    desk, running, told = Desk(orders, slots), [], []
    by_key = {order.key: order for order in orders}
    while True:
        while turn := desk.next():
            told.append((turn.key, turn.slot, turn.reason))
            if turn.reason:
                desk.over(turn.key, "skip")
            else:
                running.append(turn)
                files = [file for one in running for file in by_key[one.key].files]
                assert len(files) == len(set(files)), "two share a file"
                assert len({one.slot for one in running}) == len(running) <= slots
        if not running:
            return told
        ended = choose(running)
        running.remove(ended)
        desk.over(ended.key, "fail" if ended.key in fails else "pass")


def test_the_most_urgent_of_those_that_can_comes_first():
    told = play([Order("a", "a", urgency=1), Order("b", "b", urgency=5),
                 Order("c", "c", needs=("b",), urgency=9)], slots=1)  # fmt: skip
    assert [key for key, _, _ in told] == ["b", "c", "a"]


def test_those_with_equal_urgency_keep_their_order():
    told = play([Order(key, key) for key in "dcba"], slots=1)
    assert [key for key, _, _ in told] == ["d", "c", "b", "a"]


def test_who_needs_what_failed_is_left_out_with_the_reason_and_so_are_their_followers():
    orders = [
        Order("install", "install"),
        Order("customize", "customize", needs=("install",)),
        Order("consumer", "consumer", needs=("customize",)),
        Order("other", "other"),
        Order("last", "last", after=("consumer",)),
    ]
    told = {key: reason for key, _, reason in play(orders, 2, fails={"install"})}
    assert told == {
        "install": "",
        "customize": "needs install: FAIL",
        "consumer": "needs customize: SKIP",
        "other": "",
        "last": "",
    }


def test_spared_tests_take_no_slot_and_hold_nobody_back():
    desk = Desk([Order("a", "a", spared="reused: it is there"), Order("b", "b")], slots=1)
    turns = [desk.next(), desk.next()]
    assert {turn.key: turn.reason for turn in turns} == {"a": "reused: it is there", "b": ""}


def test_what_shares_a_file_waits_and_others_pass_by():
    desk = Desk(
        [Order("a", "a", files=frozenset("x")), Order("b", "b", files=frozenset("x")),
         Order("c", "c")], slots=3)  # fmt: skip
    assert [desk.next().key, desk.next().key, desk.next()] == ["a", "c", None]
    desk.over("a", "pass")
    assert desk.next().key == "b"


def test_what_could_not_begin_is_handed_out_again():
    desk = Desk([Order("a", "a")], slots=1)
    assert desk.next().key == "a" and desk.next() is None
    desk.put_back("a")
    assert desk.next().key == "a"
    desk.over("a", "pass")
    desk.put_back("a")
    assert desk.next() is None


def test_what_ended_without_being_handed_out_is_not_handed_out():
    desk = Desk([Order("a", "a"), Order("b", "b", needs=("a",))], slots=1)
    desk.over("a", "error")
    desk.over("a", "pass")
    turn = desk.next()
    assert (turn.key, turn.reason) == ("b", "needs a: ERROR")


def test_other_results_can_be_good_enough():
    order = Order("b", "b", needs=("a",), accepts=frozenset({"pass", "fail"}))
    assert [reason for _, _, reason in play([Order("a", "a"), order], 1, fails={"a"})] == ["", ""]


@st.composite
def orders(draw):
    size = draw(st.integers(1, 12))
    made = []
    for number in range(size):
        before = st.lists(st.integers(0, number - 1), max_size=3) if number else st.just([])
        made.append(
            Order(
                number,
                f"t{number}",
                needs=tuple(dict.fromkeys(draw(before))),
                after=tuple(dict.fromkeys(draw(before))),
                urgency=draw(st.integers(0, 3)),
                files=frozenset(draw(st.lists(st.sampled_from("xyz"), max_size=1))),
                spared=draw(st.sampled_from(["", "", "", "spared"])),
            )
        )
    return draw(st.permutations(made))


@given(orders(), st.integers(1, 4), st.data())
def test_everything_comes_up_once_and_nothing_before_its_time(made, slots, data):
    fails = set(data.draw(st.lists(st.integers(0, 11))))
    told = play(made, slots, fails, lambda running: data.draw(st.sampled_from(running)))
    seen = {}
    for key, _, reason in told:
        order = next(one for one in made if one.key == key)
        assert key not in seen
        assert all(other in seen for other in (*order.needs, *order.after))
        bad = [other for other in order.needs if seen[other] or other in fails]
        assert bool(reason) == bool(bad or order.spared)
        seen[key] = reason
    assert len(seen) == len(made)
