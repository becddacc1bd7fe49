"""Pools whose states are symlinked into the cache instead of copied (``:/dir;``)."""

import os
import shutil

import pytest

from avocado_pool_plugin.core.errors import LinkRefused, PoolError, StateNeeded
from avocado_pool_plugin.states.pool import QCOW2ImageTransfer, TransferOps
from tests.support.states import OWN, doing, get, leftovers, made, other, put, show, stamp, unset
from tests.support.vms import backing, holds, sound, tool, write


@pytest.fixture
def linked(lab):
    """Keyword of a linked pool that holds a, b on it and c on that, and a worker without states."""
    made(lab, "a", "b", "c")
    worker = other(lab)
    return {"shared_pool": f":{lab.pool};"}, worker


def links(worker):
    return {
        path.stem: path.is_symlink()
        for path in sorted((worker.cache / "vm1" / "image1").glob("*.qcow2"))
    }


def test_the_whole_chain_is_linked(linked):
    where, worker = linked
    with doing() as done:
        get(worker, "c", **where)
    assert links(worker) == {"a": True, "b": True, "c": True}
    assert done == ["fetched a", "fetched b", "fetched c", "got c"]
    assert all(holds(worker.image(), 1 + n, f"{n}M") for n in range(3))
    sound(worker.image())
    before = {name: os.lstat(worker.state(name)).st_ino for name in "abc"}
    with doing() as done:
        get(worker, "c", **where)
    assert done == ["got c"]
    assert {name: os.lstat(worker.state(name)).st_ino for name in "abc"} == before
    assert leftovers(worker.root) == []


def test_a_state_on_linked_ones(linked):
    """It is a real file here, and sent to the pool as one."""
    where, worker = linked
    get(worker, "c", **where)
    write(worker.image(), 9, "4M")
    put(worker, "d", **where)
    assert links(worker) == {"a": True, "b": True, "c": True, "d": False}
    assert backing(worker.shared("d")) == "c.qcow2" and not worker.shared("d").is_symlink()
    fresh = other(worker, "fresh")
    get(fresh, "d", **where)
    assert holds(fresh.image(), 9, "4M") and holds(fresh.image(), 1)


def test_refining_a_linked_state_does_not_write_through_the_link(linked):
    where, worker = linked
    get(worker, "c", **where)
    before = stamp(worker.shared("c"))
    write(worker.image(), 9, "4M")
    put(worker, "c", **OWN)
    assert stamp(worker.shared("c")) == before
    assert links(worker)["c"] is False
    assert holds(worker.state("c"), 9, "4M") and holds(worker.state("c"), 3, "2M")


def test_an_equal_real_file_is_kept(linked):
    where, worker = linked
    get(worker, "a")
    before = stamp(worker.state("a"))
    get(worker, "c", **where)
    assert stamp(worker.state("a")) == before
    assert links(worker) == {"a": False, "b": True, "c": True}


@pytest.mark.parametrize("differing", ["a", "b", "c"])
def test_nothing_is_linked_if_any_file_of_the_chain_is_differing_real_data(linked, differing):
    where, worker = linked
    directory = worker.state("a").parent
    directory.mkdir(parents=True)
    tool("qemu-img", "create", "-q", "-f", "qcow2", worker.state(differing), "4M")
    with pytest.raises(LinkRefused, match=f"{differing}.qcow2 is a file of its own") as caught:
        get(worker, "c", **where)
    assert isinstance(caught.value, RuntimeError)
    assert links(worker) == {differing: False}


def test_a_dead_link_is_replaced(linked):
    where, worker = linked
    worker.state("a").parent.mkdir(parents=True)
    for name in "abc":
        worker.state(name).symlink_to(f"/nowhere/{name}.qcow2")
    assert show(worker, **OWN) == []
    get(worker, "c", **where)
    assert os.path.realpath(worker.state("a")) == str(worker.shared("a"))


def test_targets_are_compared_as_files(linked):
    where, worker = linked
    (worker.root / "detour").symlink_to(worker.pool)
    worker.state("a").parent.mkdir(parents=True)
    for name in "abc":
        target = worker.root / "detour" / "vm1" / "image1" / f"{name}.qcow2"
        worker.state(name).symlink_to(os.path.relpath(target, worker.state(name).parent))
    before = {name: os.lstat(worker.state(name)).st_ino for name in "abc"}
    get(worker, "c", **where)
    assert {name: os.lstat(worker.state(name)).st_ino for name in "abc"} == before


