"""What hooks arrange for images when the state of their whole vm is asked for."""

from pathlib import Path
from typing import Any

import pytest
from virttest.utils_params import Params

from avocado_pool_plugin.plugins import vt_asked, vt_images, vt_machines
from avocado_pool_plugin.states.objects import last_type, stateful_objects
from tests.support.vms import tool


def params(tmp_path: Path, **more: str) -> Any:
    return Params(
        {
            "vms": "vm1 vm2",
            "images": "image1 image2",
            "image_readonly_image2": "yes",
            "image_name": str(tmp_path / "disk"),
            "swarm_pool": str(tmp_path / "cache"),
            **more,
        }
    )


def pinned(asked: Any, key: str) -> set[tuple[str, str]]:
    """Return the images for which Avocado-VT would not do something."""
    return {
        one for one in vt_asked.images(asked) if vt_asked.params_of(asked, *one).get(key) == "no"
    }


def test_a_vm_state_is_about_all_images_that_the_vm_writes_to(tmp_path: Path) -> None:
    asked = params(tmp_path, get_state_vms_vm1="ready")
    touched = {one for one in vt_asked.images(asked) if vt_asked.touched(asked, *one, "get")}
    assert touched == {("vm1", "image1")}
    assert not vt_asked.wanted(asked, "vm1", "image1", "get")
    vt_images.keep_got(asked, {})
    assert pinned(asked, "force_create_image") == {("vm1", "image1")}


def test_a_root_is_no_state_of_the_images(tmp_path: Path) -> None:
    asked = params(tmp_path, get_state_vms="boot")
    assert not vt_asked.touched(asked, "vm1", "image1", "get")
    assert vt_asked.started_from_files(asked, "get") == []


def test_which_vms_are_got_before_they_are_started(tmp_path: Path) -> None:
    asked = params(tmp_path, get_state_vms="ready", states_vms_vm2="qcow2vt")
    assert vt_asked.started_from_files(asked, "get") == ["vm1"]
    assert vt_asked.started_from_files(asked, "unset") == []


def test_skipped_types_ask_for_nothing(tmp_path: Path) -> None:
    asked = params(tmp_path, get_state_vms="ready", skip_types="nets/vms")
    assert not vt_asked.vm_wanted(asked, "get")
    assert not vt_asked.touched(asked, "vm1", "image1", "get")


@pytest.mark.parametrize("chain", ["vms images", "nets vms images", "images", "vms"])
@pytest.mark.parametrize(
    "skip", ["", "vms", "images", "vms/images", "nets/vms/images", "nets/vms", "vms nets"]
)
def test_types_are_skipped_as_by_the_policies(tmp_path: Path, chain: str, skip: str) -> None:
    """An image whose state is got must not be created over."""
    asked = params(tmp_path, states_chain=chain, skip_types=skip, nets="net1")
    dealt_with = {last_type(own["object_type"]) for own in stateful_objects(asked)}
    kinds = ("nets", "vms", "images")
    assert {kind for kind in kinds if vt_asked.type_in_use(asked, kind)} == dealt_with


@pytest.mark.parametrize(
    "asks",
    [
        {"set_state_images": "s", "states_images": "qcow2"},
        {"get_state_images": "s", "states_images": "qcow2"},
        {"set_state_vms": "s", "states_vms": "qcow2vt"},
        {"get_state_vms": "s", "states_vms": "qcow2vt"},
    ],
)
def test_an_image_with_states_inside_stays_after_the_test(
    tmp_path: Path, asks: dict[str, str]
) -> None:
    asked = params(tmp_path, **asks)
    tool("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk.qcow2", "1M")
    held = vt_images.HeldBack()
    held.hold(asked)
    assert held.release(None, asked, None) == []
    assert {"vm1", "vm2"} == {vm for vm, image in pinned(asked, "remove_image")}
    vt_images.keep_got(asked, {})
    assert ("vm1", "image1") in pinned(asked, "force_create_image")


def test_a_saved_vm_leaves_removal_of_its_image_to_the_user(tmp_path: Path) -> None:
    asked = params(tmp_path, set_state_vms="s")
    held = vt_images.HeldBack()
    held.hold(asked)
    assert pinned(asked, "remove_image") == set()


def test_vms_in_states_and_saved_ones_do_not_outlive_the_test(tmp_path: Path) -> None:
    asked = params(tmp_path, get_state_vms_vm1="ready", set_state_vms_vm2="later")
    vt_machines.abandon_none(asked)
    assert asked["kill_vm_vm1"] == asked["kill_vm_vm2"] == "yes"
    kept = params(tmp_path, set_state_vms="later", keep_vms_after_test="yes")
    vt_machines.abandon_none(kept)
    assert "kill_vm_vm1" not in kept


@pytest.mark.parametrize("verb", ["get", "set"])
def test_what_can_not_be_saved_or_got_is_refused_first(tmp_path: Path, verb: str) -> None:
    asked = params(tmp_path, master_images_clone="image1", **{f"{verb}_state_vms": "ready"})
    with pytest.raises(Exception, match="master_images_clone"):
        vt_images.refuse_unsavable(asked)
    asked = params(tmp_path, image_snapshot="yes", set_state_vms="ready")
    with pytest.raises(Exception, match="image_snapshot"):
        vt_images.refuse_unsavable(asked)


def test_a_missing_vm_state_that_is_ignored_leaves_creation_to_the_user(tmp_path: Path) -> None:
    asked = params(tmp_path, get_state_vms="ready", get_mode_vms="ri", force_create_image="yes")
    before = vt_images.stamps_of_optional(asked)
    assert set(before) == {("vm1", "image1"), ("vm2", "image1")}
    vt_images.keep_got(asked, before)
    assert pinned(asked, "force_create_image") == set()
