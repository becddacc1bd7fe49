"""``avocado pool`` with pools on another host, which the user's ssh configuration knows."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from avocado_pool_plugin.plugins import job
from avocado_pool_plugin.ssh import session
from tests.functional.commands.test_moves import files, images, own_lines, usable
from tests.support.commands import do, section
from tests.support.images import edit
from tests.support.images import image as make_qcow2
from tests.support.images import write as fill
from tests.support.jobs import Worker
from tests.support.needs import need_programs
from tests.support.processes import environment
from tests.support.sshd import ADDRESS, Sshd, free_port
from tests.support.states import OWN, contents, leftovers, made
from tests.support.terminals import on_terminal
from tests.support.vms import Lab

Run = Callable[..., int]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
        session.close_all()


@pytest.fixture(scope="module")
def config(sshd: Sshd) -> str:
    """An ssh configuration that knows two hosts, one of which is off."""
    off = f"Host gone\nHostName {ADDRESS}\nPort {free_port()}\n"
    return sshd.lab("commands", off)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """States a, b on it and c on that, in the cache only."""
    return made(Lab(tmp_path), *"abc", **OWN)


@pytest.fixture
def run(config: str) -> Run:
    """Do a sub-command in this process."""

    def done(name: str, state: str, cache: Path, *pools: object, **more: bool) -> int:
        options = {"swarm_pool": str(cache), "shared_pool": " ".join(map(str, pools))}
        options["ssh_config"] = config
        return do(name, {"pool_state": state, **section(options), **more})

    return done


def holders(config: str) -> list[str]:
    """Return the command lines of all programs that hold connections."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].startswith("ssh") and config in words:
            found.append(" ".join(words))
    return found


# list


def strange(root: Path) -> None:
    """Put all kinds of things into a pool that were found in one."""
    home = root / "my vm's" / 'image "1" [x]'
    base = make_qcow2(home / "a state.qcow2")
    make_qcow2(home / "b.qcow2", backing=base.name)
    make_qcow2(home / "away.qcow2", backing=str(make_qcow2(root.parent / "golden.qcow2")))
    (home / "none.qcow2").write_bytes(b"none")
    (home / "cut.qcow2").write_bytes(base.read_bytes()[:60])
    (home / "directory.qcow2").mkdir()
    (home / "link.qcow2").symlink_to(base)
    (home / "dead.qcow2").symlink_to("nowhere")
    (home / "notes.txt").write_text("")
    (home / "a.qcow2.part").write_text("")
    (home / "b\nc.qcow2").write_text("")
    (home.parent / "running.state").write_bytes(b"memory" * 1000)
    (home.parent / "file").write_text("")
    (root / "file").write_text("")
    (root / "x\ny" / "image1").mkdir(parents=True)
    make_qcow2(root / "x\ny" / "image1" / "a.qcow2")
    fill(make_qcow2(root / "vm2" / "image1" / "full.qcow2"), 1, "0", "4M")


def listed(run: Run, capsys, *pools: object) -> list[dict[str, object]]:
    assert run("list", "", Path("/none"), *pools, pool_json=True) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_a_remote_pool_is_listed_as_it_would_be_here(run, tmp_path, capsys):
    pool = tmp_path / "pool"
    strange(pool)
    here, there = (listed(run, capsys, f"{label}:{pool}") for label in ("", "lab"))
    assert {row.pop("where") for row in there} == {f"lab:{pool}"}
    assert {row.pop("where") for row in here} == {f":{pool}"}
    # what no shell can be told of is left out, and a message names the host
    here = [row for row in here if "\n" not in str(row["object"])]
    for row in (*here, *there):
        row["problem"] = str(row["problem"]).replace(f"lab:{pool}", str(pool))
        row["made"] = round(float(str(row["made"])), 3)
    assert there == here
    states = {row["state"] for row in there}
    assert states >= {"a state", "b", "away", "none", "cut", "link", "dead", "running", "full"}
    assert not states & {"directory", "a.qcow2", "notes"}


def test_the_table_has_the_pool_in_it(run, lab, config, capsys):
    assert run("publish", "vm1/image1/b", lab.cache, f"lab:{lab.pool}") == 0
    assert holders(config) == [], "nothing is left of a command in its process"
    capsys.readouterr()
    assert run("list", "", lab.root / "none", f"lab:{lab.pool}") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(line[2], line[-1]) for line in lines[1:]] == [
        (name, f"lab:{lab.pool}") for name in "ab"
    ]


def test_an_empty_remote_pool_is_no_error(run, tmp_path, caplog):
    with caplog.at_level("INFO", logger="avocado.app"):
        assert run("list", "", tmp_path / "none", f"lab:{tmp_path}/no") == 0
    assert caplog.messages == [f"no states in :{tmp_path}/none, lab:{tmp_path}/no"]


