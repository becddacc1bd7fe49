"""``avocado pool fetch`` and ``avocado pool publish`` on real chains."""

import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import do, section
from tests.support.images import edit, image, write
from tests.support.jobs import Worker
from tests.support.needs import need_programs
from tests.support.states import OWN, contents, get, leftovers, made, put, stamp
from tests.support.terminals import Shown, on_terminal
from tests.support.vms import Lab, holds, sound

CHAIN = ("a", "b", "c")
#: An escape code, and the end of a bar: the cursor is shown again.
ESCAPE, CURSOR = "\x1b", "\x1b[?25h"

Command = Callable[..., subprocess.CompletedProcess[str]]
InProcess = Callable[..., int]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """States a, b on it and c on that, in the cache only."""
    return made(Lab(tmp_path), *CHAIN, **OWN)


@pytest.fixture
def avocado(tmp_path: Path) -> Command:
    """Run ``avocado pool``; its own cache is empty, and it has no pool."""
    return lambda *words: Worker(tmp_path / "worker", "").avocado("pool", *map(str, words))


@pytest.fixture
def run(lab: Lab) -> InProcess:
    """Do a sub-command in this process."""

    def done(name: str, state: str, *pools: object, cache: Path = lab.cache, **more: bool) -> int:
        options = {"swarm_pool": str(cache), "shared_pool": " ".join(map(str, pools))}
        return do(name, {"pool_state": state, **section(options), **more})

    return done


def own_lines(text: str) -> list[str]:
    """Return the lines of a stream without what Avocado-VT says whenever it is loaded."""
    theirs = ("No python imaging library", "Virsh executable not set")
    return [line for line in text.splitlines() if not line.startswith(theirs)]


def images(root: Path) -> list[str]:
    found = [str(p.relative_to(root)) for p in root.rglob("*") if p.suffix in (".qcow2", ".state")]
    return sorted(found)


def files(names: str, home: str = "vm1/image1") -> list[str]:
    return [f"{home}/{name}.qcow2" for name in names]


def usable(lab: Lab, cache: Path, state: str = "c") -> None:
    """Make sure that a test can start from the cache alone and finds all that was set."""
    other = Lab(lab.root / f"by-{cache.name}", str(cache))
    get(other, state, **OWN)
    sound(other.image())
    for number in range(CHAIN.index(state) + 1):
        assert holds(other.image(), 1 + number, f"{number}M")


# -- the program ------------------------------------------------------------------------------


def test_a_state_goes_to_two_pools_and_from_one_into_an_empty_cache(lab, avocado, tmp_path):
    pools = [tmp_path / "pool 1", tmp_path / "pool2"]
    where = " ".join(f":{pool}" for pool in pools)
    done = avocado("publish", "vm1/image1/c", "--pool-cache", lab.cache, "--pool-location", where)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.startswith("published vm1/image1/c: 6 files (6 copied), ")
    assert done.stdout.count("\n") == 1 and ESCAPE not in done.stdout + done.stderr
    for pool in pools:
        assert images(pool) == files("abc")
    cache = tmp_path / "empty"
    for told in ("2 files (2 copied)", "2 files (2 already there)"):
        before = contents(cache)
        done = avocado("fetch", "vm1/image1/b", "--pool-cache", cache, "--pool-location", where)
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
        assert done.stdout.startswith(f"fetched vm1/image1/b: {told}, ")
        assert done.stdout.count("\n") == 1 and ESCAPE not in done.stdout + done.stderr
    assert images(cache) == files("ab"), "what it does not stand on is not moved"
    assert before == contents(cache), "nothing is touched the second time"
    usable(lab, cache, "b")
    assert leftovers(tmp_path) == []


def test_a_dry_run_prints_the_plan_and_moves_nothing(lab, avocado, tmp_path):
    put(lab, "a", pool_scope="shared")
    before, pool = contents(tmp_path), tmp_path / "other"
    for name, cache, where in (("publish", lab.cache, pool), ("fetch", pool, lab.pool)):
        words = ("--pool-cache", cache, "--pool-location", f":{where}", "--dry-run")
        state = "c" if name == "publish" else "a"
        done = avocado(name, f"vm1/image1/{state}", *words)
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
        source, target = (cache, where) if name == "publish" else (where, cache)
        *lines, total = done.stdout.splitlines()
        assert lines == [
            f"copy    {source}/{file} -> {target}/{file}" for file in files("abc"[: len(lines)])
        ]
        assert len(lines) == (3 if name == "publish" else 1)
        assert total.endswith(" MiB to copy") and not total.startswith("0.0")
    mine = {path: found for path, found in contents(tmp_path).items() if path in before}
    assert mine == before and not pool.exists()


