"""Content that is not what was recorded: never delivered, never spread, mended where it can be."""

import shutil

import pytest

from avocado_pool_plugin.core.errors import FileCorrupt, PoolError, StateMissing
from avocado_pool_plugin.states import setup
from tests.support.images import edit
from tests.support.states import OWN, SHARED, doing, get, made, other, put, stamp
from tests.support.vms import Lab, holds, tool, write


def damage(path):
    """Change content past the first MiB, as a bad disk does; the file keeps its times."""
    assert path.stat().st_size > 3 << 20
    edit(path, (2 << 20) + 12345, b"damaged", keep_mtime=True)


def big(lab, *states, **more):
    """Like ``made``, with states of several MiB."""
    lab.make_image()
    for number, state in enumerate(states):
        write(lab.image(), 1 + number, f"{4 * number}M", "4M")
        put(lab, state, **more)
    return lab


@pytest.mark.parametrize("how", ["changed", "truncated", "committed into"])
def test_a_corrupt_cached_state_is_fetched_again(lab, how):
    big(lab, "a", "b")
    path = lab.state("a")
    if how == "changed":
        damage(path)
    elif how == "truncated":
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - (1 << 20))
    else:
        path.chmod(0o644)
        write(path, 99)
    with doing() as done:
        get(lab, "b")
    assert done == ["fetched a", "got b"]
    assert holds(lab.image(), 1, "0", "4M") and holds(lab.image(), 2, "4M", "4M")


def test_a_corrupt_cached_state_without_a_pool_is_an_error(lab):
    big(lab, "a", "b", shared_pool="")
    get(lab, "b", shared_pool="")  # content was never hashed: the stamp alone is known
    before = stamp(lab.image())
    damage(lab.state("a"))
    for _ in range(2):
        with pytest.raises(FileCorrupt, match=r"a\.qcow2 is corrupt"):
            get(lab, "b", shared_pool="")
        with pytest.raises(FileCorrupt):
            put(lab, "c", shared_pool="")
    assert stamp(lab.image()) == before


def test_a_corrupt_state_never_spreads(lab):
    big(lab, "a", "b", **OWN)
    get(lab, "b", pool_verify="always", **OWN)
    damage(lab.state("a"))
    with pytest.raises(FileCorrupt, match=r"a\.qcow2 is corrupt"):
        put(lab, "b", **SHARED)
    assert not lab.shared("a").exists() and not lab.shared("b").exists()


def test_the_only_mirror_is_corrupt(lab, caplog):
    """The cached copy is what was recorded: used, with a warning. Without one: an error."""
    big(lab, "a", "b")
    damage(lab.shared("a"))
    get(lab, "b")
    assert "the cached state 'b' is used" in caplog.text
    assert holds(lab.image(), 1, "0", "4M")
    far = other(lab)
    with pytest.raises(FileCorrupt, match=r"a\.qcow2"):
        get(far, "b")
    assert not far.state("b").exists() and not far.image().exists()


def test_a_cached_copy_that_differs_from_the_record_of_a_corrupt_mirror(lab):
    big(lab, "a")
    far = other(lab)
    get(far, "a")
    far.image().unlink()
    far.make_image()
    write(far.image(), 9)
    put(far, "a", **OWN)
    damage(lab.shared("a"))
    with pytest.raises(FileCorrupt):
        get(far, "a")
    get(far, "a", **OWN)
    assert holds(far.image(), 9)


def test_a_set_repairs_a_corrupt_mirror(lab):
    big(lab, "a", "b")
    good = lab.shared("a").read_bytes()
    damage(lab.shared("a"))
    put(lab, "b", **SHARED)
    assert lab.shared("a").read_bytes() == good
    get(other(lab), "b")


def test_a_missing_parent_in_the_pool(lab, caplog):
    made(lab, "a", "b")
    lab.shared("a").unlink()
    far = other(lab)
    with pytest.raises(StateMissing, match=r"a\.qcow2 is missing") as caught:
        get(far, "b")
    assert isinstance(caught.value, RuntimeError)
    assert not far.state("b").exists()
    get(lab, "b")
    assert "the cached state 'b' is used" in caplog.text
    put(lab, "b", **SHARED)
    get(far, "b")


def test_a_circle_in_the_pool(lab):
    made(lab, "a", "b")
    lab.shared("a").chmod(0o644)
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", lab.shared("a"))
    far = other(lab)
    with pytest.raises(PoolError, match=r"circle: b -> a -> b"):
        get(far, "b")
    assert not far.state("a").exists() and not far.state("b").exists()


def test_two_tests_on_one_cache_with_the_pool_replaced_by_a_third(lab):
    """As a file, not by us: records and all."""
    made(lab, "a")
    lone = Lab(lab.root / "lone", "states", "states")
    made(lone, "a", first=50, **OWN)
    get(lone, "a", **OWN)  # which reads it once, so that copies of it can be told from others
    get(lab, "a")
    shutil.rmtree(lab.pool)
    shutil.copytree(lone.cache, lab.pool)
    get(lab, "a")
    assert holds(lab.image(), 50)
    assert setup.check_states(lab.params(check_state_images="a", check_mode="rr"))
