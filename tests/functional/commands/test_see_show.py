"""``avocado pool show`` at caches, local, link and remote pools."""

import json
import shutil
from pathlib import Path

import pytest

from avocado_pool_plugin.core import locks, users
from tests.functional.commands.test_moves import own_lines
from tests.support.images import edit, held_open, image
from tests.support.jobs import Worker
from tests.support.places import put_image
from tests.support.see import (
    EVERYWHERE,
    RECIPE,
    by_i2n,
    location,
    note,
    odd_pool,
    options,
    run,
    set_chain,
    set_ram,
    told,
)
from tests.support.terminals import on_terminal


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_all_that_is_known(kind, tmp_path, capsys):
    root = tmp_path / "pool"
    files = set_chain(root, "install", "customize", "top")
    set_ram(root, "top", {"image1": files[2]})
    info = note(files[1], recipe=RECIPE, seconds=12.5)
    overlay = image(tmp_path / "work.qcow2", backing=str(files[1]))
    users.register(str(files[1]), str(overlay), info.generation)
    given = options(kind, root, tmp_path / "nowhere")
    with locks.hold(str(files[1]), 0), held_open(overlay):
        assert run("show", given, state="vm1/image1/customize", json=True) == 0
    card = told(capsys)
    assert (card["object"], card["image"], card["state"]) == ("vm1", "image1", "customize")
    [copy] = card["copies"]
    assert copy["where"] == location("local" if kind == "cache" else kind, root)
    assert (copy["cache"], copy["path"]) == (kind == "cache", str(files[1]))
    assert (copy["size"], copy["length"]) == (
        files[1].stat().st_blocks * 512,
        files[1].stat().st_size,
    )
    assert copy["digest"] == info.digest and copy["generation"] == info.generation
    assert (copy["parent"], copy["parent_digest"]) == ("install", info.parent_digest)
    assert (copy["made"], copy["made_by"], copy["seconds"]) == (info.made, info.made_by, 12.5)
    assert copy["recipe"] == {"key": RECIPE.key}
    assert copy["chain"] == ["vm1/image1/customize", "vm1/image1/install"]
    assert copy["chain_size"] == sum(file.stat().st_blocks * 512 for file in files[:2])
    assert (copy["states_on_top"], copy["vm_states_on_it"]) == (["vm1/image1/top"], ["vm1/top"])
    [user] = copy["overlays"]
    assert (user["path"], user["open"]) == (str(overlay), True)
    assert copy["open"] is True and copy["problem"] == ""
    assert copy["lock"]["held"] is True and "process" in copy["lock"]["holder"]
    assert run("show", given, state="vm1/image1/customize", json=True) == 0
    [copy] = told(capsys)["copies"]
    assert (copy["overlays"][0]["open"], copy["open"], copy["lock"]["held"]) == (False,) * 3


@pytest.mark.parametrize("kind", ["local", "plain"])
def test_a_vm_state_has_a_passport(kind, tmp_path, capsys):
    root = tmp_path / "pool"
    files = set_chain(root, "install", "on")
    other = root / "vm1" / "image2" / "on.qcow2"
    put_image(image(tmp_path / "second.qcow2"), other)
    set_ram(root, "on", {"image1": files[1], "image2": other, "image3": files[0]})
    put_image(image(tmp_path / "third.qcow2", size="64M"), other)
    given = options(kind, root, tmp_path / "nowhere")
    assert run("show", given, state="vm1/on", json=True) == 0
    [copy] = told(capsys)["copies"]
    assert copy["passport"]["machine"] == {"memory": "1024"}
    assert copy["images"] == {
        "image1": "there",
        "image2": "another one is there",
        "image3": "missing",
    }
    assert copy["problem"].startswith("belongs to another state of image 'image2'")
    assert copy["chain"] == ["vm1/on", "vm1/image1/on", "vm1/image1/install", "vm1/image2/on"]
    assert run("show", given, state="vm1/on") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["machine", "memory:", "1024"] in lines
    assert ["image", "image3:", "missing"] in lines


def test_copies_are_compared(tmp_path, capsys):
    cache, pool, third = (tmp_path / name for name in ("cache", "pool", "third"))
    set_chain(cache, "a", "b")
    set_chain(pool, "a", "b", byte=9)
    shutil.copytree(cache, third)
    given = {"pool.swarm_pool": str(cache), "pool.shared_pool": f":{pool} :{third}"}
    assert run("show", given, state="vm1/image1/b", json=True) == 0
    copies = told(capsys)["copies"]
    assert [copy["compared"] and copy["compared"]["kind"] for copy in copies] == [
        None,
        "different",
        "unknown",
    ]
    assert copies[1]["compared"]["reason"] == "made on another 'a'"
    assert run("show", given, state="vm1/image1/b") == 0
    text = capsys.readouterr().out
    assert f"different from the one in :{cache}: made on another 'a'" in text
    assert f"  in :{cache} (cache)\n" in text and f"  in :{third}\n" in text


