"""On which machines a vm state is resumed: on those it was saved from, and no others."""

import contextlib
import json

import pytest

from avocado_pool_plugin.core.errors import ToolFailed, VmStateRefused
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.passport import QEMU
from avocado_pool_plugin.states import machine
from avocado_pool_plugin.states.monitor import Monitor
from tests.support.bare import MACHINE, bare_vm
from tests.support.states import OWN
from tests.support.vmstates import be, get, is_, params, passport, put, ram


@pytest.fixture
def vm(lab, bare):
    """A running vm whose disk and device hold 2; its state ``s`` holds 1."""
    be(bare, 1)
    put(lab, bare, "s", **OWN)
    be(bare, 2)
    return bare


def wrapper(tmp_path, *replies):
    """Return a QEMU that gives other answers: each a word of the question and what is said."""
    path = tmp_path / "qemu-other"
    cases = "\n".join(f"*'{word}'*) echo '{said}'; exit ;;" for word, said in replies)
    path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\nesac\nexec {MACHINE["qemu_binary"]} "$@"\n')
    path.chmod(0o755)
    return str(path)


def refused(lab, vm, match, **more):
    """Make sure that a state is refused on another machine, and nothing touched."""
    starts = vm.starts
    with pytest.raises(VmStateRefused, match=match):
        get(lab, vm, "s", **OWN, **more)
    assert is_(vm, 2) and vm.starts == starts


@contextlib.contextmanager
def another(lab, vm, **more):
    """Start the same images on another machine."""
    vm.stop()
    with bare_vm(params(lab, **more)) as found:
        found.remember(2)
        yield found


OTHER = {
    "memory was 32 MiB, now it is 48 MiB": {"mem": "48"},
    "machine type was pc-i440fx-.*, now it is pc-q35-": {"machine_type": "q35"},
    "CPU model was max, now it is qemu64": {"cpu_model": "qemu64"},
    "virtual CPUs was 1, now it is 2": {"smp": "2"},
    "device virtio-rng-pci was not there, now it is virtio-rng-pci": {
        "extra_params": "-device virtio-rng-pci"
    },
    "device pci.0 0x2 was virtio-blk-pci, now it is virtio-blk-pci,write-cache=off": {
        "blk_extra_params": "write-cache=off"
    },
    r"memory was.*; virtual CPUs was.*; set the state again": {"mem": "48", "smp": "2"},
}


@pytest.mark.parametrize("match", OTHER)
def test_another_machine(lab, vm, match):
    with another(lab, vm, **OTHER[match]) as other:
        refused(lab, other, match, **OTHER[match])
    get(lab, vm, "s", **OWN)
    assert is_(vm, 1)


def test_by_request_it_is_booted_on_another_machine(lab, vm, caplog):
    more = {"mem": "48", "vm_state_mismatch": "boot"}
    with another(lab, vm, **more) as other:
        get(lab, other, "s", **OWN, **more)
        assert "booted, not resumed: memory was 32 MiB" in caplog.text
        assert other.status() == "running" and other.starts == 2
        assert other.holds(1), "the disk is there"
        assert other.remembers() not in (1, 2), "the rest started anew"


def test_a_device_that_is_gone(lab, vm):
    with another(lab, vm, extra_params="-device virtio-rng-pci") as other:
        put(lab, other, "s", **OWN, set_cascade="yes")
    vm.create()
    vm.remember(2)
    refused(lab, vm, r"device virtio-rng-pci .*now it is not there")


# -- versions of QEMU -----------------------------------------------------------------------------


def test_another_version_of_qemu(lab, vm, tmp_path):
    """The processor that it emulates, if all that it can is asked for, may be another one."""
    for version in ("6.2.0", "99.1.0"):
        other = wrapper(tmp_path, ("--version", f"QEMU emulator version {version}"))
        match = f"QEMU version was .*, now it is {version}"
        refused(lab, vm, match, qemu_binary=other)


def test_a_bugfix_release_of_qemu_is_no_other_one(lab, vm, tmp_path):
    major, minor = dict(passport(ram(lab, "s")).machine)[QEMU].split(".")[:2]
    other = wrapper(tmp_path, ("--version", f"QEMU emulator version {major}.{minor}.99"))
    get(lab, vm, "s", **OWN, qemu_binary=other)
    assert is_(vm, 1)


