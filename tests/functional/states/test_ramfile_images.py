"""The images of running vms that are saved: where they are, what they are, what they stand on."""

import os
import shutil
import subprocess

import pytest

from tests.support import states
from tests.support.bare import bare_vm
from tests.support.needs import need_root
from tests.support.states import OWN, leftovers
from tests.support.vms import Lab, backing, holds, sound, tool
from tests.support.vmstates import TWO, be, ended, get, is_, params, put, show, shown


def three_saves(lab, vm, **more):
    """Save a vm as a, again as a, and as b; then get what is there."""
    for pattern, state in ((1, "a"), (2, "a"), (3, "b")):
        be(vm, pattern)
        be(vm, pattern, f"{pattern}M")
        put(lab, vm, state, **more)
        assert vm.status() == "running" and leftovers(lab.root) == []
    be(vm, 4)
    ended(lab, vm, 4)
    assert show(lab, **more) == ["a", "b"]
    assert [backing(lab.state(name)) for name in "ab"] == ["", "a.qcow2"]
    for state, pattern in (("a", 2), ("b", 3)):
        sound(lab.state(state))
        assert holds(lab.state(state), pattern), "what it was when it was saved"
        get(lab, vm, state, **more)
        assert is_(vm, pattern)
        assert [vm.holds(n, at=f"{n}M") for n in (1, 2, 3)] == [n <= pattern for n in (1, 2, 3)]
    be(vm, 5)
    ended(lab, vm, 5)


@pytest.mark.parametrize("kind", ["tmpfs", "xfs"])
def test_images_on_another_file_system_than_the_cache(lab, file_systems, kind, tmp_path):
    lab.images = file_systems[kind] / tmp_path.name
    lab.images.mkdir()
    lab.make_image()
    try:
        with bare_vm(params(lab)) as vm:
            three_saves(lab, vm, **OWN)
        assert os.stat(lab.state("a")).st_dev != os.stat(lab.image()).st_dev
    finally:
        shutil.rmtree(lab.images)


def test_images_on_several_file_systems(lab, file_systems, tmp_path):
    """One becomes the state, the other is copied."""
    far = file_systems["tmpfs"] / tmp_path.name
    far.mkdir()
    more = {**TWO, **OWN, "image_name_image2_vm1": str(far / "disk")}
    lab.make_image()
    tool("qemu-img", "create", "-q", "-f", "qcow2", far / "disk.qcow2", "16M")
    inode = lab.image().stat().st_ino
    try:
        with bare_vm(params(lab, **more)) as vm:
            be(vm, 1)
            put(lab, vm, "s", **more)
            be(vm, 2)
            get(lab, vm, "s", **more)
            assert is_(vm, 1) and lab.state("s").stat().st_ino == inode
            be(vm, 3)
            vm.stop()
            assert holds(lab.image(), 3) and holds(far / "disk.qcow2", 3)
    finally:
        shutil.rmtree(far)


def test_images_and_cache_on_two_bind_mounts_of_one_file_system(lab):
    """In containers: the device number is the same, but no file can be renamed across."""
    need_root()
    real, mounts = lab.root / "real", []
    for name in ("images", "cache"):
        (real / name).mkdir(parents=True)
        (lab.root / name).mkdir(exist_ok=True)
        tool("mount", "--bind", real / name, lab.root / name)
        mounts.append(lab.root / name)
    try:
        lab.make_image()
        with bare_vm(params(lab)) as vm:
            three_saves(lab, vm, **OWN)
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=False)


def test_images_and_cache_on_a_file_system_with_reflinks(lab, on_xfs):
    lab.images, lab.cache = on_xfs / "images", on_xfs / "cache"
    lab.images.mkdir()
    lab.make_image()
    with bare_vm(params(lab)) as vm:
        three_saves(lab, vm, **OWN)


def test_a_hard_linked_image_is_not_taken_away(lab):
    backup = lab.images / "backup.qcow2"
    lab.make_image()
    os.link(lab.image(), backup)
    with bare_vm(params(lab)) as vm:
        be(vm, 1)
        put(lab, vm, "s", **OWN)
        assert lab.state("s").stat().st_ino != backup.stat().st_ino
        be(vm, 2)
        ended(lab, vm, 2)
        assert holds(backup, 1), "it does not share its file with anyone"


def test_an_image_that_is_a_symlink(lab):
    real = lab.images / "elsewhere.qcow2"
    lab.make_image().rename(real)
    lab.image().symlink_to(real)
    with bare_vm(params(lab)) as vm:
        three_saves(lab, vm, **OWN)
    assert lab.image().is_symlink() and holds(real, 5), "it leads to what the vm runs on"
    assert not lab.state("a").is_symlink()


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_base_image_elsewhere_is_brought_into_the_chain(lab, kind):
    base = lab.root / f"golden.{kind}"
    tool("qemu-img", "create", "-q", "-f", kind, base, "16M")
    tool("qemu-io", "-f", kind, "-c", "write -P 9 8M 64k", base)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", kind, lab.image())
    with bare_vm(params(lab)) as vm:
        be(vm, 1)
        put(lab, vm, "s", **OWN)
        be(vm, 2)
        assert vm.holds(9, at="8M")
        ended(lab, vm, 2)
        (brought,) = set(shown(lab, **OWN)) - {"s"}
        assert brought.startswith("base-") and backing(lab.state("s")) == f"{brought}.qcow2"
        base.unlink()
        get(lab, vm, "s", **OWN)
        assert is_(vm, 1) and vm.holds(9, at="8M")


def test_directories_with_odd_names(tmp_path):
    lab = Lab(tmp_path / "two words, a \"quote\" and 'one'" / "100% ü")
    lab.make_image()
    with bare_vm(params(lab)) as vm:
        three_saves(lab, vm, **OWN)


def test_many_saves_in_the_life_of_one_vm(lab, bare):
    """The guest goes on writing to one overlay on top of all that was saved."""
    for number in range(12):
        be(bare, number + 1)
        bare.write(number + 1, at=f"{number + 1}M")
        put(lab, bare, f"s{number % 8}" if number < 8 else "last", **OWN)
    be(bare, 99)
    ended(lab, bare, 99)
    assert [holds(lab.image(), n + 1, f"{n + 1}M") for n in range(12)] == [True] * 12
    get(lab, bare, "last", **OWN)
    assert is_(bare, 12)
    assert backing(lab.state("last")) == "s7.qcow2"


def test_a_vm_and_its_image_take_turns(lab, bare):
    """States of the image between those of the vm, in one chain."""
    be(bare, 1)
    put(lab, bare, "vm", **OWN)
    be(bare, 2)
    bare.stop()
    states.put(lab, "image", **OWN)
    bare.create()
    be(bare, 3)
    put(lab, bare, "vm2", **OWN)
    bare.stop()
    states.get(lab, "image", **OWN)
    assert holds(lab.image(), 2)
    assert show(lab, **OWN) == ["vm", "vm2"] and shown(lab, **OWN) == ["image", "vm", "vm2"]
    assert [backing(lab.state(name)) for name in ("image", "vm2")] == ["vm.qcow2", "image.qcow2"]
    for state, pattern in (("vm", 1), ("vm2", 3)):
        get(lab, bare, state, **OWN)
        assert is_(bare, pattern)
