"""``avocado pool get|set|unset|push|pop|check`` on real suites and pools; no guest runs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.commands.test_moves import ESCAPE, own_lines
from tests.support import states
from tests.support.graphs import GraphWorker
from tests.support.sshd import Sshd
from tests.support.states import contents, leftovers
from tests.support.terminals import on_terminal
from tests.support.vms import Lab, backing, holds, sound

#: Words that choose one test, and so one image.
ONE = "only=consumer_a"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> GraphWorker:
    """A worker whose cache and pool have states install and, on it, customize."""
    lab = states.made(Lab(tmp_path_factory.mktemp("made")), "install", "customize")
    worker = GraphWorker(lab.root / "worker", lab.pool)
    shutil.copytree(lab.cache, worker.cache, dirs_exist_ok=True)
    return worker


@pytest.fixture
def worker(made: GraphWorker, tmp_path: Path) -> GraphWorker:
    """Another worker with a pool of its own that has these states."""
    shutil.copytree(made.env.pool, tmp_path / "pool")
    return GraphWorker(tmp_path / "worker", tmp_path / "pool")


def image_of(worker: GraphWorker, vm: str = "vm1") -> Path:
    return worker.env.images / f"{vm}.qcow2"


def marks(image: Path) -> list[int]:
    """Return what an image has of the states that it may stand on."""
    return [1 + number for number in range(2) if holds(image, 1 + number, f"{number}M")]


def events(done: subprocess.CompletedProcess[str], status: int = 0) -> list[dict[str, Any]]:
    """Return what a command with ``--json`` printed, which is all that it printed."""
    assert done.returncode == status, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def told(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["verb"], event["state"]) for event in found]


# -- the five that do something ----------------------------------------------------------------


def test_an_image_goes_through_all_verbs(worker):
    done = worker.pool_command("get", "get_state_images=customize", ONE)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if " state " in line] == [
        "fetched state 'install' of vm1/image1",
        "fetched state 'customize' of vm1/image1",
        "got state 'customize' of vm1/image1",
    ]
    assert ESCAPE not in done.stdout
    image = image_of(worker)
    assert marks(image) == [1, 2]
    assert told(events(worker.pool_command("set", "--json", "set_state_images=mine", ONE))) == [
        ("set", "mine"),
        ("published", "mine"),
    ]
    for pool in (False, True):
        sound(worker.state("mine", pool=pool))
        assert backing(worker.state("mine", pool=pool)) == "customize.qcow2"
    found = events(worker.pool_command("push", "--json", "push_state=before", ONE))
    assert told(found) == [("set", "before"), ("published", "before")]
    (got,) = events(worker.pool_command("get", "--json", "get_state=install", ONE))
    assert got.keys() == {
        *("title", "object", "image", "state"),
        *("verb", "bytes", "seconds", "where", "hit"),
    }
    assert (got["title"], got["object"], got["image"]) == ("vm1/image1/install", "vm1", "image1")
    assert (got["state"], got["bytes"]) == (
        "install",
        worker.state("install", pool=False).stat().st_size,
    )
    assert got["hit"] is True and got["seconds"] >= 0 and str(image) in got["where"]
    assert marks(image) == [1]
    found = events(worker.pool_command("pop", "--json", "pop_state=before", ONE))
    assert told(found) == [("got", "before"), ("unset", "before")]
    assert marks(image) == [1, 2]
    assert told(events(worker.pool_command("unset", "--json", "unset_state=mine", ONE))) == [
        ("unset", "mine")
    ]
    for name in ("mine", "before"):
        assert not any(worker.state(name, pool=pool).exists() for pool in (False, True))
    assert leftovers(worker.cache) == []


def test_a_dry_run_tells_what_it_is_about_and_changes_nothing(worker):
    before = contents(Path(worker.env.pool))
    for verb in ("get", "unset"):
        done = worker.pool_command(verb, f"{verb}_state=install", ONE, "--dry-run")
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
        assert done.stdout == f"dry run, {verb} of vm1/image1 is left out\n"
    assert events(worker.pool_command("get", "get_state=install", ONE, "-d", "--json")) == []
    assert contents(Path(worker.env.pool)) == before
    assert not image_of(worker).exists() and not list(worker.cache.rglob("*.qcow2"))


def test_what_was_done_is_told_although_the_rest_failed(worker):
    events(worker.pool_command("get", "--json", "get_state=install", ONE))
    done = worker.pool_command("set", "--json", "set_state=half", ONE, "vms=vm1,vm2")
    assert told(events(done, 1)) == [("set", "half"), ("published", "half")]
    (reason,) = own_lines(done.stderr)
    assert f"{image_of(worker, 'vm2')} of vm2/image1 does not exist" in reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["get", "get_state=install", "setup=set"], "write 'avocado pool run setup=set'"),
        (["check", "setup = run"], "'avocado pool check' does the step 'check' alone"),
        (["set", "get_state=install"], "step 'set' needs a state; write set_state_images=STATE"),
        (["pop", "pop_state=a/b"], "a/b"),
        (["unset", "unset_state=a", "unset_mode=zz"], "Invalid policy unset_mode = 'zz'"),
        (["push", "push_state=a", "only=nothing"], "no test is selected by only='nothing'"),
    ],
)
def test_what_is_asked_wrongly_is_one_sentence_and_status_2(made, words, reason):
    before = contents(made.cache)
    verb, *rest = words
    done = made.pool_command(verb, "--json", *rest)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = own_lines(done.stderr)
    assert reason in line
    assert contents(made.cache) == before


def test_a_state_that_is_nowhere_is_told_to_people_and_programs(made):
    plain = made.pool_command("get", "get_state=nowhere", ONE)
    machine = made.pool_command("get", "get_state=nowhere", ONE, "--json")
    assert (plain.returncode, plain.stdout) == (1, "")
    assert events(machine, 1) == []
    for done in (plain, machine):
        (line,) = own_lines(done.stderr)
        assert line.startswith("State 'nowhere' of vm1/image1 does not exist, looked at: ")


# -- pools of each kind --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["local", "link", "remote"])
def pooled(request: pytest.FixtureRequest, made: GraphWorker, tmp_path: Path) -> GraphWorker:
    """A worker without states whose pool, of each kind, has them."""
    shutil.copytree(made.env.pool, tmp_path / "pool")
    if request.param != "remote":
        end = ";" if request.param == "link" else ""
        return GraphWorker(tmp_path / "worker", f":{tmp_path}/pool{end}")
    config = request.getfixturevalue("sshd").lab("verbs")
    return GraphWorker(tmp_path / "worker", f"lab:{tmp_path}/pool", ssh_config=config)


def test_states_come_from_and_go_to_pools_of_each_kind(pooled, tmp_path):
    found = events(pooled.pool_command("check", "--json", ONE))
    place = str(pooled.env.pool)
    assert [(one["state"], one["exists"], one["where"]) for one in found] == [
        ("customize", True, [place])
    ]
    words = ("--json", "get_state=customize", ONE)
    found = events(pooled.pool_command("get", *words))
    assert told(found) == [("fetched", "install"), ("fetched", "customize"), ("got", "customize")]
    assert [event.get("hit") for event in found] == [None, None, False]
    assert marks(image_of(pooled)) == [1, 2]
    (again,) = events(pooled.pool_command("get", *words))
    assert (again["verb"], again["hit"]) == ("got", True)

    pool = tmp_path / "pool" / "vm1" / "image1"
    found = events(pooled.pool_command("set", "--json", "set_state=mine", ONE))
    assert told(found) == [("set", "mine"), ("published", "mine")]
    assert backing(pool / "mine.qcow2") == "customize.qcow2"
    (found,) = events(pooled.pool_command("unset", "--json", "unset_state=mine", ONE))
    assert found["verb"] == "unset" and not (pool / "mine.qcow2").exists()
    assert (pool / "customize.qcow2").exists()
    assert leftovers(pooled.cache) == []


# -- check ---------------------------------------------------------------------------------------


def named(state: str) -> dict[str, str]:
    """Return how programs are told of a state of the one image."""
    title = f"vm1/image1/{state}"
    return {"title": title, "object": "vm1", "image": "image1", "state": state}


def test_check_tells_whether_all_states_exist(made):
    both = ["cache", f":{made.env.pool}"]
    words = (ONE, "check_state_images=install")
    assert events(made.pool_command("check", "--json", *words)) == [
        {**named(name), "exists": True, "needed": True, "where": both}
        for name in ("customize", "install")
    ]
    plain = made.pool_command("check", *words)
    assert (plain.returncode, own_lines(plain.stderr)) == (0, [])
    assert [line.split() for line in plain.stdout.splitlines()][1] == [
        "vm1/image1/customize",
        f"{both[0]},",
        both[1],
    ]


def test_check_finds_what_is_missing(made):
    words = (ONE, "check_state_images=nowhere")
    found = events(made.pool_command("check", "--json", *words), 1)
    assert [(one["state"], one["exists"]) for one in found] == [
        ("customize", True),
        ("nowhere", False),
    ]
    assert found[1] == {
        **named("nowhere"),
        "exists": False,
        "needed": True,
        "problem": "does not exist",
    }
    plain = made.pool_command("check", *words)
    assert plain.returncode == 1
    assert plain.stdout.splitlines()[-1].split() == [
        "vm1/image1/nowhere",
        *["does", "not", "exist"],
    ]


def test_check_looks_at_images_too_and_makes_none(made):
    words = ("only=install", "check_state_images=root")
    image = image_of(made, "vm2")
    found = events(made.pool_command("check", "--json", "vms=vm2", *words), 1)
    assert (found[0]["object"], found[0]["image"], found[0]["exists"]) == ("vm2", "image1", False)
    assert not image.exists()


def test_on_a_terminal_there_is_a_table(made):
    programs = Path(sys.executable).parent
    config = ("--vt-config", str(made.env.vt_config))
    command = [str(programs / "avocado"), "pool", "check", *config, ONE]
    shown = on_terminal(command, {**made.env.variables(), "PAGER": "cat"}, columns=200)
    assert shown.status == 0
    assert "─" in shown.output and "vm1/image1/customize" in shown.output
