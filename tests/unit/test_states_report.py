"""What events say of a get: whether it was a hit, and which seconds are its own."""

import time

import pytest

from avocado_pool_plugin.states import report
from avocado_pool_plugin.states.report import Event, Watch, record


def fetched(owner, seconds=0.0):
    record(Event("fetched", "s", owner, 1, seconds, "/x"))


@pytest.mark.parametrize(
    ("owner", "hit"),
    [
        ("vm1/image1", False),
        ("vm1", False),
        ("vm1/image", True),
        ("vm", True),
        ("vm1/image1/more", True),
        ("vm2/image1", True),
    ],
)
def test_what_is_fetched_counts_for_its_object_and_what_that_is_part_of(owner, hit):
    watch = Watch()
    assert watch.hit(owner)
    fetched("vm1/image1")
    assert watch.hit(owner) is hit
    assert Watch().hit(owner), "what was fetched before does not count"


def test_seconds_of_other_events_are_not_counted_twice():
    watch = Watch(began=time.monotonic() - 10)
    assert 10 <= watch.seconds() < 11
    fetched("vm1/image1", 9.0)
    assert 1 <= watch.seconds() < 2
    fetched("vm1/image1", 9.0)
    assert watch.seconds() == 0.0, "what overlaps does not make it negative"


def test_all_that_is_got_in_one_get_has_one_watch():
    before = report.watch()
    with report.one_get():
        fetched("vm1/image1")
        assert report.watch() is report.watch()
        assert not report.watch().hit("vm1")
    assert before is not report.watch()
    assert report.watch().hit("vm1")


def test_what_is_got_says_whether_it_was_a_hit_and_nothing_else_does():
    for verb, hit in (("got", None), ("got", False), ("set", None)):
        record(Event(verb, "s", "vm1", 1, 0.0, "/x", hit))
    told = [event.as_dict().get("hit", "nothing") for event in report.events()[-3:]]
    assert told == [True, False, "nothing"]
