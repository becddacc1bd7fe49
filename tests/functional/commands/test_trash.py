"""``avocado pool trash`` on caches and pools of each kind."""

import os
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, resume
from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.plugins.commands.trash import read_age
from tests.functional.commands.test_moves import own_lines
from tests.support.images import chain, edit
from tests.support.jobs import Worker
from tests.support.keepers import PLACES, Keeper, fill, keeper, whole
from tests.support.places import put_image
from tests.support.states import contents
from tests.support.terminals import on_terminal

TOKEN = "0123456789abcdef"


@pytest.fixture(params=PLACES)
def kept(request: pytest.FixtureRequest, tmp_path: Path, caplog, capsys) -> Keeper:
    return keeper(request.param, tmp_path, caplog, capsys)


@pytest.fixture(params=["local", "plain"])
def pool(request: pytest.FixtureRequest, tmp_path: Path, caplog, capsys) -> Keeper:
    return keeper(request.param, tmp_path, caplog, capsys)


@pytest.fixture
def own(tmp_path: Path, caplog, capsys) -> Keeper:
    return keeper("cache", tmp_path, caplog, capsys)


def file(kept: Keeper, name: str) -> Path:
    return kept.root / "vm1" / "image1" / f"{name}.qcow2"


def test_listed_restored_and_emptied(kept):
    size = file(kept, "c").stat().st_blocks * 512
    assert kept.trash("list")[1] == f"nothing is in the trash of {kept.at}"
    assert kept.rm("vm1/image1/b", pool_cascade=True)[0] == 0
    rows = kept.thrown()
    assert [row["title"] for row in rows] == ["vm1/image1/c", "vm1/image1/b"]
    assert {(row["where"], row["kind"], row["size"]) for row in rows} == {(kept.at, "thrown", size)}
    assert all(row["digest"].startswith("b3t1m:") for row in rows)
    status, text = kept.trash("list", pool_object="vm1/image1")
    lines = [line.split() for line in text.splitlines()]
    assert status == 0 and lines[0] == ["state", "thrown", "size", "id", "where", "why"]
    assert [line[0] for line in lines[1:]] == ["vm1/image1/c", "vm1/image1/b"]
    assert lines[1][5] == rows[0]["id"][:8]
    for other in ("vm2", "vm1/image", "vm1/image1/c"[:5]):
        assert kept.trash("list", pool_object=other)[1].startswith(f"nothing of {other} is in")
    # what it stands on comes along
    status, text = kept.trash("restore", rows[0]["id"][:8])
    assert (status, kept.states()) == (0, ["a", "b", "c"])
    assert [line.partition(" (")[0] for line in text.splitlines()] == [
        f"restored vm1/image1/{name} in {kept.at}" for name in "bc"
    ]
    for name in "abc":
        whole(file(kept, name))
    assert kept.thrown() == []
    assert kept.rm("vm1/image1/c")[0] == 0
    told = kept.ask("trash", pool_trash="empty", pool_dry_run=True)
    assert [(row["where"], row["frees"], len(row["thrown"])) for row in told] == [
        (kept.at, size, 1)
    ]
    assert len(kept.thrown()) == 1
    status, text = kept.trash("empty", pool_yes=True, pool_older="1h")
    assert (status, text) == (0, f"{kept.at}: nothing is to go") and len(kept.thrown()) == 1
    status, text = kept.trash("empty", pool_yes=True)
    assert (status, text.splitlines()) == (
        0,
        [
            f"{kept.at}: 1 file in the trash to go, which frees {size / 1024:.1f} KiB",
            f"{size / 1024:.1f} KiB free again",
        ],
    )
    assert kept.thrown() == []
    assert os.listdir(kept.root / "vm1" / "image1" / ".pool" / "trash") == []
    assert kept.trash("restore", "vm1/image1/c")[0] == 1


