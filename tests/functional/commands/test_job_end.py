"""What a job says of states when it ends: on the terminal, in its log, in its results."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.functional.commands.test_moves import own_lines
from tests.support.graphs import GraphWorker
from tests.support.jobs import Job

QUICK = "--disable-sysinfo"


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> GraphWorker:
    return GraphWorker(tmp_path_factory.mktemp("worker"))


@pytest.fixture(scope="module")
def made(worker: GraphWorker) -> Job:
    """A graph run that leaves states in cache and pool, and an archive of its results."""
    return worker.graph(QUICK, "install", "customize", "--archive").passed()


@pytest.fixture(scope="module")
def elsewhere(made: Job, worker: GraphWorker) -> GraphWorker:
    """A worker with an empty cache and the same pool."""
    return GraphWorker(worker.env.pool.parent / "elsewhere", worker.env.pool)


@pytest.fixture(scope="module")
def fetched(elsewhere: GraphWorker) -> Job:
    """A graph run that finds what it needs in the pool."""
    return elsewhere.graph(QUICK, "consumer_a", "plain").passed()


def lines(text: str) -> list[str]:
    """Return what is told of what was done: that follows the results."""
    return [line for line in text.partition("RESULTS")[2].splitlines() if "POOL  " in line]


def events(job: Job) -> list[dict[str, Any]]:
    files = sorted(job.directory.glob("test-results/*/pool-states.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def sizes(job: Job, *verbs: str) -> int:
    return sum(event["bytes"] for event in events(job) if event["verb"] in verbs)


def test_a_job_that_makes_states_tells_so_everywhere(made):
    numbers = made.results["pool"]
    assert numbers == {
        "bytes": sizes(made, "published"),
        "fetched": 0,
        "published": 2,
        "hits": 1,
        "misses": 0,
        "reused": 0,
        "seconds": pytest.approx(sum(event["seconds"] for event in events(made)), abs=0.001),
        "errors": 0,
    }
    assert 0 < numbers["seconds"] < made.results["time"] and numbers["bytes"] > 0
    (line,) = lines(made.output)
    assert line.startswith("POOL       : 1 got (1 hit), 2 set, 2 published (")
    assert line.endswith(f"), {numbers['seconds']:.1f} s")
    log = (made.directory / "job.log").read_text().splitlines()
    assert [one for one in log if one.endswith(f"| {line}")]


def test_an_archive_has_the_numbers_too(made):
    with zipfile.ZipFile(f"{made.directory}.zip") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("results.json")]
        assert json.loads(archive.read(name)) == made.results
        assert not [name for name in archive.namelist() if "results.json." in name]


def test_what_was_fetched_is_a_miss_and_what_is_reused_is_counted(fetched):
    numbers = fetched.results["pool"]
    # both tests stand on install, the first one of them fetches it
    assert (numbers["fetched"], numbers["hits"] + numbers["misses"]) == (2, 2)
    assert numbers["misses"] == sum(event.get("hit") is False for event in events(fetched)) >= 1
    assert numbers["bytes"] == sizes(fetched, "fetched") > 0
    assert (numbers["published"], numbers["errors"], numbers["reused"]) == (0, 0, 2)
    (line,) = lines(fetched.output)
    assert "2 got (" in line and ", 2 fetched (" in line and line.endswith(" s, 2 reused")


def test_output_that_programs_read_is_theirs_alone(elsewhere, fetched):
    done = elsewhere.avocado(
        *("run", QUICK, "--vt-config", str(elsewhere.env.vt_config), "consumer_b", "--json", "-")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = json.loads(done.stdout)
    assert "POOL" not in done.stderr
    directory = Path(printed["debuglog"]).parent
    assert "POOL       : 1 got (1 hit), 0." in (directory / "job.log").read_text()
    kept = json.loads((directory / "results.json").read_text())
    assert (kept["pool"]["hits"], kept["pool"]["bytes"]) == (1, 0)
    assert {key: kept[key] for key in printed} == printed


def test_commands_of_avocado_read_the_results_as_ever(worker, made, elsewhere, fetched):
    shown = worker.avocado("jobs", "show", made.results["job_id"])
    assert (shown.returncode, own_lines(shown.stderr)) == (0, [])
    assert "PASS 2" in shown.stdout
    compared = elsewhere.avocado("diff", str(made.directory), str(fetched.directory))
    assert (compared.returncode, own_lines(compared.stderr)) == (0, [])
    assert "1-install: PASS" in compared.stdout and "1-consumer_a: PASS" in compared.stdout
    again = elsewhere.avocado("replay", fetched.results["job_id"])
    assert again.returncode == 0, again.stdout + again.stderr
    assert lines(again.stdout) and "2 got (2 hits)" in again.stdout
