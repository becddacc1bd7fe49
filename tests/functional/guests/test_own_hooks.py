"""Suites whose own hook file has states dealt with, as avocado-i2n's ``pre_test.control`` does."""

from pathlib import Path

import pytest

from benchmarks.environment import peer_python
from tests.support.i2n import changed_control, recorded
from tests.support.jobs import Job, Worker
from tests.support.vms import backing, sound

pytestmark = pytest.mark.guest

HOOKS = """
from virttest import env_process
from avocado_pool_plugin.states import setup as ss

def around(policy, skipped):
    def hook(test, params, env):
        params["skip_types"] = skipped
        policy(params, env)
        del params["skip_types"]
    return hook

env_process.preprocess_vm_off_hook = around(ss.get_states, "nets/vms")
env_process.preprocess_vm_on_hook = around(ss.get_states, "nets/vms/images nets")
env_process.postprocess_vm_on_hook = around(ss.set_states, "nets/vms/images nets")
env_process.postprocess_vm_off_hook = around(ss.set_states, "nets/vms")
"""

#: A state of an image, one of a running vm on it, and a test that goes on there.
SUITE = """
include tests.cfg
test_pre_hook = {hook}
ready:
    get_state_images = install
"""
TESTS = ("install", "ready", "resumed")

#: What the suite of avocado-i2n says besides, where no plugin does.
I2N = """
states_chain = nets vms images
nets = net1
states_nets = vmnet
suite_path = {suite}
"""
ALONE = """
swarm_pool = {cache}
shared_pool = {pool}
remove_image = no
"""


def run(worker: Worker, text: str, hooks: str) -> Job:
    hook = worker.env.data / "pre_test.control"
    hook.write_text(hooks)
    places = {"cache": worker.cache, "pool": worker.env.pool, "suite": worker.env.data}
    config = worker.config("hooks.cfg", text.format(hook=hook, **places))
    return worker.run(*TESTS, config=config).passed()


def done(job: Job) -> list[str]:
    """Return which states were got and set in the whole job, whoever had it done."""
    lines = [line for name in TESTS for line in job.log(name).splitlines()]
    told = [line.partition("INFO | ")[2] for line in lines if line.startswith("[stdlog]")]
    return [line.partition(":")[0] for line in told if line.startswith(("got st", "set st"))]


#: Each once.
DONE = [
    "set state 'install' of vm1/image1",
    "got state 'install' of vm1/image1",
    "set state 'ready' of vm1",
    "got state 'ready' of vm1/image1",
    "got state 'ready' of vm1",
]


def test_each_state_is_got_once_and_set_once(tmp_path: Path) -> None:
    """The plugin has its hooks around those of the suite."""
    worker = Worker(tmp_path / "w", tmp_path / "pool")
    job = run(worker, SUITE, HOOKS)
    assert done(job) == DONE
    assert [e["verb"] for e in job.events("resumed")] == ["got", "got"]
    states = tmp_path / "pool" / "vm1" / "image1"
    assert backing(states / "ready.qcow2") == "install.qcow2"
    sound(states / "ready.qcow2")
    line = next(line for line in job.output.splitlines() if line.startswith("POOL"))
    assert "error" not in line


def test_control_file_of_avocado_i2n_in_its_environment(tmp_path: Path) -> None:
    """The plugin is off, only the hooks of the file deal with states."""
    worker = Worker(tmp_path / "w", tmp_path / "pool", off="yes")
    worker.programs = peer_python().parent
    job = run(worker, SUITE + I2N + ALONE, changed_control("pre_test.control"))
    assert done(job) == DONE
    for name in ("image1/install.qcow2", "image1/ready.qcow2", "ready.state"):
        assert recorded(worker.cache / "vm1" / name)
    assert not list((tmp_path / "pool").rglob("*.qcow2")), "a set is for the cache only"
