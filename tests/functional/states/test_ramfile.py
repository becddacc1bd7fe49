"""The backend ``ramfile``: states of running vms in cache and pools. QEMU is real, no guest."""

import pytest

from avocado_pool_plugin.states import report, setup
from tests.support.bare import bare_vm
from tests.support.machines import Env
from tests.support.states import OWN, leftovers, trash
from tests.support.vms import backing, holds, sound
from tests.support.vmstates import (
    TWO,
    be,
    do,
    ended,
    get,
    is_,
    params,
    pop,
    put,
    ram,
    show,
    shown,
    unset,
)


def test_set_and_get(lab, twin):
    be(twin, 1)
    put(lab, twin, "a", **TWO)
    assert twin.status() == "running", "it goes on"
    be(twin, 2)
    for image in ("image1", "image2"):
        sound(lab.state("a", image=image))
        assert holds(lab.state("a", image=image), 1), "what it was when it was saved"
    get(lab, twin, "a", **TWO)
    assert is_(twin, 1)
    be(twin, 3)
    ended(lab, twin, 3)
    assert twin.starts == 2, "QEMU is started once for a get"


def test_what_a_test_asked_of_qemu_stays(lab, bare):
    """A save takes the disk for itself, a migration of the test's own does as it was told."""
    bare.monitor.cmd("migrate-set-parameters", {"max-bandwidth": 12345678})
    before = bare.monitor.cmd("query-migrate-parameters")
    put(lab, bare, "s")
    assert bare.monitor.cmd("query-migrate-parameters") == before


def test_states_on_top_of_each_other(lab, bare):
    for number, state in enumerate(("a", "b", "c"), 1):
        be(bare, number)
        bare.write(number, at=f"{number}M")
        put(lab, bare, state)
    assert show(lab) == ["a", "b", "c"]
    assert [backing(lab.state(name)) for name in "abc"] == ["", "a.qcow2", "b.qcow2"]
    be(bare, 9)
    ended(lab, bare, 9)
    for state, pattern in (("b", 2), ("a", 1), ("c", 3), ("a", 1)):
        get(lab, bare, state)
        assert is_(bare, pattern)
        assert [bare.holds(n, at=f"{n}M") for n in (1, 2, 3)] == [n <= pattern for n in (1, 2, 3)]


def test_a_state_is_saved_again(lab, twin):
    """What its image stands on is the old state itself, so both are merged."""
    be(twin, 1, "1M")
    put(lab, twin, "base", **TWO)
    for pattern in (2, 3, 4):
        be(twin, pattern)
        be(twin, pattern, f"{pattern}M")
        put(lab, twin, "s", **TWO)
        assert show(lab, **TWO) == ["base", "s"]
        assert backing(lab.state("s")) == "base.qcow2"
        assert twin.status() == "running"
    be(twin, 5)
    ended(lab, twin, 5)
    assert holds(lab.image(), 3, "3M"), "the image goes on reading what it did"
    get(lab, twin, "s", **TWO)
    assert is_(twin, 4)
    assert [twin.holds(n, 1, f"{n}M") for n in (1, 2, 3, 4)] == [True] * 4
    assert not holds(lab.state("base"), 2, "2M")
    assert trash(lab.state("s").parent) == ["s.qcow2"] * 2
    assert trash(ram(lab, "s").parent) == ["s.state"] * 2


def test_what_was_got_is_saved_again(lab, bare):
    be(bare, 1)
    put(lab, bare, "s")
    get(lab, bare, "s")
    put(lab, bare, "s")
    be(bare, 2)
    put(lab, bare, "s")
    be(bare, 3)
    put(lab, bare, "t")
    be(bare, 4)
    ended(lab, bare, 4)
    for state, pattern in (("s", 2), ("t", 3)):
        get(lab, bare, state)
        assert is_(bare, pattern)


def test_a_base_that_was_saved_long_ago_is_saved_again(lab, bare):
    """From the third state of a chain the first is not replaced, the others stand on it."""
    for pattern, state in ((1, "a"), (2, "b")):
        be(bare, pattern)
        put(lab, bare, state)
    be(bare, 3)
    put(lab, bare, "a")
    assert bare.status() == "running"
    get(lab, bare, "a")
    assert is_(bare, 1)


@pytest.mark.parametrize("state", ["s", "new"])
def test_a_paused_vm_stays_paused(lab, bare, state):
    be(bare, 1)
    put(lab, bare, "s")
    be(bare, 2)
    bare.pause()
    put(lab, bare, state)
    assert bare.status() == "paused"
    bare.resume()
    be(bare, 3)
    ended(lab, bare, 3)
    get(lab, bare, state)
    assert is_(bare, 2), "resumed, as it is meant to be used"


