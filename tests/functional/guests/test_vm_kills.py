"""Saves of running guests that are killed: old or new, and never half."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from virttest.utils_params import Params

from avocado_pool_plugin.core import records
from avocado_pool_plugin.states import setup
from tests.support.guests import Machines, left_as_they_are, whole, with_ready
from tests.support.vms import sound

pytestmark = pytest.mark.guest

#: How many points of a save are tried, spread evenly over all of them.
POINTS = 9


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """A worker with a vm state that stands on another one."""
    found = with_ready(tmp_path_factory.mktemp("killed"))
    asked = {"get_state_vms": "ready", "memory_wanted": "answer"}
    found.do("recall", set_state_vms="checkpoint", **asked).passed()
    return found


@pytest.fixture(scope="module")
def steps(worker: Machines) -> int:
    """The number of steps of a save that nobody kills."""
    counted = worker.cache.parent / "counted"
    with left_as_they_are(worker.cache):
        save(worker, 10**9, counted).passed()
    return int(counted.read_text())


def save(worker: Machines, after: int, counted: Path | str = "") -> object:
    return worker.do(
        "killed",
        get_state_vms="ready",
        memory_wanted="answer",
        kill_after=after,
        counted=counted,
        pool_scope="own",
        remove_image="no",
    )


def generation(ram: Path) -> str:
    record = records.read_record(str(ram))
    assert record is not None
    return record.info.generation


@pytest.fixture
def cache(worker: Machines) -> Iterator[Path]:
    with left_as_they_are(worker.cache):
        yield worker.cache


@pytest.mark.parametrize("point", range(POINTS))
def test_old_or_new_at_every_point(worker: Machines, cache: Path, steps: int, point: int) -> None:
    ram = worker.ram("checkpoint")
    old = generation(ram)
    job = save(worker, steps * point // POINTS)
    assert job.status != 0, "it was killed"
    image = next(worker.env.images.glob("*.qcow2"), None)
    params = Params(
        {
            "vms": "vm1",
            "images": "image1",
            "image_name": str(worker.env.images / "vm1"),
            "swarm_pool": str(cache),
            "pool_scope": "own",
        }
    )
    # the next operation completes it or takes it back
    assert {"checkpoint", "ready"} <= set(setup.show_states(params))
    assert whole(ram)
    sound(worker.image_state("checkpoint"))
    image = worker.env.images / "vm1.qcow2"
    sound(image)
    left = [path for path in cache.rglob("*") if path.name.endswith(".part")]
    left += list((cache / "vm1" / ".pool" / "intents").glob("*.json"))
    assert left == []
    if point in (1, POINTS - 2):  # in a guest, too: what it remembers is of one moment
        new = generation(ram) != old
        wanted, unwanted = ("answer before", "") if new else ("answer", "before")
        asked = {"get_state_vms": "checkpoint", "pool_scope": "own"}
        worker.do("recall", memory_wanted=wanted, memory_unwanted=unwanted, **asked).passed()
