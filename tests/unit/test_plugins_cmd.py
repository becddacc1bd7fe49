import json
import shlex
import subprocess
from types import SimpleNamespace

import pytest
from avocado.core.parser import ArgumentParser

from avocado_pool_plugin.plugins import cmd
from avocado_pool_plugin.plugins.commands import COMMANDS
from avocado_pool_plugin.plugins.commands.command import Command
from tests.support.sshd import ADDRESS, free_port


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
    assert run("list", str(tmp_path), f":{file}") == 1
    assert len(caplog.messages) == 1 and str(file) in caplog.messages[0]


def test_a_bad_place_is_one_sentence_and_an_exit_status(caplog):
    assert run("list", "here") == 2
    assert len(caplog.messages) == 1 and "swarm_pool" in caplog.messages[0]


def test_a_host_that_can_not_be_reached_keeps_nothing_else_from_being_listed(
    cache, tmp_path, caplog, capsys
):
    config = tmp_path / "config"
    config.write_text(f"Host host\nHostName {ADDRESS}\nPort {free_port()}\n")
    where = f"host:/states :{cache}"
    assert run("list", f"{tmp_path}/none", where, **{"pool.ssh_config": str(config)}) == 1
    [told] = caplog.messages
    assert told.startswith("listing host:/states failed: ") and "Connection refused" in told
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
    assert run("backends", pool_json=True) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "theirs", "from": "their.module:Class", "error": "ImportError: no such thing"}
    ]


@pytest.fixture
def parser():
    found = ArgumentParser(prog="avocado")
    found.subcommands = found.add_subparsers(dest="subcommand")
    cmd.Pool().configure(found)
    # some sub-commands take what other plugins add to this one
    others = found.subcommands.add_parser("run")
    others.add_argument("--vt-config", dest="vt.config")
    others.add_argument("--max-parallel-tasks", dest="run.max_parallel_tasks", type=int)
    others.add_argument("--dry-run", dest="run.dry_run.enabled", action="store_true")
    return found


def test_the_command_has_its_sub_commands(parser):
    given = vars(parser.parse_args(["pool", "list", "--json", "--pool-cache", "/x"]))
    assert (given["pool_subcommand"], given["pool_json"]) == ("list", True)
    assert given["pool.swarm_pool"] == "/x"
    moves = ["pool", "fetch", "vm1/image1/a", "--dry-run", "--pool-lock-timeout", "3"]
    given = vars(parser.parse_args(moves))
    assert (given["pool_state"], given["pool_dry_run"], given["pool_json"]) == (
        "vm1/image1/a",
        True,
        False,
    )
    assert given["pool.lock_timeout"] == "3"
    for name in ("list", "fetch", "publish"):
        words = ["vm1/image1/a"] if name != "list" else []
        ssh = [
            "--pool-ssh-config",
            "/c",
            "--pool-ssh-timeout",
            "9",
            "--pool-ssh-host-keys",
            "strict",
        ]
        given = vars(parser.parse_args(["pool", name, *words, *ssh]))
        found = [given[f"pool.ssh_{option}"] for option in ("config", "timeout", "host_keys")]
        assert found == ["/c", "9", "strict"]


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_help_has_examples_that_can_be_typed(command, parser, capsys):
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["pool", command.name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert command.help in " ".join(text.split())
    lines = text.partition("\nexamples:\n")[2].splitlines()
    assert len(lines) == len(command.examples) >= 1
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "avocado" and words[:2] == ["pool", command.name]
        assert parser.parse_args(words).pool_subcommand == command.name


def test_help_lists_each_command_with_one_line(parser, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parser.parse_args(["pool", "--help"])
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert [line for line in lines if line.split() == [command.name, *command.help.split()]]


@pytest.mark.parametrize(
    "words",
    [[], ["bogus"], ["fetch"], ["publish"], ["list", "--pool-cache"], ["fetch", "--nothing", "a"]],
)
def test_wrong_arguments_are_one_sentence_and_status_2(words, parser, caplog):
    with pytest.raises(SystemExit) as end:
        _, unknown = parser.parse_known_args(["pool", *words])
        # as Avocado does
        parser.subcommands.choices["pool"].error(f"unrecognized arguments: {unknown}")
    assert end.value.code == 2
    assert len(caplog.messages) == 1 and "--help" in caplog.messages[0]


def test_an_interrupted_command_says_so(monkeypatch, caplog):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setitem(
        cmd._COMMANDS, "list", Command("list", "", (), lambda parser: None, interrupted)
    )
    assert run("list") == 8
    assert len(caplog.messages) == 1 and "interrupted" in caplog.messages[0]


def test_avocado_s_paginator_is_no_terminal(cache, monkeypatch):
    written = []
    monkeypatch.setattr("sys.stdout", SimpleNamespace(write=written.append, flush=list))
    assert run("list", str(cache)) == 0
    assert "install" in "".join(written)