def test_a_later_version_has_the_same_versioned_machine(lab, tmp_path):
    more = {**OWN, "cpu_model": "qemu64"}
    lab.make_image()
    with bare_vm(params(lab, **more)) as vm:
        be(vm, 1)
        put(lab, vm, "s", **more)
        kind = dict(passport(ram(lab, "s")).machine)["machine type"]
        machines = ("-machine help", f"pc (alias of {kind})")
        later = wrapper(tmp_path, ("--version", "QEMU emulator version 99.0.0"), machines)
        get(lab, vm, "s", **more, qemu_binary=later)
        assert is_(vm, 1)
        earlier = wrapper(tmp_path, ("--version", "QEMU emulator version 1.0.0"), machines)
        with pytest.raises(VmStateRefused, match=r"QEMU version was .*, now it is 1\.0\.0"):
            get(lab, vm, "s", **more, qemu_binary=earlier)


def test_the_alias_of_a_machine_moves_on(lab, vm, tmp_path):
    """``pc`` of a later QEMU is another machine; the versioned name is the same one."""
    later = wrapper(tmp_path, ("-machine help", "pc   Standard PC (alias of pc-i440fx-99.0)"))
    refused(lab, vm, "machine type was pc-i440fx-.*, now it is pc-i440fx-99.0", qemu_binary=later)
    kind = dict(passport(ram(lab, "s")).machine)["machine type"]
    with another(lab, vm, machine_type=kind) as other:
        get(lab, other, "s", **OWN, machine_type=kind)
        assert is_(other, 1)


def test_a_qemu_that_does_not_tell_its_version(lab, vm, tmp_path):
    silent = wrapper(tmp_path, ("--version", "hello"))
    with pytest.raises(ToolFailed, match="does not tell a version"):
        get(lab, vm, "s", **OWN, qemu_binary=silent)
    assert is_(vm, 2)


# -- records --------------------------------------------------------------------------------------


def rewrite(lab, change):
    """Change the record of ``s``; ``change`` is given its fields."""
    path = ram(lab, "s").parent / META / "s.state.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_an_entry_that_is_not_known_here(lab, vm):
    """A later version of this package compares more; whether it fits can't be told."""
    rewrite(lab, lambda data: data["passport"]["machine"].update({"firmware": "UEFI"}))
    refused(lab, vm, "firmware was UEFI, now it is not there")


def test_an_entry_that_is_not_in_an_old_record(lab, vm):
    rewrite(lab, lambda data: data["passport"]["machine"].pop("virtual CPUs"))
    refused(lab, vm, "virtual CPUs was not there, now it is 1")


@pytest.mark.parametrize("content", [None, 7, {"machine": {}}, {"machine": 1, "images": 2}])
def test_a_passport_that_is_none(lab, vm, content, caplog):
    rewrite(lab, lambda data: data.update(passport=content))
    get(lab, vm, "s", **OWN)
    assert is_(vm, 1)
    assert "says nothing of the machine" in caplog.text


def test_no_record_at_all(lab, vm, caplog):
    (ram(lab, "s").parent / META / "s.state.json").unlink()
    get(lab, vm, "s", **OWN)
    assert is_(vm, 1) and "says nothing of the machine" in caplog.text


# -- what is compared -----------------------------------------------------------------------------


def test_what_runs_is_what_would_be_started_again(lab, vm):
    running = machine.running(vm, Monitor.of(vm, "vm1"))
    assert machine.to_be_started(vm.params, vm, "/") == running
    assert running["device pci.0 0x2"] == "virtio-blk-pci"
    assert running["accelerator"] == "tcg" and running["memory"] == "32 MiB"


def told(lab, **more):
    """Return what is known of the vm that Avocado-VT will make."""
    needed = {"vm_type": "qemu", "drive_format": "virtio", "display": "nographic", "nics": ""}
    asked = params(lab, **needed, monitors="qmp1", monitor_type="qmp", **more)
    own = asked.object_params("vm1")
    own["vms"] = "vm1"
    return machine.to_be_started(own, None, "/")


def test_avocado_vt_tells_what_it_would_start(lab):
    """Without any vm there yet; for this it has to make the command line by itself."""
    lab.make_image()
    found = told(lab)
    assert found["memory"] == "32 MiB" and found["accelerator"] == "tcg"
    assert [kind for kind in found.values() if kind.startswith("virtio-blk-pci")]
    assert found["virtual CPUs"].startswith("1")


def test_a_command_line_that_can_not_be_told(lab, vm, monkeypatch):
    """Then what only it says is not compared; what the params say is."""
    then = passport(ram(lab, "s"))

    def fails(*args, **named):
        raise KeyError("no such thing")

    monkeypatch.setattr("virttest.qemu_vm.VM.make_create_command", fails)
    assert then.mismatches(told(lab)) == []
    assert then.mismatches(told(lab, mem="1G")) == ["memory was 32 MiB, now it is 1024 MiB"]
    assert len(then.mismatches(told(lab, machine_type="q35"))) == 1
    vm.stop()
    with pytest.raises(VmStateRefused, match="memory was 32 MiB, now it is 48 MiB"):
        get(lab, None, "s", **OWN, mem="48", start_later="yes")
