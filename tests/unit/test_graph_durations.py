import json
import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.core.errors import PoolUnreachable
from avocado_pool_plugin.graph import durations
from avocado_pool_plugin.graph.durations import load, remember
from tests.support.together import together


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "cache" / ".pool" / "durations.json")


@pytest.fixture
def clock(monkeypatch):
    """The time, in a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(durations.time, "time", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def _hears_all(caplog):
    caplog.set_level(logging.DEBUG)


def test_without_a_file_nothing_is_known(path, caplog):
    assert load(path) == {}
    assert not caplog.records


def test_what_was_remembered_is_known(path, caplog):
    remember(path, {"install": 60.0, "boot": 5})
    remember(path, {"shut down": 2.5})
    assert load(path) == {"install": 60.0, "boot": 5.0, "shut down": 2.5}
    assert not caplog.records
    assert os.listdir(os.path.dirname(path)) == ["durations.json"]


def test_a_new_duration_counts_half(path):
    for seconds in (60, 40, 20):
        remember(path, {"install": seconds})
    assert load(path) == {"install": 35.0}


@given(st.dictionaries(st.text(), st.floats(0, 1e9)))
def test_any_name_is_remembered(tmp_path_factory, seconds):
    path = str(tmp_path_factory.mktemp("any") / "durations.json")
    remember(path, seconds)
    assert load(path) == seconds


def test_a_name_that_is_no_unicode_is_remembered(path):
    remember(path, {os.fsdecode(b"t\xff"): 1.0})
    assert load(path) == {os.fsdecode(b"t\xff"): 1.0}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_what_is_no_duration_is_not_remembered(path, seconds):
    remember(path, {"good": 1.0})
    remember(path, {"good": seconds, "other": seconds})
    assert load(path) == {"good": 1.0}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"[1, 2]",
        b'"text"',
        b'{"a": 1}',
        b'{"a": [1]}',
        b'{"a": [1, 2, 3]}',
        b'{"a": ["1", 2]}',
        b'{"a": [NaN, 1]}',
        b'{"a": [1, Infinity]}',
        b'{"a": [-1, 1]}',
        b'{"a": [1' + b"0" * 400 + b", 1]}",
        b'{"a": null, "b": [1, 1]}',
        b"[" * 100_000,
        b'{"a": [1, 1]}x',
    ],
)
def test_a_damaged_file_is_reported_and_replaced(path, caplog, content):
    remember(path, {"install": 1.0})
    with open(path, "wb") as file:
        file.write(content)
    assert load(path) == {}
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage().startswith(f"{path} can't be used, durations of tests begin anew: ")
    assert "\n" not in line.getMessage()
    remember(path, {"install": 7.0})
    assert load(path) == {"install": 7.0}


def test_a_file_that_cannot_be_read_is_reported(tmp_path, caplog):
    assert load(str(tmp_path)) == {}
    assert "Is a directory" in caplog.text


def test_those_that_ran_last_are_remembered(path, clock):
    remember(path, {f"old {n}": 1.0 for n in range(durations.MOST - 1)})
    clock[0] += 1
    remember(path, {"old 0": 1.0, "new 0": 1.0})
    assert len(load(path)) == durations.MOST
    clock[0] += 1
    remember(path, {"new 1": 1.0, "new 2": 1.0})
    found = load(path)
    assert len(found) == durations.MOST
    assert {"old 0", "new 0", "new 1", "new 2"} <= set(found)
    assert not {"old 1", "old 2"} & set(found)


def test_the_file_says_when_a_test_ran(path, clock):
    remember(path, {"a": 1.0, "b": 2.0})
    clock[0] = 2000.0
    remember(path, {"a": 3.0})
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == {"b": [2.0, 1000.0], "a": [2.0, 2000.0]}


def test_a_failure_to_write_is_an_error_of_ours_and_harms_nothing(path, monkeypatch):
    remember(path, {"a": 1.0})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "broken")))
    with pytest.raises(PoolUnreachable, match=r"durations\.json"):
        remember(path, {"a": 9.0})
    assert load(path) == {"a": 1.0}


def test_no_directory_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PoolUnreachable):
        remember(str(tmp_path / "file" / "durations.json"), {"a": 1.0})


@pytest.mark.stress
def test_processes_at_once_never_leave_a_damaged_file(path):
    """An update may be lost to another one that came between; no reader sees half of one."""
    remember(path, {"first": 1.0, **{f"t{n}": 1.0 for n in range(500)}})

    def write(number):
        for turn in range(40):
            remember(path, {f"writer {number} {turn}": 1.0, f"writer {number}": 1.0})

    def read():
        for _ in range(200):
            assert {"first", "t499"} <= set(load(path))

    texts = together([*(lambda n=n: write(n) for n in range(3)), read, read])
    assert texts == [""] * 5
    # who wrote last wrote all that it had read, and its own
    assert any(f"writer {n} 39" in load(path) for n in range(3))
    assert os.listdir(os.path.dirname(path)) == ["durations.json"]
