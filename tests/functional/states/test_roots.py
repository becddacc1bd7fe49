"""Root states: the image itself, here and in the pool."""

import shutil

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import ImageInUse, PoolError, SettingRefused, StateMissing
from avocado_pool_plugin.states import setup
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from tests.support.images import edit, held_open
from tests.support.states import (
    OWN,
    SHARED,
    ask,
    get,
    leftovers,
    made,
    other,
    put,
    show,
    stamp,
    unset,
)  # fmt: skip
from tests.support.vms import backing, holds, sound, tool, write

BOTH = {"pool_scope": "own shared"}


def shared_root(lab):
    return lab.pool / "vm1" / "vm1-image1.qcow2"


def params(lab, **more):
    found = lab.params(object_id="vm1", object_type="vms/images", **more).object_params("vm1")
    found["object_name"] = "vm1/image1"
    return found.object_params("image1")


def written(lab, pattern=1):
    lab.make_image()
    write(lab.image(), pattern)
    return lab


def check(lab, **more):
    return QCOW2ExtBackend.check_root(params(lab, **more))


def test_check_root(lab):
    assert [check(lab, **scope) for scope in (OWN, SHARED, BOTH)] == [False] * 3
    written(lab)
    assert [check(lab, **scope) for scope in (OWN, SHARED, BOTH)] == [True] * 3
    put(lab, "root", **SHARED)
    lab.image().unlink()
    assert [check(lab, **scope) for scope in (OWN, SHARED, BOTH)] == [False, True, True]
    assert check(lab, shared_pool="", **BOTH) is False


def test_a_running_vms_root_is_never_the_pools(lab):
    put(written(lab), "root", **SHARED)
    lab.image().unlink()
    running = params(lab, **BOTH)
    running["object_type"] = "nets/vms"
    assert QCOW2ExtBackend.check_root(running) is False


def test_set_root_here(lab):
    with pytest.raises(SettingRefused, match="image_size"):
        put(lab, "root", **OWN)
    put(lab, "root", image_size="8M", **OWN)
    sound(lab.image())
    assert '"virtual-size": 8388608' in tool("qemu-img", "info", "--output=json", lab.image())
    write(lab.image(), 1)
    put(lab, "root", image_size="8M", set_mode="rf", **OWN)
    assert holds(lab.image(), 1), "one that is there stays, by set_mode"
    put(lab, "root", image_size="8M", **OWN)
    assert holds(lab.image(), 0)
    assert not lab.pool.exists()


def test_an_image_is_not_removed_when_no_other_can_be_made(lab):
    written(lab)
    with pytest.raises(SettingRefused, match="image_size"):
        put(lab, "root", **OWN)
    with pytest.raises(SettingRefused, match="image_size"):
        ask(lab, "check", "root", check_mode="ff")
    assert holds(lab.image(), 1)


def test_a_missing_image_is_made_by_check_mode(lab):
    assert ask(lab, "check", "root", check_mode="rr") is False and not lab.image().exists()
    assert ask(lab, "check", "root", image_size="4M", check_mode="rf") is True
    assert lab.image().exists() and not lab.pool.exists()


def test_set_root_in_the_pool(lab):
    with pytest.raises(StateMissing, match="does not exist locally"):
        QCOW2ExtBackend.set_root(params(lab, **SHARED))
    put(written(lab), "root", **SHARED)
    assert holds(shared_root(lab), 1)
    assert show(lab) == [], "a root is no state among the others"


@pytest.mark.parametrize("verb", ["set_root", "unset_root"])
@pytest.mark.parametrize("scope", ["own shared", "swarm", "shared cluster"])
def test_neither_here_nor_there(lab, verb, scope):
    written(lab)
    with pytest.raises(SettingRefused, match="either"):
        getattr(QCOW2ExtBackend, verb)(params(lab, pool_scope=scope))
    assert holds(lab.image(), 1) and not lab.pool.exists()


def test_get_root_only_here(lab):
    get(written(lab), "root", **OWN)
    lab.image().unlink()
    with pytest.raises(exceptions.TestAbortError, match="'root' of vm1/image1"):
        get(lab, "root", **OWN)


