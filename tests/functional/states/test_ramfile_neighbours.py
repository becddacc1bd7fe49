"""States that other vms run on, which QEMU's locks and notes on working overlays tell."""

import pytest

from avocado_pool_plugin.core import dependents
from avocado_pool_plugin.core.errors import StateNeeded
from tests.support.bare import bare_vm
from tests.support.images import held_open
from tests.support.states import OWN
from tests.support.vms import sound
from tests.support.vmstates import TWO, be, ended, files, get, is_, params, put, unset

BOTH = {**TWO, **OWN}


@pytest.fixture(autouse=True)
def glance(monkeypatch):
    """What is open here stays open, nobody has to wait for that to show."""
    monkeypatch.setattr(dependents, "_GLANCE", 0.1)


@pytest.fixture
def saved(lab, twin):
    """A vm that is off; its state ``s`` has pattern 1, its images go on from there with 2."""
    be(twin, 1)
    put(lab, twin, "s", **BOTH)
    be(twin, 2)
    twin.stop()
    return twin


@pytest.fixture
def neighbour(lab, saved):
    """Another vm of the variant that runs from ``s``."""
    for image in ("image1", "image2"):
        lab.make_image("vm2", image)
    more = {**BOTH, "vms": "vm2", "object_id_vm2": "vm1"}
    with bare_vm(params(lab, **more), start=False, name="vm2") as vm:
        get(lab, vm, "s", **more)
        yield vm


def test_what_a_neighbour_runs_on_is_not_replaced(lab, saved, neighbour, caplog):
    saved.create()
    be(saved, 5)
    before = files(lab)
    for cascade in ("no", "yes"):
        with pytest.raises(StateNeeded, match=r"in use by overlay .*vm2"):
            put(lab, saved, "s", **BOTH, set_cascade=cascade)
        assert files(lab) == before and is_(saved, 5)
    saved.stop()
    with pytest.raises(StateNeeded, match=r"in use by overlay .*vm2"):
        unset(lab, saved, "s", **BOTH)
    assert files(lab) == before
    saved.create()
    neighbour.stop()
    put(lab, saved, "s", **BOTH)
    assert "s.state is kept as it is" in caplog.text and "vm2-image1" in caplog.text
    assert files(lab) == before
    put(lab, saved, "s", **BOTH, set_cascade="yes")
    assert "vm2-image1" in caplog.text and "is invalid now" in caplog.text
    get(lab, saved, "s", **BOTH)
    assert saved.holds(5)


def test_a_vm_that_was_saved_runs_on_the_state(lab, twin):
    """It is noted, as if the state was got."""
    put(lab, twin, "s", **BOTH)
    for image in ("image1", "image2"):
        lab.make_image("vm2", image)
    more = {**BOTH, "vms": "vm2", "object_id_vm2": "vm1"}
    with bare_vm(params(lab, **more), name="vm2") as neighbour:
        with pytest.raises(StateNeeded, match=r"in use by overlay .*vm1-image1"):
            put(lab, neighbour, "s", **more)
        be(twin, 3)
        ended(lab, twin, 3)


def test_a_neighbour_that_somebody_else_started(lab, saved):
    """Nothing is registered of what it runs on."""
    before = files(lab)
    running = held_open(lab.state("s", image="image2"), "-r")
    with running, pytest.raises(StateNeeded, match="in use by a running QEMU"):
        unset(lab, saved, "s", **BOTH)
    assert files(lab) == before
    unset(lab, saved, "s", **BOTH)
    for image in ("image1", "image2"):
        sound(lab.image(image=image))


def test_a_state_further_below_the_vm_is_not_replaced(lab, twin):
    """The vm itself has open what would have to go."""
    for state in ("a", "b"):
        put(lab, twin, state, **BOTH)
    get(lab, twin, "b", **BOTH)
    be(twin, 9)
    before = files(lab)
    with pytest.raises(StateNeeded, match=r"b\.qcow2 is in use"):
        put(lab, twin, "a", **BOTH, set_cascade="yes")
    assert files(lab) == before and is_(twin, 9)
    ended(lab, twin, 9)


def test_a_vm_that_was_got_is_seen_by_no_one_else(lab):
    """Two vms of one variant run from the same states, each on images of its own."""
    for vm in ("vm1", "vm2"):
        lab.make_image(vm)
    with bare_vm(params(lab)) as one, bare_vm(params(lab, vms="vm2"), name="vm2") as two:
        be(one, 1)
        put(lab, one, "s", **OWN)
        be(one, 2)
        get(lab, two, "s", vms="vm2", object_id_vm2="vm1", **OWN)
        assert is_(two, 1) and is_(one, 2)
        be(two, 3)
        assert is_(one, 2)
