"""``avocado pool run``, ``plan``, ``graph`` and ``why``: the real program, but no guest."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.graphs import CHAIN, GraphWorker
from tests.support.jobs import Job

#: Options that make no difference to what is tested here, but save seconds.
QUICK = ("--disable-sysinfo", "--pool-lock-timeout", "20")
WARNING = "The VT NextRunner can be run only"


@pytest.fixture
def worker(tmp_path: Path) -> GraphWorker:
    return GraphWorker(tmp_path)


def job_of(worker: GraphWorker, *words: str) -> Job:
    """Do ``avocado pool run`` that ends in a job; the journal then holds what it did."""
    worker.journal.unlink(missing_ok=True)
    done = worker.pool_command("run", *QUICK, *words)
    directory = (worker.env.results / "latest").resolve()
    results = json.loads((directory / "results.json").read_text())
    assert results["job_id"] in done.stdout, done.stdout + done.stderr
    return Job(done.returncode, done.stdout + done.stderr, results, directory)


def failed(done: subprocess.CompletedProcess[str], status: int, *told: str) -> str:
    """Make sure that a command ended with one sentence, and no traceback."""
    theirs = ("No python imaging library", "Virsh executable not set")
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith(theirs)]
    assert done.returncode == status, done.stdout + done.stderr
    assert len(lines) == 1, lines
    assert all(text in lines[0] for text in told), lines[0]
    return lines[0]


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return the cells of a table that is not drawn."""
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def steps(worker: GraphWorker, *words: str) -> dict[str, str]:
    """Return the action of each test of a plan, in its order."""
    done = worker.pool_command("plan", "--json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return {step["test"]: step["action"] for step in json.loads(done.stdout)["steps"]}


# -- plan and run ------------------------------------------------------------------------------


def test_a_plan_a_run_and_the_plan_after_it(worker):
    before = rows(worker.pool_command("plan"))
    assert before[0] == ["test", "action", "reason", "fetch", "seconds"]
    assert [row[:2] for row in before[1:3]] == [["install", "run"], ["customize", "run"]]
    assert {row[0] for row in before[3:-1]} == {"consumer_a", "consumer_b", "plain"}
    assert before[-1][:5] == ["in", "all", "5", "to", "run"]
    assert not worker.cache.joinpath("vm1").exists() and worker.ran() == []

    job = job_of(worker, "--max-parallel-tasks", "2").passed()
    assert sorted(worker.ran()) == ["consumer_a", "consumer_b", "customize", "install", "plain"]
    assert "POOL       : 5 to run" in job.output and "RESULTS    : PASS 5" in job.output
    assert WARNING not in job.output
    for name in ("results.xml", "results.json", "results.tap", "pool-graph.dot"):
        assert (job.directory / name).exists()

    after = json.loads(worker.pool_command("plan", "--json").stdout)
    assert (after["run"], after["reuse"], after["skip"], after["fetch"]) == (3, 2, 0, 0)
    by_name = {step["test"]: step for step in after["steps"]}
    assert by_name["install"]["reason"] == "'install' of vm1/image1 is in cache"
    assert by_name["plain"]["seconds"] > 0, "it is remembered how long it took"
    assert after["seconds"] == pytest.approx(
        sum(by_name[name]["seconds"] for name in ("consumer_a", "consumer_b", "plain"))
    )


def test_another_worker_knows_what_it_has_to_fetch(worker, tmp_path):
    job_of(worker, "only=customize").passed()
    other = GraphWorker(tmp_path / "other", Path(worker.env.pool))
    found = json.loads(other.pool_command("plan", "--json", "only=consumer_a,plain").stdout)
    sizes = {name: os.stat(worker.state(name, pool=True)).st_blocks * 512
             for name in ("install", "customize")}  # fmt: skip
    fetch = {step["test"]: step["fetch"] for step in found["steps"]}
    assert fetch == {"consumer_a": sum(sizes.values()), "plain": sizes["install"]}
    assert found["fetch"] == sum(sizes.values()), "each file once"


def test_tests_are_chosen_as_in_a_cartesian_config(worker):
    worker.tests("""
variants:
    - install:
        force_create_image = yes
        marks_written = 1
        set_state_images = install
    - work:
        get_state_images = install
        variants:
            - one:
            - two:
        variants:
            - fast:
            - slow:
    """)
    assert list(steps(worker, "only=work")) == [
        "install", "work.fast.one", "work.fast.two", "work.slow.one", "work.slow.two"
    ]  # fmt: skip
    assert list(steps(worker, "only=one , install", "only=work", "no=slow")) == [
        "install", "work.fast.one"
    ]  # fmt: skip
    assert list(steps(worker, "only=work..slow..two,install", "--vt-no-filter", "one")) == [
        "install", "work.slow.two"
    ]  # fmt: skip
    words = ("only=one", "--vt-config", str(worker.env.vt_config), "only=two")
    failed(worker.avocado("pool", "plan", *words), 2, "is selected by only='one two'")


def test_params_reach_the_tests(worker):
    job = job_of(worker, "only=install", "fails=yes")
    assert (job.status, job.statuses()) == (1, ["FAIL"])
    assert "told to" in job.output


def test_a_dry_run_runs_nothing(worker):
    done = worker.pool_command("run", *QUICK, "--dry-run")
    assert done.returncode == 0 and "5 to run" in done.stdout
    assert worker.ran() == [] and not worker.cache.joinpath("vm1").exists()


def test_a_job_that_ends_by_failfast_has_its_status(worker):
    job = job_of(worker, "--failfast", "fails=yes")
    assert job.status == 1 | 8 and worker.ran() == ["install"]


def test_a_replay_runs_what_did_not_pass(worker):
    worker.tests(CHAIN.replace("marks_written = 2", "fails = yes"))
    first = job_of(worker, "only=consumer_a,plain")
    assert first.status == 1 and sorted(worker.ran()) == ["customize", "install", "plain"]
    worker.tests(CHAIN)
    job = first.results["job_id"][:10]
    assert steps(worker, f"replay={job}") == steps(worker, "replay=latest")
    assert steps(worker, f"replay={job}")["plain"] == "skip"
    assert job_of(worker, f"replay={job}", "only=consumer_a,plain").status == 0
    assert worker.ran() == ["customize", "consumer_a"]
    failed(worker.pool_command("plan", "replay=bogus"), 2, "replay = 'bogus' names no job")


def test_a_rerun_makes_anew_what_exists(worker):
    job_of(worker, "only=install").passed()
    assert steps(worker, "only=install") == {"install": "reuse"}
    assert steps(worker, "only=install,plain", "rerun=inst*,x") == {
        "install": "run",
        "plain": "run",
    }


def test_a_graph_that_can_t_be_is_one_sentence(worker):
    worker.tests("variants:\n    - lone:\n        get_state_images = nobodys\n")
    failed(worker.pool_command("plan"), 1, "'lone'", "'nobodys' of vm1/image1")
    done = worker.pool_command("run", *QUICK)
    assert done.returncode == 2 and "'nobodys' of vm1/image1" in done.stderr
    assert "Traceback" not in done.stderr


def test_parallel_runs_of_the_runner_itself_are_not_warned_of(worker):
    two = ("install", "--disable-sysinfo", "--max-parallel-tasks", "2", "--dry-run")
    stock = worker.avocado("run", "--vt-config", str(worker.env.vt_config), *two)
    assert WARNING in stock.stderr, "this test is about a warning that no longer exists"
    own = ("--suite-runner", "pool-graph")
    ours = worker.avocado("run", "--vt-config", str(worker.env.vt_config), *own, *two)
    assert ours.returncode == 0 and WARNING not in ours.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "install"], ["'install' is no KEY=VALUE"]),
        (["run", "setup=check,bogus"], ["there is no step 'bogus', known are: check, clean"]),
        (["run", "only=a|b"], ["the configuration can't be read", "'only a|b'"]),
        (["plan", "only=bogus"], ["no test is selected by only='bogus' from "]),
        (["plan", "--vt-config", "/none.cfg"], ["can't be read", "/none.cfg"]),
        (["plan", "setup=get"], ["setup=get"]),
        (["plan", "--bogus"], ["--bogus", "--help"]),
        (["graph"], ["--output"]),
        (["graph", "--output", "x.png"], ["x.png", ".svg", ".dot"]),
        (["why", "install"], ["'install' names no state"]),
        (["why", "vm1/image1/install", "--vt-config", "/none.cfg"], ["/none.cfg"]),
    ],
)
def test_what_is_used_wrongly_is_one_sentence_and_status_2(worker, words, told):
    failed(worker.pool_command(*words), 2, *told)
    assert not (worker.env.results / "latest").exists()


