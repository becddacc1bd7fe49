"""States that grow: got, written to, set again, and taken back."""

import pytest

from avocado_pool_plugin.core.errors import ImageRefused, StateNeeded
from tests.support.states import OWN, doing, get, leftovers, made, other, pop, put, show, unset
from tests.support.vms import backing, holds, sound, tool, write


@pytest.fixture(params=[{}, OWN], ids=["with pool", "own only"])
def scope(request):
    return request.param


def whole(lab, *names):
    """Image and states are sound, chains relative, and nothing of ours lies around."""
    for name in names:
        sound(lab.state(name))
        assert "/" not in backing(lab.state(name))
    sound(lab.image())
    assert leftovers(lab.root) == []


def test_a_test_refines_its_own_state_again_and_again(lab, scope):
    made(lab, "x", **scope)
    for number in (1, 2, 3):
        get(lab, "x", **scope)
        write(lab.image(), 10 + number, f"{number}M")
        put(lab, "x", **scope)
        assert backing(lab.state("x")) == "", "the content of both is in one state"
        assert backing(lab.image()) == str(lab.state("x"))
    get(lab, "x", **scope)
    assert [holds(lab.image(), byte, f"{n}M") for n, byte in enumerate((1, 11, 12, 13))] == [
        True
    ] * 4
    whole(lab, "x")


def test_set_again_without_a_get_between(lab, scope):
    made(lab, "x", **scope)
    for number in (1, 2):
        write(lab.image(), 20 + number, f"{number}M")
        put(lab, "x", **scope)
    assert holds(lab.state("x"), 1)
    assert holds(lab.state("x"), 21, "1M")
    assert holds(lab.state("x"), 22, "2M")
    whole(lab, "x")


def test_the_same_test_runs_again_on_its_parent(lab, scope):
    made(lab, "install", "x", **scope)
    for number in (1, 2):
        get(lab, "install", **scope)
        write(lab.image(), 30 + number, "1M")
        put(lab, "x", **scope)
        assert holds(lab.state("x"), 30 + number, "1M")
        assert backing(lab.state("x")) == "install.qcow2"
    get(lab, "x", **scope)
    assert holds(lab.image(), 1)
    whole(lab, "install", "x")


def test_set_of_a_state_further_down_is_a_replacement(lab, scope, caplog):
    """The image stands on c, c on s; s is set: c would be lost, so s is kept."""
    made(lab, "s", "c", **scope)
    write(lab.image(), 9, "2M")
    put(lab, "s", **scope)
    assert "c.qcow2" in caplog.text
    assert not holds(lab.state("s"), 9, "2M")
    assert holds(lab.image(), 9, "2M"), "what was not saved is still in the image"
    put(lab, "s", set_cascade="yes", **scope)
    assert [holds(lab.state("s"), byte, f"{n}M") for n, byte in enumerate((1, 2, 9))] == [True] * 3
    assert not lab.state("c").exists()
    assert [holds(lab.image(), byte, f"{n}M") for n, byte in enumerate((1, 2, 9))] == [True] * 3
    assert backing(lab.state("s")) == ""
    whole(lab, "s")


def test_refine_in_the_middle_keeps_what_is_below(lab, scope):
    made(lab, "base", "s", **scope)
    write(lab.image(), 9, "2M")
    put(lab, "s", **scope)
    assert backing(lab.state("s")) == "base.qcow2"
    assert not holds(lab.state("base"), 2, "1M")
    assert [holds(lab.state("s"), byte, f"{n}M") for n, byte in enumerate((1, 2, 9))] == [True] * 3
    whole(lab, "base", "s")


def test_content_can_go_back_to_zero(lab):
    """Zeros written over what a state holds are content, not a hole to look through."""
    made(lab, "base", "x", **OWN)
    write(lab.image(), 0, "0")
    write(lab.image(), 0, "1M")
    put(lab, "x", **OWN)
    get(lab, "x", **OWN)
    assert holds(lab.image(), 0) and holds(lab.image(), 0, "1M")
    assert holds(lab.state("base"), 1)


def test_pop_renames_where_nothing_was_written(lab):
    made(lab, "install", "x", **OWN)
    inode = lab.state("x").stat().st_ino
    pop(lab, "x", **OWN)
    assert lab.image().stat().st_ino == inode, "no content was copied"
    assert show(lab, **OWN) == ["install"]
    assert holds(lab.image(), 1) and holds(lab.image(), 2, "1M")
    assert lab.image().stat().st_mode & 0o200, "an image can be written to"
    assert backing(lab.image()) == str(lab.state("install"))
    write(lab.image(), 3, "2M")
    put(lab, "y", **OWN)
    assert backing(lab.state("y")) == "install.qcow2"
    whole(lab, "install", "y")


