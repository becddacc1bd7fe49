"""Graph runs through ``avocado run --suite-runner pool-graph``, on real images."""

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.graphs import CHAIN, GraphWorker

PRODUCERS = ["install", "customize"]


def statuses(job):
    return {test["name"]: test["status"] for test in job.results["tests"]}


def reason(job, test):
    return job.test(test)["fail_reason"]


def with_option(worker: GraphWorker, line: str) -> None:
    with (worker.env.venv / "etc/avocado/avocado.conf").open("a") as file:
        file.write(f"{line}\n")


def test_a_wrong_order_in_the_file_is_put_right(worker):
    job = worker.graph().passed()
    ran = worker.ran()
    assert sorted(ran) == ["consumer_a", "consumer_b", "customize", "install", "plain"]
    assert ran[0] == "install"
    assert ran.index("customize") < min(ran.index("consumer_a"), ran.index("consumer_b"))
    assert len(job.results["tests"]) == 5
    for name in PRODUCERS:
        assert worker.state(name, pool=True).exists()


def test_the_second_run_makes_nothing_again(worker):
    worker.graph().passed()
    job = worker.graph()
    assert job.status == 0
    assert sorted(worker.ran()) == ["consumer_a", "consumer_b", "plain"]
    assert statuses(job) == {
        "install": "SKIP",
        "customize": "SKIP",
        "consumer_a": "PASS",
        "consumer_b": "PASS",
        "plain": "PASS",
    }
    assert reason(job, "install").startswith("reused: 'install' of vm1/image1 is in ")
    assert "2 reused" in job.output
    told = json.loads(next(job.directory.glob("pool-graph*.json")).read_text())
    assert told["saved_seconds"] > 0 and set(told["seconds"]) >= {"consumer_a", "plain"}


def test_what_is_asked_for_is_made_again_and_what_stands_on_it_too(worker):
    worker.graph().passed()
    before = {name: worker.state(name, pool=False).stat().st_ino for name in PRODUCERS}
    with_option(worker, "rerun = inst*")
    worker.graph("install", "consumer_a").passed()
    assert worker.ran() == ["install", "customize", "consumer_a"]
    for name, inode in before.items():
        assert worker.state(name, pool=False).stat().st_ino != inode


def test_who_is_needed_is_pulled_in_from_the_whole_configuration(worker):
    job = worker.graph("consumer_a").passed()
    assert worker.ran() == ["install", "customize", "consumer_a"]
    assert "3 to run (2 for others)" in job.output
    worker.graph("plain").passed()
    assert worker.ran() == ["plain"]


def test_who_needs_what_failed_is_left_out_with_the_reason(worker):
    worker.tests(CHAIN.replace("marks_written = 2", "fails = yes"))
    job = worker.graph()
    assert job.status == 1
    assert statuses(job) == {
        "install": "PASS",
        "customize": "FAIL",
        "consumer_a": "SKIP",
        "consumer_b": "SKIP",
        "plain": "PASS",
    }
    assert reason(job, "consumer_a") == "needs customize: FAIL"
    again = worker.tests(CHAIN).graph()
    assert again.status == 0
    assert sorted(worker.ran()) == ["consumer_a", "consumer_b", "customize", "plain"]


def test_reasons_go_down_the_whole_way(worker):
    worker.tests(CHAIN.replace("marks_written = 1\n", "fails = yes\n"))
    job = worker.graph()
    assert job.status == 1
    assert reason(job, "plain") == "needs install: FAIL"
    assert reason(job, "customize") == "needs install: FAIL"
    assert reason(job, "consumer_b") == "needs customize: SKIP"


PARALLEL = """
variants:
    - install:
        force_create_image = yes
        marks_written = 1
        set_state_images = install
    - work:
        get_state_images = install
        marks_wanted = 1
        company = 2
        variants:
            - one:
                marks_written = 2
                marks_unwanted = 3 4
            - two:
                marks_written = 3
                marks_unwanted = 2 4
            - three:
                marks_written = 4
                marks_unwanted = 2 3
"""


def spans(worker):
    """Return begin, end and images of each test."""
    found = {}
    for at, test, event in worker.lines():
        times = found.setdefault(test, {"images": []})
        if event.startswith("uses "):
            times["images"].append(event[5:])
        else:
            times[event] = float(at)
    return found


def overlap(one, other):
    return one["begins"] < other["ends"] and other["begins"] < one["ends"]


