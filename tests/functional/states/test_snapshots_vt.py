"""The backend ``qcow2vt``: states of running vms inside of their images. QEMU is real, no guest."""

import os
from pathlib import Path

import pytest
from avocado.core import exceptions

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.errors import (
    ImageInUse,
    ImageRefused,
    MonitorRefused,
    SettingRefused,
    SpaceMissing,
    StateMissing,
    ToolFailed,
    VmNotRunning,
)
from avocado_pool_plugin.core.snapshots import read_snapshots
from avocado_pool_plugin.states import report, setup, snapshots_vt
from avocado_pool_plugin.states.monitor import Monitor
from avocado_pool_plugin.states.qcow2 import QCOW2VTBackend
from tests.support.images import qemu_img
from tests.support.machines import Env, Machine, machine
from tests.support.mounts import mounted
from tests.support.states import stamp
from tests.support.vms import Lab, sound, write

VT = {"states_vms": "qcow2vt", "states_images": "qcow2", "skip_types": ""}
TWO = {"images": "image1 image2"}


@pytest.fixture
def vm(lab):
    """A running vm with one image."""
    with machine(lab.make_image()) as found:
        yield found


@pytest.fixture
def two(lab):
    """A running vm with two images."""
    with machine(*(lab.make_image(image=image) for image in TWO["images"].split())) as found:
        yield found


def do(lab: Lab, vm: Machine | None, verb: str, state: str, **more: str):
    """Do a verb for the state of a vm, as the hooks around a test do."""
    params = lab.params(**{f"{verb}_state_vms": state, **VT, **more})
    return getattr(setup, f"{verb}_states")(params, Env(vm) if vm else None)


def show(lab, **more):
    return setup.show_states(lab.params(**{**VT, "skip_types": "images", **more}))


def image_states(lab, **more):
    return setup.show_states(lab.params(**{**VT, "skip_types": "vms", **more}))


def params(lab, **more):
    """Return what a backend gets that is called by itself."""
    own = lab.params(object_name="vm1", object_type="vms", **more).object_params("vm1")
    own["vms"] = "vm1"
    return own


def tags(path: Path) -> list[str]:
    return [snapshot.tag for snapshot in read_snapshots(str(path))]


def be(vm: Machine, pattern: int) -> None:
    """Write to all disks and to a device."""
    for disk in range(len(vm.disks)):
        vm.write(pattern, disk)
    vm.remember(pattern)


def is_(vm: Machine, pattern: int) -> bool:
    """Tell whether a vm has on its disks and in its device what it had once."""
    disks = [vm.holds(pattern, disk) for disk in range(len(vm.disks))]
    assert len(set(disks)) == 1 and disks[0] == (vm.remembers() == pattern), "all or nothing"
    return disks[0]


# -- the verbs ------------------------------------------------------------------------------------


def test_set_and_get_and_unset(lab, vm):
    be(vm, 1)
    do(lab, vm, "set", "a")
    assert vm.status() == "running", "it goes on"
    be(vm, 2)
    do(lab, vm, "set", "b")
    be(vm, 3)
    assert show(lab) == ["a", "b"]
    for state, pattern in (("a", 1), ("b", 2), ("a", 1)):
        do(lab, vm, "get", state)
        assert is_(vm, pattern) and vm.status() == "running"
    do(lab, vm, "unset", "a")
    assert show(lab) == ["b"] and is_(vm, 1)
    vm.stop()
    sound(lab.image())
    assert not lab.cache.exists() and not lab.pool.exists(), "nothing leaves the image"


def test_a_state_outlives_its_vm(lab, vm):
    be(vm, 1)
    do(lab, vm, "set", "s")
    be(vm, 2)
    vm.stop()
    vm.create()
    do(lab, vm, "get", "s")
    assert is_(vm, 1)


