"""What a graph run counts on is pinned as long as it runs, in its cache and its pools."""

import threading
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import pins, records
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph import durations
from avocado_pool_plugin.graph.exists import Finder
from avocado_pool_plugin.graph.model import Graph
from avocado_pool_plugin.graph.pins import pinned
from avocado_pool_plugin.graph.plan import Wish, make_plan
from avocado_pool_plugin.graph.read import node_of
from avocado_pool_plugin.graph.suite import Prepared
from avocado_pool_plugin.ssh import session
from tests.functional.graph.test_runs import begin
from tests.support.graphs import CHAIN, GraphWorker
from tests.support.remote import server
from tests.support.remote_labs import RemoteLab
from tests.support.states import made, other
from tests.support.vms import Lab

PAUSED = CHAIN.replace("marks_written = 1\n", "marks_written = 1\n        pause = 1\n")


def of_jobs(root: Path | str) -> set[str]:
    """Return what is pinned by jobs, and not by their tests."""
    return {file for pin in pins.live(str(root)) if ", job " in pin.by for file in pin.files}


@pytest.mark.stress
def test_what_tests_get_and_set_is_pinned_until_the_job_is_over(worker: GraphWorker):
    worker.tests(PAUSED)
    Path(worker.env.pool).mkdir(exist_ok=True)
    process, said = begin(worker, "customize"), []
    reader = threading.Thread(target=lambda: said.append(process.communicate(timeout=120)[0]))
    reader.start()
    try:
        deadline = time.monotonic() + 60
        while not worker.ran():
            assert time.monotonic() < deadline and reader.is_alive(), said
            time.sleep(0.02)
        both = [of_jobs(root) for root in (worker.env.cache, worker.env.pool)]
    finally:
        reader.join()
    assert process.returncode == 0, said
    assert both == [{"vm1/image1/install.qcow2", "vm1/image1/customize.qcow2"}] * 2
    assert pins.live(str(worker.env.cache)) == pins.live(str(worker.env.pool)) == []
    # what its test took to make a state is recorded with it
    for pool in (True, False):
        record = records.read_record(str(worker.state("install", pool=pool)))
        assert record is not None and record.info.seconds > 1.0


def prepared(lab: Lab, *tests: dict[str, str]) -> Prepared:
    """Plan tests as a run does."""
    readings = [
        node_of(f"t{number}", dict(lab.params(pool_fsync="no", **test)))
        for number, test in enumerate(tests)
    ]
    graph, finder = Graph.of(reading.node for reading in readings), Finder.of(readings)
    plan = make_plan(graph, Wish(tuple(graph.nodes)), finder)
    return Prepared(graph, plan, {}, durations.load(""), finder)


def get(name: str) -> dict[str, str]:
    return {"get_state_images": name}


@pytest.mark.parametrize("kind", ["local", "link", "remote"])
def test_what_is_reused_is_pinned_with_all_it_stands_on(tmp_path, kind):
    lab = made(RemoteLab(tmp_path, server()) if kind == "remote" else Lab(tmp_path), "a", "b", "c")
    worker = other(lab)
    more = {"shared_pool": f":{lab.pool};"} if kind == "link" else {}
    found = prepared(worker, {**get("b"), "set_state_images": "d", **more}, {**get("c"), **more})
    whole = {State("vm1", "image1", name).path for name in "abcd"}
    with pinned(found, "job 1234"):
        deadline = time.monotonic() + 20
        while of_jobs(lab.pool) != whole:
            assert kind == "remote" and time.monotonic() < deadline, of_jobs(lab.pool)
            time.sleep(0.02)
        assert of_jobs(worker.cache) == whole
    assert pins.live(str(worker.cache)) == []


def test_a_vms_state_is_pinned_with_those_of_its_images(tmp_path):
    lab = Lab(tmp_path)
    running = {"images": "image1 data", "set_state_vms": "running", "skip_types": ""}
    with pinned(prepared(lab, running), "job 1234"):
        assert of_jobs(lab.cache) == {
            "vm1/running.state",
            "vm1/image1/running.qcow2",
            "vm1/data/running.qcow2",
        }


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_no_pool_is_made_for_a_pin(tmp_path, kind):
    lab = RemoteLab(tmp_path, server()) if kind == "remote" else Lab(tmp_path)
    with pinned(prepared(lab, {"set_state_images": "a"}), "job 1234"):
        assert of_jobs(lab.cache) == {"vm1/image1/a.qcow2"}
    session.close_all()  # all that was posted is done
    assert not lab.pool.exists()


def test_where_nothing_is_got_or_set_nothing_is_pinned(tmp_path):
    lab = Lab(tmp_path)
    with pinned(prepared(lab, {}), "job 1234"):
        assert not lab.cache.exists() and not lab.pool.exists()
