"""The example suite through ``avocado run``: real guests leave and find states."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.jobs import Job, Worker
from tests.support.vms import backing, sound, tool

pytestmark = pytest.mark.guest

PRODUCERS = ("install", "customize")
CONSUMERS = ("consumer_a", "consumer_b", "plain")
RUNNING = ("ready", "two_disks")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "pool"


@pytest.fixture(scope="module")
def worker(pool: Path) -> Worker:
    return Worker(pool.parent / "first", pool)


@pytest.fixture(scope="module")
def job(worker: Worker) -> Job:
    """The whole suite, once: five boots."""
    return worker.run(*PRODUCERS, *CONSUMERS).passed()


@pytest.fixture(scope="module")
def running(job: Job, worker: Worker) -> Job:
    """The tests that leave states of running vms behind: two boots."""
    return worker.run(*RUNNING).passed()


def state(root: Path, name: str) -> Path:
    return root / "vm1" / "image1" / f"{name}.qcow2"


def test_states_are_sound_chains_in_cache_and_pool(job: Job, worker: Worker, pool: Path) -> None:
    for root in (worker.cache, pool):
        bases = list((root / "vm1" / "image1").glob("base-*.qcow2"))
        assert len(bases) == 1
        assert backing(state(root, "install")) == bases[0].name
        assert backing(state(root, "customize")) == "install.qcow2"
        for name in PRODUCERS:
            sound(state(root, name))
    for name in PRODUCERS:
        tool("qemu-img", "compare", "-q", state(worker.cache, name), state(pool, name))
    golden = worker.env.guest / "base.qcow2"
    base = next((pool / "vm1" / "image1").glob("base-*.qcow2"))
    tool("qemu-img", "compare", "-q", golden, base)


def test_each_event_has_a_line_with_bytes_and_seconds(job: Job) -> None:
    assert [e["verb"] for e in job.events("customize")] == ["got", "set", "published"]
    assert [e["verb"] for e in job.events("plain")] == ["got"]
    log = job.log("customize")
    for verb in ("got state 'install'", "set state 'customize'", "published state 'customize'"):
        lines = [line for line in log.splitlines() if verb in line]
        assert len(lines) == 1, verb
        assert " bytes " in lines[0] and " s, " in lines[0]


def test_summary_line_ends_the_job(job: Job) -> None:
    line = next(line for line in job.output.splitlines() if line.startswith("POOL"))
    assert "4 got (4 hits)" in line and "2 set" in line and "published" in line
    assert "error" not in line and line.endswith(f", {job.results['pool']['seconds']:.1f} s")


def test_working_images_are_removed_as_the_defaults_of_avocado_vt_say(
    job: Job, worker: Worker
) -> None:
    assert not list(worker.env.images.glob("*.qcow2"))


def test_worker_elsewhere_starts_from_the_same_states(job: Job, pool: Path) -> None:
    other = Worker(pool.parent / "elsewhere" / "deeper", pool)
    second = other.run("consumer_b").passed()
    assert [e["verb"] for e in second.events("consumer_b")] == ["fetched"] * 3 + ["got"]
    tool("qemu-img", "compare", "-q", state(other.cache, "customize"), state(pool, "customize"))
    # nothing is fetched twice
    before = {p: p.stat().st_ino for p in other.cache.rglob("*.qcow2")}
    third = other.run("consumer_a").passed()
    assert [e["verb"] for e in third.events("consumer_a")] == ["got"]
    assert before == {p: p.stat().st_ino for p in other.cache.rglob("*.qcow2")}
    assert [job.results["pool"]["misses"] for job in (second, third)] == [1, 0]


def test_states_of_running_vms_are_memory_and_all_images(running: Job, pool: Path) -> None:
    done = [(event["verb"], event["object"]) for event in running.events("two_disks")]
    objects = ("vm2/image1", "vm2/image1", "vm2/image2", "vm2")
    assert done == [("set", "vm2"), *(("published", name) for name in objects)]
    assert backing(state(pool, "ready")) == "customize.qcow2"
    assert backing(pool / "vm2" / "image2" / "two_disks.qcow2") == ""
    for image in ("image1", "image2"):
        sound(pool / "vm2" / image / "two_disks.qcow2")
    assert (pool / "vm1" / "ready.state").exists() and (pool / "vm2" / "two_disks.state").exists()


def test_running_vms_go_on_elsewhere_each_from_its_own_state(running: Job, pool: Path) -> None:
    other = Worker(pool.parent / "going-on", pool)
    second = other.run("two_vms").passed()
    got = [event for event in second.events("two_vms") if event["verb"] == "got"]
    assert [event["hit"] for event in got] == [False] * 5, "all had to be fetched"
    numbers = second.results["pool"]
    assert (numbers["hits"], numbers["misses"]) == (0, 5)
    assert 0 < numbers["seconds"] < second.test("two_vms")["time_elapsed"]
    assert {(event["object"], event["state"]) for event in got} == {
        *(("vm1", "ready"), ("vm1/image1", "ready")),
        *((name, "two_disks") for name in ("vm2", "vm2/image1", "vm2/image2")),
    }
    for ram in ("vm1/ready.state", "vm2/two_disks.state"):
        assert (other.cache / ram).read_bytes() == (pool / ram).read_bytes()


def test_guest_that_lacks_a_trace_fails_its_test(running: Job, worker: Worker) -> None:
    config = worker.config(
        "lacks.cfg", "include tests.cfg\nresumed:\n    memory_wanted = ready never_said\n"
    )
    job = worker.run("resumed", config=config)
    assert job.statuses() == ["FAIL"] and job.status == 1
    reason = job.test("resumed")["fail_reason"]
    assert reason == "'echo $remembered_never_said' in vm1 says '', not 'never_said'"


def test_list_and_backends(job: Job, worker: Worker, pool: Path) -> None:
    done = worker.avocado("pool", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["object"], row["image"], row["state"]) for row in rows} >= {
        ("vm1", "image1", "install"),
        ("vm1", "image1", "customize"),
    }
    assert {row["where"] for row in rows} == {f":{worker.cache}", f":{pool}"}
    table = worker.avocado("pool", "list").stdout
    assert "customize" in table and "install" in table
    assert "qcow2ext" in worker.avocado("pool", "backends").stdout


def test_rerun_of_a_producer_others_stand_on_keeps_the_state(
    job: Job, worker: Worker, pool: Path
) -> None:
    content = state(pool, "install").read_bytes()
    again = worker.run("install").passed()
    assert state(pool, "install").read_bytes() == content
    warning = next(line for line in again.log("install").splitlines() if "is kept as it is" in line)
    assert "customize.qcow2" in warning
    sound(state(worker.cache, "customize"))


def test_cache_emptied_and_pool_kept(job: Job, worker: Worker) -> None:
    shutil.rmtree(worker.cache)
    again = worker.run("consumer_b").passed()
    assert [e["verb"] for e in again.events("consumer_b")] == ["fetched"] * 3 + ["got"]
