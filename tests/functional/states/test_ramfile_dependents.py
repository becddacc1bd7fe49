"""RAM files and the image states under them: neither goes or changes silently without the other."""

import pytest

from avocado_pool_plugin.core.errors import StateNeeded, VmStateRefused
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.states import setup
from tests.support import states
from tests.support.bare import bare_vm
from tests.support.states import OWN, leftovers, trash
from tests.support.vms import holds, write
from tests.support.vmstates import (
    TWO,
    be,
    ended,
    files,
    get,
    is_,
    params,
    put,
    ram,
    show,
    shown,
    unset,
)

BOTH = {**TWO, **OWN}


@pytest.fixture
def saved(lab, twin):
    """A vm that is off; its state ``s`` has pattern 1, its images go on from there with 2."""
    be(twin, 1)
    put(lab, twin, "s", **BOTH)
    be(twin, 2)
    twin.stop()
    return twin


def image_state(lab, verb, state, **more):
    """Do a verb for the states of both images."""
    asked = params(lab, **{f"{verb}_state_images": state, **BOTH, **more})
    getattr(setup, f"{verb}_states")(asked)


def renew(lab):
    """Put blank images in place of those that stand on states."""
    for image in ("image1", "image2"):
        lab.image(image=image).unlink()
        write(lab.make_image(image=image), 7)


# -- image states under a RAM file ----------------------------------------------------------------


@pytest.mark.parametrize("fresh", [False, True])
def test_a_set_keeps_them(lab, saved, caplog, fresh):
    if fresh:
        renew(lab)
    before = files(lab)
    image_state(lab, "set", "s")
    assert "kept as it is, others stand on it" in caplog.text and "s.state" in caplog.text
    assert files(lab) == before
    assert holds(lab.image(), 7 if fresh else 2), "what was not saved is still in the image"
    get(lab, saved, "s", **BOTH)
    assert is_(saved, 1)


def test_a_set_with_cascade_sends_the_ram_file_to_the_trash(lab, saved, caplog):
    image_state(lab, "set", "s", set_cascade="yes")
    assert show(lab, **BOTH) == [] and shown(lab, **BOTH) == ["s", "s"]
    assert trash(ram(lab, "s").parent) == ["s.state"]
    assert "s.state goes to the trash" in caplog.text
    assert holds(lab.state("s"), 2)


def test_an_unset_is_refused(lab, saved):
    before = files(lab)
    with pytest.raises(StateNeeded, match=r"s\.state"):
        image_state(lab, "unset", "s")
    with pytest.raises(StateNeeded, match=r"s\.state"):
        states.unset(lab, "s", images="image2", **OWN)
    assert files(lab) == before and show(lab, **BOTH) == ["s"]


def test_an_unset_with_cascade_sends_the_ram_file_to_the_trash(lab, saved):
    image_state(lab, "unset", "s", unset_cascade="yes")
    assert show(lab, **BOTH) == shown(lab, **BOTH) == []
    assert trash(ram(lab, "s").parent) == ["s.state"]
    ended(lab, saved, 2)


def test_a_state_under_one_under_a_ram_file(lab, saved):
    """The RAM file goes with all that its images stand on."""
    image_state(lab, "set", "on-top")
    saved.create()
    put(lab, saved, "vm-on-top", **BOTH)
    saved.stop()
    assert show(lab, **BOTH) == ["s", "vm-on-top"]
    with pytest.raises(StateNeeded, match=r"on-top\.qcow2.*s\.state, vm-on-top\.state"):
        image_state(lab, "unset", "s")
    image_state(lab, "unset", "s", unset_cascade="yes")
    assert show(lab, **BOTH) == shown(lab, **BOTH) == []
    assert trash(ram(lab, "s").parent) == ["s.state", "vm-on-top.state"]


def test_an_image_that_was_no_part_of_the_vm_state(lab, bare):
    put(lab, bare, "s", **OWN)
    bare.stop()
    write(lab.make_image(image="image2"), 5)
    states.put(lab, "s", images="image2", **OWN)
    write(lab.image(image="image2"), 6)
    states.unset(lab, "s", images="image2", **OWN)
    get(lab, bare, "s", **OWN)
    assert bare.status() == "running"


def test_a_ram_file_without_a_record_needs_all_of_them(lab, saved):
    (ram(lab, "s").parent / META / "s.state.json").unlink()
    with pytest.raises(StateNeeded, match=r"s\.state"):
        image_state(lab, "unset", "s")


# -- other image states than its own --------------------------------------------------------------


