"""Too little room for a running vm's state: known before, or found out; the vm goes on."""

import pytest

from avocado_pool_plugin.core.errors import SpaceMissing
from avocado_pool_plugin.states import machine
from avocado_pool_plugin.states.live import Live
from tests.support.bare import bare_vm
from tests.support.mounts import fill, mounted
from tests.support.states import OWN, leftovers
from tests.support.vms import tool
from tests.support.vmstates import be, ended, get, is_, params, put, show, shown, writes_to


@pytest.fixture
def small(tmp_path):
    """An empty file system of 32 MiB."""
    with mounted("tmpfs", tmp_path, 32) as point:
        yield point


@pytest.mark.parametrize("leave", [40, 300])
def test_no_room_for_the_ram(lab, small, monkeypatch, leave):
    """Found out while it is written: QEMU's guess of its size is no limit to it."""
    lab.cache = small / "cache"
    lab.make_image()
    monkeypatch.setattr(machine, "used_memory", lambda vm: 1)
    monkeypatch.setattr("avocado_pool_plugin.states.vmsave.require_space", lambda *args: None)
    with bare_vm(params(lab)) as vm:
        be(vm, 1)
        put(lab, vm, "old", **OWN)
        be(vm, 2)
        before = writes_to(vm)
        hog = fill(small, leave << 10)
        for state in ("old", "new"):
            with pytest.raises(SpaceMissing, match="free space"):
                put(lab, vm, state, **OWN)
            assert (vm.status(), writes_to(vm)) == ("running", before)
            assert leftovers(lab.root) == []
        be(vm, 3)
        hog.unlink()
        put(lab, vm, "new", **OWN)
        ended(lab, vm, 3)
        for state, pattern in (("old", 1), ("new", 3)):
            get(lab, vm, state, **OWN)
            assert is_(vm, pattern)


def test_too_little_room_is_known_before_the_vm_is_touched(lab, small, monkeypatch):
    """For the RAM, for images that are copied or merged, and for all of them together."""
    lab.cache = small / "cache"
    lab.make_image()

    def refused(used):
        with monkeypatch.context() as patch:
            patch.setattr(machine, "used_memory", lambda vm: used)
            patch.setattr(Live, "stop", None)  # called, it would fail
            with pytest.raises(SpaceMissing, match=r"s\.state needs"):
                put(lab, vm, "s", **OWN)
        assert (vm.status(), leftovers(lab.root)) == ("running", [])

    with bare_vm(params(lab)) as vm:
        vm.human('qemu-io -d /machine/peripheral/image1/virtio-backend "write -P 7 1M 8M"')
        hog = fill(small, 12 << 20)
        for used in (16 << 20, 4 << 20):
            refused(used)
        hog.unlink()
        monkeypatch.setattr(machine, "used_memory", lambda vm: 1)
        put(lab, vm, "s", **OWN)
        fill(small, 4 << 20)
        refused(1)


def test_no_base_is_brought_into_the_cache_for_a_save_without_room(lab, monkeypatch):
    base = lab.root / "golden.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", base, "16M")
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", lab.image())
    monkeypatch.setattr(machine, "used_memory", lambda vm: 1 << 60)
    with bare_vm(params(lab)) as vm, pytest.raises(SpaceMissing):
        put(lab, vm, "new", **OWN)
    assert shown(lab, **OWN) == []


def test_no_room_for_the_overlay(lab, small):
    lab.images = small / "images"
    lab.images.mkdir()
    lab.make_image()
    with bare_vm(params(lab)) as vm:
        be(vm, 1)
        hog = fill(small, 64 << 10)
        with pytest.raises(SpaceMissing):
            put(lab, vm, "new", **OWN)
        assert leftovers(lab.root) == [] and show(lab, **OWN) == []
        be(vm, 2)
        hog.unlink()
        ended(lab, vm, 2)