# -- steps ---------------------------------------------------------------------------------------


def test_a_failing_step_ends_the_chain(worker):
    done = worker.pool_command("run", *QUICK, "setup=check,run")
    assert done.returncode == 1
    assert "vm1/image1/install" in done.stdout and "does not exist" in done.stdout
    assert worker.ran() == []
    job_of(worker, "setup=list,run,check", "only=plain,customize").passed()
    assert worker.ran() == ["install", "customize", "plain"]


def test_check_says_where_states_are(worker):
    job_of(worker, "only=install").passed()
    cache, pool = worker.state("install", pool=False), f":{worker.env.pool}"
    found = rows(worker.pool_command("run", "setup=check", "only=plain"))
    assert found == [["state", "where", "problem"], ["vm1/image1/install", "cache,", pool]]
    cache.chmod(0o644)
    cache.write_bytes(b"rubbish")
    found = rows(worker.pool_command("run", "setup=check", "only=plain"))
    assert found[1:] == [["vm1/image1/install", pool]]
    words = ("only=install", "check_state=nothing")
    done = worker.pool_command("run", "setup=check", *words)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].split() == ["vm1/image1/nothing", "does", "not", "exist"]
    root = ("check_state_images=root", "only=install")
    for setup, status in (("check", 1), ("create,check", 0)):
        done = worker.pool_command("run", f"setup={setup}", *root)
        assert (done.returncode, "vm1/image1/root" in done.stdout) == (status, True)