def test_the_newest_of_a_state_and_what_is_in_its_place(pool, tmp_path):
    for byte in (50, 60):
        assert pool.rm("vm1/image1/c")[0] == 0
        [*_, made] = chain(tmp_path / f"again {byte}", *"abc", byte=byte)
        put_image(made, file(pool, "c"), parent=file(pool, "b"))
    there, newest = file(pool, "c").read_bytes(), Path(pool.thrown()[-1]["path"]).read_bytes()
    status, text = pool.trash("restore", "vm1/image1/c")
    assert status == 1 and "--replace" in text and "avocado pool rm vm1/image1/c" in text
    assert file(pool, "c").read_bytes() == there and len(pool.thrown()) == 2
    told = pool.ask("trash", pool_trash="restore", pool_thrown=["vm1/image1/c"], pool_replace=True)
    assert [row["title"] for row in told] == ["vm1/image1/c"]
    assert file(pool, "c").read_bytes() == newest
    whole(file(pool, "c"))
    assert there in [Path(row["path"]).read_bytes() for row in pool.thrown()]
    # nothing is pulled away from under what stands on it
    assert pool.rm("vm1/image1/b", pool_cascade=True)[0] == 0
    _, b, c = chain(tmp_path / "others", *"abc", byte=70)
    put_image(b, file(pool, "b"), parent=file(pool, "a"))
    put_image(c, file(pool, "c"), parent=file(pool, "b"))
    before = contents(pool.root)
    status, text = pool.trash("restore", "vm1/image1/b", pool_replace=True)
    assert status == 1 and "is needed by c.qcow2" in text
    assert contents(pool.root) == before


def test_damaged_in_the_trash(pool):
    assert pool.rm("vm1/image1/c")[0] == 0
    [row] = pool.thrown()
    edit(Path(row["path"]), 100_000, b"damage", keep_mtime=True)
    status, text = pool.trash("restore", "vm1/image1/c")
    assert status == 1 and f"{row['path']} is corrupt" in text
    assert pool.states() == ["a", "b"] and len(pool.thrown()) == 1


def test_files_that_were_found_damaged(pool):
    """They are listed, restored only by their id and checked, and go only if that is asked for."""
    assert pool.rm("vm1/image1/c")[0] == 0
    [row] = pool.thrown()
    trash = Path(row["path"]).parent
    trash.rename(layout.quarantine_dir(str(file(pool, "c"))))
    [row] = pool.thrown()
    assert (row["kind"], row["why"]) == ("quarantined", "found damaged")
    assert pool.trash("restore", "vm1/image1/c")[0] == 1
    assert pool.trash("empty", pool_yes=True) == (0, f"{pool.at}: nothing is to go")
    assert pool.trash("restore", row["id"])[0] == 0
    whole(file(pool, "c"))


def test_temporary_files_of_dead_operations(pool, monkeypatch):
    part = pool.root / "vm1" / "image1" / layout.META / f"x.qcow2.{TOKEN}.part"
    part.write_bytes(b"x" * 10_000)
    status, text = pool.trash("empty", pool_yes=True)
    assert (status, part.exists()) == (0, True), text
    monkeypatch.setattr("avocado_pool_plugin.upkeep.leftovers.KEEP", -60.0)
    assert pool.thrown() == []
    [row] = pool.thrown(pool_all=True)
    assert (row["kind"], row["path"]) == ("leftover", str(part))
    status, text = pool.trash("empty", pool_yes=True)
    assert status == 0 and "1 temporary file to go" in text
    assert not part.exists() and pool.states() == ["a", "b", "c"]
    assert resume.KEEP == 24 * 3600


def test_wrong_use(own):
    own.rm("vm1/image1/c")
    before = contents(own.root)
    for text, hint in (
        ("xyz", "is no id"),
        ("123", "is no id"),
        ("../../etc", "leading dot"),
        ("vm1/../x", "leading dot"),
        ("vm1/image1/c:d", "holds ':'"),
        ("0123456789abcdef0", "is no id"),
        ("; rm -rf /", "holds ';'"),
    ):
        status, said = own.trash("restore", text)
        assert (status, hint in said) == (2, True), (text, said)
    for text in ("soon", "7", "-1d", "7y", ""):
        if text:
            status, said = own.trash("empty", pool_yes=True, pool_older=text)
            assert (status, "7d or 12h" in said) == (2, True)
    for more in ({}, {"pool_json": True}):
        status, said = own.trash("empty", **more)
        assert (status, "give --yes" in said) == (2, True)
    assert own.trash("list", pool_object="a/b/c")[0] == 2
    assert contents(own.root) == before


