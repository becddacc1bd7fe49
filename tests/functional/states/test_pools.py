"""States shared by several caches: fetched, validated, published, replaced."""

import shutil

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import (
    ChainBroken,
    HostUnreachable,
    PoolError,
    StateMissing,
    StateNeeded,
)
from tests.support.sshd import ADDRESS, free_port
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
    trash,
    unset,
)  # fmt: skip
from tests.support.vms import Lab, backing, holds, sound, write


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


def test_a_remote_location_that_can_not_be_reached_is_a_clear_error(lab):
    made(lab, "a", **OWN)
    away = {"nets_shell_host_far": ADDRESS, "nets_shell_port_far": str(free_port())}
    told = rf"far.*{ADDRESS} port \d+.*Connection refused.*check its name or address"
    for verb, location in ((get, "get_location"), (put, "set_location"), (unset, "unset_location")):
        with pytest.raises(HostUnreachable, match=told):
            verb(lab, "b" if verb is get else "a", **{location: "far:/pool", **away})
    with pytest.raises(HostUnreachable, match=told):
        show(lab, shared_pool="far:/pool", **away)


def test_a_bad_location_is_a_clear_error(lab):
    with pytest.raises(PoolError, match="shared_pool"):
        show(lab, shared_pool="pool")
