"""States that others stand on: kept, unless the content is the same or a cascade is asked for."""

import copy
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from avocado_pool_plugin.core import plan, users
from avocado_pool_plugin.core.errors import ChainBroken, ImageInUse, StateMissing, StateNeeded
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.states import keeping, moves
from avocado_pool_plugin.states.imagecache import ImageCache
from tests.support.images import edit, held_open
from tests.support.needs import need_programs
from tests.support.places import put_image
from tests.support.processes import in_child
from tests.support.states import OWN, doing, get, made, other, put, show, stamp, trash, unset
from tests.support.vms import Lab, backing, holds, sound, write

PATTERN = 66


def again(lab, at="0", **more):
    """Make the base state anew from an image that does not stand on it."""
    lab.image().unlink(missing_ok=True)
    lab.make_image()
    write(lab.image(), PATTERN, at)
    put(lab, "a", **more)


def alone_in_cache(lab):
    """The children are in the pool only."""
    for name in ("b", "c"):
        lab.state(name).chmod(0o644)
        lab.state(name).unlink()


def alone_in_pool(lab):
    for name in ("b", "c"):
        lab.shared(name).unlink()


@pytest.fixture(params=["cache", "pool", "both"])
def family(request, lab):
    """State a with b on it and c on that, the children in cache, pool or both."""
    made(lab, "a", "b", "c")
    if request.param == "cache":
        alone_in_pool(lab)
    elif request.param == "pool":
        alone_in_cache(lab)
    return lab


def test_a_differing_one_is_kept_and_the_dependents_named(family, caplog):
    before = stamp(family.shared("a"))
    with doing() as done:
        again(family)
    warning = next(r.getMessage() for r in caplog.records if "kept as it is" in r.getMessage())
    assert "b.qcow2" in warning and "c.qcow2" in warning and "set_cascade=yes" in warning
    assert done == []
    assert holds(family.state("a"), 1) and holds(family.shared("a"), 1)
    assert stamp(family.shared("a")) == before
    assert holds(family.image(), PATTERN), "what was not saved is still in the image"


def test_equal_content_is_nothing_to_do(family, caplog):
    before = stamp(family.state("a")), stamp(family.shared("a"))
    family.image().unlink()
    family.make_image()
    write(family.image(), 1)
    put(family, "a")
    assert (stamp(family.state("a")), stamp(family.shared("a"))) == before
    assert "kept as it is" not in caplog.text


def test_cascade_replaces_and_sends_the_dependents_to_the_trash(family, caplog):
    there = [name for name in ("b", "c") if family.state(name).exists()]
    shared = [name for name in ("b", "c") if family.shared(name).exists()]
    again(family, set_cascade="yes")
    assert holds(family.state("a"), PATTERN) and holds(family.shared("a"), PATTERN)
    assert show(family) == ["a"]
    assert set(trash(family.state("a").parent)) >= {f"{name}.qcow2" for name in there}
    assert set(trash(family.shared("a").parent)) >= {f"{name}.qcow2" for name in shared}
    for name in {*there, *shared}:
        assert f"{name}.qcow2 goes to the trash" in caplog.text
    get(family, "a")
    assert holds(family.image(), PATTERN)


def test_unset_is_refused(lab):
    made(lab, "a", "b", "c")
    with pytest.raises(StateNeeded, match=r"b\.qcow2.*c\.qcow2") as caught:
        unset(lab, "a")
    assert "unset_cascade" in str(caught.value)
    assert show(lab) == ["a", "b", "c"]


def test_unset_with_children_in_the_pool_only(lab):
    """Its own copy goes, the pool's is needed."""
    made(lab, "a", "b")
    lab.state("b").unlink()
    lab.image().unlink()
    with pytest.raises(StateNeeded, match=r"b\.qcow2"):
        unset(lab, "a")
    assert lab.shared("a").exists()
    get(lab, "b")
    assert holds(lab.image(), 1) and holds(lab.image(), 2, "1M")


def test_unset_cascade(lab, caplog):
    made(lab, "a", "b", "c")
    lab.image().unlink()
    unset(lab, "a", unset_cascade="yes")
    assert show(lab) == []
    for directory in (lab.state("a").parent, lab.shared("a").parent):
        assert trash(directory) == ["a.qcow2", "b.qcow2", "c.qcow2"]
    assert "b.qcow2 goes to the trash" in caplog.text


def test_children_before_parents(lab, monkeypatch):
    """Cut at any point, what is left of a removed chain works."""
    made(lab, "a", "b", "c", **OWN)
    lab.image().unlink()
    from avocado_pool_plugin.core import trash as bin_of

    gone, throw = [], bin_of.throw
    monkeypatch.setattr(bin_of, "throw", lambda p, *a: (gone.append(p), throw(p, *a))[1])
    unset(lab, "a", unset_cascade="yes", **OWN)
    assert [path.rpartition("/")[2] for path in gone] == ["c.qcow2", "b.qcow2", "a.qcow2"]