@pytest.mark.parametrize("name", ["fetch", "publish"])
def test_a_state_that_is_nowhere_is_one_sentence_and_status_1(lab, avocado, name):
    words = ("--pool-cache", lab.cache, "--pool-location", f":{lab.pool}")
    done = avocado(name, "vm1/image1/nowhere", *words)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = own_lines(done.stderr)
    assert "'nowhere' of vm1/image1 does not exist" in line
    assert str(lab.pool if name == "fetch" else lab.cache) in line


def test_wrong_use_is_one_sentence_and_status_2(lab, avocado):
    place = ("--pool-cache", lab.cache, "--pool-location", f":{lab.pool}")
    for words, hint in (
        (("fetch", "vm1", *place), "OBJECT_ID/IMAGE/STATE"),
        (("publish", "vm1/image1/c:d", *place), "holds ':'"),
        (("publish", "vm1/image1/c", "--pool-cache", lab.cache), "--pool-location"),
        (("fetch", "vm1/image1/c", *place, "--pool-ssh-timeout", "soon"), "ssh_timeout"),
        (("fetch", "vm1/image1/c", "--pool-location", "dir"), "shared_pool"),
        (("fetch", "vm1/image1/c", "--bogus"), "--bogus"),
        (("fetch",), "OBJECT/STATE"),
    ):
        done = avocado(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        [line] = own_lines(done.stderr)
        assert hint in line, words


# -- a terminal -------------------------------------------------------------------------------


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Path]:
    """A pool on another file system than the cache: nothing can be cloned from there."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    path = directory / "vm1" / "image1" / "install.qcow2"
    write(image(path, size="256M"), 7, "0", "48M")
    yield directory
    shutil.rmtree(directory)


def on_slow_disk(far: Path, worker: Worker, delay: float, *words: str, typed: bytes = b"") -> Shown:
    """Fetch on a terminal; each block written takes ``delay`` seconds."""
    found = str(shutil.which("avocado", path=worker.env.variables()["PATH"]))
    program = [found, "pool", "fetch", "vm1/image1/install", *words, "--pool-location", f":{far}"]
    if delay:
        need_programs("strace")
        tracer = [str(shutil.which("strace")), "-f", "-qq", "--seccomp-bpf", "-o", os.devnull]
        slow = f"inject=pwrite64:delay_enter={int(delay * 1e6)}"
        program = [*tracer, "-e", "trace=pwrite64", "-e", slow, *program]
    return on_terminal(program, worker.env.variables(), typed, b" s left")


def test_a_copy_over_a_second_shows_a_bar(far, tmp_path):
    worker = Worker(tmp_path / "worker", "")
    done = on_slow_disk(far, worker, 0.1)
    assert done.status == 0, done.output
    assert images(worker.cache) == files(["install"])
    before, _, after = done.output.partition("fetching install.qcow2")
    assert "\x1b[?25l" in before and "━" in after
    [first, *_] = [part for part in after.split("\r") if " left" in part]
    done_mib, _, total, _, rate, _, left, *_ = first.split("m ")[-1].split()
    assert 0 < float(done_mib) < float(total) and 48 <= float(total) < 49
    assert 0 < float(rate) < 60 and 0 <= int(left) < 60
    assert " MiB, " in first and " MiB/s, " in first
    # it is taken away, and the last line is the result
    _, _, rest = after.rpartition(CURSOR)
    assert "\x1b[2K" in rest and "fetched vm1/image1/install: 1 file (1 copied), 48." in rest
    assert "━" not in rest


def test_a_quick_copy_shows_none(far, tmp_path):
    done = on_slow_disk(far, Worker(tmp_path / "worker", ""), 0)
    assert done.status == 0, done.output
    assert "fetched vm1/image1/install: 1 file (1 copied), 48." in done.output
    assert "━" not in done.output and "left" not in done.output


def test_ctrl_c_takes_the_bar_away_and_leaves_nothing_behind(far, tmp_path):
    worker = Worker(tmp_path / "worker", "")
    done = on_slow_disk(far, worker, 0.2, typed=b"\x03")
    assert done.status == 8, done.output
    _, _, rest = done.output.rpartition(CURSOR)
    assert "interrupted" in rest and "━" not in rest and "Traceback" not in done.output
    assert images(worker.cache) == [] and leftovers(worker.cache) == []
    done = on_slow_disk(far, worker, 0)
    assert done.status == 0 and images(worker.cache) == files(["install"])


def test_json_on_a_terminal_follows_the_bar(far, tmp_path):
    done = on_slow_disk(far, Worker(tmp_path / "worker", ""), 0.1, "--json")
    assert done.status == 0 and "━" in done.output
    _, _, rest = done.output.rpartition(CURSOR)
    assert json.loads(rest[rest.index("{") :])["moved"] == 1


# -- what is moved ----------------------------------------------------------------------------


def test_a_vm_s_state_is_its_file_and_the_states_of_its_images(lab, run, tmp_path, capsys):
    write(lab.make_image(image="image2"), 9)
    put(lab, "c", images="image2", **OWN)
    put(lab, "other", images="image2", **OWN)
    write(lab.make_image(image="image3"), 9)
    put(lab, "other", images="image3", **OWN)
    (lab.cache / "vm1" / "c.state").write_bytes(b"memory" * 1000)
    assert run("publish", "vm1/c", f":{lab.pool}") == 0
    wanted = sorted([*files("abc"), *files("c", "vm1/image2"), "vm1/c.state"])
    assert images(lab.pool) == wanted
    cache = tmp_path / "empty"
    assert run("fetch", "vm1/c", f":{lab.pool}", cache=cache) == 0
    assert images(cache) == wanted
    assert (cache / "vm1" / "c.state").read_bytes() == b"memory" * 1000
    told = capsys.readouterr().out.splitlines()
    assert [line.rpartition(", ")[0] for line in told] == [
        "published vm1/c: 5 files (5 copied)",
        "fetched vm1/c: 5 files (5 copied)",
    ]


def test_a_vm_without_a_state_of_its_own_has_those_of_its_images_named(lab, run, caplog):
    assert run("publish", "vm1/c", f":{lab.pool}") == 1
    assert len(caplog.messages) == 1 and "ask for 'vm1/image1/c'" in caplog.messages[0]
    assert not lab.pool.exists()


def test_names_may_hold_blanks_and_quotes(run, tmp_path):
    home = Path("my vm's", 'image "1" [bold]')
    source = tmp_path / "pool" / home
    base = write(image(source / "a state.qcow2"), 5)
    image(source / "b.qcow2", backing=base.name)
    cache = tmp_path / "empty"
    assert run("fetch", f"{home}/b", f":{tmp_path}/pool", cache=cache) == 0
    assert images(cache) == sorted(f"{home}/{name}.qcow2" for name in ("a state", "b"))


def test_links(lab, run, tmp_path, capsys):
    assert run("publish", "vm1/image1/c", f":{lab.pool}") == 0
    cache = tmp_path / "empty"
    for dry, told in (
        (True, "link    {0}/{2} -> {1}/{2}"),
        (False, "fetched vm1/image1/c: 3 files (3 linked), 0 B in "),
        (True, "keep    {0}/{2} -> {1}/{2}"),
        (False, "fetched vm1/image1/c: 3 files (3 already there), 0 B in "),
    ):
        capsys.readouterr()
        linked = run("fetch", "vm1/image1/c", f":{lab.pool};", cache=cache, pool_dry_run=dry)
        assert linked == 0
        lines = capsys.readouterr().out.splitlines()
        if dry:
            wanted = [told.format(lab.pool, cache, file) for file in files("abc")]
            assert lines == [*wanted, "0.0 MiB to copy"]
        else:
            assert len(lines) == 1 and lines[0].startswith(told)
    assert all((cache / file).is_symlink() for file in files("abc"))
    usable(lab, cache)


def test_json_is_the_whole_story(lab, run, tmp_path, capsys):
    put(lab, "a", pool_scope="shared")
    for dry in (True, False):
        capsys.readouterr()
        assert run("publish", "vm1/image1/c", f":{lab.pool}", pool_json=True, pool_dry_run=dry) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["title"], told["state"], told["problems"]) == ("vm1/image1/c", "c", [])
        assert told["dry_run"] == dry
        assert (told["moved"], told["kept"]) == (2, 1)
        sizes = [lab.state(name).stat().st_blocks * 512 for name in "abc"]
        assert told["bytes"] == sum(sizes[1:]) and 0 <= told["seconds"] < 60
        actions = ("keep", "copy", "copy") if dry else ("kept", "copied", "copied")
        assert told["files"] == [
            {"source": str(lab.state(name)), "target": str(lab.shared(name)), "action": action,
             "bytes": size}
            for name, action, size in zip("abc", actions, sizes, strict=True)
        ]  # fmt: skip


# -- pools that fail --------------------------------------------------------------------------


def test_the_first_pool_that_can_give_the_state_does(lab, run, tmp_path, capsys, caplog):
    """The first has no such state, the second a damaged one."""
    pools = [tmp_path / name for name in ("none", "bad", "good")]
    assert run("publish", "vm1/image1/c", *(f":{pool}" for pool in pools[1:])) == 0
    assert run("publish", "vm1/image1/a", f":{pools[0]}") == 0
    capsys.readouterr()
    edit(pools[1] / files("b")[0], 70000, b"damage")
    cache, where = tmp_path / "empty", [f":{pool}" for pool in pools]
    assert run("fetch", "vm1/image1/c", *where, cache=cache, pool_json=True) == 0
    [said] = [r for r in caplog.records if r.name == "avocado.app"]
    assert said.levelno == logging.WARNING and f"{pools[1]}/{files('b')[0]}" in said.getMessage()
    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == [said.getMessage()]
    assert [Path(file["source"]).parents[2].name for file in told["files"]] == ["bad"] + [
        "good"
    ] * 2
    usable(lab, cache)
    caplog.clear()
    assert run("fetch", "vm1/image1/c", *where[:2], cache=tmp_path / "empty2") == 1
    [failed] = [r.getMessage() for r in caplog.records if r.name == "avocado.app"]
    assert f":{pools[0]} (does not have it), :{pools[1]} ({said.getMessage()})" in failed


def test_a_pool_that_fails_does_not_keep_a_state_from_the_others(
    lab, run, tmp_path, caplog, capsys
):
    (tmp_path / "file").write_text("")
    assert run("publish", "vm1/image1/c", f":{tmp_path}/file", f":{lab.pool}") == 1
    assert images(lab.pool) == files("abc")
    [said] = [r.getMessage() for r in caplog.records if r.name == "avocado.app"]
    assert f"{tmp_path}/file" in said
    assert capsys.readouterr().out.startswith("published vm1/image1/c: 3 files (3 copied), ")


def test_what_others_stand_on_is_not_replaced(lab, run, tmp_path, caplog):
    """The pool has another b than the one that c in the cache was made on."""
    strange = made(Lab(tmp_path / "strange"), "a", "b", first=50, **OWN)
    assert run("publish", "vm1/image1/b", f":{lab.pool}", cache=strange.cache) == 0
    before = {file: stamp(lab.cache / file) for file in images(lab.cache)}
    caplog.clear()
    assert run("fetch", "vm1/image1/b", f":{lab.pool}") == 1
    [said] = [r.getMessage() for r in caplog.records if r.name == "avocado.app"]
    assert "needed by" in said
    assert {file: stamp(lab.cache / file) for file in images(lab.cache)} == before
    usable(lab, lab.cache)


def test_users_hear_of_working_images_that_are_invalid_now(lab, run, tmp_path, caplog):
    strange = made(Lab(tmp_path / "strange"), "a", first=50, **OWN)
    assert run("publish", "vm1/image1/a", f":{lab.pool}", cache=strange.cache) == 0
    mine = made(Lab(tmp_path / "mine"), "a", **OWN)
    caplog.clear()
    assert run("fetch", "vm1/image1/a", f":{lab.pool}", cache=mine.cache) == 0
    said = [r.getMessage() for r in caplog.records if r.name == "avocado.app"]
    assert len(said) == 1 and str(mine.image()) in said[0] and "is invalid now" in said[0]
