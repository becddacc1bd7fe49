import logging
import threading

import pytest

from avocado_pool_plugin.core import answers
from avocado_pool_plugin.core.errors import PoolError, PoolSilent
from avocado_pool_plugin.states import telling


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.DEBUG, "avocado")
    return lambda: [record.levelno for record in caplog.records if record.name.endswith(".telling")]


def say(text="no", mirror="", doing=""):
    telling.warn(PoolError(text), mirror, doing)


W, D = logging.WARNING, logging.DEBUG


def test_a_problem_is_told_once_in_an_operation(told):
    with telling.one_operation():
        say()
        say()
        say("another")
    assert told() == [W, D, W]


def test_another_operation_tells_it_again(told):
    for _ in range(2):
        with telling.one_operation():
            say()
    assert told() == [W, W]


def test_outside_of_operations_all_is_told(told):
    say()
    say()
    assert told() == [W, W]


def test_an_operation_within_another_is_no_new_one(told):
    @telling.one_operation()
    def inner():
        say()

    with telling.one_operation():
        say()
        inner()
        say()
    inner()
    assert told() == [W, D, D, W]


def test_an_operation_that_fails_is_over(told):
    with pytest.raises(ZeroDivisionError), telling.one_operation():
        say()
        raise ZeroDivisionError
    say()
    assert told() == [W, W]


def test_each_mirror_has_its_problem_told(told, caplog):
    with telling.one_operation():
        say("timed out", ":/a", "get of x")
        say("timed out", ":/b", "get of x")
        say("timed out", ":/a", "set of x")
        say("/a/x is corrupt")
        say("/a/x is corrupt", ":/a", "get of x")
    assert told() == [W, W, D, W, D]
    assert caplog.messages[1] == "mirror :/b failed, get of x: timed out"


def test_threads_have_operations_of_their_own(told):
    with telling.one_operation():
        say()
        thread = threading.Thread(target=say)
        thread.start()
        thread.join()
    assert told() == [W, W]


def test_silence_is_kept_for_one_operation(monkeypatch):
    asked = []
    monkeypatch.setattr(answers, "require_answer", lambda path, seconds: asked.append(path))
    with telling.one_operation():
        telling.keep_silence(":/a", PoolSilent("no answer"))
        telling.keep_silence(":/b", PoolError("no room"))
        assert not telling.has_answer(":/a", 1) and telling.has_answer(":/b", 1)
        with pytest.raises(PoolSilent, match="no answer"):
            telling.require_answer(":/a", 1)
        telling.require_answer("host:/a", 1)
    assert asked == ["/b"], "nobody can look at a host from here"
    assert telling.has_answer(":/a", 1)


def test_who_gave_no_answer_is_not_asked_again(monkeypatch):
    asked = []

    def silent(path, seconds):
        asked.append(path)
        raise PoolSilent("no answer")

    monkeypatch.setattr(answers, "require_answer", silent)
    with telling.one_operation():
        assert not telling.has_answer(":/a", 1) and not telling.has_answer(":/a", 1)
    assert asked == ["/a"]