def test_in_parallel_each_test_has_images_of_its_own(worker):
    worker.tests(PARALLEL).graph("--max-parallel-tasks", "2").passed()
    found = spans(worker)
    works = [found[f"work.{name}"] for name in ("one", "two", "three")]
    pairs = [(a, b) for n, a in enumerate(works) for b in works[n + 1 :] if overlap(a, b)]
    assert pairs, "nothing ran in parallel"
    for one, other in pairs:
        assert not set(one["images"]) & set(other["images"])
    most = max(sum(one["begins"] <= at["begins"] < one["ends"] for one in works) for at in works)
    assert most == 2


def test_tests_on_the_same_fixed_image_never_run_at_once(worker, tmp_path):
    image = tmp_path / "fixed.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "32M"], check=True)
    worker.tests(
        f"variants:\n    - a:\n    - b:\n    - c:\n"
        f"image_name = {image.with_suffix('')}\npause = 0.5\nremove_image = no\n"
    ).graph("--max-parallel-tasks", "3").passed()
    found = list(spans(worker).values())
    assert len(found) == 3
    assert not any(overlap(a, b) for n, a in enumerate(found) for b in found[n + 1 :])


def test_a_deleted_state_is_made_again_alone(worker):
    worker.graph().passed()
    install = worker.state("install", pool=True).stat().st_ino
    for pool in (True, False):
        worker.state("customize", pool=pool).unlink()
    worker.graph("consumer_a").passed()
    assert worker.ran() == ["customize", "consumer_a"]
    assert worker.state("install", pool=True).stat().st_ino == install


def test_a_state_lost_in_the_cache_comes_from_the_pool(worker):
    worker.graph().passed()
    worker.state("customize", pool=False).unlink()
    worker.graph("consumer_a").passed()
    assert worker.ran() == ["consumer_a"]


def corrupt(path: Path) -> None:
    os.chmod(path, 0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"rot" * 100)


def test_a_corrupted_state_is_made_again(worker):
    worker.graph().passed()
    for pool in (True, False):
        corrupt(worker.state("customize", pool=pool))
    job = worker.graph("consumer_a", "plain").passed()
    assert worker.ran()[:2] != ["consumer_a"]
    assert sorted(worker.ran()) == ["consumer_a", "customize", "plain"]
    assert "customize" in statuses(job)
    worker.graph("consumer_a").passed()
    assert worker.ran() == ["consumer_a"]


def test_a_corrupted_base_is_made_again_with_what_stands_on_it(worker):
    worker.graph().passed()
    for pool in (True, False):
        corrupt(worker.state("install", pool=pool))
    worker.graph("consumer_a").passed()
    assert worker.ran() == ["install", "customize", "consumer_a"]
    worker.graph("consumer_b").passed()
    assert worker.ran() == ["consumer_b"]


def test_a_changed_recipe_makes_anew_exactly_what_stands_on_it(tmp_path):
    worker = GraphWorker(tmp_path, recipe="rebuild")
    worker.graph().passed()
    worker.graph("consumer_a", "plain").passed()
    assert sorted(worker.ran()) == ["consumer_a", "plain"]
    worker.tests(
        CHAIN.replace("marks_unwanted = 2 3\n", "marks_unwanted = 2 3\n        note = other\n")
    )
    worker.graph("consumer_a", "plain").passed()
    assert sorted(worker.ran()) == ["consumer_a", "customize", "plain"]
    worker.graph("consumer_a", "plain").passed()
    assert sorted(worker.ran()) == ["consumer_a", "plain"]
    worker.tests(
        CHAIN.replace("marks_unwanted = 2 3\n", "marks_unwanted = 2 3\n        note = other\n")
        .replace("force_create_image = yes\n", "force_create_image = yes\n        note = new\n")
    )  # fmt: skip
    worker.graph("consumer_a").passed()
    assert worker.ran() == ["install", "customize", "consumer_a"]
    worker.graph("consumer_a", "plain").passed()
    assert sorted(worker.ran()) == ["consumer_a", "plain"]


def test_a_changed_recipe_is_only_told_by_default(worker):
    worker.graph().passed()
    worker.tests(CHAIN.replace("marks_written = 2\n", "marks_written = 2\n        note = other\n"))
    job = worker.graph("consumer_a").passed()
    assert worker.ran() == ["consumer_a"]
    assert "state 'customize' of vm1/image1 was made by another recipe: param note" in job.output