def test_a_link_to_another_pool(linked):
    """Kept while the content is equal, replaced when it is not."""
    where, worker = linked
    old = worker.root / "old"
    shutil.copytree(worker.pool, old)
    get(worker, "c", shared_pool=f":{old};")
    get(worker, "c", **where)
    assert os.path.realpath(worker.state("c")) == str(old / "vm1" / "image1" / "c.qcow2")
    again = other(worker, "again")
    get(again, "b")
    write(again.image(), 30, "2M")
    put(again, "c")
    get(worker, "c", **where)
    assert os.path.realpath(worker.state("c")) == str(worker.shared("c"))
    assert holds(worker.image(), 30, "2M")


def test_a_link_that_a_local_state_stands_on_stays(linked):
    """The state would be left on another parent than it was made on."""
    where, worker = linked
    old = worker.root / "old"
    shutil.copytree(worker.pool, old)
    get(worker, "b", shared_pool=f":{old};")
    write(worker.image(), 9, "4M")
    put(worker, "mine", **OWN)
    again = other(worker, "again")
    get(again, "a")
    write(again.image(), 30, "2M")
    put(again, "b", set_cascade="yes")
    with pytest.raises(StateNeeded, match=r"mine\.qcow2"):
        get(worker, "b", **where)
    assert os.path.realpath(worker.state("b")) == str(old / "vm1" / "image1" / "b.qcow2")
    get(worker, "mine", **OWN)
    assert holds(worker.image(), 9, "4M") and holds(worker.image(), 2, "1M")


def test_a_symlink_is_not_sent(linked):
    where, worker = linked
    get(worker, "c", **where)
    elsewhere = {"shared_pool": f":{worker.root / 'second'};", "pool_scope": "shared"}
    with pytest.raises(LinkRefused, match="symlink") as caught:
        put(worker, "c", **elsewhere)
    assert isinstance(caught.value, ValueError)
    copied = {"shared_pool": f":{worker.root / 'second'}", "pool_scope": "shared"}
    put(worker, "c", **copied)
    assert not (worker.root / "second" / "vm1" / "image1" / "c.qcow2").is_symlink()


def test_a_plain_download_replaces_only_the_link(linked):
    where, worker = linked
    get(worker, "c", **where)
    before = {name: stamp(worker.shared(name)) for name in "abc"}
    QCOW2ImageTransfer.transfer_chain(
        "c", str(worker.cache), f":{worker.pool}", worker.params(object_id="vm1")
    )
    assert links(worker) == {"a": False, "b": False, "c": False}
    assert {name: stamp(worker.shared(name)) for name in "abc"} == before
    worker.image().unlink()
    shutil.rmtree(worker.pool)
    get(worker, "c", **OWN)
    assert all(holds(worker.image(), 1 + n, f"{n}M") for n in range(3))


def test_unset_here_removes_the_link_only(linked):
    where, worker = linked
    get(worker, "c", **where)
    worker.image().unlink()
    unset(worker, "c", **where, **OWN)
    assert not worker.state("c").is_symlink() and worker.shared("c").exists()


def test_unset_under_the_image_takes_the_content_out_of_the_pool_file(linked):
    where, worker = linked
    get(worker, "c", **where)
    unset(worker, "c", **where, **OWN)
    assert holds(worker.image(), 3, "2M") and holds(worker.image(), 1)
    assert worker.shared("c").exists()
    assert backing(worker.image()) == str(worker.state("b"))


def test_the_states_in_a_linked_pool_are_replaced(linked):
    """By another worker: the link shows the new one, and images on the old are noticed."""
    where, worker = linked
    get(worker, "c", **where)
    write(worker.image(), 9, "4M")
    again = other(worker, "again")
    get(again, "b")
    write(again.image(), 30, "2M")
    put(again, "c", set_cascade="yes")
    with pytest.raises(PoolError, match="another version"):
        put(worker, "d", **where)
    get(worker, "c", **where)
    assert holds(worker.image(), 30, "2M")


@pytest.mark.parametrize("place", ["{0};", "{0};/vm1/image1/a.qcow2", "{0}/vm1;/image1/a.qcow2"])
def test_the_marker_may_stand_before_later_parts(linked, place, tmp_path):
    _, worker = linked
    params = worker.params()
    path = place.format(worker.pool)
    if not path.endswith(".qcow2"):
        path += "/vm1/image1/a.qcow2"
    target = tmp_path / "new" / "dir" / "a.qcow2"
    TransferOps.download(str(target), f":{path}", params)
    assert os.readlink(target) == str(worker.shared("a"))
    assert TransferOps.compare(str(target), f":{path}", params) is True
    assert TransferOps.list_paths(f":{worker.pool};/vm1/image1", params) == [
        "a.qcow2", "b.qcow2", "c.qcow2"]  # fmt: skip
