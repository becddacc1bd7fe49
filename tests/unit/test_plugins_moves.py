"""``avocado pool fetch`` and ``publish``: what is asked for, and what users are shown."""

import json
import logging
from io import StringIO

import pytest
from avocado.core.output import LOG_UI
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from avocado_pool_plugin.core import progress
from avocado_pool_plugin.core.errors import NameRefused, PoolError, PoolUnreachable
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.plan import Step
from avocado_pool_plugin.plugins import bars
from avocado_pool_plugin.plugins.commands import moves
from avocado_pool_plugin.plugins.commands.command import read_state
from avocado_pool_plugin.states import exchange

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40)


def usable(name):
    return not name.startswith(".") and not set(name) & set("/;:")


@given(NAMES.filter(usable), st.none() | NAMES.filter(usable), NAMES.filter(usable))
def test_states_are_named_as_they_are_listed(owner, image, name):
    text = "/".join(part for part in (owner, image, name) if part is not None)
    assert read_state(text) == State(owner, image, name)


@pytest.mark.parametrize(
    "text",
    ["", "a", "/", "a/", "/a", "a//b", "a/b/", "/a/b", "a/b/c/d", "../a/b", "a/../b", "a/b/..",
     "a/.b", "a/b;", "a:b/c", "a/b\nc", "a/b/" + "x" * 201, "a/b/\udcff"],
)  # fmt: skip
def test_bad_names_are_one_sentence(text):
    with pytest.raises(NameRefused) as error:
        read_state(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@given(st.text(max_size=20))
def test_any_text_is_a_state_or_refused(text):
    try:
        state = read_state(text)
    except NameRefused:
        return
    assert state.path.count("/") == text.count("/")


@pytest.fixture
def outcome(monkeypatch):
    """What fetch and publish return; a test says what."""

    def returns(*steps, problems=()):
        made = exchange.Outcome(tuple(steps), 1.5, tuple(problems))
        for name in ("fetch", "publish"):
            monkeypatch.setattr(exchange, name, lambda *_: made)

    return returns


def step(action, size=1 << 20):
    return Step("/from", "/to", action, size)


def run(command, **config):
    return command.run({"pool_state": "vm1/image1/a", **config})


def test_the_end_is_one_line(outcome, capsys):
    outcome(step("copied"), step("cloned"), step("copied"), step("linked", 0), step("kept"))
    assert run(moves.FETCH) == 0
    line = "fetched vm1/image1/a: 5 files (2 copied, 1 cloned, 1 linked, 1 already there), "
    assert capsys.readouterr().out == line + "3.0 MiB in 1.50 s\n"
    outcome(step("kept"))
    assert run(moves.PUBLISH) == 0
    told = capsys.readouterr().out
    assert told == "published vm1/image1/a: 1 file (1 already there), 0 B in 1.50 s\n"


def test_a_plan_is_printed_as_it_is(outcome, capsys):
    outcome(step("keep"), step("replace"))
    assert run(moves.FETCH, pool_dry_run=True) == 0
    assert capsys.readouterr().out == (
        "keep    /from -> /to\nreplace /from -> /to\n1.0 MiB to copy\n"
    )


def test_json(outcome, capsys):
    outcome(step("copied"), step("kept"), problems=[PoolUnreachable("no way")])
    assert run(moves.FETCH, pool_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {
        "title": "vm1/image1/a",
        "object": "vm1",
        "image": "image1",
        "state": "a",
        "dry_run": False,
        "moved": 1,
        "kept": 1,
        "bytes": 1 << 20,
        "seconds": 1.5,
        "files": [
            {"source": "/from", "target": "/to", "action": action, "bytes": 1 << 20}
            for action in ("copied", "kept")
        ],
        "problems": ["no way"],
    }


def test_a_pool_that_failed_is_a_warning_for_a_fetch_and_a_failure_of_a_publish(outcome, caplog):
    outcome(step("copied"), problems=[PoolUnreachable("one"), PoolError("two")])
    assert run(moves.FETCH) == 0
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "one"),
        ("WARNING", "two"),
    ]
    caplog.clear()
    assert run(moves.PUBLISH) == 1
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "one"),
        ("ERROR", "two"),
    ]


