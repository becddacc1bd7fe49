"""What a user sees when something goes wrong, and that nothing wrong is kept."""

from pathlib import Path

import pytest

from tests.support.jobs import Worker
from tests.support.mounts import mounted

pytestmark = pytest.mark.guest


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path, tmp_path / "pool")


def states(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.qcow2"))


def test_state_missing_everywhere_is_an_error(worker: Worker) -> None:
    job = worker.run("plain")
    assert job.status == 1
    test = job.test("plain")
    assert test["status"] == "ERROR"
    reason = test["fail_reason"]
    assert "'install'" in reason and "vm1/image1" in reason
    assert str(worker.cache) in reason and str(worker.env.pool) in reason
    assert "Traceback" not in reason
    assert reason.splitlines()[0] in job.output
    assert not list(worker.env.images.glob("*.qcow2"))


def test_mode_can_let_a_missing_state_pass(worker: Worker) -> None:
    config = worker.config("ignore.cfg", "include tests.cfg\nget_mode = ri\nonly install\n")
    job = worker.run(
        config=config.with_name("ignore.cfg"),
    )
    assert job.passed().statuses() == ["PASS"]


def test_failed_test_saves_nothing(worker: Worker) -> None:
    config = worker.config(
        "fails.cfg", "include tests.cfg\nonly install\nfiles_wanted = /nowhere\n"
    )
    job = worker.run(config=config)
    assert job.status == 1
    assert job.test("install")["status"] == "FAIL"
    assert states(worker.cache) == [] and states(Path(worker.env.pool)) == []
    assert not list(worker.env.images.glob("*.qcow2"))


def test_save_that_fails_is_an_error_of_the_test(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path, 4) as tiny:
        worker = Worker(tmp_path / "w", tiny / "pool")
        job = worker.run("install")
        assert job.status == 1
        test = job.test("install")
        assert test["status"] == "ERROR"
        assert "needs" in test["fail_reason"] and str(tiny) in test["fail_reason"]
        assert states(tiny) == []
        # the state itself is safe in the cache, only sharing it failed
        assert "install.qcow2" in states(worker.cache)
        assert "1 error" in job.output


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("shared_pol", "/p", ["shared_pol", "unknown"]),
        ("pool_scope", "everywhere", ["pool_scope", "everywhere", "own, shared"]),
        ("lock_timeout", "soon", ["lock_timeout", "soon", "seconds"]),
        ("shared_pool", "relative/dir", ["shared_pool", "relative/dir"]),
        ("fsync", "maybe", ["fsync", "maybe", "yes or no"]),
    ],
)
def test_senseless_option_stops_the_job_at_start(
    tmp_path: Path, option: str, value: str, words: list[str]
) -> None:
    worker = Worker(tmp_path, tmp_path / "pool", **{option: value})
    job = worker.run("plain")
    assert job.status != 0
    assert "Traceback" not in job.output
    line = next(line for line in job.output.splitlines() if words[0] in line)
    for word in [*words, str(worker.env.venv / "etc" / "avocado" / "avocado.conf")]:
        assert word in line
    assert not job.results.get("tests")


def test_test_param_wins_and_plugin_can_be_switched_off(worker: Worker) -> None:
    config = worker.config("own.cfg", "include tests.cfg\nonly plain\npool_scope = nonsense\n")
    job = worker.run(config=config)
    assert "nonsense" in job.test("plain")["fail_reason"]
    off = worker.run("plain", "--pool-off")
    # without the plugin nobody makes an image: Avocado-VT's own words, not ours
    assert "looked at" not in off.test("plain")["fail_reason"]
    assert off.events("plain") == []