def test_a_sibling_is_no_dependent(lab):
    made(lab, "a")
    for name in ("b", "c"):
        get(lab, "a")
        write(lab.image(), 5, "2M")
        put(lab, name)
    get(lab, "a")
    write(lab.image(), 6, "2M")
    put(lab, "b")
    assert holds(lab.state("b"), 6, "2M") and holds(lab.shared("b"), 6, "2M")
    assert trash(lab.state("b").parent) == ["b.qcow2"], "what was replaced can be had back"


# -- working overlays ----------------------------------------------------------------------------


def on_same_states(lab, vm):
    """Another vm of the same variant: an image of its own on the same states."""
    return {"vms": vm, "object_id": "vm1"}


def test_a_registered_overlay_that_is_closed(lab, caplog):
    made(lab, "a", **OWN)
    get(lab, "a", **on_same_states(lab, "vm2"), **OWN)
    write(lab.image("vm2"), 9, "2M")
    again(lab, **OWN)
    assert holds(lab.state("a"), 1)
    assert str(lab.image("vm2")) in caplog.text
    again(lab, set_cascade="yes", **OWN)
    assert holds(lab.state("a"), PATTERN)
    assert f"{lab.image('vm2')} is invalid now" in caplog.text.replace("overlay ", "").replace(
        f" (host {__import__('socket').gethostname()}, process {__import__('os').getpid()})", ""
    )
    from avocado_pool_plugin.core.errors import ChainBroken

    with pytest.raises(ChainBroken, match="another version"):
        put(lab, "b", **on_same_states(lab, "vm2"), **OWN)
    assert not lab.state("b").exists()


def test_an_overlay_that_is_gone_or_stands_elsewhere_is_none(lab):
    made(lab, "a", "b", **OWN)
    for vm in ("vm2", "vm3"):
        get(lab, "b", **on_same_states(lab, vm), **OWN)
    lab.image("vm2").unlink()
    get(lab, "a", **on_same_states(lab, "vm3"), **OWN)
    get(lab, "a", **OWN)
    write(lab.image(), 5, "1M")
    put(lab, "b", **OWN)
    assert holds(lab.state("b"), 5, "1M")


@pytest.mark.parametrize("cascade", ["no", "yes"])
@pytest.mark.parametrize("how", ["set", "refine", "unset", "fetch"])
def test_a_state_under_an_open_overlay_stays(lab, how, cascade):
    """No cascade pulls a state from under a running machine."""
    made(lab, "a", "b")
    get(lab, "b", **on_same_states(lab, "vm2"))
    before = lab.state("b").stat()
    more = {f"{verb}_cascade": cascade for verb in ("set", "unset", "get")}
    if how == "fetch":
        far = made(other(lab), "a", "b", first=50, set_cascade="yes")
        assert holds(far.shared("b"), 51, "1M")
    get(lab, "a", **OWN)
    with held_open(lab.image("vm2")), pytest.raises(StateNeeded, match="is in use by") as caught:
        if how == "set":
            put(lab, "b", **more)
        elif how == "refine":
            get(lab, "b", **OWN)
            write(lab.image(), 5, "3M")
            put(lab, "b", **more)
        elif how == "unset":
            unset(lab, "b", **more)
        else:
            get(lab, "b", **more)
    assert how == "fetch" or str(lab.image("vm2")) in str(caught.value)
    after = lab.state("b").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert holds(lab.image("vm2"), 2, "1M")


def test_under_a_paused_qemu(lab):
    need_programs("qemu-system-x86_64")
    made(lab, "a", **OWN)
    get(lab, "a", **on_same_states(lab, "vm2"), **OWN)
    machine = subprocess.Popen(
        ["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-monitor", "none",
         "-machine", "accel=tcg", "-m", "32", "-drive", f"file={lab.image('vm2')},if=ide"]
    )  # fmt: skip
    try:
        from avocado_pool_plugin.core.qcow2 import in_use

        deadline = time.monotonic() + 30
        while not in_use(str(lab.image("vm2"))):
            assert time.monotonic() < deadline and machine.poll() is None
            time.sleep(0.02)
        with pytest.raises(StateNeeded, match="vm2"):
            again(lab, **OWN)
        lab.image().unlink()
        with pytest.raises(ImageInUse):
            put(lab, "b", **on_same_states(lab, "vm2"), **OWN)
    finally:
        machine.kill()
        machine.wait()
    assert holds(lab.state("a"), 1)


# -- corrupt states ------------------------------------------------------------------------------


def test_a_set_repairs_a_corrupt_state_others_stand_on(lab):
    made(lab, "a", "b")
    good = lab.state("a").read_bytes()
    for path in (lab.state("a"), lab.shared("a")):
        edit(path, 400_000, b"damaged")
    lab.image().unlink()
    lab.image().write_bytes(good)
    put(lab, "a")
    assert lab.state("a").read_bytes() == good
    assert lab.shared("a").read_bytes() == good
    get(lab, "b")
    assert holds(lab.image(), 1) and holds(lab.image(), 2, "1M")


def test_a_set_of_other_content_does_not_repair(lab, caplog):
    made(lab, "a", "b")
    edit(lab.state("a"), 400_000, b"damaged")
    damaged = lab.state("a").read_bytes()
    again(lab)
    assert lab.state("a").read_bytes() == damaged
    assert "kept as it is" in caplog.text