def test_pools_that_can_not_be_listed_are_named_and_the_others_listed(
    run, lab, tmp_path, caplog, capsys
):
    (tmp_path / "loop").symlink_to("loop")
    bad = ["gone:/x", f"lab:{tmp_path}/loop", f":{tmp_path}/loop"]
    assert run("list", "", lab.cache, *bad, f"lab:{lab.cache}", pool_json=True) == 1
    said = [r.getMessage() for r in caplog.records if r.name == "avocado.app"]
    named = [bad[0], bad[1], f"{tmp_path}/loop"]
    assert [place in text for place, text in zip(named, said, strict=True)] == [True] * 3
    assert "Connection refused" in said[0] and "symbolic links" in said[1]
    rows = json.loads(capsys.readouterr().out)
    assert [(row["state"], row["where"]) for row in rows] == [
        (name, where) for where in (f":{lab.cache}", f"lab:{lab.cache}") for name in "abc"
    ]


def test_many_states_are_listed_in_seconds(run, tmp_path, capsys):
    pool = tmp_path / "pool"
    base = make_qcow2(pool / "vm1" / "image1" / "base.qcow2")
    top = make_qcow2(base.with_name("top.qcow2"), backing=base.name)
    for number in range(600):
        shutil.copy(top, top.with_name(f"s{number}.qcow2"))
    rows = listed(run, capsys, f"lab:{pool}")
    assert len(rows) == 602 and {row["parent"] for row in rows} == {"", "base"}


# publish and fetch


def test_a_chain_goes_to_a_host_and_back_by_the_program(lab, config, tmp_path):
    avocado = Worker(tmp_path / "worker", "").avocado
    ssh = ("--pool-ssh-config", config, "--pool-ssh-timeout", "20")
    where = ("--pool-location", f"lab:{lab.pool} :{tmp_path}/near")
    own = ("--pool-cache", str(lab.cache), *where, *ssh)
    done = avocado("pool", "publish", "vm1/image1/c", *own)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.startswith("published vm1/image1/c: 6 files (6 copied), ")
    assert images(lab.pool) == images(tmp_path / "near") == files("abc")
    cache = tmp_path / "empty"
    own = ("--pool-cache", str(cache), "--pool-location", f"lab:{lab.pool}", *ssh)
    for told in ("2 files (2 copied)", "2 files (2 already there)"):
        done = avocado("pool", "fetch", "vm1/image1/b", *own)
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
        assert done.stdout.startswith(f"fetched vm1/image1/b: {told}, ")
    assert images(cache) == files("ab")
    usable(lab, cache, "b")
    assert leftovers(tmp_path) == [] and holders(config) == []


def test_a_dry_run_prints_the_plan_and_moves_nothing(lab, run, tmp_path, capsys):
    pool = tmp_path / "other"
    for name, state in (("publish", "c"), ("fetch", "b")):
        before = contents(tmp_path)
        assert run(name, f"vm1/image1/{state}", lab.cache, f"lab:{pool}", pool_dry_run=True) == 0
        *lines, total = capsys.readouterr().out.splitlines()
        ends = [(f"{lab.cache}/{file}", f"lab:{pool}/{file}") for file in files("abc")]
        if name == "publish":
            assert lines == [f"copy    {here} -> {there}" for here, there in ends]
            assert not total.startswith("0.0") and total.endswith(" MiB to copy")
            assert contents(tmp_path) == before and not pool.exists()
            assert run("publish", "vm1/image1/c", lab.cache, f"lab:{pool}") == 0
            capsys.readouterr()
        else:
            assert lines == [f"keep    {there} -> {here}" for here, there in ends[:2]]
            assert contents(tmp_path) == before