def test_pop_of_the_only_state_leaves_an_image_of_its_own(lab):
    made(lab, "x")
    pop(lab, "x")
    assert backing(lab.image()) == ""
    assert holds(lab.image(), 1)
    assert show(lab) == []
    whole(lab)


def test_what_was_popped_still_stands_on_its_parent(lab):
    """Each taken back in turn: the image takes over all of it, its own writes included."""
    made(lab, "a", "b", "c", **OWN)
    pop(lab, "c", **OWN)
    unset(lab, "b", **OWN)
    unset(lab, "a", **OWN)
    assert backing(lab.image()) == ""
    assert [holds(lab.image(), 1 + n, f"{n}M") for n in range(3)] == [True] * 3
    whole(lab)


def test_an_image_that_took_a_state_over_stands_on_its_parent(lab):
    made(lab, "a", "b")
    far = other(lab)
    get(far, "b")
    pop(far, "b", **OWN)
    far.make_image("vm2")
    write(far.image("vm2"), 77)
    put(far, "a", vms="vm2", object_id="vm1", **OWN)
    assert holds(far.state("a"), 1), "an image stands on it, so it is kept"
    write(far.image(), 3, "2M")
    put(far, "c", **OWN)
    assert holds(far.state("c"), 1) and holds(far.state("c"), 2, "1M")


def test_unset_of_a_state_under_an_image_with_own_writes(lab):
    made(lab, "install", "x", **OWN)
    write(lab.image(), 3, "2M")
    write(lab.image(), 4, "1M", "4k")
    unset(lab, "x", **OWN)
    assert backing(lab.image()) == str(lab.state("install"))
    assert holds(lab.image(), 1)
    assert holds(lab.image(), 4, "1M", "4k") and holds(lab.image(), 2, "1028k", "60k")
    assert holds(lab.image(), 3, "2M")
    assert show(lab, **OWN) == ["install"]
    whole(lab, "install")


def test_an_image_that_took_a_state_over_holds_content_of_its_own(lab):
    """So its parent can't just be renamed to be the image when that is taken back as well."""
    made(lab, "install", "x", **OWN)
    write(lab.image(), 3, "2M")
    unset(lab, "x", **OWN)
    unset(lab, "install", **OWN)
    assert [holds(lab.image(), 1 + n, f"{n}M") for n in range(3)] == [True] * 3
    assert backing(lab.image()) == ""
    whole(lab)


def test_unset_and_set_with_a_relative_backing_name(lab):
    """An image may name its state relative to where the image is; copies are elsewhere."""
    made(lab, "install", "x", **OWN)
    name = "../cache/vm1/image1/x.qcow2"
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", name, "-F", "qcow2", lab.image())
    write(lab.image(), 3, "2M")
    put(lab, "x", **OWN)
    assert [holds(lab.state("x"), 1 + n, f"{n}M") for n in range(3)] == [True] * 3
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", name, "-F", "qcow2", lab.image())
    write(lab.image(), 4, "3M")
    unset(lab, "x", **OWN)
    assert [holds(lab.image(), 1 + n, f"{n}M") for n in range(4)] == [True] * 4


def test_internal_snapshots_on_a_state_are_not_damaged(lab):
    """They read through to the state; what would change that under them is refused."""
    made(lab, "install", "x", **OWN)
    tool("qemu-img", "snapshot", "-c", "before", lab.image())
    write(lab.image(), 50, "1M")
    with pytest.raises(ImageRefused, match="snapshots"):
        put(lab, "x", **OWN)
    with pytest.raises(StateNeeded, match="snapshots"):
        unset(lab, "x", **OWN)
    tool("qemu-img", "snapshot", "-a", "before", lab.image())
    assert holds(lab.image(), 2, "1M")
    whole(lab, "install", "x")


def test_get_forgets_what_was_in_the_image(lab):
    made(lab, "a", "b")
    write(lab.image(), 99, "3M")
    get(lab, "a")
    assert holds(lab.image(), 0, "3M") and holds(lab.image(), 0, "1M") and holds(lab.image(), 1)
    get(lab, "b")
    assert holds(lab.image(), 2, "1M")


def test_a_set_is_a_rename(lab):
    lab.make_image()
    write(lab.image(), 1)
    inode = lab.image().stat().st_ino
    with doing() as done:
        put(lab, "x", **OWN)
    assert lab.state("x").stat().st_ino == inode
    assert done == ["set x"]
    assert lab.state("x").stat().st_mode & 0o222 == 0