def test_equal_in_the_cache_but_not_in_the_pool(lab, caplog):
    """The cache holds what is set already; the pool holds another one that has children."""
    made(lab, "a", "b")
    lone = Lab(lab.root / "lone", "states")
    lone.pool = lab.pool
    made(lone, "a", first=PATTERN, **OWN)
    assert holds(lone.state("a"), PATTERN), "a pool that is not to be used does not matter"
    caplog.clear()
    again(lone)
    assert "kept as it is" in caplog.text
    assert holds(lone.shared("a"), 1)
    sound(lone.shared("b"))
    assert backing(lone.image()) == "", "the image is as it was"


# -- by others, meanwhile ------------------------------------------------------------------------


def neighbour(lab):
    """A worker with working images of its own and the same cache."""
    found = copy.copy(lab)
    found.images = lab.root / "images2"
    found.images.mkdir()
    return found


def test_an_image_does_not_pass_for_one_of_the_next_state_of_that_name(lab):
    """Its own was removed, and who was on that stays known."""
    made(lab, "a", **OWN)
    write(lab.image(), 9, "2M")
    second = neighbour(lab)
    unset(second, "a", **OWN)
    made(second, "a", first=PATTERN, **OWN)
    with pytest.raises(ChainBroken, match="another version"):
        put(lab, "b", **OWN)
    assert show(lab, **OWN) == ["a"]


def test_who_was_on_a_removed_state_is_forgotten_when_it_is_on_another(lab):
    made(lab, "a", **OWN)
    unset(neighbour(lab), "a", **OWN)
    assert list((lab.state("a").parent / ".pool").glob("*.users/*"))
    lab.image().unlink()
    made(lab, "a", **OWN)
    unset(lab, "a", **OWN)
    assert not list((lab.state("a").parent / ".pool").glob("*.users"))


@pytest.mark.parametrize("moved", [True, False])
def test_a_state_is_not_taken_for_made_on_what_replaced_its_parent_meanwhile(
    lab, monkeypatch, moved
):
    made(lab, "a", **OWN)
    write(lab.image(), 9, "2M")
    others = neighbour(lab)
    write(others.make_image(), PATTERN)
    plain = keeping.needed_by

    def replacing(*args):
        found = plain(*args)
        put_image(others.image(), lab.state("a"))
        return found

    monkeypatch.setattr(keeping, "needed_by", replacing)
    if not moved:
        monkeypatch.setattr(ImageCache, "can_move", lambda *_: False)
    put(lab, "b", **OWN)
    with pytest.raises(ChainBroken, match="another 'a'"):
        get(lab, "b", **OWN)


def test_a_copy_that_goes_while_it_is_compared_is_none(lab, monkeypatch):
    """As when somebody makes room in the pool."""
    made(lab, "a", "b")
    plain = keeping._copies

    def going(*args):
        found = plain(*args)
        lab.shared("a").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(keeping, "_copies", going)
    get(lab, "a", **OWN)
    lab.image().unlink()
    lab.make_image()
    write(lab.image(), 1)
    put(lab, "a")
    assert holds(lab.shared("a"), 1)


def test_a_state_that_goes_while_it_is_fetched_is_missing(lab, monkeypatch):
    made(lab, "a")
    plain = LocalStore._require_space

    def going(store, source, target):
        Path(source).unlink()
        plain(store, source, target)

    monkeypatch.setattr(LocalStore, "_require_space", going)
    with pytest.raises(StateMissing, match="does not exist"):
        get(other(lab), "a")


def test_a_state_that_goes_while_its_transfer_is_planned_is_missing(lab):
    """Known of it was something, but it is gone when its size is asked for."""
    made(lab, "a")
    path = lab.shared("a")

    def known(name):
        found = plan.HERE.known(name)
        path.unlink(missing_ok=True)
        return found

    with pytest.raises(StateMissing, match="is missing"):
        plan.plan_transfer(
            [(str(path), str(other(lab).state("a")))], replace(plan.HERE, known=known)
        )


@pytest.mark.parametrize("away", [True, False])
def test_a_state_is_kept_while_an_image_on_it_becomes_another(lab, monkeypatch, away):
    """The image is not in its place then, and the state that it becomes is not there yet."""
    made(lab, "a", **OWN)
    write(lab.image(), 9, "2M")
    second = neighbour(lab)
    get(second, "a", **OWN)
    write(second.image(), PATTERN)
    plain = moves.name_parent

    def meanwhile(*args):
        monkeypatch.setattr(moves, "name_parent", plain)
        assert not lab.image().exists()
        if away:
            users.users_of(str(lab.state("a")))  # whoever asks forgets that it was there
        assert in_child(lambda: put(second, "a", **OWN)) == 0
        plain(*args)

    monkeypatch.setattr(moves, "name_parent", meanwhile)
    put(lab, "b", **OWN)
    assert holds(lab.state("a"), 1) and holds(second.image(), PATTERN)
    get(lab, "b", **OWN)
    assert holds(lab.image(), 1) and holds(lab.image(), 9, "2M")