def test_json_names_the_host(lab, run, tmp_path, capsys):
    where = f"lab:{lab.pool}"
    assert run("publish", "vm1/image1/c", lab.cache, where, pool_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["moved"], told["kept"], told["problems"]) == (3, 0, [])
    assert [file["target"] for file in told["files"]] == [f"{where}/{f}" for f in files("abc")]
    assert run("fetch", "vm1/image1/c", tmp_path / "empty", where, pool_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert [file["source"] for file in told["files"]] == [f"{where}/{f}" for f in files("abc")]
    assert told["bytes"] == sum(
        (tmp_path / "empty" / file).stat().st_blocks * 512 for file in files("abc")
    )


def test_names_may_hold_blanks_and_quotes(run, tmp_path):
    home = Path("my vm's", 'image "1" [bold]')
    source = tmp_path / "pool of all" / home
    base = fill(make_qcow2(source / "a state.qcow2"), 5)
    make_qcow2(source / "b.qcow2", backing=base.name)
    (source.parent / "b.state").write_bytes(b"memory" * 1000)
    cache, back = tmp_path / "empty", tmp_path / "pool 2"
    wanted = sorted(f"{home}/{name}.qcow2" for name in ("a state", "b"))
    assert run("fetch", f"{home}/b", cache, f"lab:{tmp_path}/pool of all") == 0
    assert images(cache) == wanted
    assert run("fetch", "my vm's/b", cache, f"lab:{tmp_path}/pool of all") == 0
    assert images(cache) == sorted([*wanted, "my vm's/b.state"])
    assert run("publish", "my vm's/b", cache, f"lab:{back}") == 0
    assert images(back) == images(cache)


@pytest.mark.parametrize("name", ["fetch", "publish"])
def test_a_host_that_can_not_be_reached(lab, run, caplog, name, tmp_path):
    """The next one is taken, and named; publishing to it is a failure."""
    assert run("publish", "vm1/image1/c", lab.cache, f"lab:{lab.pool}") == 0
    cache = lab.cache if name == "publish" else tmp_path / "empty"
    second = tmp_path / "second" if name == "publish" else lab.pool
    caplog.clear()
    status = run(name, "vm1/image1/c", cache, "gone:/x", f"lab:{second}")
    assert status == (1 if name == "publish" else 0)
    assert images(second) == images(cache) == files("abc")
    [said] = [r for r in caplog.records if r.name == "avocado.app"]
    assert said.levelname == ("ERROR" if name == "publish" else "WARNING")
    assert "gone" in said.getMessage() and "Connection refused" in said.getMessage()


def test_a_state_that_no_host_has_is_one_sentence(run, tmp_path, caplog):
    assert run("fetch", "vm1/image1/c", tmp_path / "empty", f"lab:{tmp_path}/no", "gone:/x") == 1
    said = [r.getMessage() for r in caplog.records if r.name == "avocado.app"]
    assert len(said) == 1
    assert f"lab:{tmp_path}/no (does not have it), gone:/x (" in said[0]
    caplog.clear()
    assert run("fetch", "vm1/image1/c", tmp_path / "empty", f"lab:{tmp_path}/no") == 1
    [told] = caplog.messages
    assert told.endswith(f"does not exist, looked at: lab:{tmp_path}/no")


def test_a_damaged_state_of_a_host_is_not_fetched(lab, run, tmp_path, caplog, capsys):
    where = [f"lab:{tmp_path}/{name}" for name in ("bad", "good")]
    assert run("publish", "vm1/image1/c", lab.cache, *where) == 0
    edit(tmp_path / "bad" / files("b")[0], 70000, b"damage")
    cache = tmp_path / "empty"
    capsys.readouterr()
    assert run("fetch", "vm1/image1/c", cache, *where) == 0
    [said] = [r.getMessage() for r in caplog.records if r.name == "avocado.app"]
    assert f"{where[0]}/{files('b')[0]} is corrupt" in said
    usable(lab, cache)


def test_a_transfer_over_a_second_shows_a_bar(config, tmp_path):
    need_programs("strace")
    fill(make_qcow2(tmp_path / "pool" / files("a")[0], size="256M"), 7, "0", "48M")
    worker = Worker(tmp_path / "worker", "")
    avocado = str(shutil.which("avocado", path=worker.env.variables()["PATH"]))
    tracer = [str(shutil.which("strace")), "-f", "-qq", "--seccomp-bpf", "-o", os.devnull]
    tracer += ["-e", "trace=pwrite64", "-e", "inject=pwrite64:delay_enter=40000"]
    words = ["pool", "fetch", "vm1/image1/a", "--pool-ssh-config", config]
    words += ["--pool-location", f"lab:{tmp_path}/pool"]
    done = on_terminal([*tracer, avocado, *words], worker.env.variables())
    assert done.status == 0, done.output
    assert images(worker.cache) == files("a")
    before, _, after = done.output.partition("fetching a.qcow2")
    assert "\x1b[?25l" in before and "━" in after and "MiB/s" in after


# what is left


def test_the_end_of_a_job_closes_what_its_plan_needed(sshd, config, tmp_path):
    found = session.of(sshd.host(config=config))
    with found.shell() as shell:
        assert shell.names(str(tmp_path)) == []
    assert holders(config)
    job.PoolJob().post(
        SimpleNamespace(test_results_path=str(tmp_path), logdir=str(tmp_path), config={})
    )
    assert holders(config) == [] and not found.alive


# what is not asked for is not loaded

_LOCAL = """
import sys
from pathlib import Path
from avocado_pool_plugin.graph.exists import Finder
from avocado_pool_plugin.graph.read import node_of
from avocado_pool_plugin.plugins import cmd, vt
from avocado_pool_plugin.plugins.connections import close_connections
from avocado_pool_plugin.core.names import State
from tests.support.states import get, made
from tests.support.vms import Lab
lab = made(Lab(Path(sys.argv[1])), "a", "b")
get(lab, "a")
seeing = Finder.of([node_of("t", dict(lab.params(get_state_images="a")))])
assert seeing(State("vm1", "image1", "a")).good
cmd.check_files = lambda: None
places = {"pool.swarm_pool": str(lab.cache), "pool.shared_pool": f":{lab.pool}"}
assert cmd.Pool().run({"pool_subcommand": "list", **places}) == 0
close_connections()
print(sorted(name for name in sys.modules if name.startswith("avocado_pool_plugin.ssh.")))
"""


def test_what_is_local_loads_nothing_of_it(tmp_path):
    command = [sys.executable, "-c", _LOCAL, str(tmp_path)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    # where it is remembered what was seen of hosts; imports nothing of the others
    assert done.stdout.splitlines()[-1] == "['avocado_pool_plugin.ssh.glance']"
