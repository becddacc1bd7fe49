import json
import subprocess

import pytest
from avocado.core.parser import ArgumentParser

from avocado_pool_plugin.plugins import cmd


@pytest.fixture(autouse=True)
def no_files(monkeypatch):
    """The configuration of the machine that runs the tests is of no concern here."""
    monkeypatch.setattr(cmd, "check_files", lambda: None)


@pytest.fixture
def cache(tmp_path):
    root = tmp_path / "cache"
    directory = root / "vm1" / "image 1"
    directory.mkdir(parents=True)
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    subprocess.run([*create, "install.qcow2", "1M"], cwd=directory, check=True)
    backed = ["-b", "install.qcow2", "-F", "qcow2", "a very long name of a state.qcow2"]
    subprocess.run([*create, *backed], cwd=directory, check=True)
    return root


def run(subcommand, *places, **config):
    values = dict(zip(("pool.swarm_pool", "pool.shared_pool"), places, strict=False))
    return cmd.Pool().run({"pool_subcommand": subcommand, **values, **config})


def test_the_table_names_each_state_and_its_parent(cache, tmp_path, capsys):
    assert run("list", str(cache), f":{tmp_path}/none") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["object", "image", "state", "size", "parent", "made", "where"]
    row = next(line for line in lines if "a very long name of a state" in line)
    assert "vm1" in row and "image 1" in row and "install" in row and f":{cache}" in row


def test_json_is_for_machines(cache, capsys):
    assert run("list", str(cache), pool_json=True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["state"]: row["parent"] for row in rows} == {
        "install": "",
        "a very long name of a state": "install",
    }
    assert {row["where"] for row in rows} == {f":{cache}"}


def test_nothing_there_is_said_and_is_no_error(tmp_path, caplog):
    with caplog.at_level("INFO", logger="avocado.app"):
        assert run("list", f"{tmp_path}/none", f":{tmp_path}") == 0
    assert caplog.messages == [f"no states in :{tmp_path}/none, :{tmp_path}"]


def test_nothing_there_is_an_empty_list_for_machines(tmp_path, capsys):
    assert run("list", str(tmp_path), pool_json=True) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_an_unreachable_place_is_one_sentence_and_an_exit_status(tmp_path, caplog):
    file = tmp_path / "file"
    file.write_text("")
    assert run("list", str(tmp_path), f":{file}") != 0
    assert len(caplog.messages) == 1 and str(file) in caplog.messages[0]


def test_a_bad_place_is_one_sentence_and_an_exit_status(caplog):
    assert run("list", "here") != 0
    assert len(caplog.messages) == 1 and "swarm_pool" in caplog.messages[0]


def test_hosts_are_named_as_not_listed(cache, caplog, capsys):
    assert run("list", str(cache), "host:/states") == 0
    assert "host:/states" in caplog.text
    assert "install" in capsys.readouterr().out


def test_backends_are_listed_with_their_origin(capsys):
    assert run("backends") == 0
    assert "avocado_pool_plugin.states.qcow2:QCOW2ExtBackend" in capsys.readouterr().out


def test_a_backend_that_cannot_be_loaded_is_listed_with_the_reason(monkeypatch, capsys):
    from avocado_pool_plugin.states import backends

    broken = backends.Backend("theirs", "their.module:Class", None, "ImportError: no such thing")
    monkeypatch.setattr(backends, "known_backends", lambda: [broken])
    assert run("backends") == 0
    assert "ImportError: no such thing" in capsys.readouterr().out


def test_the_command_has_its_sub_commands():
    parser = ArgumentParser()
    parser.subcommands = parser.add_subparsers(dest="subcommand")
    cmd.Pool().configure(parser)
    given = vars(parser.parse_args(["pool", "list", "--json", "--pool-cache", "/x"]))
    assert (given["pool_subcommand"], given["pool_json"]) == ("list", True)
    assert given["pool.swarm_pool"] == "/x"
