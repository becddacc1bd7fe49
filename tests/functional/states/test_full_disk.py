"""File systems without room: known before anything is written, and nothing is lost."""

import shutil

import pytest

from avocado_pool_plugin.core.errors import SpaceMissing
from tests.support.mounts import fill, mounted
from tests.support.states import OWN, SHARED, get, leftovers, made, other, pop, put, show, stamp
from tests.support.vms import Lab, holds, sound, tool, write

MIB = 1 << 20


@pytest.fixture
def small(tmp_path):
    """An empty file system of 32 MiB."""
    with mounted("tmpfs", tmp_path, 32) as point:
        yield point


def grown(lab, size="8M"):
    write(lab.image(), 5, "1M", size)


def test_the_pool_is_full(lab, small):
    lab.pool = small / "pool"
    made(lab, "a")
    get(lab, "a")
    grown(lab)
    hog = fill(small, 4 * MIB)
    with pytest.raises(SpaceMissing, match=r"pool.*free"):
        put(lab, "b")
    assert holds(lab.state("b"), 5, "1M", "8M"), "saved here"
    assert not lab.shared("b").exists() and leftovers(lab.root) == []
    hog.unlink()
    put(lab, "b", **SHARED)
    assert holds(lab.shared("b"), 5, "1M", "8M")


def test_the_cache_is_full_for_a_fetch(lab, small):
    made(lab, "a")
    grown(lab)
    put(lab, "b")
    far = Lab(lab.root / "far")
    far.pool, far.cache = lab.pool, small / "cache"
    hog = fill(small, 4 * MIB)
    with pytest.raises(SpaceMissing, match="a chain of 2 states needs"):
        get(far, "b")
    assert not far.state("a").exists(), "nothing of a chain that does not fit is fetched"
    hog.unlink()
    get(far, "b")
    assert holds(far.image(), 5, "1M", "8M")


def test_the_cache_is_full_for_a_copied_image(lab, small):
    lab.cache = small / "cache"
    made(lab, "a", **OWN)
    grown(lab)
    old = stamp(lab.image()), stamp(lab.state("a"))
    hog = fill(small, 4 * MIB)
    for name in ("a", "b"):
        with pytest.raises(SpaceMissing):
            put(lab, name, **OWN)
    assert (stamp(lab.image()), stamp(lab.state("a"))) == old
    assert show(lab, **OWN) == ["a"] and leftovers(small) == []
    hog.unlink()
    put(lab, "b", **OWN)
    assert holds(lab.state("b"), 5, "1M", "8M")


@pytest.mark.parametrize("leave", [0, 64, 200, 260, 400])
def test_hardly_any_room_for_a_rename(lab, small, leave):
    """The overlay and the notes need some KiB; with less than that the image stays what it was."""
    lab.cache, lab.images = small / "cache", small / "images"
    lab.images.mkdir()
    made(lab, "a", **OWN)
    grown(lab)
    hog = fill(small, leave * 1024)
    try:
        put(lab, "b", **OWN)
    except SpaceMissing:
        assert lab.image().exists() and show(lab, **OWN) in (["a"], ["a", "b"])
    else:
        assert show(lab, **OWN) == ["a", "b"]
    assert holds(lab.image(), 1) and holds(lab.image(), 5, "1M", "8M")
    sound(lab.image())
    hog.unlink()
    put(lab, "b", **OWN)
    assert holds(lab.state("b"), 5, "1M", "8M")
    assert leftovers(small) == []


def test_no_room_to_take_a_state_over(lab, small):
    lab.images = small / "images"
    lab.images.mkdir()
    made(lab, "a", **OWN)
    grown(lab)
    put(lab, "a", **OWN)
    write(lab.image(), 6, "10M")
    old = stamp(lab.image()), stamp(lab.state("a"))
    hog = fill(small, 4 * MIB)
    with pytest.raises(SpaceMissing):
        from tests.support.states import unset

        unset(lab, "a", **OWN)
    assert (stamp(lab.image()), stamp(lab.state("a"))) == old
    hog.unlink()
    pop(lab, "a", **OWN)
    assert holds(lab.image(), 5, "1M", "8M")


def test_a_base_that_does_not_fit(lab, small):
    lab.cache = small / "cache"
    base = lab.root / "golden.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", base, "64M")
    write(base, 7, "0", "40M")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", lab.image())
    before = stamp(lab.image())
    with pytest.raises(SpaceMissing, match="golden"):
        put(lab, "a", **OWN)
    assert stamp(lab.image()) == before and show(lab, **OWN) == []
    assert leftovers(small) == []


def test_sparse_states_stay_sparse(lab, small):
    """A 20 GiB image with little in it goes through a 32 MiB pool."""
    lab.make_image(size="20G")
    write(lab.image(), 1, "19G")
    lab.pool = small / "pool"
    put(lab, "a")
    far = other(lab)
    far.cache = small / "cache"
    get(far, "a")
    assert holds(far.image(), 1, "19G")
    raw = lab.root / "big.raw"
    with raw.open("wb") as file:
        file.truncate(20 << 30)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", lab.image())
    put(lab, "b")
    assert shutil.disk_usage(small).used < 8 * MIB