def test_what_is_done_is_told(lab, vm):
    before = len(report.events())
    for verb in ("set", "get", "unset"):
        do(lab, vm, verb, "s")
    events = report.events()[before:]
    assert [(one.verb, one.state, one.object) for one in events] == [
        (verb, "s", "vm1") for verb in ("set", "got", "unset")
    ]
    assert all(one.bytes > 100_000 and str(lab.image()) in one.where for one in events)


def test_all_images_are_in_a_state(lab, two):
    be(two, 1)
    do(lab, two, "set", "s", **TWO)
    be(two, 2)
    ram = [sum(one.ram for one in read_snapshots(str(disk))) for disk in two.disks]
    assert ram[0] > 0 and ram[1] == 0
    assert show(lab, **TWO) == ["s"]
    assert image_states(lab, **TWO) == [], "a part of a vm state is no image state"
    do(lab, two, "get", "s", **TWO)
    assert is_(two, 1)
    do(lab, two, "unset", "s", **TWO)
    assert [tags(disk) for disk in two.disks] == [[], []]


def test_an_image_without_its_part_makes_no_state(lab, two):
    do(lab, two, "set", "s", images="image1")
    assert show(lab, images="image1") == ["s"] and show(lab, **TWO) == []
    with pytest.raises(StateMissing, match="image2"):
        QCOW2VTBackend.get(params(lab, get_state="s", **TWO), two)
    do(lab, two, "set", "s", image_readonly_image2="yes", **TWO)
    assert show(lab, image_readonly_image2="yes", **TWO) == ["s"], "it is not written to"
    do(lab, two, "set", "s", **TWO)
    assert show(lab, **TWO) == ["s"]
    assert [len(tags(disk)) for disk in two.disks] == [1, 1], "and the others are gone"


def test_a_state_is_replaced(lab, two):
    for pattern in (1, 2, 3, 4):
        be(two, pattern)
        do(lab, two, "set", "s", **TWO)
        assert show(lab, **TWO) == ["s"]
        assert [len(tags(disk)) for disk in two.disks] == [1, 1]
    be(two, 5)
    do(lab, two, "get", "s", **TWO)
    assert is_(two, 4)


def test_a_paused_vm_stays_paused_when_it_is_saved(lab, vm):
    be(vm, 1)
    vm.monitor.cmd("stop")
    do(lab, vm, "set", "s")
    assert vm.status() == "paused"
    do(lab, vm, "get", "s")
    assert vm.status() == "running" and is_(vm, 1)