def test_what_is_wrong_is_shown(tmp_path, capsys):
    pool = odd_pool(tmp_path / "pool")
    given = options("local", pool, tmp_path / "nowhere")
    for state, problem in (
        ("vm1/image1/orphan", "stands on 'gone', which is missing"),
        ("vm1/image1/dead", "does not exist"),
        ("vm1/image1/none", "no QCOW2 image"),
        ("my vm's/Größe [bold]/läuft", ""),
    ):
        assert run("show", given, state=state) == 0
        text = capsys.readouterr().out
        assert problem in text and text.startswith(f"{state}\n")
        assert ("problem" in text) is bool(problem)


def test_a_changed_file_is_not_believed(tmp_path, capsys):
    [file] = set_chain(tmp_path / "pool", "a")
    given = options("local", tmp_path / "pool", tmp_path / "nowhere")
    for sure in (True, False):
        assert run("show", given, state="vm1/image1/a", json=True) == 0
        [copy] = told(capsys)["copies"]
        assert (copy["sure"], copy["recorded"]) == (sure, True)
        edit(file, 70000, b"damage")
    assert run("show", given, state="vm1/image1/a") == 0
    assert "read again before it is used" in capsys.readouterr().out


def test_a_state_without_a_record(tmp_path, capsys):
    pool = by_i2n(tmp_path / "pool", tmp_path / "host7")
    given = options("local", pool, tmp_path / "nowhere")
    assert run("show", given, state="vm1/image1/b") == 0
    lines = capsys.readouterr().out.splitlines()
    fields = {line[4:19].strip(): line[19:].strip() for line in lines[2:]}
    assert fields["digest"] == "not known" and fields["record"].startswith("none")
    assert fields["stands on"] == "a"
    assert fields["chain"].startswith("vm1/image1/b <- vm1/image1/a: 2 files")
    assert fields["states on top"] == "vm1/image1/c"


def test_the_parts_of_a_recipe_on_request(tmp_path, capsys):
    [file] = set_chain(tmp_path / "pool", "a")
    note(file, recipe=RECIPE)
    given = options("local", tmp_path / "pool", tmp_path / "nowhere")
    assert run("show", given, state="vm1/image1/a", json=True, recipe=True) == 0
    assert told(capsys)["copies"][0]["recipe"]["parts"] == dict(RECIPE.parts)
    assert run("show", given, state="vm1/image1/a", recipe=True) == 0
    text = capsys.readouterr().out
    assert "param mem" in text and "1024" in text
    assert run("show", given, state="vm1/image1/a") == 0
    text = capsys.readouterr().out
    assert "param mem" not in text and f"{RECIPE.key}, 2 parts" in text


def test_a_state_that_is_nowhere_and_wrong_use(tmp_path, capsys, caplog):
    set_chain(tmp_path / "pool", "a")
    given = options("local", tmp_path / "pool", tmp_path / "nowhere")
    for state in ("vm1/image1/b", "vm1/a", "vm2/image1/a"):
        caplog.clear()
        assert run("show", given, state=state) == 1
        [said] = caplog.messages
        assert str(tmp_path / "pool") in said and str(tmp_path / "nowhere") in said
    for state in ("vm1", "vm1/image1/a/b", "vm1/.x"):
        assert run("show", given, state=state) == 2
    assert capsys.readouterr().out == ""


def test_a_place_that_can_not_be_reached_is_told(tmp_path, capsys, caplog):
    set_chain(tmp_path / "cache", "a")
    (tmp_path / "file").write_text("")
    given = {"pool.swarm_pool": str(tmp_path / "cache"), "pool.shared_pool": f":{tmp_path}/file"}
    assert run("show", given, state="vm1/image1/a", json=True) == 1
    assert caplog.messages[0].startswith(f"{tmp_path}/file can't be listed: ")
    assert len(told(capsys)["copies"]) == 1


def test_on_a_terminal_and_in_a_pipe(tmp_path):
    files = set_chain(tmp_path / "pool", "a", "b")
    worker = Worker(tmp_path / "worker", tmp_path / "pool")
    done = worker.avocado("pool", "show", "vm1/image1/b")
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert "\x1b" not in done.stdout and done.stdout.startswith("vm1/image1/b\n")
    done = worker.avocado("pool", "show", "vm1/image1/b", "--json")
    assert json.loads(done.stdout)["copies"][0]["path"] == str(files[1])
    avocado = str(worker.programs / "avocado")
    command = [avocado, "pool", "show", "vm1/image1/b"]
    shown = on_terminal(command, worker.env.variables(), columns=200)
    assert shown.status == 0 and "\x1b[1mvm1/image1/b" in shown.output
    assert "vm1/image1/b <- vm1/image1/a: 2 files" in shown.output


def test_an_overlay_that_is_gone_is_not_shown(tmp_path: Path, capsys):
    [file] = set_chain(tmp_path / "pool", "a")
    overlay = image(tmp_path / "work.qcow2", backing=str(file))
    users.register(str(file), str(overlay), "")
    given = options("local", tmp_path / "pool", tmp_path / "nowhere")
    for number in (1, 0):
        assert run("show", given, state="vm1/image1/a", json=True) == 0
        assert len(told(capsys)["copies"][0]["overlays"]) == number
        overlay.unlink(missing_ok=True)
