"""``pre_state.control``: avocado-i2n runs it on a worker before and after tests."""

from pathlib import Path

import pytest

from tests.support.i2n import Suite, recorded, run_control
from tests.support.vms import backing, holds, sound, write


@pytest.fixture
def act(suite, tmp_path):
    """Run the control file for an action and return the process that ended."""

    def run(action: str, of: Suite = suite, **params: str):
        return run_control("pre_state.control", tmp_path, action, of.params(**params))

    return run


def well(done) -> None:
    assert done.returncode == 0, done.stderr


def ours(path: Path) -> bool:
    sound(path)
    return recorded(path)


def test_every_action(suite, act):
    write(suite.make_image(), 1)
    well(act("set", set_state_images="s1"))
    assert ours(suite.state("s1")) and ours(suite.shared("s1"))
    assert holds(suite.shared("s1"), 1)
    assert Path(backing(suite.image)) == suite.state("s1")

    write(suite.image, 2)
    well(act("get", get_state_images="s1"))
    assert holds(suite.image, 1) and Path(backing(suite.image)) == suite.state("s1")

    location = {"show_location_images_image1_vm1": f":{suite.pool}", "use_env_vms_vm1": "no"}
    well(act("check", check_state_images="s1", check_mode_images="rf", **location))
    missing = act("check", check_state_images="s2", check_mode_images="rf", **location)
    # what avocado-i2n takes for an answer; anything else ends its scan
    assert missing.returncode != 0 and "AssertionError" in missing.stderr[-100:]

    # it cleans up with the params of the test that made the state
    well(act("unset", set_state_images="s1", unset_state_images="s1", unset_mode="fi"))
    assert not suite.state("s1").exists() and not suite.shared("s1").exists()
    assert holds(suite.image, 1)


def test_a_worker_that_has_nothing_yet(suite, act):
    write(suite.make_image(), 1)
    well(act("set", set_state_images="s1"))
    other = Suite(suite.root, "host2")
    well(act("get", other, get_state_images="s1", get_location=f":{suite.pool}"))
    assert ours(other.state("s1")) and holds(other.image, 1)


def test_missing_image_is_made_and_a_missing_state_is_an_error(suite, act):
    done = act("get", get_state_images="s1", check_mode="rf")
    assert "TestAbortError" in done.stderr and "s1" in done.stderr
    sound(suite.image)


def test_states_of_vms_where_no_vm_can_run(suite, act):
    """avocado-i2n looks for them, moves and removes them with ``use_env = no``."""
    write(suite.make_image(), 1)
    well(act("set", set_state_images="s1"))
    for memory in suite.memory("s1"):
        memory.write_bytes(b"memory")
    off = {"use_env_vms_vm1": "no", "soft_boot_vms_vm1": "no"}
    well(act("check", check_state_vms="s1", **off))
    assert act("check", check_state_vms="s2", **off).returncode != 0

    other, away = Suite(suite.root, "host2"), "swarm cluster shared"
    well(act("get", other, get_state_vms="s1", pool_scope=away, **off))
    assert recorded(other.state("s1")) and recorded(other.memory("s1")[0])

    well(act("unset", set_state_vms="s1", unset_state_vms="s1", unset_mode="fi", **off))
    gone = [suite.state("s1"), suite.shared("s1"), *suite.memory("s1")]
    assert not [path for path in gone if path.exists()]