def test_states_can_be_made_and_moved_without_tests(worker):
    image = worker.env.images / "vm1.qcow2"
    for words, there in (
        (["setup=create"], {}),
        (["setup=set,push", "set_state=a", "push_state_images=b"], {"a", "b"}),
        (["setup=unset,get", "unset_state=b", "get_state=a"], {"a"}),
        (["setup=pop", "pop_state=a"], set()),
        (["setup=set", "set_state=c", "vms=vm2"], None),
    ):
        done = worker.pool_command("run", *words)
        if there is None:
            failed(done, 1, str(worker.env.images / "vm2.qcow2"))
            continue
        assert done.returncode == 0, done.stdout + done.stderr
        for pool in (True, False):
            for name in "ab":
                assert worker.state(name, pool=pool).exists() == (name in there), (words, name)
        assert image.exists()
    assert worker.pool_command("run", "setup=clean").returncode == 0
    assert not image.exists()


def test_an_update_makes_a_part_anew(worker):
    job_of(worker, "only=customize").passed()
    before = {
        name: worker.state(name, pool=False).stat().st_ino for name in ("install", "customize")
    }
    assert steps(worker, "setup=update", "from_state=customize") == {"customize": "run"}
    # another content, so that what stood on it is not the same any more
    assert job_of(worker, "setup=update", "to_state=install", "marks_written=5").passed()
    assert worker.ran() == ["install"]
    assert worker.state("install", pool=False).stat().st_ino != before
    assert steps(worker, "only=consumer_a") == {"customize": "run", "consumer_a": "run"}
    failed(worker.pool_command("run", "setup=update", "to_state=bogus"), 1, "'bogus' of vm1/image1")


def test_steps_of_other_packages_can_be_named(worker, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[avocado.plugins.pool.steps]\ntell = other:tell\nbroken = other:none\n"
    )
    (site / "other.py").write_text(
        "def tell(context):\n"
        "    print('tests', *[test.uri for test in context.tests])\n"
        "    print('all', len(context.whole()), context.selection.params['mem'])\n"
        "    return 5\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = worker.pool_command("run", "setup=tell,run", "only=plain", "mem=7")
    assert (done.returncode, done.stdout) == (5, "tests plain\nall 5 7\n")
    failed(worker.pool_command("run", "setup=broken"), 2, "step 'broken' can't be loaded")


# -- graph and why -------------------------------------------------------------------------------


def test_a_picture_of_the_plan(worker, tmp_path):
    picture = tmp_path / "plan.dot"
    done = worker.pool_command("graph", "--output", str(picture), "only=consumer_a")
    assert done.returncode == 0, done.stderr
    text = picture.read_text()
    assert all(name in text for name in ("consumer_a", "customize", "install"))
    assert "plain" not in text


def test_why_says_what_changed_and_who_makes_it(worker):
    done = worker.pool_command("why", "vm1/image1/customize")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "'customize' of vm1/image1 does not exist",
        "test 'customize' sets it, on 'install' of vm1/image1",
        "got by 'consumer_a', 'consumer_b'",
    ]
    job_of(worker, "only=customize").passed()
    same = worker.pool_command("why", "vm1/image1/customize").stdout
    assert "in cache" in same and f"in :{worker.env.pool}" in same
    assert same.count("test 'customize' would make it in the same way") == 2
    changed = worker.pool_command("why", "vm1/image1/customize", "marks_unwanted=9")
    assert changed.returncode == 0
    change = "param marks_unwanted: 2 3 -> 9"
    assert change in changed.stdout
    told = json.loads(
        worker.pool_command("why", "vm1/image1/customize", "--json", "marks_unwanted=9").stdout
    )
    assert (told["title"], told["state"], told["good"]) == (
        *("vm1/image1/customize", "customize"),
        True,
    )
    assert told["makers"] == [{"test": "customize", "parent": "vm1/image1/install"}]
    assert told["users"] == ["consumer_a", "consumer_b"]
    assert [place["where"] for place in told["places"]] == ["cache", f":{worker.env.pool}"]
    for place in told["places"]:
        assert (place["parent"], place["test"], place["problem"]) == ("install", "customize", "")
        unlike = {"part": "param marks_unwanted", "before": "2 3", "now": "9"}
        assert place["recipe"] and place["made"] > 0 and place["changes"] == [unlike]
    plan = worker.pool_command("plan", "only=consumer_a", "marks_unwanted=9")
    assert plan.returncode == 0 and change in plan.stderr and "1 to run" in plan.stdout
    (note,) = json.loads(
        worker.pool_command("plan", "--json", "only=consumer_a", "marks_unwanted=9").stdout
    )["notes"]
    assert change in note
    # without a configuration it is known where it is, and not who would make it
    alone = worker.avocado("pool", "why", "vm1/image1/customize")
    assert alone.returncode == 0 and "in cache" in alone.stdout
    assert "no test is known" in alone.stderr
