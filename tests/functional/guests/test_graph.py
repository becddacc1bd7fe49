"""Graph runs with real guests: what is lost, wrong or cut short is made again, and nothing else."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.jobs import Job, Worker, stop_machines

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

OPTIONS = ("--suite-runner", "pool-graph", "--max-parallel-tasks", "2")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with the states of the suite, made by a graph run."""
    root = tmp_path_factory.mktemp("filled")
    worker = Worker(root, root / "pool")
    job = worker.run(*OPTIONS, "customize").passed()
    assert job.statuses() == ["PASS", "PASS"]
    return root / "pool"


@pytest.fixture
def worker(tmp_path: Path, filled: Path) -> Worker:
    """A worker with an empty cache and a copy of the pool."""
    shutil.copytree(filled, tmp_path / "pool", symlinks=True)
    return Worker(tmp_path, tmp_path / "pool", recipe="rebuild")


def state(worker: Worker, name: str) -> Path:
    return Path(worker.env.pool) / "vm1" / "image1" / f"{name}.qcow2"


def ran(job: Job) -> list[str]:
    """Return the tests that ran, without those that were spared or left out."""
    return sorted(test["name"] for test in job.results["tests"] if test["status"] != "SKIP")


def test_a_failed_producer_and_the_replay(worker: Worker) -> None:
    state(worker, "customize").unlink()
    config = worker.config(
        "fails.cfg", "include tests.cfg\ncustomize:\n    files_wanted = /root/nowhere\n"
    )
    job = worker.run(*OPTIONS, "consumer_a", "plain", config=config)
    assert job.status == 1
    assert {test["name"]: test["status"] for test in job.results["tests"]} == {
        "customize": "FAIL",
        "consumer_a": "SKIP",
        "plain": "PASS",
    }
    assert job.test("consumer_a")["fail_reason"] == "needs customize: FAIL"
    done = worker.avocado(
        *("pool", "run", "--vt-config", str(worker.env.vt_config), "replay=latest"),
        "only=consumer_a,plain",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plain:  SKIP: passed in job" in done.stdout
    assert "customize:  PASS" in done.stdout and "consumer_a:  PASS" in done.stdout


def test_a_deleted_state_is_made_again_alone(worker: Worker) -> None:
    install = state(worker, "install").stat().st_ino
    state(worker, "customize").unlink()
    assert ran(worker.run(*OPTIONS, "consumer_a").passed()) == ["consumer_a", "customize"]
    assert state(worker, "install").stat().st_ino == install


def test_a_lost_ram_file_is_made_again_with_its_images(worker: Worker) -> None:
    worker.run(*OPTIONS, "ready").passed()
    ram, image = Path(worker.env.pool) / "vm1" / "ready.state", state(worker, "ready")
    before = image.stat().st_ino
    for place in (Path(worker.env.pool), worker.cache):
        (place / "vm1" / "ready.state").unlink()
    assert ran(worker.run(*OPTIONS, "resumed").passed()) == ["ready", "resumed"]
    assert ram.exists() and image.stat().st_ino != before


def test_a_corrupted_state_is_healed(worker: Worker) -> None:
    path = state(worker, "customize")
    os.chmod(path, 0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"rot" * 1000)
    assert ran(worker.run(*OPTIONS, "consumer_a").passed()) == ["consumer_a", "customize"]
    dry = worker.run(*OPTIONS, "--dry-run", "consumer_a", "install", "customize")
    assert dry.status == 0 and dry.output.count("Test cancelled due to --dry-run") == 1
    assert "customize:  SKIP: reused" in dry.output


def test_another_recipe_makes_anew_what_stands_on_it(worker: Worker) -> None:
    config = worker.config(
        "other.cfg", "include tests.cfg\ninstall:\n    files_written = /root/installed /root/x\n"
    )
    job = worker.run(*OPTIONS, "consumer_a", "plain", config=config).passed()
    assert ran(job) == ["consumer_a", "customize", "install", "plain"]
    dry = worker.run(*OPTIONS, "--dry-run", config=config)
    for name in ("install", "customize"):
        assert f"{name}:  SKIP: reused" in dry.output


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_job_cut_short_is_continued(worker: Worker, how: signal.Signals) -> None:
    state(worker, "customize").unlink()
    program = Path(sys.executable).with_name("avocado")
    command = [program, "run", "--vt-config", worker.env.vt_config, *OPTIONS, "consumer_a"]
    process = subprocess.Popen(
        command, env=worker.env.variables(), stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    # the guest of customize runs: its overlay stands on the state that was fetched
    deadline = time.monotonic() + 120
    while not _guest_runs(worker):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, how)
    process.communicate(timeout=120)
    stop_machines(worker.env)
    assert not state(worker, "customize").exists()
    job = worker.run(*OPTIONS, "consumer_a").passed()
    assert ran(job) == ["consumer_a", "customize"]


def _guest_runs(worker: Worker) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"qemu-system" in command.split(b"\0")[0] and os.fsencode(worker.env.data) in command:
            return True
    return False
