"""States shared by several caches: fetched, validated, published, replaced."""

import shutil

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import (
    ChainBroken,
    FileCorrupt,
    LocationRefused,
    PoolError,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.states import setup
from tests.support.images import edit
from tests.support.states import (
    OWN,
    SHARED,
    doing,
    get,
    made,
    other,
    pop,
    put,
    show,
    stamp,
    trash,
    unset,
)  # fmt: skip
from tests.support.vms import Lab, backing, holds, sound, write


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


def test_a_worker_with_another_cache_starts_from_the_same_states(lab):
    made(lab, "a", "b")
    far = other(lab)
    with doing() as done:
        get(far, "b")
    assert done == ["fetched a", "fetched b", "got b"]
    assert backing(far.state("b")) == "a.qcow2"
    assert backing(far.image()) == str(far.state("b"))
    assert holds(far.image(), 1) and holds(far.image(), 2, "1M")
    with doing() as done:
        get(far, "b")
        get(far, "a")
    assert done == ["got b", "got a"], "what is there is not fetched again"
    shutil.rmtree(lab.cache)
    shutil.rmtree(lab.images)
    sound(far.image())


def test_pool_replaced_between_two_gets(lab):
    made(lab, "a", "b")
    far = other(lab)
    get(far, "b")
    get(lab, "a")
    write(lab.image(), 70, "1M")
    put(lab, "b")
    with doing() as done:
        get(far, "b")
    assert done == ["fetched b", "got b"]
    assert holds(far.image(), 70, "1M")
    assert holds(far.state("a"), 1)


def test_parent_replaced_with_all_that_stands_on_it(lab):
    """The new parent with its new child; the cached old ones go, as the pool has them anew."""
    made(lab, "a", "b")
    far = other(lab)
    get(far, "b")
    lab.image().unlink()
    made(lab, "a", "b", first=50, set_cascade="yes")
    get(far, "b")
    assert holds(far.image(), 50) and holds(far.image(), 51, "1M")
    sound(far.image())
    assert set(trash(far.state("b").parent)) >= {"a.qcow2", "b.qcow2"}
    assert show(far) == ["a", "b"]


def test_parent_replaced_under_a_child_that_only_the_cache_has(lab):
    """Nothing the cache alone has is lost for a newer parent."""
    made(lab, "a")
    far = other(lab)
    get(far, "a")
    write(far.image(), 5, "2M")
    put(far, "mine", **OWN)
    lab.image().unlink()
    made(lab, "a", first=50, set_cascade="yes")
    with pytest.raises(StateNeeded, match=r"mine\.qcow2"):
        get(far, "a")
    assert holds(far.state("mine"), 5, "2M") and holds(far.state("mine"), 1)
    get(far, "a", get_cascade="yes")
    assert holds(far.image(), 50)
    assert trash(far.state("a").parent).count("mine.qcow2") == 1


def test_parent_replaced_under_a_child_in_one_cache(lab):
    """By hand, behind our back: the child is not delivered on another parent."""
    made(lab, "a", "b", **OWN)
    lone = made(Lab(lab.root / "lone", "states"), "a", first=50, **OWN)
    lab.state("a").unlink()
    shutil.copy(lone.state("a"), lab.state("a"))
    (lab.state("a").parent / ".pool" / "a.qcow2.json").unlink()
    with pytest.raises(ChainBroken, match="another 'a'"):
        get(lab, "b", **OWN)


def test_a_stale_parent_is_not_published_over_a_newer_one(lab):
    made(lab, "a")
    far = other(lab)
    get(far, "a")
    lab.image().unlink()
    made(lab, "a", first=50, set_cascade="yes")
    write(far.image(), 5, "2M")
    with pytest.raises(ChainBroken, match=r"b\.qcow2 can't be published.*a\.qcow2"):
        put(far, "b")
    assert holds(lab.shared("a"), 50)
    assert not lab.shared("b").exists()
    assert holds(far.state("b"), 5, "2M"), "what was set here is not lost"


def test_publish_goes_on_where_it_failed(lab):
    """Set again with the pool back: what is missing there is published."""
    lab.pool.write_text("no directory")
    lab.make_image()
    write(lab.image(), 1)
    with pytest.raises(PoolError, match=str(lab.pool)):
        put(lab, "a")
    assert holds(lab.state("a"), 1) and holds(lab.image(), 1)
    lab.pool.unlink()
    put(lab, "a", **SHARED)
    assert holds(lab.shared("a"), 1)


def test_scopes(lab):
    made(lab, "cached", **OWN)
    with pytest.raises(StateMissing, match="not in the cache"):
        put(lab, "other", **SHARED)
    assert not lab.pool.exists()
    put(lab, "cached", **SHARED)
    unset(lab, "cached", **OWN)
    assert show(lab, **OWN) == [] and show(lab, **SHARED) == ["cached"] == show(lab)
    with pytest.raises(exceptions.TestAbortError):
        get(lab, "cached", **OWN)
    get(lab, "cached", **SHARED)
    assert lab.state("cached").exists()
    assert backing(lab.image()) == "", "the image is not the pool's to change"
    get(lab, "cached")
    assert backing(lab.image()) == str(lab.state("cached"))
    unset(lab, "cached", **SHARED)
    assert show(lab, **OWN) == ["cached"] and show(lab, **SHARED) == []
    for scope in ("swarm", "cluster", "own swarm"):
        made(other(lab, scope), "x", pool_scope="own")
        assert not lab.shared("x").exists()


def test_pop_takes_it_from_the_pool_too(lab):
    made(lab, "a")
    pop(lab, "a")
    assert not lab.shared("a").exists() and holds(lab.image(), 1)


def test_absent_on_both_sides(lab):
    made(lab, "a")
    with pytest.raises(exceptions.TestAbortError):
        get(lab, "b")
    from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend

    params = lab.params(get_state="b", vms="vm1", images="image1").object_params("image1_vm1")
    with pytest.raises(StateMissing) as caught:
        QCOW2ExtBackend.get(params)
    assert str(lab.cache) in str(caught.value) and str(lab.pool) in str(caught.value)


def test_remote_locations_are_a_clear_error(lab):
    made(lab, "a", **OWN)
    for verb, location in ((get, "get_location"), (put, "set_location"), (unset, "unset_location")):
        with pytest.raises(LocationRefused, match=r"'far:.*remote host"):
            verb(lab, "b" if verb is get else "a", **{location: "far:/pool"})
    with pytest.raises(LocationRefused):
        show(lab, shared_pool="far:/pool")
    with pytest.raises(PoolError, match="shared_pool"):
        show(lab, shared_pool="pool")


# -- corrupt -------------------------------------------------------------------------------------


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
    from tests.support.vms import tool

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