def test_a_read_only_image_is_no_part_of_it(lab):
    more = {**TWO, "image_readonly_image2": "yes"}
    for image in ("image1", "image2"):
        lab.make_image(image=image)
    with bare_vm(params(lab, **more)) as vm:
        vm.write(1)
        put(lab, vm, "s", **more)
        vm.write(2)
        assert show(lab, **more) == ["s"] and not lab.state("s", image="image2").exists()
        get(lab, vm, "s", **more)
        assert vm.holds(1)


# -- show -----------------------------------------------------------------------------------------


def test_only_whole_ones_are_shown(lab, twin):
    for state in ("a", "b", "c"):
        put(lab, twin, state, **TWO, **OWN)
    twin.stop()
    lab.state("c", image="image2").unlink()
    ram(lab, "a").unlink()
    assert show(lab, **TWO, **OWN) == ["b"]
    assert show(lab, images="image1", **OWN) == ["b", "c"]


def test_states_of_images_are_others(lab, bare):
    """They have the same names and the same directories."""
    put(lab, bare, "both")
    bare.stop()
    setup.set_states(params(lab, set_state_images="image"))
    assert show(lab) == show(lab, pool_scope="shared") == ["both"]
    assert shown(lab) == shown(lab, pool_scope="shared") == ["both", "image"]
    assert setup.check_states(params(lab, check_state_vms="both"), Env(bare))
    assert not setup.check_states(params(lab, check_state_vms="image"), Env(bare))


def test_nothing_is_shown_where_nothing_is(lab):
    lab.make_image()
    assert show(lab) == []
    (lab.cache / "vm1").mkdir(parents=True)
    for name in (".state", "s.state.lock", "s.state.part", "s.qcow2"):
        (lab.cache / "vm1" / name).touch()
    assert show(lab) == []


# -- unset and pop --------------------------------------------------------------------------------


def test_unset(lab, twin):
    for pattern, state in ((1, "a"), (2, "b")):
        be(twin, pattern)
        put(lab, twin, state, **TWO)
    be(twin, 3)
    twin.stop()
    unset(lab, twin, "b", **TWO)
    assert show(lab, **TWO) == ["a"] and shown(lab, **TWO) == ["a", "a"]
    assert trash(ram(lab, "b").parent) == ["b.state"]
    ended(lab, twin, 3)
    unset(lab, twin, "a", **TWO)
    assert show(lab, **TWO) == [] and shown(lab, **TWO) == []
    assert show(lab, pool_scope="shared") == shown(lab, pool_scope="shared") == []
    ended(lab, twin, 3)


def test_what_the_vm_runs_on_stays(lab, bare):
    be(bare, 1)
    put(lab, bare, "s", **OWN)
    be(bare, 2)
    unset(lab, bare, "s", **OWN)
    assert show(lab, **OWN) == [] and shown(lab, **OWN) == ["s"]
    assert is_(bare, 2)
    ended(lab, bare, 2)


def test_pop(lab, bare):
    be(bare, 1)
    put(lab, bare, "s", **OWN)
    be(bare, 2)
    pop(lab, bare, "s", **OWN)
    assert is_(bare, 1) and show(lab, **OWN) == []
    be(bare, 3)
    ended(lab, bare, 3)


# -- and all the rest -----------------------------------------------------------------------------

NAMES = ["two words", "o'clock", 'a "b"', "näme", "$(touch x)", "-rf", "%s", "a,b=c", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(lab, bare, name):
    for pattern in (1, 2):
        be(bare, pattern)
        put(lab, bare, name)
    be(bare, 3)
    assert show(lab) == [name]
    get(lab, bare, name)
    assert is_(bare, 2)


def test_what_is_done_is_told(lab, bare):
    before = len(report.events())
    for verb in ("set", "get", "unset"):
        do(lab, bare, verb, "s", **OWN)
    told = [(one.verb, one.state, one.object) for one in report.events()[before:]]
    assert [one for one in told if one[2] == "vm1"] == [
        (verb, "s", "vm1") for verb in ("set", "got", "unset")
    ]


def test_a_vm_is_started_to_be_saved(lab):
    lab.make_image()
    with bare_vm(params(lab), start=False) as vm:
        put(lab, vm, "s", check_mode="rf")
        assert vm.starts == 1 and vm.status() == "running" and show(lab) == ["s"]
        put(lab, vm, "s", check_mode="rf")
        assert vm.starts == 1 and leftovers(lab.root) == []