def test_get_root_from_the_pool(lab):
    put(written(lab), "root", **SHARED)
    far = other(lab)
    get(far, "root")
    assert holds(far.image(), 1)
    write(far.image(), 2)
    assert far.image().stat().st_mode & 0o200, "a working image can be written to"
    sound(far.image())
    get(far, "root")
    assert holds(far.image(), 1), "validated: what was written is not the root"
    write(far.image(), 3)
    get(far, "root", **SHARED)
    assert holds(far.image(), 1)
    write(far.image(), 4)
    get(far, "root", **OWN)
    assert holds(far.image(), 4), "here only: what is there is the root"
    assert leftovers(lab.root) == []


def test_a_changed_working_root_is_neither_corrupt_nor_recorded(lab):
    put(written(lab), "root", **SHARED)
    get(lab, "root")
    write(lab.image(), 2)
    put(lab, "root", **SHARED)
    assert holds(shared_root(lab), 2)
    edit(lab.image(), 390_000, b"x")
    put(lab, "root", **SHARED)
    assert shared_root(lab).read_bytes() == lab.image().read_bytes()
    assert not (lab.images / ".pool" / f"{lab.image().name}.json").exists()


def test_a_corrupt_root_in_the_pool(lab):
    put(written(lab), "root", **SHARED)
    edit(shared_root(lab), 390_000, b"damaged", keep_mtime=True)
    before = stamp(lab.image())
    with pytest.raises(PoolError, match="corrupt"):
        get(lab, "root", **SHARED)
    assert stamp(lab.image()) == before
    put(lab, "root", **SHARED)
    get(other(lab), "root")


def test_a_root_with_a_chain_is_flattened(lab):
    made(lab, "a", "b", **OWN)
    put(lab, "root", **SHARED)
    assert backing(shared_root(lab)) == ""
    assert holds(shared_root(lab), 1) and holds(shared_root(lab), 2, "1M")
    assert backing(lab.image()) == str(lab.state("b")), "the image here is as it was"
    far = other(lab)
    shutil.rmtree(lab.cache)
    get(far, "root")
    assert holds(far.image(), 1) and holds(far.image(), 2, "1M")
    assert leftovers(lab.root) == []
    assert not (lab.images / ".pool" / ".pool").exists(), "nothing is noted of a file that is gone"


def test_unset_root(lab):
    put(written(lab), "root", **SHARED)
    unset(lab, "root", **SHARED)
    assert not shared_root(lab).exists() and lab.image().exists()
    with held_open(lab.image()), pytest.raises(ImageInUse):
        unset(lab, "root", **OWN)
    unset(lab, "root", **OWN)
    assert not lab.image().exists()
    unset(lab, "root", **OWN)
    with pytest.raises(exceptions.TestAbortError):
        unset(lab, "root", unset_mode="fa", **OWN)


def test_a_missing_root_names_every_place(lab):
    with pytest.raises(StateMissing) as caught:
        QCOW2ExtBackend.get_root(params(lab, **BOTH))
    for part in ("vm1/image1", str(lab.image()), str(shared_root(lab))):
        assert part in str(caught.value)
    with pytest.raises(StateMissing) as caught:
        QCOW2ExtBackend.get_root(params(lab, **OWN))
    assert str(lab.pool) not in str(caught.value)


def test_roots_use_the_first_pool(lab):
    two = {"shared_pool": f":{lab.root}/one :{lab.root}/two"}
    put(written(lab), "root", **two, **SHARED)
    assert (lab.root / "one" / "vm1" / "vm1-image1.qcow2").exists()
    assert not (lab.root / "two").exists()
    with pytest.raises(SettingRefused, match="shared_pool"):
        QCOW2ExtBackend.get_root(params(lab, shared_pool="", **SHARED))


def test_all_names_of_a_root(lab):
    written(lab)
    for name in setup.ROOTS:
        get(lab, name, **OWN)
        assert ask(lab, "check", name, **OWN) is True
    assert not lab.cache.exists() or show(lab, **OWN) == []