NAMES = ["two words", "o'clock", 'a "b"', "näme", "$(touch x)", "-rf", "%s", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(lab, vm, name):
    for pattern in (1, 2):
        be(vm, pattern)
        do(lab, vm, "set", name)
    be(vm, 3)
    assert show(lab) == [name]
    do(lab, vm, "get", name)
    assert is_(vm, 2)
    do(lab, vm, "unset", name)
    assert tags(lab.image()) == []


def test_names_that_are_ids_of_others(lab, vm):
    """For a tag that is the id of another snapshot QEMU loads that other one."""
    for pattern, name in ((10, "3"), (11, "1"), (12, "2")):
        be(vm, pattern)
        do(lab, vm, "set", name)
    assert show(lab) == ["1", "2", "3"]
    for pattern, name in ((10, "3"), (11, "1"), (12, "2")):
        do(lab, vm, "get", name)
        assert is_(vm, pattern)
    do(lab, vm, "unset", "1")
    assert show(lab) == ["2", "3"]


# -- what is missing ------------------------------------------------------------------------------


def test_a_missing_state_is_an_error_and_the_vm_goes_on(lab, vm):
    do(lab, vm, "set", "other")
    be(vm, 1)
    with pytest.raises(StateMissing, match="'s' of vm1") as caught:
        QCOW2VTBackend.get(params(lab, get_state="s"), vm)
    assert str(lab.image()) in str(caught.value)
    assert vm.status() == "running" and is_(vm, 1)
    with pytest.raises(exceptions.TestAbortError, match="'s' of vm1") as caught:
        do(lab, vm, "get", "s")
    assert str(lab.image()) in str(caught.value)
    do(lab, vm, "get", "s", get_mode="ri")
    do(lab, vm, "unset", "s")
    with pytest.raises(exceptions.TestAbortError):
        do(lab, vm, "unset", "s", unset_mode="fa")
    assert vm.status() == "running" and is_(vm, 1)


@pytest.mark.parametrize(("verb", "mode"), [("get", "aa"), ("set", "af")])
def test_a_state_that_is_there_and_should_not(lab, vm, verb, mode):
    do(lab, vm, "set", "s")
    before = stamp(lab.image())
    with pytest.raises(exceptions.TestAbortError, match="'s' of vm1 exists already"):
        do(lab, vm, verb, "s", **{f"{verb}_mode": mode})
    assert stamp(lab.image()) == before and vm.status() == "running"


def test_a_vm_that_does_not_run(lab):
    with machine(lab.make_image(), start=False) as vm:
        for verb in ("get", "set"):
            for thing in (vm, None):
                with pytest.raises(VmNotRunning, match="'vm1' does not run"):
                    own = params(lab, **{f"{verb}_state": "s"})
                    getattr(QCOW2VTBackend, verb)(own, thing)
        assert not vm.is_alive(), "it was not started unasked"
        with pytest.raises(VmNotRunning):
            do(lab, vm, "set", "s")
        do(lab, vm, "set", "s", check_mode="rf")
        assert vm.is_alive() and show(lab) == ["s"]
        vm.stop()
        do(lab, vm, "get", "s", check_mode="rf")
        assert vm.status() == "running"


def test_unset_without_a_vm(lab, two):
    do(lab, two, "set", "s", **TWO)
    do(lab, two, "set", "t", **TWO)
    with pytest.raises(ImageInUse):
        do(lab, None, "unset", "s", **TWO)
    two.stop()
    do(lab, two, "unset", "s", **TWO)
    do(lab, None, "unset", "t", **TWO)
    assert [tags(disk) for disk in two.disks] == [[], []]
    for disk in two.disks:
        qemu.check(str(disk))


def test_a_vm_without_an_image_of_its_own(lab, vm):
    for readonly in ({"image_readonly": "yes"}, {"images": ""}):
        with pytest.raises(ImageRefused, match="no image"):
            do(lab, vm, "set", "s", **readonly)
    with pytest.raises(ImageRefused, match="raw"):
        do(lab, vm, "set", "s", image_format="raw")
    assert vm.status() == "running"


def test_a_vm_that_writes_elsewhere(lab, vm):
    lab.make_image(image="image2")
    with pytest.raises(MonitorRefused, match=r"does not write to its image .*image2"):
        do(lab, vm, "set", "s", **TWO)
    vm.stop()
    vm.options = ("-snapshot", "-drive", f"file={lab.image()},if=virtio")
    vm.disks = ()
    vm.create()
    with pytest.raises(MonitorRefused, match="image_snapshot"):
        do(lab, vm, "set", "s")
    assert vm.status() == "running" and tags(lab.image()) == []


def test_a_vm_without_qmp(lab):
    with machine(lab.make_image(), start=False) as vm:
        vm.kind = "human"
        vm.create()
        with pytest.raises(MonitorRefused, match="monitor_type = qmp"):
            do(lab, vm, "set", "s")


# -- nothing is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_a_save_without_room_leaves_the_old_one(tmp_path, monkeypatch, known):
    with mounted("tmpfs", tmp_path, 128) as small:
        lab = Lab(small)
        with machine(lab.make_image()) as vm:
            be(vm, 1)
            do(lab, vm, "set", "s")
            be(vm, 2)
            free = os.statvfs(small).f_bavail * os.statvfs(small).f_bsize
            (small / "ballast").write_bytes(bytes(free - 300_000))
            if not known:
                monkeypatch.setattr(snapshots_vt, "require_space", lambda *_: None)
            with pytest.raises(SpaceMissing if known else MonitorRefused):
                do(lab, vm, "set", "s")
            assert vm.status() == "running" and is_(vm, 2), "it goes on"
            (small / "ballast").unlink()
            assert show(lab) == ["s"] and tags(lab.image()) == ["s"]
            do(lab, vm, "get", "s")
            assert is_(vm, 1)


def test_a_vm_that_can_not_be_saved(lab, vm):
    """QEMU itself refuses what has a device that can't be moved elsewhere."""
    do(lab, vm, "set", "s")
    vm.stop()
    vm.options = ("-device", "nvme,serial=x,drive=n1", "-blockdev", "null-co,node-name=n1")
    vm.create()
    be(vm, 2)
    with pytest.raises(MonitorRefused, match="nvme"):
        do(lab, vm, "set", "s")
    assert vm.status() == "running" and is_(vm, 2)
    assert tags(lab.image()) == ["s"]


def test_a_state_of_another_machine_stops_the_vm_and_says_so(lab, vm):
    do(lab, vm, "set", "s")
    vm.stop()
    vm.options = ("-m", "32")
    vm.create()
    with pytest.raises(MonitorRefused, match="the vm is stopped"):
        do(lab, vm, "get", "s")
    assert vm.status() != "running"
    assert show(lab) == ["s"]


def test_a_command_that_is_unknown_changes_nothing(lab, vm, monkeypatch):
    """As of QEMU before 6.0."""
    do(lab, vm, "set", "s")
    be(vm, 2)
    real = Monitor.run_job
    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "run_job", lambda self, command, **more: real(self, f"x-{command}"))
        for verb in ("get", "set", "unset"):
            with pytest.raises(MonitorRefused, match="x-snapshot"):
                do(lab, vm, verb, "s")
    assert vm.status() == "running" and is_(vm, 2) and show(lab) == ["s"]


