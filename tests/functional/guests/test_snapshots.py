"""States inside of images, around real guests: of running vms and of images."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.images import described
from tests.support.jobs import EXAMPLES, Worker, configure

pytestmark = pytest.mark.guest

SUITE = Path(__file__).with_name("snapshots")
RUNNING, OFF = '1 running vm\'s "state"', "off"


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """A worker with tests of its own on the vm of the example suite."""
    configs = tmp_path / "cfg"
    configs.mkdir()
    (configs / "base.cfg").symlink_to(EXAMPLES / "suite" / "cfg" / "base.cfg")
    for file in (SUITE / "cfg").iterdir():
        (configs / file.name).symlink_to(file)
    found = Worker(tmp_path / "w", tmp_path / "pool")
    found.env = configure(replace(found.env, provider=SUITE, configs=configs))
    return found


def snapshots(worker: Worker, image: str) -> list[tuple[str, bool]]:
    """Return the tag of each snapshot in an image, and whether it holds RAM."""
    found = described(worker.env.images / f"{image}.qcow2").get("snapshots", [])
    return [(one["name"], one["vm-state-size"] > 0) for one in found]


def test_states_inside_of_images(worker: Worker) -> None:
    worker.run("make").passed()
    assert snapshots(worker, "first") == [(RUNNING, True), (OFF, False)]
    assert snapshots(worker, "second") == [(RUNNING, False), (OFF, False)]

    job = worker.run("use", "again").passed()
    done = [(event["verb"], event["state"], event["object"]) for event in job.events("use")]
    assert done == [("got", RUNNING, "vm1")]
    done = [(event["verb"], event["state"], event["object"]) for event in job.events("again")]
    assert done == [
        ("got", OFF, "vm1/image1"),
        ("got", OFF, "vm1/image2"),
        ("got", RUNNING, "vm1"),
        ("set", RUNNING, "vm1"),
    ]
    assert [(tag.startswith(RUNNING), ram) for tag, ram in snapshots(worker, "first")] == [
        (False, False),
        (True, True),
    ], "the old one is gone"

    job = worker.run("clean", "missing")
    assert job.test("clean")["status"] == "PASS", job.log("clean")[-4000:]
    assert snapshots(worker, "first") == [] and snapshots(worker, "second") == []
    missing = job.test("missing")
    assert missing["status"] == "ERROR" and job.status == 1
    reason = missing["fail_reason"]
    assert f"{RUNNING!r} of vm1" in reason
    assert str(worker.env.images / "first.qcow2") in reason
    assert reason[:60] in job.output, "Avocado prints no more of it than fits"
    assert not list(worker.cache.rglob("*.qcow2")) and not list(Path(worker.env.pool).iterdir())
