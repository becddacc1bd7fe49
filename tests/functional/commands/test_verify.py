"""``avocado pool verify`` by the program, on a terminal and in a pipe."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.commands.test_moves import CURSOR, ESCAPE, own_lines
from tests.support import checking
from tests.support.checking import copied, make_pool, states
from tests.support.jobs import Worker
from tests.support.sshd import Sshd
from tests.support.terminals import Shown, on_terminal

HOME = "vm1/image1"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """A worker with an empty cache and no pool."""
    return Worker(tmp_path_factory.mktemp("worker"), "")


@pytest.fixture
def verify(worker: Worker) -> Iterator[Command]:
    shutil.rmtree(worker.cache, ignore_errors=True)
    yield lambda *words: worker.avocado("pool", "verify", *map(str, words))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    make_pool(tmp_path / "pool", *"abcdefgh")
    return tmp_path / "pool"


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert own_lines(done.stderr) == [] and ESCAPE not in done.stdout
    return done.stdout.splitlines()


def test_a_pool_is_checked_damaged_found_and_repaired(verify, pool, tmp_path):
    mirror, before = copied(pool, tmp_path / "mirror"), states(pool)
    here, there = f":{pool}", f":{mirror}"
    done = verify("--all", "--at", here)
    [line] = lines(done)
    assert done.returncode == 0 and line.startswith(f"{here}: checked 8 states (3."), line
    assert line.endswith(" s: 8 fine") and "MiB read) in " in line
    dice = random.Random(1)
    checking.flip(pool / HOME / "d.qcow2", dice)
    checking.cut_record(pool / HOME / "h.qcow2", dice)
    for words, told in (
        ((), "3 fine, 2 not repaired, 3 standing on those"),
        (("--repair", "--pool-location", there), "2 repaired"),
    ):
        done = verify(HOME, "--at", here, *words)
        assert done.returncode == 1
        head, *rows, last = lines(done)
        assert head.split() == ["where", "state", "finding", "what", "done"]
        found = {tuple(row.split()[1:3]): row for row in rows}
        assert set(found) >= {(f"{HOME}/d", "corrupt"), (f"{HOME}/h", "record")}
        assert told in last
    assert found[(f"{HOME}/d", "corrupt")].endswith(f"repaired, from {there}")
    assert states(pool) == before
    done = verify("--at", here, "--all")
    assert (done.returncode, len(lines(done))) == (0, 1)


def test_json_is_the_whole_story(verify, pool, tmp_path):
    checking.flip(pool / HOME / "h.qcow2", random.Random(1))
    words = ("--pool-location", f":{pool}", "--json")
    done = verify(*words)
    assert done.returncode == 1 and own_lines(done.stderr) == []
    cache, told = json.loads(done.stdout)
    assert cache["states"] == 0 and cache["findings"] == []
    assert (told["where"], told["states"], told["fine"], told["bad"]) == (f":{pool}", 8, 7, 1)
    [finding] = told["findings"]
    assert (finding["title"], finding["state"]) == (f"{HOME}/h", "h")
    assert finding["kind"] == "corrupt"
    assert finding["path"] == str(pool / HOME / "h.qcow2") and finding["done"] == ""
    told = json.loads(verify(*words, "--repair").stdout)[1]
    assert (told["quarantined"], told["findings"][0]["done"]) == (1, "quarantined")
    done = verify(*words)
    assert done.returncode == 0, "what was put aside is told of, and nothing stands on it"
    told = json.loads(done.stdout)[1]
    assert told["findings"] == [] and "1 in quarantine" in told["notes"][0]


def test_wrong_use_is_one_sentence_and_status_2(verify, pool):
    place = ("--at", f":{pool}")
    for words, hint in (
        (("--sample", "8/7", *place), "--sample '8/7' is no part"),
        (("--sample", "1/7", "--all", *place), "not allowed with"),
        (("--rate", "slow", *place), "--rate 'slow' is no rate"),
        (("a/b/c/d", *place), "names no object"),
        (("--at", "nowhere"), "cache, pools, all"),
        (("--at", "pools"), "--pool-location"),
    ):
        done = verify(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        [line] = own_lines(done.stderr)
        assert hint in line, words


def test_a_pool_that_can_not_be_reached_is_one_sentence_and_the_others_are_checked(verify, pool):
    done = verify("--at", "nowhere:/x", "--at", f":{pool}", "--pool-ssh-timeout", "5")
    assert done.returncode == 1 and "8 fine" in done.stdout
    [line] = own_lines(done.stderr)
    assert line.startswith("listing nowhere:/x failed: ")


def test_a_pool_on_another_host_and_its_mirror_here(verify, pool, tmp_path):
    mirror, before = copied(pool, tmp_path / "mirror"), states(pool)
    checking.flip(pool / HOME / "c.qcow2", random.Random(1))
    with Sshd(tmp_path / "sshd") as server:
        words = (
            "--pool-ssh-config",
            server.lab("commands"),
            "--pool-location",
            f"lab:{pool} :{mirror}",
        )
        done = verify("--at", f"lab:{pool}", "--repair", *words)
        assert done.returncode == 1
        [_, row, _] = lines(done)
        assert row.endswith(f"repaired, from :{mirror}") and row.startswith(f"lab:{pool}")
        assert states(pool) == before
        done = verify("--at", "pools", "--all", *words)
        assert (done.returncode, len(lines(done))) == (0, 2)


# -- interrupted ----------------------------------------------------------------------------------


def journal(worker: Worker) -> list[Path]:
    return list((worker.cache / ".pool" / "verify").glob("*.jsonl"))


def begun(worker: Worker, *words: object) -> "subprocess.Popen[bytes]":
    """Start a check, and return when some files are done."""
    variables = worker.env.variables()
    # who starts the tests in the background has SIGINT ignored
    command = ["env", "--default-signal=INT", str(worker.programs / "avocado"), "pool", "verify"]
    command += map(str, words)
    process = subprocess.Popen(
        command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while sum(file.read_text().count("\n") for file in journal(worker)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 8)])
def test_a_run_that_ends_early_is_continued(verify, worker, pool, number, status):
    place = ("--all", "--at", f":{pool}")
    process = begun(worker, *place, "--rate", "1")
    os.kill(process.pid, number)
    assert process.wait(timeout=20) == status
    done = sum(file.read_text().count("\n") for file in journal(worker))
    assert 3 <= done < 8
    found = verify(*place)
    first, last = lines(found)
    assert found.returncode == 0 and last.endswith("8 fine")
    assert first == f":{pool}: continuing, {done} states were checked before"
    assert journal(worker) == []
    [told] = json.loads(verify(*place, "--json").stdout)
    assert (told["before"], told["read"]) == (0, 8), "it was complete"


# -- a terminal -----------------------------------------------------------------------------------


def shown(worker: Worker, *words: object) -> Shown:
    program = str(worker.programs / "avocado")
    command = [program, "pool", "verify", *map(str, words)]
    return on_terminal(command, worker.env.variables(), columns=200)


def test_a_terminal_has_a_bar_and_a_table(verify, worker, pool):
    checking.flip(pool / HOME / "h.qcow2", random.Random(1))
    done = shown(worker, "--all", "--rate", "1.5", "--at", f":{pool}")
    assert done.status == 1, done.output
    before, _, after = done.output.partition("verifying pool")
    assert "\x1b[?25l" in before and "━" in after
    assert " of 8 states, " in after and " MiB/s, " in after
    _, _, rest = done.output.rpartition(CURSOR)
    assert "corrupt" in rest and "7 fine, 1 not repaired" in rest
