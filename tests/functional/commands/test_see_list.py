"""``avocado pool list`` at caches, local, link and remote pools."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functional.commands.test_moves import own_lines
from tests.support.images import image, write
from tests.support.jobs import Worker
from tests.support.needs import need_programs
from tests.support.processes import environment
from tests.support.see import EVERYWHERE, LOCAL, by_i2n, location, odd_pool, options, run, told
from tests.support.terminals import on_terminal

Given = Callable[[Path], dict[str, str]]


#: For what is the same at all places of this host, and at all others.
FEW = (LOCAL, "plain")


@pytest.fixture(params=FEW)
def kind(request) -> str:
    return str(request.param)


@pytest.fixture
def given(kind, tmp_path) -> Given:
    return lambda root: options(kind, root, tmp_path / "nowhere")


@pytest.mark.parametrize("kind", EVERYWHERE, indirect=True)
def test_all_that_is_odd_is_listed_with_what_is_wrong(kind, given, tmp_path, capsys):
    pool = odd_pool(tmp_path / "pool")
    assert run("list", given(pool), json=True) == 0
    rows = told(capsys)
    assert {row["where"] for row in rows} == {location("local" if kind == "cache" else kind, pool)}
    found = {(row["object"], row["image"], row["state"]): row for row in rows}
    assert set(found) == {
        *(("vm1", "image1", name) for name in ("install", "on top", "orphan", "outside")),
        *(("vm1", "image1", name) for name in ("none", "dead")),
        ("vm1", None, "running"),
        ("my vm's", "Größe [bold]", "läuft"),
    }
    row = {key[2]: row for key, row in found.items()}
    assert (row["on top"]["parent"], row["on top"]["problem"]) == ("install", "")
    assert (row["orphan"]["parent"], row["install"]["parent"]) == ("gone", "")
    assert row["outside"]["problem"] == f"stands on {tmp_path}/golden.qcow2"
    assert "no QCOW2 image" in row["none"]["problem"]
    assert row["dead"]["problem"].endswith("nowhere.qcow2, which does not exist")
    assert row["dead"]["link"].endswith("nowhere.qcow2")
    for name in ("install", "running", "läuft"):
        path = next(pool.rglob(f"{name}.*"))
        assert row[name]["size"] == path.stat().st_blocks * 512 > 0
        assert row[name]["length"] == path.stat().st_size
        assert row[name]["made"] == pytest.approx(path.stat().st_mtime)
        assert row[name]["path"] == str(path)


def test_the_table_has_a_column_of_problems_if_there_are_any(given, tmp_path, capsys):
    pool = odd_pool(tmp_path / "pool")
    assert run("list", given(pool)) == 0
    lines = capsys.readouterr().out.splitlines()
    columns = ["object", "image", "state", "size", "parent", "made", "where", "problem"]
    assert lines[0].split() == columns
    assert [line for line in lines if "no QCOW2 image" in line and "none" in line]
    assert [line for line in lines if line.startswith("my vm's  Größe [bold]  läuft")]
    assert run("list", given(pool), object="my vm's") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == columns[:-1] and len(lines) == 2


def test_an_object_is_all_of_a_vm_or_one_image(given, tmp_path, capsys, caplog):
    pool = odd_pool(tmp_path / "pool")
    image(pool / "vm1" / "image2" / "install.qcow2")
    for below, states in (
        ("vm1", ["dead", "install", "none", "on top", "orphan", "outside", "install", "running"]),
        ("vm1/image2", ["install"]),
        ("my vm's/Größe [bold]", ["läuft"]),
    ):
        assert run("list", given(pool), object=below, json=True) == 0
        rows = told(capsys)
        assert sorted(row["state"] for row in rows) == sorted(states), below
    for below in ("vm2", "vm1/image3"):
        caplog.clear()
        assert run("list", given(pool), object=below, json=True) == 1
        assert told(capsys) == []
        [said] = caplog.messages
        assert said.startswith(f"{below} is nowhere, looked at: ") and str(pool) in said


def test_a_pool_that_avocado_i2n_filled(given, tmp_path, capsys):
    pool = by_i2n(tmp_path / "pool", tmp_path / "host7")
    assert run("list", given(pool), json=True) == 0
    rows = told(capsys)
    assert [(row["state"], row["parent"], row["problem"]) for row in rows] == [
        ("a", "", ""),
        ("b", "a", ""),
        ("c", "b", ""),
    ]


def test_a_parent_far_into_the_header_is_found(given, tmp_path, capsys):
    """Listing reads a little of each image only; the longest names need more."""
    home = tmp_path / "pool" / ("o" * 150) / ("i" * 150)
    write(image(home / f"{'p' * 150}.qcow2"), 1)
    below = f"../../{home.parent.name}/{home.name}/{'p' * 150}.qcow2"
    image(home / "top.qcow2", backing=below)
    assert run("list", given(tmp_path / "pool"), json=True) == 0
    rows = told(capsys)
    assert [(row["state"], row["parent"]) for row in rows] == [("p" * 150, ""), ("top", "p" * 150)]


def test_an_empty_pool_is_no_error(given, tmp_path, capsys, caplog):
    (tmp_path / "pool" / "vm1" / "image1").mkdir(parents=True)
    with caplog.at_level("INFO", logger="avocado.app"):
        for root in (tmp_path / "pool", tmp_path / "none"):
            caplog.clear()
            assert run("list", given(root)) == 0
            [said] = caplog.messages
            assert said.startswith("no states in ") and str(root) in said
    assert capsys.readouterr().out == ""


def test_what_is_no_directory_is_no_empty_pool(given, tmp_path, capsys, caplog):
    (tmp_path / "file").write_text("")
    assert run("list", given(tmp_path / "file"), json=True) == 1
    [said] = caplog.messages
    assert str(tmp_path / "file") in said and "is no directory" in said
    assert told(capsys) == []


def test_loops_of_links_keep_nothing_from_being_listed(tmp_path, capsys):
    home = tmp_path / "pool" / "vm1" / "image1"
    image(home / "a.qcow2")
    (home / "loop.qcow2").symlink_to("loop.qcow2")
    (tmp_path / "pool" / "vm2").symlink_to("vm2")
    (home.parent / "image2").symlink_to("image2")
    given = options("cache", tmp_path / "pool", tmp_path)
    assert run("list", given, json=True) == 0
    found = {row["state"]: row["problem"] for row in told(capsys)}
    assert found["a"] == "" and "does not exist" in found["loop"]


@pytest.mark.parametrize("word", ["a/b/c", "..", "a;b", "a/.b", "/"])
def test_what_can_be_no_object_is_wrong_use(word, tmp_path, capsys, caplog):
    assert run("list", options("local", tmp_path, tmp_path), object=word) == 2
    assert len(caplog.messages) == 1 and capsys.readouterr().out == ""


def test_places_are_chosen_by_words_and_locations(tmp_path, capsys, caplog):
    for name in ("cache", "pool", "other"):
        image(tmp_path / name / name / "image1" / "a.qcow2")
    given = {
        "pool.swarm_pool": str(tmp_path / "cache"),
        "pool.shared_pool": f":{tmp_path}/pool",
    }
    for words, objects in (
        (None, ["cache", "pool"]),
        (["cache"], ["cache"]),
        (["pools"], ["pool"]),
        ([f":{tmp_path}/other", "cache"], ["other", "cache"]),
    ):
        assert run("list", given, at=words, json=True) == 0
        assert [row["object"] for row in told(capsys)] == objects
    assert run("list", given, at=["nothing"]) == 2
    assert "one of cache, pools, all" in caplog.messages[-1]


# -- the program ------------------------------------------------------------------------------


def test_on_a_terminal_and_in_a_pipe(tmp_path):
    pool = odd_pool(tmp_path / "pool")
    worker = Worker(tmp_path / "worker", pool)
    done = worker.avocado("pool", "list", "vm1/image1")
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[0].split()[:3] == ["object", "image", "state"]
    assert "\x1b" not in done.stdout and "no QCOW2 image" in done.stdout
    done = worker.avocado("pool", "list", "vm1/image1", "--json")
    assert len(json.loads(done.stdout)) == 6
    avocado = str(worker.programs / "avocado")
    shown = on_terminal([avocado, "pool", "list"], worker.env.variables(), columns=200)
    assert shown.status == 0 and "─" in shown.output and "[bold]" in shown.output
    done = worker.avocado("pool", "list", "vm9")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = own_lines(done.stderr)
    assert line.startswith("vm9 is nowhere")


def listed_to(worker: Worker, out: int, *words: str) -> tuple[int, list[str]]:
    """Run a sub-command with its output going to a descriptor; return its status and errors."""
    command = [str(worker.programs / "avocado"), "pool", *words]
    done = subprocess.run(
        command,
        env=worker.env.variables(),
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, own_lines(done.stderr)


def test_a_reader_that_has_enough_ends_it_quietly(tmp_path):
    worker = Worker(tmp_path / "worker", odd_pool(tmp_path / "pool"))
    gone, out = os.pipe()
    os.close(gone)
    try:
        for words in (["list"], ["tree", "--json"]):
            assert listed_to(worker, out, *words) == (1, [])
    finally:
        os.close(out)


def test_output_for_which_there_is_no_room(tmp_path):
    worker = Worker(tmp_path / "worker", odd_pool(tmp_path / "pool"))
    with open("/dev/full", "wb") as full:
        status, [line] = listed_to(worker, full.fileno(), "list", "--json")
    assert status == 1 and line.startswith("output can't be written: No space left on device")


def test_names_that_are_no_text_are_shown_with_escapes(tmp_path):
    pool = tmp_path / "pool"
    backing = os.fsencode(image(tmp_path / "golden.qcow2")).replace(b"golden", b"g\xff")
    os.rename(tmp_path / "golden.qcow2", backing)
    image(pool / "vm1" / "image1" / "outside.qcow2", backing=os.fsdecode(backing))
    worker = Worker(tmp_path / "worker", pool)
    done = subprocess.run(
        [str(worker.programs / "avocado"), "pool", "list"],
        env={**worker.env.variables(), "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "stands on" in done.stdout and r"g\udcff.qcow2" in done.stdout


# -- many -------------------------------------------------------------------------------------


def many(root: Path, objects: int, states: int) -> int:
    """Make states by hard links: listing takes no notice."""
    draft = write(image(root.parent / "draft.qcow2"), 1)
    for number in range(objects):
        home = root / f"vm{number}" / "image1"
        home.mkdir(parents=True)
        for state in range(states):
            os.link(draft, home / f"s{state}.qcow2")
    return objects * states


def test_twenty_thousand_states_are_listed(tmp_path, capsys):
    number = many(tmp_path / "pool", 20, 1000)
    given = options("cache", tmp_path / "pool", tmp_path)
    assert run("list", given) == 0
    assert capsys.readouterr().out.count("\n") == number + 1
    shutil.rmtree(tmp_path / "pool")


_LISTING = """
import sys
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.upkeep.here import LocalSite
from tests.support.places import local_store
site = LocalSite(Location(sys.argv[1]), local_store())
print(len(site.items()))
"""


def test_a_state_takes_four_system_calls(tmp_path):
    """Stat, open, read, close: what a plain walk with a look at each header takes."""
    need_programs("strace")
    number = many(tmp_path / "pool", 4, 1000)
    calls = {}
    for root, states in (("none", 0), ("pool", number)):
        log = tmp_path / "calls"
        command = ["strace", "-f", "--seccomp-bpf", "-qq", "-c", "-o", str(log)]
        command += ["-e", "trace=%file,%desc", sys.executable, "-c", _LISTING]
        done = subprocess.run(
            [*command, str(tmp_path / root)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (0, f"{states}\n"), done.stderr
        rows = [line.split() for line in log.read_text().splitlines()]
        calls[root] = int(next(row for row in rows if row[-1:] == ["total"])[3])
    assert number * 4 <= calls["pool"] - calls["none"] <= number * 4.1
