"""States of running vms in pools: a RAM file and image states that belong to it, or nothing."""

import pytest

from avocado_pool_plugin.core.errors import (
    PoolError,
    StateNeeded,
)
from tests.support import states
from tests.support.places import remove_tree
from tests.support.remote import KINDS
from tests.support.states import OWN, SHARED, doing, stamp, trash
from tests.support.vms import backing, holds, sound, write
from tests.support.vmstates import (
    HERE,
    TWO,
    anywhere,
    be,
    ended,
    get,
    is_,
    passport,
    pop,
    put,
    ram,
    shared_ram,
    show,
    shown,
    unset,
)


def marks(path):
    return dict(passport(path).images)


@pytest.mark.parametrize("lab", [HERE, *KINDS], indirect=True)
def test_a_published_state_is_resumed_elsewhere(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "a", **TWO)
    be(twin, 2)
    put(lab, twin, "b", **TWO)
    be(twin, 3)
    for state, pattern in (("b", 2), ("a", 1)):
        get(far, far.vm, state, **TWO)
        assert is_(far.vm, pattern)
    assert show(far, **TWO, **OWN) == ["a", "b"] == show(far, **TWO, **SHARED)
    be(far.vm, 4)
    put(far, far.vm, "c", **TWO)
    ended(far, far.vm, 4)
    get(lab, twin, "c", **TWO)
    assert is_(twin, 4) and backing(lab.state("c")) == "a.qcow2"


@anywhere
def test_passports_and_digests_travel(lab, twin, far):
    """In the cache nobody has read the images; who publishes them has."""
    put(lab, twin, "s", **TWO)
    get(far, far.vm, "s", **TWO)
    here, there, copied = marks(ram(lab, "s")), marks(shared_ram(lab, "s")), marks(ram(far, "s"))
    assert set(here) == {"image1", "image2"}
    for image in here:
        assert here[image].digest is None
        assert there[image].digest == copied[image].digest is not None
        assert len({known[image].generation for known in (here, there, copied)}) == 1
    machines = [passport(path).machine for path in (ram(lab, "s"), shared_ram(lab, "s"))]
    assert machines[0] == machines[1] == passport(ram(far, "s")).machine != ()


@anywhere
def test_what_is_equal_is_not_sent_again(lab, twin, far):
    put(lab, twin, "s", **TWO)
    with doing() as done:
        get(far, far.vm, "s", **TWO)
    assert [what for what in done if "fetched" in what] == ["fetched s"] * 3
    before = stamp(ram(far, "s")), stamp(shared_ram(lab, "s"))
    with doing() as done:
        get(far, far.vm, "s", **TWO)
        put(lab, None, "s", **TWO, **SHARED)
    assert (stamp(ram(far, "s")), stamp(shared_ram(lab, "s"))) == before
    assert not [what for what in done if "fetched" in what or "published" in what]


@anywhere
def test_a_replaced_version_is_fetched(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    get(far, far.vm, "s", **TWO)
    be(far.vm, 9)
    for pattern in (2, 3):
        be(twin, pattern)
        put(lab, twin, "s", **TWO)
    with pytest.raises(StateNeeded, match="in use by a running QEMU"):
        get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 9), "it runs on the version that would go"
    far.vm.stop()
    get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 3)
    assert trash(ram(far, "s").parent) == ["s.state"]
    assert trash(shared_ram(lab, "s").parent) == ["s.state"] * 2
    be(far.vm, 4)
    ended(far, far.vm, 4)


def test_the_pool_has_a_state_of_another_worker(lab, twin, far):
    """Both made it; the last one counts, as a whole."""
    for image in ("image1", "image2"):
        far.make_image(image=image)
    far.vm.create()
    be(far.vm, 7)
    put(far, far.vm, "s", **TWO)
    far.vm.stop()
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 1)


@pytest.mark.parametrize("where", ["cache", "pool"])
def test_an_image_state_of_that_name_is_replaced(lab, twin, where):
    lab.make_image("vm2")
    write(lab.image("vm2"), 7)
    scope = OWN if where == "cache" else {}
    states.put(lab, "s", vms="vm2", object_id_vm2="vm1", **scope)
    lab.image("vm2").unlink()
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    assert holds(lab.state("s"), 1) and holds(lab.shared("s"), 1)
    assert "s.qcow2" in trash((lab.state("s") if where == "cache" else lab.shared("s")).parent)
    get(lab, twin, "s", **TWO)
    assert is_(twin, 1)


