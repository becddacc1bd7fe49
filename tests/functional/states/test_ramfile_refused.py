"""Running vms that can't be saved: refused before they are touched."""

import pytest

from avocado_pool_plugin.core.errors import (
    ImageRefused,
    MonitorRefused,
    StateMissing,
    VmNotRunning,
)
from tests.support.bare import bare_vm
from tests.support.states import OWN, leftovers
from tests.support.vms import tool
from tests.support.vmstates import TWO, be, ended, params, put, show, shown, writes_to


def unchanged(lab, vm, error, match, **more):
    """Make sure that a save is refused before the vm is touched."""
    before = writes_to(vm), vm.status()
    with pytest.raises(error, match=match):
        put(lab, vm, "s", **OWN, **more)
    assert (writes_to(vm), vm.status()) == before
    assert show(lab, **OWN) == shown(lab, **OWN) == leftovers(lab.root) == []


def test_internal_snapshots(lab):
    lab.make_image()
    tool("qemu-img", "snapshot", "-c", "early", lab.image())
    with bare_vm(params(lab)) as vm:
        unchanged(lab, vm, ImageRefused, "internal snapshots")


def test_a_disk_whose_writes_are_thrown_away(lab):
    lab.make_image()
    with bare_vm(params(lab, image_snapshot="yes")) as vm:
        unchanged(lab, vm, ImageRefused, "no disk of the running vm", image_snapshot="yes")


def test_an_image_that_is_no_disk(lab, bare):
    lab.make_image(image="image2")
    unchanged(lab, bare, ImageRefused, "image2.*no disk", **TWO)


def test_a_disk_of_another_file(lab, bare):
    lab.make_image("vm2")
    where = {"image_name_image1_vm1": str(lab.image("vm2").with_suffix(""))}
    unchanged(lab, bare, ImageRefused, "image1.*no disk", **where)


def test_a_raw_image(lab, bare):
    with pytest.raises(ImageRefused, match="image_format"):
        put(lab, bare, "s", image_format="raw", **OWN)


def test_an_image_that_is_gone(lab, bare):
    lab.image().unlink()
    with pytest.raises(StateMissing, match="does not exist"):
        put(lab, bare, "s", **OWN)
    assert bare.status() == "running"


def test_a_device_that_can_not_be_saved(lab):
    lab.make_image()
    with bare_vm(params(lab, extra_params="-device nvme,serial=1")) as vm:
        be(vm, 1)
        unchanged(lab, vm, MonitorRefused, "refused migrate")
        be(vm, 2)
        ended(lab, vm, 2)


def test_a_vm_that_does_not_run(lab, bare):
    bare.stop()
    for vm in (bare, None):
        with pytest.raises(VmNotRunning, match="does not run"):
            put(lab, vm, "s", **OWN)
    assert not lab.cache.exists()
