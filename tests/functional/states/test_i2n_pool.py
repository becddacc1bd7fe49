"""A pool that avocado-i2n filled: no records, backing names absolute, into the uploader's cache."""

import itertools
import shutil

import pytest

from avocado_pool_plugin.core.errors import ChainBroken, FileCorrupt, PoolError
from tests.support.images import edit
from tests.support.mounts import read_only
from tests.support.states import OWN, doing, get, made, other, put, show, stamp
from tests.support.vms import Lab, backing, holds, sound, tool, write

NAMES = "abc"


@pytest.fixture
def filled(lab, tmp_path):
    """The pool holds a, b on it and c on that; the uploader's cache is gone."""
    uploader = tmp_path / "swarm" / "host7" / "vm1" / "image1"
    uploader.mkdir(parents=True)
    below = None
    for number, name in enumerate(NAMES):
        path = uploader / f"{name}.qcow2"
        where = ["-b", below, "-F", "qcow2"] if below else []
        size = [] if below else ["16M"]
        tool("qemu-img", "create", "-q", "-f", "qcow2", *where, path, *size)
        write(path, 1 + number, f"{number}M", "1M")
        below = path
    lab.shared("a").parent.parent.mkdir(parents=True)
    shutil.copytree(uploader, lab.shared("a").parent)
    (lab.shared("a").parent / "a.qcow2.lock").touch()
    shutil.rmtree(tmp_path / "swarm")
    return lab


def content(lab):
    return all(holds(lab.image(), 1 + n, f"{n}M", "1M") for n in range(len(NAMES)))


def test_it_works_and_nothing_is_fetched_twice(filled):
    before = [stamp(filled.shared(name)) for name in NAMES]
    assert show(filled) == list(NAMES)
    with doing() as done:
        get(filled, "c")
    assert done == ["fetched a", "fetched b", "fetched c", "got c"]
    assert content(filled)
    assert [backing(filled.state(name)) for name in NAMES] == ["", "a.qcow2", "b.qcow2"]
    for name in NAMES:
        sound(filled.state(name))
    there = [stamp(filled.state(name)) for name in NAMES]
    with doing() as done:
        for name in ("c", "b", "a", "c"):
            get(filled, name)
    assert [line for line in done if not line.startswith("got")] == []
    assert [stamp(filled.state(name)) for name in NAMES] == there
    assert [stamp(filled.shared(name)) for name in NAMES] == before, (
        "the pool's files are left alone"
    )
    with doing() as done:
        get(other(filled), "c")
    assert done == ["fetched a", "fetched b", "fetched c", "got c"]


def test_a_pool_that_can_only_be_read(filled):
    with read_only(filled.pool):
        get(filled, "c")
        with doing() as done:
            get(filled, "c")
    assert done == ["got c"] and content(filled)


def test_a_state_on_top_of_it(filled):
    """Published without sending again what the pool has, and usable by everyone."""
    get(filled, "c")
    write(filled.image(), 9, "8M")
    with doing() as done:
        put(filled, "d")
    assert done == ["set d", "published d"]
    far = other(filled)
    get(far, "d")
    assert holds(far.image(), 9, "8M") and content(far)
    with doing() as done:
        get(far, "d")
    assert done == ["got d"]


def test_a_cache_that_avocado_i2n_filled(filled, tmp_path):
    """Absolute names into this very cache: used as it is, also after a comparison."""
    cache = filled.state("a").parent
    shutil.copytree(filled.shared("a").parent, cache)
    for below, name in itertools.pairwise(NAMES):
        path = ("-b", filled.state(below), "-F", "qcow2", filled.state(name))
        tool("qemu-img", "rebase", "-u", "-f", "qcow2", *path)
    get(filled, "c", **OWN)
    assert content(filled)
    write(filled.image(), 9, "8M")
    put(filled, "d", **OWN)
    assert backing(filled.state("d")) == "c.qcow2"
    get(filled, "d")
    assert holds(filled.image(), 9, "8M")


def test_a_cache_with_names_into_another_workers_cache(filled):
    """What avocado-i2n's download leaves: equal to the pool's, but a VM would read elsewhere."""
    shutil.copytree(filled.shared("a").parent, filled.state("a").parent)
    with pytest.raises(ChainBroken, match="not the state beside it"):
        get(filled, "c", **OWN)
    get(filled, "c")
    assert content(filled)
    assert [backing(filled.state(name)) for name in NAMES[1:3]] == ["a.qcow2", "b.qcow2"]


def test_damage_after_it_was_adopted(filled):
    get(filled, "c")
    edit(filled.shared("b"), 1_200_000, b"damaged", keep_mtime=True)
    with pytest.raises(FileCorrupt, match=r"b\.qcow2"):
        get(other(filled), "c")


def test_damage_past_the_first_mib_of_a_cached_copy(filled):
    get(filled, "c")
    edit(filled.state("b"), 1_200_000, b"damaged", keep_mtime=True)
    with doing() as done:
        get(filled, "c")
    assert done == ["fetched b", "got c"]
    assert content(filled)


def test_a_linked_pool_needs_relative_names(filled):
    with pytest.raises(PoolError, match="absolute path"):
        get(filled, "c", shared_pool=f":{filled.pool};")
    assert not filled.state("a").exists() and not filled.state("a").is_symlink()
    get(filled, "a", shared_pool=f":{filled.pool};")
    assert filled.state("a").is_symlink()


def test_replacing_a_state_in_it(filled):
    """By another worker that got it and set it anew."""
    get(filled, "c")
    far = other(filled)
    get(far, "b")
    write(far.image(), 40, "2M")
    put(far, "c")
    assert backing(filled.shared("c")) == "b.qcow2"
    get(filled, "c")
    assert holds(filled.image(), 40, "2M")


def test_its_own_pool_of_states_made_here(lab):
    """The other way round: what we publish has relative names, as avocado-i2n's users need them."""
    made(lab, "a", "b")
    moved = Lab(lab.root / "moved")
    shutil.copytree(lab.pool, moved.pool)
    shutil.rmtree(lab.pool)
    shutil.rmtree(lab.cache)
    sound(moved.shared("b"))
    get(moved, "b")
    assert holds(moved.image(), 1)
