"""States of running vms with a pool on another host: a RAM file and images that belong to it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import FileCorrupt, StateNeeded
from avocado_pool_plugin.states import setup
from tests.functional.ssh.test_remote_ops import Logins, RemoteLab
from tests.support import states
from tests.support.bare import BareVm, bare_vm
from tests.support.images import edit
from tests.support.machines import Env
from tests.support.remote import KINDS, server
from tests.support.states import OWN, SHARED, doing, stamp, trash
from tests.support.vms import backing, sound
from tests.support.vmstates import (
    TWO,
    be,
    ended,
    get,
    is_,
    params,
    passport,
    pop,
    put,
    ram,
    shared_ram,
    show,
    shown,
    unset,
)


@pytest.fixture(params=["python"])
def lab(request, tmp_path: Path) -> RemoteLab:
    return RemoteLab(tmp_path, server(request.param))


@pytest.fixture
def twin(lab: RemoteLab) -> Iterator[BareVm]:
    """A running vm with two images."""
    for image in TWO["images"].split():
        lab.make_image(image=image)
    with bare_vm(params(lab, **TWO)) as vm:
        yield vm


@pytest.fixture
def far(lab: RemoteLab) -> Iterator[RemoteLab]:
    """Another worker: a cache, images and a vm of its own that is off, the same pool."""
    found = lab.elsewhere()
    found.vm = BareVm(params(found, **TWO).object_params("vm1"))
    yield found
    found.vm.stop()


def marks(path):
    return dict(passport(path).images)


@pytest.mark.parametrize("lab", KINDS, indirect=True)
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


def test_a_replaced_version_is_fetched(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    get(far, far.vm, "s", **TWO)
    be(twin, 2)
    put(lab, twin, "s", **TWO)
    with pytest.raises(StateNeeded, match="in use by a running QEMU"):
        get(far, far.vm, "s", **TWO)
    far.vm.stop()
    get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 2)
    assert trash(ram(far, "s").parent) == ["s.state"] == trash(shared_ram(lab, "s").parent)


def test_what_others_stand_on_is_neither_replaced_nor_removed(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    get(far, far.vm, "s", **TWO)
    be(far.vm, 2)
    put(far, far.vm, "on-top", **TWO)
    be(twin, 3)
    with pytest.raises(StateNeeded, match=r"on-top\.qcow2"):
        put(lab, twin, "s", **TWO)
    for scope in (SHARED, {}):
        with pytest.raises(StateNeeded, match=r"lab:.*on-top\.qcow2"):
            unset(lab, twin, "s", **TWO, **scope)
        assert show(lab, **TWO, **SHARED) == ["on-top", "s"], "nothing is removed then"
        assert show(lab, **TWO, **OWN) == ["s"]
    for state, pattern in (("s", 1), ("on-top", 2)):
        get(far, far.vm, state, **TWO)
        assert is_(far.vm, pattern)
    twin.stop()
    unset(lab, twin, "s", **TWO, unset_cascade="yes")
    assert show(lab, **TWO) == []
    assert set(trash(shared_ram(lab, "s").parent)) == {"s.state", "on-top.state"}


def test_an_image_state_that_a_ram_file_needs_stays(lab, twin, far):
    """By itself, an image's part of a vm state is like one that others stand on."""
    put(lab, twin, "s", **TWO)
    twin.stop()
    with pytest.raises(StateNeeded, match=r"s\.state"):
        states.unset(far, "s", **SHARED)
    states.unset(far, "s", **SHARED, unset_cascade="yes")
    assert show(far, **TWO) == [] and shown(far, images="image1") == []


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


def test_from_pool_to_cache_without_any_vm(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO, **OWN)
    put(lab, None, "s", **TWO, **SHARED)
    for image in ("image1", "image2"):
        sound(lab.shared("s", image=image))
    get(far, None, "s", **TWO, **SHARED)
    assert show(far, **TWO, **OWN) == ["s"] and not far.image().exists()
    shutil.rmtree(lab.pool)
    get(far, far.vm, "s", **TWO, **OWN)
    assert is_(far.vm, 1)


def test_a_corrupt_ram_file_is_not_delivered(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    edit(shared_ram(lab, "s"), 100_000, b"damaged")
    with pytest.raises(FileCorrupt, match=r"lab:.*s\.state is corrupt"):
        get(far, far.vm, "s", **TWO)
    assert not ram(far, "s").exists() and not far.vm.is_alive()
    put(lab, None, "s", **TWO, **SHARED)
    get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 1), "publishing what it should be has repaired it"


def test_one_login_for_images_and_vms(lab, twin):
    asked = params(lab, set_state_vms="s", get_state_vms="s", unset_state_vms="s", **TWO)
    logins = Logins(lab.host)
    for do in (setup.set_states, setup.get_states):
        do(asked, Env(twin))
    twin.stop()
    setup.unset_states(asked, Env(twin))
    assert logins() == 1 and show(lab, **TWO) == []