@anywhere
def test_what_others_stand_on_is_neither_replaced_nor_removed(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    get(far, far.vm, "s", **TWO)
    be(far.vm, 2)
    put(far, far.vm, "on-top", **TWO)
    be(twin, 3)
    with pytest.raises(StateNeeded, match=r"on-top\.qcow2"):
        put(lab, twin, "s", **TWO)
    assert twin.status() == "running"
    be(twin, 4)
    ended(lab, twin, 4)
    for state, pattern in (("s", 1), ("on-top", 2)):
        get(far, far.vm, state, **TWO)
        assert is_(far.vm, pattern)
    for scope in (SHARED, {}):
        with pytest.raises(StateNeeded, match=rf" {lab.location}/.*on-top\.qcow2"):
            unset(lab, twin, "s", **TWO, **scope)
        assert show(lab, **TWO, **SHARED) == ["on-top", "s"], "nothing is removed then"
        assert show(lab, **TWO, **OWN) == ["s"]
    unset(lab, twin, "s", **TWO, unset_cascade="yes")
    assert show(lab, **TWO) == []
    assert set(trash(shared_ram(lab, "s").parent)) == {"s.state", "on-top.state"}


def test_with_cascade_it_is_replaced(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    get(far, far.vm, "s", **TWO)
    put(far, far.vm, "on-top", **TWO)
    be(twin, 3)
    put(lab, twin, "s", **TWO, set_cascade="yes")
    assert show(lab, **TWO, **SHARED) == ["s"]
    assert set(trash(shared_ram(lab, "s").parent)) == {"s.state", "on-top.state"}
    far.vm.stop()
    get(far, far.vm, "s", **TWO, get_cascade="yes")
    assert is_(far.vm, 3)


def test_a_link_that_leads_nowhere_any_more_is_removed(lab, twin, far):
    link = {"shared_pool": f":{lab.pool};"}
    other_pool = lab.root / "other"
    put(lab, twin, "s", **TWO, shared_pool=f":{lab.pool} :{other_pool}")
    get(far, far.vm, "s", **TWO, **link)
    far.vm.stop()
    for image in ("image1", "image2"):
        far.image(image=image).unlink()
    unset(lab, twin, "s", **TWO)
    assert ram(far, "s").is_symlink() and not ram(far, "s").exists()
    unset(far, far.vm, "s", **TWO, shared_pool=str(other_pool))
    assert not ram(far, "s").is_symlink() and not (other_pool / "vm1" / "s.state").exists()


def test_a_pool_to_be_linked(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    link = {"shared_pool": f":{lab.pool};"}
    get(far, far.vm, "s", **TWO, **link)
    assert is_(far.vm, 1)
    assert ram(far, "s").is_symlink() and far.state("s").is_symlink()
    before = stamp(shared_ram(lab, "s"))
    be(far.vm, 5)
    with pytest.raises(PoolError):
        put(far, far.vm, "s", **TWO, **link)
    assert stamp(shared_ram(lab, "s")) == before, "it can't be replaced, a vm runs on it"
    be(far.vm, 2)
    put(far, far.vm, "t", **TWO, **OWN)
    be(far.vm, 3)
    get(far, far.vm, "t", **TWO, **OWN)
    assert is_(far.vm, 2)
    get(lab, twin, "s", **TWO)
    assert is_(twin, 1)


@anywhere
def test_to_the_pool_and_from_it_without_any_vm(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO, **OWN)
    assert not lab.pool.exists()
    put(lab, None, "s", **TWO, **SHARED)
    for image in ("image1", "image2"):
        sound(lab.shared("s", image=image))
    get(far, None, "s", **TWO, **SHARED)
    assert show(far, **TWO, **OWN) == ["s"] and not far.image().exists()
    remove_tree(lab.pool)
    get(far, far.vm, "s", **TWO, **OWN)
    assert is_(far.vm, 1)


@anywhere
def test_unset_and_pop(lab, twin, far):
    for pattern, state in ((1, "a"), (2, "b")):
        be(twin, pattern)
        put(lab, twin, state, **TWO)
    unset(lab, twin, "b", **TWO, **SHARED)
    assert show(lab, **TWO, **SHARED) == ["a"] and shown(lab, **TWO, **SHARED) == ["a", "a"]
    assert show(lab, **TWO, **OWN) == ["a", "b"]
    pop(far, far.vm, "a", **TWO)
    assert is_(far.vm, 1) and show(far, **TWO, **SHARED) == []
    be(far.vm, 5)
    ended(far, far.vm, 5)


def test_a_pool_that_fails_does_not_undo_the_cache(lab, twin):
    lab.pool.write_text("no directory")
    be(twin, 1)
    with pytest.raises(PoolError):
        put(lab, twin, "s", **TWO)
    assert twin.status() == "running" and show(lab, **TWO, **OWN) == ["s"]
    be(twin, 2)
    ended(lab, twin, 2)
