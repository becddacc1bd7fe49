"""``avocado pool diff`` between caches, local, link and remote pools."""

import json
import os
import shutil
from pathlib import Path

import pytest

from avocado_pool_plugin.core import records
from tests.functional.commands.test_moves import own_lines
from tests.support.images import edit, image
from tests.support.jobs import Worker
from tests.support.remote import KINDS
from tests.support.see import by_i2n, location, note, options, run, set_chain, told
from tests.support.states import contents
from tests.support.terminals import on_terminal

THERE = ("local", "link", *KINDS)


def places(kind: str, tmp_path: Path) -> tuple[dict[str, str], Path, Path]:
    """Return options, and a cache and a pool that have the same two states, read before."""
    cache, pool = tmp_path / "cache", tmp_path / "pool"
    set_chain(cache, "a", "b")
    for root in (cache, pool):
        if root == pool:
            shutil.copytree(cache, pool, copy_function=shutil.copyfile)
        for path in root.rglob("*.qcow2"):
            copy = path.with_suffix(".copy")
            shutil.copyfile(path, copy)
            os.replace(copy, path)
            record = records.read_record(str(path))
            assert record is not None
            stamp = records.Stamp.of(path.stat())
            name = path.parent / ".pool" / f"{path.name}.json"
            name.unlink()
            name.write_bytes(records.encode(records.Record(record.info, stamp, stamp)))
    return {**options(kind, pool, tmp_path), "pool.swarm_pool": str(cache)}, cache, pool


def compared(given: dict[str, str], capsys, status: int, **words: object) -> dict[str, tuple]:
    assert run("diff", given, json=True, **words) == status
    printed = told(capsys)
    return {one["title"]: (one["what"], one["reason"]) for one in printed["states"]}


@pytest.mark.parametrize("kind", THERE)
def test_all_kinds_of_differences(kind, tmp_path, capsys):
    given, cache, pool = places(kind, tmp_path)
    same = {f"vm1/image1/{name}": ("equal", "digest") for name in "ab"}
    assert compared(given, capsys, 0) == same
    home = Path("vm1", "image1")
    image(cache / home / "mine.qcow2")
    image(pool / home / "theirs.qcow2")
    image(cache / home / "bare.qcow2")
    image(pool / home / "bare.qcow2")
    image(cache / home / "size.qcow2")
    (pool / home / "size.qcow2").write_bytes((cache / home / "size.qcow2").read_bytes() + b"more")
    image(cache / home / "moved.qcow2", backing="a.qcow2")
    image(pool / home / "moved.qcow2", backing="b.qcow2")
    note(pool / home / "a.qcow2", digest="b3t1m:other")
    note(pool / home / "b.qcow2", digest="b3t1m:another", parent_digest="b3t1m:other")
    expected = {
        "a": ("different", "digest"),
        "b": ("different", "made on another 'a'"),
        "bare": ("unknown", "no digest of both is known"),
        "mine": ("only here", ""),
        "moved": ("different", "another parent: 'a' and 'b'"),
        "size": ("different", "size"),
        "theirs": ("only there", ""),
    }
    before = contents(tmp_path)
    found = compared(given, capsys, 1)
    assert found == {f"vm1/image1/{name}": told for name, told in expected.items()}
    assert contents(tmp_path) == before
    assert run("diff", given, json=True) == 1
    printed = told(capsys)
    assert (printed["here"], printed["there"]) == (f":{cache}", location(kind, pool))


@pytest.mark.parametrize("kind", ["local", "python", "plain"])
def test_what_is_not_known_is_read_on_request(kind, tmp_path, capsys):
    given, cache, pool = places(kind, tmp_path)
    for name, different in (("c", False), ("d", True)):
        for root in (cache, pool):
            # two images of their own would not be equal in every byte
            path = root / "vm1" / "image1" / f"{name}.qcow2"
            shutil.copyfile(cache / "vm1" / "image1" / "a.qcow2", path)
        if different:
            edit(path, 70000, b"other")
    found = compared(given, capsys, 1)
    assert [found[f"vm1/image1/{name}"][0] for name in "cd"] == ["unknown"] * 2
    found = compared(given, capsys, 1, read=True)
    assert {name[-1]: what for name, (what, _) in found.items()} == {
        "a": "equal",
        "b": "equal",
        "c": "equal",
        "d": "different",
    }
    (cache / "vm1" / "image1" / "d.qcow2").unlink()
    (pool / "vm1" / "image1" / "d.qcow2").unlink()
    assert set(compared(given, capsys, 0, read=True).values()) == {("equal", "digest")}


