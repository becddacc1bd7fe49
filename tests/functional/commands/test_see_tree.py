"""``avocado pool tree`` at caches, local, link and remote pools."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core import used
from avocado_pool_plugin.core.recipe import Recipe
from avocado_pool_plugin.graph.read import node_of
from avocado_pool_plugin.graph.recipe import code_of, own_parts
from avocado_pool_plugin.plugins.steps.context import Context
from tests.functional.commands.test_moves import own_lines
from tests.support.graphs import GraphWorker
from tests.support.images import image
from tests.support.jobs import Worker
from tests.support.places import put_image
from tests.support.see import (
    EVERYWHERE,
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
from tests.support.vms import Lab

DAY = 86400


def flat(nodes: list[Any], depth: int = 0) -> list[tuple[int, dict[str, Any]]]:
    """Return the nodes of a printed tree, with how deep they are."""
    found = []
    for node in nodes:
        found += [(depth, node), *flat(node["children"], depth + 1)]
    return found


def states(nodes: list[Any]) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for _, node in flat(nodes) if "presence" in node}


def two(tmp_path: Path) -> dict[str, str]:
    """Return a cache and a pool with all there is to tell of chains and of where they are."""
    cache, pool = tmp_path / "cache", tmp_path / "pool"
    set_chain(cache, "install", "customize", "mine")
    shutil.copytree(cache, pool, copy_function=shutil.copy2)
    for name in ("mine", "customize"):
        (pool / "vm1" / "image1" / f"{name}.qcow2").unlink()
    set_chain(pool, "install", "customize", "theirs", byte=9)
    top = cache / "vm1" / "image1" / "customize.qcow2"
    note(top, made_by="host h, process 7, test boot.guest", seconds=12.5, made=1.0)
    note(top, recipe=Recipe.of({"param mem": "1024"}))
    used.touch(str(top))
    return {"pool.swarm_pool": str(cache), "pool.shared_pool": f":{pool}"}


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_chains_are_trees(kind, tmp_path, capsys):
    root = tmp_path / "pool"
    files = set_chain(root, "install", "customize", "top")
    put_image(image(tmp_path / "side.qcow2"), root / "vm1" / "image1" / "side.qcow2")
    set_ram(root, "top", {"image1": files[2]})
    note(files[1], made_by="host h, process 7, test boot.guest", seconds=12.5)
    used.touch(str(files[0]))
    os.utime(root / "vm1" / "image1" / ".pool" / "install.qcow2.used", (9e9, 9e9))
    given = options(kind, root, tmp_path / "nowhere")
    assert run("tree", given, json=True) == 0
    printed = told(capsys)
    assert [(depth, node["kind"], node["name"]) for depth, node in flat(printed)] == [
        (0, "object", "vm1"),
        (1, "vm state", "top"),
        (2, "needs", "image1/top"),
        (1, "image", "image1"),
        (2, "state", "install"),
        (3, "state", "customize"),
        (4, "state", "top"),
        (2, "state", "side"),
    ]
    found = {node["name"]: node for depth, node in flat(printed) if node["kind"] == "state"}
    sizes = [file.stat().st_blocks * 512 for file in files]
    names = ("install", "customize", "top")
    assert [found[name]["size"] for name in names] == sizes
    assert [found[name]["chain_size"] for name in names] == [
        sum(sizes[: number + 1]) for number in range(3)
    ]
    assert (found["customize"]["by"], found["customize"]["seconds"]) == ("boot.guest", 12.5)
    assert found["install"]["used"] == 9e9
    assert found["top"]["used"] == found["top"]["made"] > 0
    where = location("local" if kind == "cache" else kind, root)
    assert {node["presence"] for node in found.values()} == {"cache" if kind == "cache" else "pool"}
    assert {tuple(node["where"]) for node in found.values()} == {(where,)}
    assert {node["problem"] for node in states(printed).values()} == {""}
    [ram] = [node for _, node in flat(printed) if node["kind"] == "vm state"]
    ram_size = (root / "vm1" / "top.state").stat().st_blocks * 512
    assert (ram["size"], ram["chain_size"]) == (ram_size, ram_size + sum(sizes))
    assert (ram["by"], ram["seconds"]) == ("boot.guest", 12.5)


def test_a_cache_and_a_pool_are_one_tree(tmp_path, capsys):
    given = two(tmp_path)
    assert run("tree", given, json=True) == 0
    found = states(told(capsys))
    assert {name: node["presence"] for name, node in found.items()} == {
        "install": "stale",
        "customize": "stale",
        "mine": "cache",
        "theirs": "pool",
    }
    assert found["customize"]["recipe"] == "recorded" and found["install"]["recipe"] == ""
    assert found["customize"]["where"] == [f":{tmp_path}/{name}" for name in ("cache", "pool")]
    # the same content again
    shutil.rmtree(tmp_path / "pool")
    shutil.copytree(tmp_path / "cache", tmp_path / "pool", copy_function=shutil.copy2)
    for path in (tmp_path / "pool").rglob("*.qcow2"):
        note(path, digest="b3t1m:1")
        note(tmp_path / "cache" / path.relative_to(tmp_path / "pool"), digest="b3t1m:1")
    assert run("tree", given, json=True) == 0
    # copied by a program that keeps no stamp: what the record says may not be true of the copy
    assert {node["presence"] for node in states(told(capsys)).values()} == {"unknown"}
    shutil.rmtree(tmp_path / "pool")
    shutil.copytree(tmp_path / "cache", tmp_path / "pool", copy_function=os.link)
    assert run("tree", given, json=True) == 0
    assert {node["presence"] for node in states(told(capsys)).values()} == {"cache+pool"}


def test_symlinks_in_the_cache_are_the_pools_files(tmp_path, capsys):
    pool = tmp_path / "pool"
    [file] = set_chain(pool, "install")
    link = tmp_path / "cache" / "vm1" / "image1" / file.name
    link.parent.mkdir(parents=True)
    link.symlink_to(file)
    given = {"pool.swarm_pool": str(tmp_path / "cache"), "pool.shared_pool": f":{pool};"}
    assert run("tree", given, json=True) == 0
    assert states(told(capsys))["install"]["presence"] == "cache+pool"


@pytest.mark.parametrize("kind", ["local", "plain"])
def test_a_broken_pool_is_shown_with_what_is_wrong(kind, tmp_path, capsys):
    pool = odd_pool(tmp_path / "pool")
    given = options(kind, pool, tmp_path / "nowhere")
    assert run("tree", given, json=True) == 0
    printed = told(capsys)
    found = states(printed)
    assert found["orphan"]["problem"] == "stands on 'gone', which is missing"
    assert found["outside"]["problem"] == f"stands on {tmp_path}/golden.qcow2"
    assert "no QCOW2 image" in found["none"]["problem"]
    assert "does not exist" in found["dead"]["problem"]
    assert found["running"]["problem"] == "lacks states of its images"
    assert found["image1.qcow2"]["kind"] == "root" and found["on top"]["problem"] == ""
    [gone] = [node for _, node in flat(printed) if node["kind"] == "missing"]
    assert [child["name"] for child in gone["children"]] == ["orphan"]
    assert run("tree", given, object="vm1/image1") == 0
    lines = capsys.readouterr().out.splitlines()
    titles = ["state", "size", "chain", "made", "used", "by", "recipe", "where", "problem"]
    assert lines[0].split() == titles
    start = next(number for number, line in enumerate(lines) if line.startswith("    gone "))
    assert lines[start].split() == ["gone", "is", "missing"]
    assert lines[start + 1].startswith("      orphan ") and "which is missing" in lines[start + 1]
    assert not [line for line in lines if "running" in line or "läuft" in line]


def test_a_pool_that_avocado_i2n_filled(tmp_path, capsys):
    pool = by_i2n(tmp_path / "pool", tmp_path / "host7")
    assert run("tree", options("local", pool, tmp_path / "nowhere")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[: len(line) - len(line.lstrip())] + line.split()[0] for line in lines[1:]] == [
        "vm1",
        "  image1",
        "    a",
        "      b",
        "        c",
    ]


def test_states_that_stand_on_themselves_and_long_chains(tmp_path, capsys):
    home = tmp_path / "pool" / "vm1" / "image1"
    first = image(home / "s000.qcow2")
    for number in range(1, 900):
        image_path = home / f"s{number:03}.qcow2"
        data = first.read_bytes() if number == 1 else data  # noqa: F821
        below = f"s{number - 1:03}.qcow2".encode()
        image_path.write_bytes(_backed(data, below))
    first.write_bytes(_backed(data, b"s000.qcow2"))
    given = options("local", tmp_path / "pool", tmp_path / "nowhere")
    assert run("tree", given, json=True) == 0
    nodes = json.loads(capsys.readouterr().out)
    depth = 0
    while nodes:
        nodes, depth = nodes[0]["children"], depth + 1
    assert depth == 902
    assert run("tree", given) == 0
    assert "stands on itself" in capsys.readouterr().out


def _backed(data: bytes, name: bytes) -> bytes:
    """Return an image with another backing name in its header."""
    start = data[:8] + (2048).to_bytes(8, "big") + len(name).to_bytes(4, "big") + data[20:2048]
    return start + name + data[2048 + len(name) :]


def test_nothing_there(tmp_path, capsys, caplog):
    given = options("local", tmp_path / "none", tmp_path / "nowhere")
    with caplog.at_level("INFO", logger="avocado.app"):
        assert run("tree", given) == 0
    assert "no states in" in caplog.messages[0]
    caplog.clear()
    assert run("tree", given, object="vm1") == 1
    assert caplog.messages[0].startswith("vm1 is nowhere")
    assert run("tree", given, object="a/b/c") == 2
    assert capsys.readouterr().out == ""


def test_a_place_that_can_not_be_reached_is_told_and_the_others_shown(tmp_path, capsys, caplog):
    given = two(tmp_path)
    (tmp_path / "file").write_text("")
    given["pool.shared_pool"] += f" :{tmp_path}/file"
    assert run("tree", given, json=True) == 1
    assert f"{tmp_path}/file can't be listed: " in caplog.messages[0]
    assert set(states(told(capsys))) == {"install", "customize", "mine", "theirs"}


def test_how_states_would_be_made_now(tmp_path, capsys, monkeypatch):
    """Compared with the tests of a configuration, as the planner of graph runs does."""
    given = two(tmp_path)
    lab = Lab(tmp_path)
    tests = {}
    for name in ("install", "customize", "mine"):
        params = lab.params(set_state_images=name, type="boot", mem="2048")
        tests[f"make.{name}"] = node_of(f"make.{name}", params)
    home = tmp_path / "cache" / "vm1" / "image1"
    same = own_parts(tests["make.install"].params, code_of(tests["make.install"].params))
    note(home / "install.qcow2", recipe=Recipe.of(same))
    note(home / "customize.qcow2", recipe=Recipe.of({**same, "param mem": "1024"}))
    monkeypatch.setattr(Context, "whole", lambda self: [])
    monkeypatch.setattr(Context, "readings", lambda self, _: tests)
    assert run("tree", {**given, "vt.config": "tests.cfg"}, json=True, words=[]) == 0
    found = states(told(capsys))
    assert found["install"]["recipe"] == "current"
    assert found["customize"]["recipe"] == "changed: param mem: 1024 -> 2048"
    assert (found["mine"]["recipe"], found["theirs"]["recipe"]) == ("", "")


# -- the program ------------------------------------------------------------------------------


def test_on_a_terminal_and_in_a_pipe(tmp_path):
    given = two(tmp_path)
    worker = Worker(tmp_path / "worker", "")
    words = ["--pool-cache", given["pool.swarm_pool"]]
    words += ["--pool-location", given["pool.shared_pool"]]
    done = worker.avocado("pool", "tree", "vm1/image1", *words)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert "\x1b" not in done.stdout and "├" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[1:3] == ["vm1", "  image1"]
    assert lines[4].startswith("      customize ") and "boot.guest" in lines[4]
    assert lines[4].endswith("recorded  stale")
    done = worker.avocado("pool", "tree", "--json", *words)
    assert set(states(json.loads(done.stdout))) == {"install", "customize", "mine", "theirs"}
    avocado = str(worker.programs / "avocado")
    variables = worker.env.variables()
    shown = on_terminal([avocado, "pool", "tree", *words], variables, columns=160)
    assert shown.status == 0 and "└── " in shown.output and "├── " in shown.output
    assert "by boot.guest, recipe recorded, stale" in shown.output


def test_the_tests_of_a_real_configuration(tmp_path):
    given = two(tmp_path)
    worker = GraphWorker(tmp_path / "worker", "")
    words = ["--pool-cache", given["pool.swarm_pool"], "--pool-location"]
    words += [given["pool.shared_pool"], "--vt-config", str(worker.env.vt_config), "--json"]
    for chosen in ([], ["mem=2048"]):
        done = worker.avocado("pool", "tree", "vm1", *words, *chosen)
        assert done.returncode == 0, done.stderr
        found = states(json.loads(done.stdout))
        assert found["customize"]["recipe"].startswith("changed: "), found
        assert found["install"]["recipe"] == ""
    done = worker.avocado("pool", "tree", "mem=2048", *words)
    assert set(states(json.loads(done.stdout))) == {"install", "customize", "mine", "theirs"}
    done = worker.avocado("pool", "tree", "vm1", "customize", *words)
    assert (done.returncode, done.stdout) == (2, "") and "KEY=VALUE" in done.stderr