def test_an_old_one_that_can_not_be_removed_is_cleared_away_later(lab, two, monkeypatch):
    be(two, 1)
    do(lab, two, "set", "s", **TWO)
    be(two, 2)

    def fails(*_):
        raise ToolFailed("no")

    with monkeypatch.context() as patch:
        patch.setattr(snapshots_vt, "_remove", fails)
        do(lab, two, "set", "s", **TWO)
    assert len(tags(lab.image())) == 2 and show(lab, **TWO) == ["s"]
    be(two, 3)
    do(lab, two, "get", "s", **TWO)
    assert is_(two, 2), "the newest"
    do(lab, two, "unset", "s", **TWO)
    assert [tags(disk) for disk in two.disks] == [[], []], "with all that is left of older ones"


def test_parts_of_a_cut_unset_are_no_state(lab, two):
    do(lab, two, "set", "s", **TWO)
    two.stop()
    qemu_img("snapshot", "-d", "s", lab.image())
    assert show(lab, **TWO) == []
    two.create()
    be(two, 1)
    do(lab, two, "set", "s", **TWO)
    be(two, 2)
    do(lab, two, "get", "s", **TWO)
    assert is_(two, 1)
    assert [len(tags(disk)) for disk in two.disks] == [1, 1]


# -- states of vms and of images ------------------------------------------------------------------


def test_states_of_one_name_are_kept_apart(lab, vm):
    be(vm, 1)
    do(lab, vm, "set", "s")
    be(vm, 2)
    vm.stop()
    setup.set_states(lab.params(set_state_images="s", **VT))
    assert show(lab) == ["s"] and image_states(lab) == ["s"]
    write(lab.image(), 3)
    setup.get_states(lab.params(get_state_images="s", **VT))
    vm.create()
    assert vm.holds(2)
    do(lab, vm, "get", "s")
    assert is_(vm, 1)
    do(lab, vm, "set", "s")
    do(lab, vm, "unset", "s")
    assert show(lab) == [] and image_states(lab) == ["s"]
    do(lab, vm, "set", "s")
    vm.stop()
    setup.unset_states(lab.params(unset_state_images="s", **VT))
    assert show(lab) == ["s"] and image_states(lab) == []