@pytest.mark.parametrize("kind", ["local", "plain"])
def test_reading_finds_corrupt_files(kind, tmp_path, capsys):
    given, _, pool = places(kind, tmp_path)
    file = pool / "vm1" / "image1" / "b.qcow2"
    edit(file, 70000, b"damage", keep_mtime=True)
    assert compared(given, capsys, 1)["vm1/image1/b"][0] == "unknown"
    what, reason = compared(given, capsys, 1, read=True)["vm1/image1/b"]
    assert what == "different" and "is corrupt" in reason and str(file) in reason


def test_two_remote_pools_of_a_kind(tmp_path, capsys):
    given, cache, pool = places("plain", tmp_path)
    words = {"here": f"lab:{cache}", "there": f"lab:{pool}"}
    shutil.copyfile(cache / "vm1" / "image1" / "a.qcow2", cache / "vm1" / "image1" / "c.qcow2")
    shutil.copyfile(cache / "vm1" / "image1" / "a.qcow2", pool / "vm1" / "image1" / "c.qcow2")
    assert compared(given, capsys, 1, **words)["vm1/image1/c"][0] == "unknown"
    found = compared(given, capsys, 0, read=True, **words)
    assert {what for what, _ in found.values()} == {"equal"}


def test_a_link_into_the_pool_is_equal(tmp_path, capsys):
    pool, cache = tmp_path / "pool", tmp_path / "cache"
    home = cache / "vm1" / "image1"
    home.mkdir(parents=True)
    for name in "ab":
        image(pool / "vm1" / "image1" / f"{name}.qcow2")
        (home / f"{name}.qcow2").symlink_to(pool / "vm1" / "image1" / f"{name}.qcow2")
    given = {"pool.swarm_pool": str(cache), "pool.shared_pool": f":{pool};"}
    found = compared(given, capsys, 0)
    assert set(found.values()) == {("equal", "the same file")}


def test_a_pool_that_avocado_i2n_filled_and_one_that_is_empty(tmp_path, capsys):
    pool = by_i2n(tmp_path / "pool", tmp_path / "host7")
    (tmp_path / "none").mkdir()
    words = {"here": f":{pool}", "there": f":{tmp_path}/none"}
    found = compared({"pool.swarm_pool": str(tmp_path)}, capsys, 1, **words)
    assert found == {f"vm1/image1/{name}": ("only here", "") for name in "abc"}
    words = {"here": f":{tmp_path}/none", "there": f":{tmp_path}/none"}
    assert compared({"pool.swarm_pool": str(tmp_path)}, capsys, 0, **words) == {}


def test_wrong_use_and_places_that_can_not_be_reached(tmp_path, capsys, caplog):
    given = {"pool.swarm_pool": str(tmp_path), "pool.shared_pool": ""}
    (tmp_path / "file").write_text("")
    for words, status, hint in (
        ({}, 2, "--pool-location"),
        ({"here": "nothing"}, 2, "'nothing' has no ':'"),
        ({"there": f":{tmp_path}/file"}, 1, "is no directory"),
        ({"there": f":{tmp_path}/typo"}, 2, f"there is no directory {tmp_path}/typo"),
    ):
        caplog.clear()
        assert run("diff", given, **words) == status
        [said] = caplog.messages
        assert hint in said
    assert capsys.readouterr().out == ""


def test_on_a_terminal_and_in_a_pipe(tmp_path):
    _, cache, pool = places("local", tmp_path)
    worker = Worker(tmp_path / "worker", pool)
    done = worker.avocado("pool", "diff", f":{cache}")
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout == f":{cache} and :{pool}: 2 equal\n"
    (cache / "vm1" / "image1" / "b.qcow2").unlink()
    done = worker.avocado("pool", "diff", f":{cache}", "--all")
    assert (done.returncode, own_lines(done.stderr)) == (1, [])
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["state", "what", "reason"],
        ["vm1/image1/a", "equal", "digest"],
        ["vm1/image1/b", "only", "there"],
        [*f":{cache} and :{pool}: 1 equal, 1 only there".split()],
    ]
    done = worker.avocado("pool", "diff", f":{cache}", "--json")
    assert done.returncode == 1 and len(json.loads(done.stdout)["states"]) == 2
    avocado = str(worker.programs / "avocado")
    shown = on_terminal([avocado, "pool", "diff", f":{cache}"], worker.env.variables())
    assert shown.status == 1 and "─" in shown.output and "only there" in shown.output
    assert worker.avocado("pool", "diff", "a", "b", "c").returncode == 2