@pytest.mark.parametrize("machine", [False, True])
def test_without_a_terminal_lines_go_to_the_user_but_not_into_json(
    outcome, machine, monkeypatch, caplog, tmp_path
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_PERIOD", 0)
    outcome()

    def fetch(*_):
        with progress.reported("fetching", str(tmp_path / "a")) as told:
            told(1 << 20)
        return exchange.Outcome((), 0.0)

    monkeypatch.setattr(exchange, "fetch", fetch)
    assert run(moves.FETCH, pool_json=machine) == 0
    names = [record.name for record in caplog.records if "fetching" in record.getMessage()]
    assert len(names) == 1 and (names[0] == LOG_UI.name) != machine


def test_warnings_of_the_core_reach_the_user_while_it_works(outcome, monkeypatch, caplog):
    core = logging.getLogger("avocado.avocado_pool_plugin.core.some")

    def fetch(*_):
        core.warning("%s is invalid", "it")
        core.info("not this")
        return exchange.Outcome((), 0.0)

    monkeypatch.setattr(exchange, "fetch", fetch)
    run(moves.FETCH)
    core.warning("later")
    shown = [r.getMessage() for r in caplog.records if r.name == LOG_UI.name]
    assert shown == ["it is invalid"]


class Screen:
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_gets_bars(monkeypatch):
    assert bars.reporter(None) is not bars.bar
    monkeypatch.setattr(bars.sys, "stderr", Screen())
    assert bars.reporter(LOG_UI) is bars.bar
    # Avocado's paginator stands in for both streams and knows nothing of terminals
    monkeypatch.setattr(bars.sys, "stderr", object())
    assert bars.reporter(None) is not bars.bar


def test_a_bar_is_drawn_after_a_second_and_taken_away(monkeypatch, tmp_path):
    drawn = []

    class Drawn:
        task_ids = (7,)

        def __init__(self, what, **fields):
            drawn.append((what, fields["completed"], fields["total"]))

        def start(self):
            drawn.append("started")

        def update(self, task, **fields):
            drawn.append((task, fields["completed"], fields["total"]))

        def stop(self):
            drawn.append("stopped")

    path = tmp_path / "a.qcow2"
    path.write_bytes(b"x" * 8192)
    monkeypatch.setattr(bars, "_drawing", Drawn)
    with (
        pytest.raises(OSError, match="cable"),
        bars.bar(progress.Task("fetching", str(path))) as told,
    ):
        now = told.count.started
        monkeypatch.setattr(progress.time, "monotonic", lambda: now)
        now += 0.99
        told(1000)
        assert drawn == []
        now += 0.02
        told(2000)
        told(3000)
        raise OSError("cable")
    assert drawn == [("fetching a.qcow2", 3000, 8192), "started", (7, 6000, 8192), "stopped"]


def test_a_bar_shows_names_as_they_are():
    screen = StringIO()
    drawing = bars._drawing("fetching [bold]a[/x].qcow2", completed=1, total=2, told="1 of 2")
    Console(file=screen, width=100).print(drawing.get_renderable())
    assert "fetching [bold]a[/x].qcow2 " in screen.getvalue() and "1 of 2" in screen.getvalue()


def test_in_little_room_the_numbers_stay(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    screen, told = StringIO(), "1000.0 of 2000.0 MiB, 100.0 MiB/s, 10 s left"
    drawing = bars._drawing("fetching " + "x" * 200, completed=1, total=2, told=told)
    Console(file=screen, width=70).print(drawing.get_renderable())
    assert told in screen.getvalue() and screen.getvalue().startswith("fetching xx")
    assert screen.getvalue().count("\n") == 1