def test_a_tag_that_somebody_else_used_as_well(lab, vm):
    """By hand one can make what QEMU can't tell apart; that is refused before anything is done."""
    do(lab, vm, "set", "s")
    vm.stop()
    qemu_img("snapshot", "-c", "s", lab.image())
    with pytest.raises(ImageRefused, match="several internal snapshots with the tag 's'"):
        setup.unset_states(lab.params(unset_state_images="s", **VT))
    vm.create()
    be(vm, 3)
    do(lab, vm, "get", "s")
    vm.stop()
    qemu_img("snapshot", "-d", "s", lab.image())
    qemu_img("snapshot", "-c", "x", lab.image())
    assert show(lab) == [] and image_states(lab) == ["s", "x"]


def test_a_snapshot_that_qemu_would_take_for_another(lab, vm):
    vm.monitor.cmd(
        "snapshot-save", {"job-id": "j", "tag": "2", "vmstate": "disk0", "devices": ["disk0"]}
    )
    do(lab, vm, "set", "s")
    be(vm, 1)
    assert show(lab) == ["2", "s"]
    with pytest.raises(ImageRefused, match="would take for '2'"):
        do(lab, vm, "get", "2")
    assert vm.status() == "running" and is_(vm, 1)


# -- the root: that the vm runs -------------------------------------------------------------------

OWN = {"pool_scope": "own"}


def test_the_root_is_that_the_vm_runs(lab):
    with machine(lab.image(), start=False) as vm:
        assert do(lab, vm, "check", "root", check_mode="rr") is False
        with pytest.raises(exceptions.TestAbortError, match="'root' of vm1"):
            do(lab, vm, "get", "root")
        with pytest.raises(SettingRefused, match="image_size"):
            do(lab, vm, "set", "root", **OWN)
        do(lab, vm, "set", "root", image_size="8M", **OWN)
        assert vm.is_alive() and lab.image().exists()
        pid = vm.get_pid()
        do(lab, vm, "set", "root", set_mode="rf", **OWN)
        do(lab, vm, "get", "root")
        assert do(lab, vm, "check", "root") is True and vm.get_pid() == pid
        do(lab, vm, "set", "root", **OWN)
        assert vm.is_alive() and vm.get_pid() != pid, "made anew"
        do(lab, vm, "unset", "root", **OWN)
        assert not vm.is_alive() and lab.image().exists()


def test_a_running_root_is_never_the_pools(lab, vm):
    setup.set_states(lab.params(set_state_images="root", pool_scope="shared", skip_types="vms"))
    assert (lab.pool / "vm1" / "vm1-image1.qcow2").exists()
    vm.write(1)
    for verb in ("set", "unset"):
        with pytest.raises(SettingRefused, match="can't be in a pool"):
            do(lab, vm, verb, "root", pool_scope="shared")
    inode = lab.image().stat().st_ino
    QCOW2VTBackend.get_root(params(lab), vm)
    assert lab.image().stat().st_ino == inode, "the image was not replaced under the vm"
    vm.stop()
    assert QCOW2VTBackend.check_root(params(lab), vm) is False, "the pool's does not count"


def test_no_vm_to_start(lab):
    with pytest.raises(SettingRefused, match="environment"):
        QCOW2VTBackend.set_root(params(lab, image_size="8M", **OWN))
    lab.image().unlink()
    no_env = {"use_env": "no", "image_size": "8M", **OWN}
    assert QCOW2VTBackend.check_root(params(lab, **no_env)) is False
    QCOW2VTBackend.set_root(params(lab, **no_env))
    assert QCOW2VTBackend.check_root(params(lab, **no_env)) is True
    QCOW2VTBackend.unset_root(params(lab, **no_env))


def test_a_vm_that_does_not_start(lab):
    started = machine(lab.make_image(), start=False, options=("-nosuchoption",))
    with started as vm, pytest.raises(VmNotRunning, match="could not be started"):
        do(lab, vm, "set", "root", **OWN)
