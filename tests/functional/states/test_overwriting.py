"""
Policies of others that unset what they are about to set, and tests that ask for both.

avocado-i2n's ``states.setup`` calls ``unset`` and then ``set`` of a backend with params in which
``unset_state`` is ``set_state``. A set that fails must not cost the state of before.
"""

import logging

import pytest

from avocado_pool_plugin.core.errors import ImageInUse, SettingRefused, StateMissing
from avocado_pool_plugin.states import setup
from avocado_pool_plugin.states.pool import RootSourcedStateBackend, SourcedStateBackend
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from tests.support.images import held_open
from tests.support.states import OWN, SHARED, made, put, stamp, trash
from tests.support.vms import backing, holds, sound, write

SCOPES = {"own": OWN, "shared": SHARED, "own shared": {"pool_scope": "own shared"}}


def both(lab, name, **more):
    """Params as the other policies hand them to a backend: one name for both verbs."""
    found = lab.params(object_id="vm1", object_type="vms/images", pool_fsync="no", **more)
    found = found.object_params("vm1").object_params("image1")
    found["object_name"] = "vm1/image1"
    found["set_state"] = found["unset_state"] = name
    return found


@pytest.fixture
def filled(lab):
    """State a holds 1 in cache and pool; the image stands on it and holds 9."""
    made(lab, "a")
    write(lab.image(), 9)
    return lab


# -- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_unset_before_a_set_leaves_the_state(filled, scope, caplog):
    caplog.set_level(logging.DEBUG, "avocado")
    files = [filled.state("a"), filled.shared("a"), filled.image()]
    before = list(map(stamp, files))
    params = both(filled, "a", **SCOPES[scope])
    given = dict(params)
    QCOW2ExtBackend.unset(params)
    assert list(map(stamp, files)) == before and dict(params) == given
    [line] = [r for r in caplog.records if "stays until a set replaces it" in r.getMessage()]
    assert line.levelno == logging.DEBUG and "'a' of vm1/image1" in line.getMessage()


def test_the_set_after_it_replaces_the_state(filled):
    params = both(filled, "a")
    QCOW2ExtBackend.unset(params)
    QCOW2ExtBackend.set(params)
    for path in (filled.state("a"), filled.shared("a")):
        sound(path)
        assert holds(path, 9) and backing(path) == ""
        assert trash(path.parent) == ["a.qcow2"]
    assert holds(filled.image(), 9)


def test_a_set_that_fails_leaves_the_state_of_before(filled):
    params = both(filled, "a")
    with held_open(filled.image()), pytest.raises(ImageInUse):
        QCOW2ExtBackend.unset(params)
        QCOW2ExtBackend.set(params)
    filled.image().unlink()
    with pytest.raises(StateMissing):
        QCOW2ExtBackend.unset(params)
        QCOW2ExtBackend.set(params)
    assert holds(filled.state("a"), 1) and holds(filled.shared("a"), 1)
    assert trash(filled.state("a").parent) == []


@pytest.mark.parametrize("more", [{"check_opts": "soft_boot=no"}, {"set_state": "b"}])
def test_an_unset_that_is_meant_removes_the_state(filled, more):
    """avocado-i2n cleans up with the params of the test that sets the state."""
    QCOW2ExtBackend.unset(both(filled, "a") | more)
    assert not filled.state("a").exists() and not filled.shared("a").exists()
    assert holds(filled.image(), 9)


@pytest.mark.parametrize("verb", ["unset", "pop"])
def test_a_test_that_asks_for_both(filled, verb):
    """By our own policies each verb is done, whatever the other one is about."""
    asked = filled.params(set_state_images="a", **{f"{verb}_state_images": "a"})
    setup.set_states(asked)
    assert holds(filled.state("a"), 9)
    getattr(setup, f"{verb}_states")(asked)
    assert not filled.state("a").exists() and not filled.shared("a").exists()
    assert asked["set_state_images"] == "a"