def test_a_dry_run_runs_nothing(worker):
    job = worker.graph("--dry-run")
    assert job.status == 0
    assert worker.ran() == []
    assert job.output.count("Test cancelled due to --dry-run") == 5
    assert not worker.state("install", pool=True).exists()


def test_failfast_ends_the_job(worker):
    worker.tests(CHAIN.replace("marks_written = 1\n", "fails = yes\n"))
    job = worker.graph("--failfast")
    assert job.status != 0
    assert worker.ran() == ["install"]


def test_results_are_where_users_look_for_them(worker):
    job = worker.graph()
    suites = ET.parse(job.directory / "results.xml").getroot()
    assert suites.get("tests") == "5" and suites.get("failures") == "0"
    told = json.loads(next(job.directory.glob("pool-graph*.json")).read_text())
    assert told["results"] == dict.fromkeys(told["results"], "PASS")
    picture = next(job.directory.glob("pool-graph*.svg")).read_text()
    assert "customize" in picture


def begin(worker: GraphWorker, *arguments: str) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name("avocado")
    return subprocess.Popen(
        [program, "run", "--vt-config", worker.env.vt_config, "--suite-runner", "pool-graph",
         *arguments],
        env=worker.env.variables(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_job_cut_short_is_continued_by_the_next(worker, how):
    worker.tests(CHAIN.replace("marks_written = 2\n", "marks_written = 2\n        pause = 3\n"))
    process = begin(worker)
    deadline = time.monotonic() + 60
    while "customize" not in worker.ran():
        assert time.monotonic() < deadline, process.communicate(timeout=1)
        time.sleep(0.05)
    if how == signal.SIGKILL:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    process.communicate(timeout=60)
    assert not worker.state("customize", pool=True).exists()
    worker.tests(CHAIN).graph()
    assert worker.ran()[0] == "customize" and "install" not in worker.ran()
    assert sorted(worker.ran()) == ["consumer_a", "consumer_b", "customize", "plain"]


def test_a_replay_runs_only_what_did_not_pass(worker):
    worker.tests(CHAIN.replace("marks_written = 4", "fails = yes"))
    assert worker.graph().status == 1
    worker.tests(CHAIN)
    with_option(worker, "replay = latest")
    job = worker.graph()
    assert worker.ran() == ["consumer_b"]
    assert statuses(job)["plain"] == "SKIP"
    assert reason(job, "plain").startswith("passed in job ")
    again = worker.graph()
    assert worker.ran() == [] and statuses(again)["plain"] == "SKIP"


def test_what_nobody_makes_and_nobody_has_ends_the_job_before_anything_runs(worker):
    worker.tests(CHAIN.replace("get_state_images = install", "get_state_images = other"))
    job = worker.graph()
    assert job.status != 0 and worker.ran() == []
    assert "needs state 'other' of vm1/image1" in job.output
    assert "Traceback" not in job.output


def test_with_the_plugin_off_the_runner_is_the_stock_one(worker):
    job = worker.graph("--pool-off", "install")
    assert job.status == 0 and worker.ran() == ["install"]
    assert "POOL" not in job.output


TWO_VMS = """
variants:
    - install:
        vms = vm1
        force_create_image = yes
        marks_written = 1
        set_state_images = install
    - install_other:
        vms = vm2
        main_vm = vm2
        force_create_image = yes
        marks_written = 7
        set_state_images = other
    - both:
        vms = vm1 vm2
        get_state_images_vm1 = install
        get_state_images_vm2 = other
        marks_wanted_vm1 = 1
        marks_wanted_vm2 = 7
"""


def test_several_vms_start_from_states_of_their_own(worker):
    worker.tests(TWO_VMS).graph("--max-parallel-tasks", "2", "both").passed()
    assert sorted(worker.ran()) == ["both", "install", "install_other"]
    assert worker.ran()[-1] == "both"


def test_a_test_that_outlives_its_job_keeps_its_image(worker):
    worker.graph("install").passed()
    worker.tests(CHAIN.replace("marks_written = 2\n", "marks_written = 2\n        pause = 8\n"))
    process = begin(worker, "customize")
    while "customize" not in worker.ran():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    job = worker.graph("plain").passed()
    assert "waited" in job.log("plain") and "vm1.qcow2.in-test" in job.log("plain")