@pytest.fixture
def strange(lab, saved):
    """Somebody put other files in place of the image states under the RAM file."""
    for image in ("image1", "image2"):
        state = lab.state("s", image=image)
        state.unlink()
        (state.parent / META / "s.qcow2.json").unlink()
        write(lab.make_image("vm2", image), 6)
        lab.image("vm2", image).rename(state)
    return saved


def test_a_ram_file_is_not_resumed_over_other_images(lab, strange):
    strange.create()
    be(strange, 3)
    with pytest.raises(VmStateRefused, match=r"'image1' is in another state.*'image2'"):
        get(lab, strange, "s", **BOTH)
    assert is_(strange, 3), "nothing was touched"
    strange.stop()
    with pytest.raises(VmStateRefused):
        get(lab, strange, "s", **BOTH)
    ended(lab, strange, 3)


def test_by_request_it_is_booted_from_them(lab, strange, caplog):
    strange.create()
    strange.remember(3)
    get(lab, strange, "s", **BOTH, vm_state_mismatch="boot")
    assert "booted, not resumed: image 'image1' is in another state" in caplog.text
    assert strange.status() == "running" and strange.starts == 3
    assert strange.holds(6) and strange.remembers() != 3


def test_an_image_that_was_added_to_the_vm(lab, bare):
    be(bare, 1)
    put(lab, bare, "s", **OWN)
    bare.stop()
    write(lab.make_image(image="image2"), 5)
    states.put(lab, "s", images="image2", **OWN)
    with bare_vm(params(lab, **TWO), start=False) as vm:
        with pytest.raises(VmStateRefused, match="'image2' is in another state"):
            get(lab, vm, "s", **BOTH)
        assert not vm.is_alive()


# -- vm states that others stand on ---------------------------------------------------------------


@pytest.fixture
def family(lab, twin):
    """A vm that is off, with states ``a`` and ``b`` on top; ``c`` of the second image on that."""
    for pattern, state in ((1, "a"), (2, "b")):
        be(twin, pattern)
        put(lab, twin, state, **BOTH)
    twin.stop()
    write(lab.image(image="image2"), 3)
    states.put(lab, "c", images="image2", **OWN)
    return twin


@pytest.mark.parametrize(("state", "match"), [("a", r"b\.qcow2.*b\.state"), ("b", r"c\.qcow2")])
def test_one_that_others_stand_on_is_not_removed(lab, family, state, match):
    """Not even those images that nothing stands on, and not the RAM file."""
    before = files(lab)
    with pytest.raises(StateNeeded, match=match):
        unset(lab, family, state, **BOTH)
    assert files(lab) == before and show(lab, **BOTH) == ["a", "b"]


def test_with_cascade_they_go_with_it(lab, family):
    unset(lab, family, "a", **BOTH, unset_cascade="yes")
    assert show(lab, **BOTH) == shown(lab, **BOTH) == []
    assert trash(ram(lab, "a").parent) == ["a.state", "b.state"]
    assert trash(lab.state("a", image="image2").parent) == ["a.qcow2", "b.qcow2", "c.qcow2"]


@pytest.mark.parametrize("running", ["from it", "on its own"])
def test_one_that_others_stand_on_is_not_replaced(lab, family, caplog, running):
    if running == "from it":
        get(lab, family, "a", **BOTH)
    else:
        renew(lab)
        family.create()
    be(family, 9)
    before = files(lab)
    put(lab, family, "a", **BOTH)
    assert "a.state is kept as it is, others stand on it" in caplog.text
    assert "b.state" in caplog.text and "c.qcow2" in caplog.text
    assert files(lab) == before and leftovers(lab.root) == []
    assert is_(family, 9)
    ended(lab, family, 9)


@pytest.mark.parametrize("running", ["from it", "on its own"])
def test_with_cascade_they_make_way(lab, family, running):
    if running == "from it":
        get(lab, family, "a", **BOTH)
    else:
        renew(lab)
        family.create()
    be(family, 9)
    put(lab, family, "a", **BOTH, set_cascade="yes")
    be(family, 8)
    assert show(lab, **BOTH) == ["a"] and shown(lab, **BOTH) == ["a", "a"]
    assert set(trash(ram(lab, "a").parent)) == {"a.state", "b.state"}
    assert set(trash(lab.state("a", image="image2").parent)) == {"a.qcow2", "b.qcow2", "c.qcow2"}
    ended(lab, family, 8)
    get(lab, family, "a", **BOTH)
    assert is_(family, 9)