def test_ids_that_mean_several_or_none(own):
    own.rm("vm1/image1/b", pool_cascade=True)
    for row in own.thrown():
        path = Path(row["path"])
        path.rename(path.with_name(path.name.replace(row["id"], "abcd" + row["id"][4:])))
    status, said = own.trash("restore", "abcd")
    assert status == 2 and "several files" in said and said.count("(vm1/image1/") == 2
    status, said = own.trash("restore", "dcba")
    assert status == 1 and "dcba is not in the trash of" in said


def test_a_state_in_two_trashes(tmp_path, caplog, capsys):
    one = keeper("local", tmp_path, caplog, capsys)
    two = fill(tmp_path / "two", tmp_path / "scratch")
    for at in (one.at, f":{two.root}"):
        assert one.rm("vm1/image1/c", pool_at=[at])[0] == 0
    both = [one.at, f":{two.root}"]
    status, said = one.trash("restore", "vm1/image1/c", pool_at=both)
    assert status == 2 and "--at" in said and all(at in said for at in both)
    assert not two.state("c").exists()
    assert one.trash("restore", "vm1/image1/c", pool_at=both[1:])[0] == 0
    assert two.state("c").exists() and one.states() == ["a", "b"]


def test_places_that_can_not_be_reached_are_named(own, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    own.rm("vm1/image1/c")
    status, said = own.trash("list", pool_at=[own.at, f":{tmp_path}/loop"])
    assert status == 1 and "vm1/image1/c" in said
    assert f"{tmp_path}/loop/.pool can't be listed: " in said
    status, said = own.trash("restore", "vm1/image1/c", pool_at=[f":{tmp_path}/loop", own.at])
    assert status == 1 and own.states() == ["a", "b", "c"]


def test_names_may_hold_blanks_and_quotes(tmp_path, caplog, capsys):
    for kind in ("local", "plain"):
        kept = keeper(kind, tmp_path / kind, caplog, capsys)
        home = kept.root / "my vm's" / 'image "1" [bold] $(x)'
        [made] = chain(tmp_path / f"{kind} scratch", "x")
        put_image(made, home / "-a 'st\u00e4te'.qcow2")
        name = "my vm's/image \"1\" [bold] $(x)/-a 'st\u00e4te'"
        assert kept.rm(name)[0] == 0
        assert [row["title"] for row in kept.thrown()] == [name]
        assert "[bold]" in kept.trash("list")[1]
        assert kept.trash("restore", name)[0] == 0
        whole(home / "-a 'st\u00e4te'.qcow2")


def test_age():
    assert [read_age(text) for text in ("7d", "12h", "30m", "1.5 h", "90s", "2w")] == [
        604800, 43200, 1800, 5400, 90, 1209600,
    ]  # fmt: skip
    with pytest.raises(SettingRefused):
        read_age("1 month")


# -- the program -------------------------------------------------------------------------------


def test_the_program(own, tmp_path):
    avocado = Worker(tmp_path / "worker", "").avocado
    place = ("--pool-cache", str(own.root))
    done = avocado("pool", "rm", "vm1/image1/c", *place)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    [row] = own.thrown()
    done = avocado("pool", "trash", "empty", *place)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = own_lines(done.stderr)
    assert "--yes" in line and Path(row["path"]).exists()
    done = avocado("pool", "trash", "restore", row["id"], *place)
    assert done.returncode == 0 and done.stdout.startswith("restored vm1/image1/c in ")
    done = avocado("pool", "trash", "restore")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = own_lines(done.stderr)
    assert "ID|OBJECT/STATE" in line and "see 'avocado pool trash" in line


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 1)])
def test_a_terminal_is_asked(own, tmp_path, answer, left):
    own.rm("vm1/image1/c")
    worker = Worker(tmp_path / "worker", "")
    program = [str(worker.programs / "avocado"), "pool", "trash", "empty"]
    program += ["--pool-cache", str(own.root)]
    done = on_terminal(program, worker.env.variables(), f"{answer}\n".encode(), b"for good? [y/N]")
    assert done.status == left and "remove 1 file for good? [y/N]" in done.output
    assert len(own.thrown()) == left
    assert ("nothing was removed" in done.output) is bool(left)
