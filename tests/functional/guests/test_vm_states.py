"""States of running vms, through ``avocado run`` with real guests."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guests import Machines, left_as_they_are, passport, whole, with_ready
from tests.support.jobs import EXAMPLES
from tests.support.mounts import mounted
from tests.support.vms import sound, tool

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """A worker that has the vm state ``ready``."""
    return with_ready(tmp_path_factory.mktemp("machines"))


@pytest.fixture
def worker(first: Machines) -> Iterator[Machines]:
    """The first worker, with the states that it began with."""
    with left_as_they_are(first.cache, Path(first.env.pool)):
        yield first


def test_saved_and_resumed_with_all_that_is_checked(first: Machines) -> None:
    found = passport(first.ram())
    assert found["machine type"].startswith("pc-i440fx-")
    assert found["memory"] == "192 MiB" and found["CPU model"] == "max"
    assert found["accelerator"] in ("tcg", "kvm")
    assert any("virtio-blk-pci" in kind for kind in found.values())
    assert whole(first.ram()) and whole(Path(first.env.pool) / "vm1" / "ready.state")
    sound(first.image_state())
    job = first.do("recall", get_state_vms="ready", memory_wanted="answer").passed()
    got = [event for event in job.events("recall") if event["verb"] == "got"]
    assert [event["object"] for event in got] == ["vm1/image1", "vm1"]
    starts = [line for line in job.log("recall").splitlines() if "Created qemu process" in line]
    assert len(starts) == 1, "QEMU is started once"
    assert "-incoming" in job.log("recall")


def test_another_cache_gets_it_from_the_pool(first: Machines, tmp_path: Path) -> None:
    other = Machines(tmp_path / "other", Path(first.env.pool))
    job = other.do("recall", get_state_vms="ready", memory_wanted="answer").passed()
    fetched = [event["object"] for event in job.events("recall") if event["verb"] == "fetched"]
    assert fetched == ["vm1/image1"] * 3 + ["vm1"]
    assert other.ram().read_bytes() == first.ram().read_bytes()


def test_middle_of_a_test(worker: Machines) -> None:
    job = worker.do(
        "middle",
        get_state_vms="ready",
        memory_wanted="answer",
        set_state_vms="more",
    ).passed()
    verbs = [(event["verb"], event["state"]) for event in job.events("middle")]
    assert verbs.count(("set", "checkpoint")) == 2 and ("got", "checkpoint") in verbs
    assert whole(worker.ram("checkpoint")) and whole(worker.ram("more"))
    for name in ("checkpoint", "more"):
        sound(worker.image_state(name))
    wanted, unwanted = "answer first second fourth", "third"
    worker.do(
        "recall", get_state_vms="more", memory_wanted=wanted, memory_unwanted=unwanted
    ).passed()


def test_guest_is_stopped_for_a_moment_only(worker: Machines) -> None:
    job = worker.do("paused", get_state_vms="ready", memory_wanted="answer").passed()
    gaps = json.loads((Path(job.test("paused")["logdir"]) / "gaps.json").read_text())
    # the guest's own clock stands still while it is paused, so it misses nothing of it
    assert max(gaps) < 5.0, max(gaps)
    assert "was paused for" in job.log("paused")


def test_no_room_for_the_ram_leaves_vm_and_states_as_they_were(worker: Machines) -> None:
    with mounted("tmpfs", worker.env.data.parent / "small", 24) as small:
        ignored = shutil.ignore_patterns("*.state*")
        shutil.copytree(worker.cache, small, dirs_exist_ok=True, ignore=ignored)
        worker.do(
            "full_disk", get_state_vms="ready", memory_wanted="answer", small_cache=small
        ).passed()


OTHER_MACHINES = {
    "machine_type": ("q35", "machine type"),
    "mem": ("256", "memory was 192 MiB, now it is 256 MiB"),
    "smp": ("2", "virtual CPUs"),
    "cpu_model": ("qemu64", "CPU model was max, now it is qemu64"),
}


@pytest.mark.parametrize("param", OTHER_MACHINES)
def test_another_machine_is_refused_by_name(first: Machines, param: str) -> None:
    value, entry = OTHER_MACHINES[param]
    job = first.do("recall", get_state_vms="ready", memory_wanted="answer", **{param: value})
    assert job.status == 1 and job.statuses() == ["ERROR"]
    reason = job.test("recall")["fail_reason"]
    assert "can't be resumed" in reason and entry in reason, reason
    assert "vm_state_mismatch = boot" in reason
    assert "Created qemu process" not in job.log("recall")


def wrapper(directory: Path, version: str) -> Path:
    """Make a QEMU that calls itself another version."""
    path = directory / "qemu-of-another-version"
    real = EXAMPLES / "suite" / "bin" / "qemu-vt"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "QEMU emulator version {version}"\n'
        f'else exec {real} "$@"\nfi\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("version", ["6.2.0", "99.1.0"])
def test_another_qemu_is_refused(first: Machines, tmp_path: Path, version: str) -> None:
    qemu = wrapper(tmp_path, version)
    job = first.do("recall", get_state_vms="ready", memory_wanted="answer", qemu_binary=qemu)
    assert job.statuses() == ["ERROR"]
    reason = job.test("recall")["fail_reason"]
    assert "QEMU version was" in reason and version in reason, reason


def test_another_machine_is_booted_if_asked_for(first: Machines) -> None:
    job = first.do(
        "booted", get_state_vms="ready", vm_state_mismatch="boot", mem="256", disk_wanted="answer"
    ).passed()
    assert "is booted, not resumed: memory was 192 MiB" in job.log("booted")
    assert "-incoming" not in job.log("booted")


def test_image_state_changed_under_the_ram_file_is_refused(first: Machines) -> None:
    """Somebody put another image state of that name into a cache of its own, record and all."""
    cache = first.cache.with_name("changed")
    shutil.copytree(first.cache, cache)
    image = cache / "vm1" / "image1" / "ready.qcow2"
    os.chmod(image, 0o644)
    tool("qemu-io", "-f", "qcow2", "-c", "write -P 7 8M 64k", image)
    for known in (image.parent / ".pool").glob("ready.qcow2.*"):
        if known.is_file():
            known.unlink()
    asked = {"get_state_vms": "ready", "swarm_pool": cache, "pool_scope": "own"}
    job = first.do("recall", memory_wanted="answer", **asked)
    assert job.statuses() == ["ERROR"]
    assert "image 'image1' is in another state" in job.test("recall")["fail_reason"]
    shutil.rmtree(cache)


def test_missing_vm_state_is_an_error_that_names_places(first: Machines) -> None:
    job = first.do("recall", get_state_vms="nowhere", memory_wanted="answer")
    assert job.status == 1 and job.statuses() == ["ERROR"]
    reason = job.test("recall")["fail_reason"]
    assert "'nowhere' of vm1 does not exist" in reason and str(first.cache) in reason
    ignored = first.do(
        "booted", get_state_vms="nowhere", get_mode_vms="ri", get_state_images="ready"
    )
    ignored.passed()


def test_pop_gives_memory_and_images_back(worker: Machines, tmp_path: Path) -> None:
    cache = tmp_path / "popped"
    shutil.copytree(worker.cache, cache)
    asked = {"swarm_pool": cache, "pool_scope": "own"}
    job = worker.do("recall", pop_state_vms="ready", memory_wanted="answer", **asked).passed()
    verbs = [event["verb"] for event in job.events("recall")]
    assert "got" in verbs and "unset" in verbs
    assert not (cache / "vm1" / "ready.state").exists()
    assert not (cache / "vm1" / "image1" / "ready.qcow2").exists()
    assert (cache / "vm1" / "image1" / "install.qcow2").exists()


def test_removed_while_the_vm_runs_on_it(worker: Machines, tmp_path: Path) -> None:
    cache = tmp_path / "removed"
    shutil.copytree(worker.cache, cache)
    asked = {"swarm_pool": cache, "pool_scope": "own"}
    worker.do("remove", get_state_vms="ready", memory_wanted="answer", **asked).passed()
    assert not (cache / "vm1" / "ready.state").exists()
    sound(cache / "vm1" / "image1" / "ready.qcow2")


def test_removed_when_the_vm_is_gone(worker: Machines, tmp_path: Path) -> None:
    cache = tmp_path / "removed"
    shutil.copytree(worker.cache, cache)
    asked = {"swarm_pool": cache, "pool_scope": "own", "unset_state_vms": "ready"}
    worker.do("recall", get_state_vms="ready", memory_wanted="answer", **asked).passed()
    assert not (cache / "vm1" / "ready.state").exists()
    assert not (cache / "vm1" / "image1" / "ready.qcow2").exists()
    assert (cache / "vm1" / "image1" / "install.qcow2").exists()