class Slate(SourcedStateBackend):
    """Keeps names, and can't replace one."""

    replaces = False
    needs_root = False
    done: list[str] = []  # noqa: RUF012
    told: list[str] = []  # noqa: RUF012

    @classmethod
    def unset(cls, params, object=None):
        cls.told.append(params.get("set_state"))
        super().unset(params, object)

    @classmethod
    def _show(cls, params, object=None):
        return ["a"]

    @classmethod
    def _set(cls, params, object=None):
        cls.done.append(f"set {params['set_state']}")

    @classmethod
    def _unset(cls, params, object=None):
        cls.done.append(f"unset {params['unset_state']}")


def test_a_backend_that_can_not_replace_is_unset_first(lab, monkeypatch):
    monkeypatch.setitem(setup.BACKENDS, "slate", Slate)
    monkeypatch.setattr(Slate, "done", [])
    monkeypatch.setattr(Slate, "told", [])
    put(lab, "a", states_images="slate", unset_state_images="a", **OWN)
    assert Slate.done == ["unset a", "set a"]
    assert Slate.told == [None], "an unset is told of no set"
    Slate.unset(both(lab, "a", **OWN))
    assert Slate.done[2:] == ["unset a"], "by policies of others as well"


# -- roots ---------------------------------------------------------------------------------------


def test_a_root_that_can_not_be_made_anew_is_left(filled):
    params = both(filled, "root", **OWN)
    with pytest.raises(SettingRefused, match="image_size"):
        QCOW2ExtBackend.unset_root(params)
        QCOW2ExtBackend.set_root(params)
    assert holds(filled.image(), 9)


def test_a_root_is_made_anew_by_the_set(filled):
    params = both(filled, "root", image_size="8M", **OWN)
    inode = filled.image().stat().st_ino
    QCOW2ExtBackend.unset_root(params)
    assert filled.image().stat().st_ino == inode
    given = dict(params)
    QCOW2ExtBackend.set_root(params)
    assert dict(params) == given
    assert filled.image().stat().st_ino != inode and holds(filled.image(), 0)


def test_a_root_in_the_pool_is_replaced_by_the_set(filled):
    put(filled, "root", **SHARED)
    shared = filled.pool / "vm1" / "vm1-image1.qcow2"
    write(filled.image(), 10)
    params = both(filled, "root", **SHARED)
    QCOW2ExtBackend.unset_root(params)
    assert holds(shared, 9)
    QCOW2ExtBackend.set_root(params)
    assert holds(shared, 10)


def test_an_unset_of_a_root_that_is_meant_removes_it(filled):
    QCOW2ExtBackend.unset_root(both(filled, "root", **OWN) | {"check_opts": "soft_boot=no"})
    assert not filled.image().exists()


@pytest.mark.parametrize("scope", ["own shared", "swarm"])
def test_a_scope_that_is_neither_is_refused_all_the_same(filled, scope):
    with pytest.raises(SettingRefused, match="either"):
        QCOW2ExtBackend.unset_root(both(filled, "root", pool_scope=scope))


def test_a_test_that_asks_for_both_of_a_root(filled):
    asked = filled.params(
        set_state_images="root", unset_state_images="root", image_size="8M", **OWN
    )
    setup.set_states(asked)
    assert holds(filled.image(), 0)
    setup.unset_states(asked)
    assert not filled.image().exists()


class Lamp(RootSourcedStateBackend):
    """A root that knows nothing of being replaced."""

    done: list[str] = []  # noqa: RUF012
    needs_root = False

    @classmethod
    def _check_root(cls, params, object=None):
        return True

    @classmethod
    def _set_root(cls, params, object=None):
        cls.done.append("on")

    @classmethod
    def _unset_root(cls, params, object=None):
        cls.done.append("off")


def test_a_root_that_can_not_be_replaced_is_unset_when_it_is_set(lab, monkeypatch):
    monkeypatch.setattr(Lamp, "done", [])
    params = both(lab, "boot", **OWN)
    Lamp.unset_root(params)
    assert Lamp.done == []
    Lamp.set_root(params)
    assert Lamp.done == ["off", "on"]
    monkeypatch.setitem(setup.BACKENDS, "lamp", Lamp)
    put(lab, "boot", states_images="lamp", unset_state_images="boot", **OWN)
    assert Lamp.done[2:] == ["off", "on"], "once, by our own policies"
