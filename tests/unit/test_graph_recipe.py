import json
from pathlib import Path

import pytest
from virttest import asset

from avocado_pool_plugin.core.recipe import Change, Recipe, changes
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.graph import recipe
from avocado_pool_plugin.graph.read import place_in_slot
from avocado_pool_plugin.graph.recipe import code_of, note, own_parts, rule, told
from avocado_pool_plugin.states import recipes
from avocado_pool_plugin.states.recipes import complete, noted_parts, parent_part

#: As Avocado-VT hands it out for a test of the example suite.
PARAMS = {
    "name": "install",
    "shortname": "install",
    "id": "install",
    "qemu_binary": "/srv/examples/suite/bin/qemu-vt",
    "qemu_img_binary": "/usr/bin/qemu-img",
    "kernel": "/srv/.build/guest/vmlinuz",
    "image_name_golden": "/srv/.build/guest/base",
    "disable_kvm": "yes",
    "enable_kvm": "no",
    "provider": "pool_example",
    "vm_type": "qemu",
    "mem": "192",
    "display": "nographic",
    "monitors": "qmp1",
    "vms": "vm1",
    "nics": "",
    "images": "image1",
    "image_name": "images/vm1",
    "image_format": "qcow2",
    "image_chain": "golden image1",
    "serials": "serial0",
    "shell_prompt": "guest# $",
    "login_timeout": "60",
    "kill_vm": "yes",
    "verify_host_dmesg": "no",
    "force_create_image": "yes",
    "type": "guest_files",
    "files_written": "/root/installed /root/more",
    "set_state_images": "install",
    "shared_pool": ":/pool",
    "swarm_pool": "/cache",
    "update_pool_timeout": "5",
    "recipe_mode": "warn",
    "malloc_perturb": "yes",
}


def parts(**more):
    return own_parts({**PARAMS, **more}, {"guest_files": "abc"})


def changed(before, **more):
    """Return what a test's changed params change."""
    found = changes(Recipe.of(before), parts(**more), rule({**PARAMS, **more}))
    return list(map(str, found))


# which params count


def test_what_a_test_does_counts_and_where_and_how_it_is_watched_does_not():
    assert parts() == {
        "code guest_files": "abc",
        "param kernel": "vmlinuz",
        "param vm_type": "qemu",
        "param mem": "192",
        "param vms": "vm1",
        "param nics": "",
        "param images": "image1",
        "param image_name": "base vm1",
        "param image_format": "qcow2",
        "param image_chain": "golden image1",
        "param force_create_image": "yes",
        "param type": "guest_files",
        "param files_written": "installed more",
    }


@pytest.mark.parametrize(
    "param",
    [
        *("get_state", "set_state_image1_vm1", "unset_mode_images", "pop_state", "push_mode"),
        *("check_mode", "show_location", "get_location_images", "set_cascade", "states_images"),
        *("skip_types", "object_id_vm1", "pool_scope", "shared_pool", "swarm_pool_vm1"),
        *("pool_recipe", "pool_error", "test_pre_hook", "vms_base_dir", "images_base_dir_vm1"),
        *("_name_map_file", "variants", "job_env_cleanup", "test_timeout", "vt_ulimit_core"),
        *("enable_kvm_vm1", "kvm_module", "qemu_io_binary", "required_qemu", "host_dmesg_level"),
        *("nettype", "netdst_nic1", "take_regular_screendumps", "screendump_delay", "vnc_autoport"),
        *("monitor_type_qmp1", "chardev_backend_catch_monitor", "serial_type_serial0", "log_dir"),
        *("remove_image_image1", "backup_image_before_testing", "restore_image", "check_image"),
        *("shutdown_command", "profilers", "expected_guest_dmesg", "enable_debugcon", "tmp_dir"),
        *("recipe_ignore", "recipe_mode", "nets_host", "nets_shell_port", "kill_timeout"),
        *("set_mirrors", "set_mirrors_image1_vm1"),
    ],
)
def test_params_that_do_not_count(param):
    assert parts(**{param: "anything"}) == parts()


@pytest.mark.parametrize(
    "param",
    [
        *("smp", "cpu_model", "kernel_params", "image_size_image1", "drive_format", "vga", "usbs"),
        *("cdrom_cd1", "unattended_file", "set_clock_cmd", "check_sum", "get_version"),
        *("start_vm", "boot_once", "os_variant", "packages", "dst_dir", "username", "catalog"),
        *("machine_type", "create_image", "guest_name", "set_sebool_local", "popular", "showcase"),
    ],
)
def test_params_that_count(param):
    assert changed(parts(), **{param: "v"}) == [f"param {param}: unset -> v"]


def test_of_files_only_the_names_count():
    assert changed(parts(), kernel="/elsewhere/vmlinuz", image_name_golden="/other/base") == []
    assert changed(parts(), kernel="/elsewhere/bzImage") == ["param kernel: vmlinuz -> bzImage"]
    assert parts(x="/bin/sh -c 'a /b'")["param x"] == "/bin/sh -c 'a /b'"
    assert parts(x="/")["param x"] == "" and parts(x="a/b")["param x"] == "a/b"


def test_other_names_of_images_count_and_their_places_do_not():
    assert changed(parts(), image_name="images/vm2") == [
        "param image_name: base vm1 -> base vm2",
    ]
    assert changed(parts(), image_name="elsewhere/vm1") == []


def test_a_slot_changes_no_recipe():
    slotted = dict(PARAMS)
    place_in_slot(slotted, "/slots/7")
    assert slotted != PARAMS
    assert own_parts(slotted, {"guest_files": "abc"}) == parts()


def test_secrets_and_long_values_count_by_their_digests():
    found = parts(password="123456", api_key="k", text="x" * 201, keyboard="de", monkey="m")
    assert "123456" not in json.dumps(found) and "x" * 100 not in json.dumps(found)
    assert found["param api_key"].startswith("(digest ")
    assert (found["param keyboard"], found["param monkey"]) == ("de", "m")
    assert parts(password="123457") != parts(password="123456")
    assert parts(password="")["param password"] == ""


def test_a_test_can_leave_out_more():
    assert "param mem" not in parts(recipe_ignore="mem files_*")
    assert "param files_written" not in parts(recipe_ignore="mem files_*")
    assert "code guest_files" in parts(recipe_ignore="mem")
    assert "code guest_files" not in parts(recipe_ignore="code")


def test_a_test_can_name_all_that_counts():
    assert parts(recipe_only="mem kill_*") == {
        "code guest_files": "abc",
        "param mem": "192",
        "param kill_vm": "yes",
    }
    found = parts(recipe_only="*", recipe_ignore="code", pool_recipe="{}")
    assert found["param login_timeout"] == "60"
    assert not {name for name in found if "recipe" in name or name.startswith("code")}


def test_leaving_something_out_later_is_no_change():
    assert changed(parts(), mem="256") == ["param mem: 192 -> 256"]
    assert changed(parts(), mem="256", recipe_ignore="mem") == []
    assert changed(parts(), recipe_only="mem") == []


# comparing


def test_two_runs_of_an_unchanged_suite_have_the_same_key():
    assert Recipe.of(parts()).key == Recipe.of(dict(reversed(parts().items()))).key
    assert Recipe.of(parts()).key != Recipe.of(parts(mem="256")).key


def test_changes_are_told():
    before = parts(extra="e", empty="")
    assert changed(before, mem="256") == [
        "param empty: '' -> unset",
        "param extra: e -> unset",
        "param mem: 192 -> 256",
    ]
    assert told((Change("code a", "1", "2"), Change("base image", "1", "2"))) == (
        "code of test type a changed, the base image changed"
    )
    many = tuple(Change(f"param {name}", "1", "2") for name in "abcde")
    assert told(many).endswith("param c: 1 -> 2, and 2 more")


def test_code_that_can_not_be_found_is_no_change():
    everything = rule({})
    known, unknown = Recipe.of({"code a": "1"}), Recipe.of({})
    assert changes(known, {}, everything) == () == changes(unknown, {"code a": "1"}, everything)
    assert changes(known, {"code a": "2"}, everything) == (Change("code a", "1", "2"),)


def test_a_parent_counts_by_its_recipe_else_by_what_else_is_known():
    cooked = FileInfo(1, "b3t1m:dd", generation="gg", recipe=Recipe("kk", ()))
    assert parent_part("p", cooked) == {"parent p": "recipe kk"}
    assert parent_part("p", FileInfo(1, "b3t1m:dd", generation="gg")) == {
        "parent p": "generation gg"
    }
    assert parent_part("p", FileInfo(1, "b3t1m:dd")) == {"parent p": "digest b3t1m:dd"}
    assert parent_part("", None) == parent_part("p", None) == parent_part("p", FileInfo(1)) == {}
    base = FileInfo(1, "b3t1m:xx", "b3t1m:bb", generation="base-0123")
    assert parent_part("base-0123", base) == {"base image": "b3t1m:bb"}


def test_parents_are_only_compared_in_the_same_way():
    made = Recipe.of({"parent p": "recipe a"})
    for now, differ in (("recipe a", 0), ("recipe b", 1), ("generation b", 0)):
        assert len(changes(made, {"parent p": now}, rule({}))) == differ
    assert changes(made, {}, rule({})) == changes(made, {"parent q": "recipe z"}, rule({})) == ()


def test_recipes_are_read_back_and_unknown_forms_are_none():
    found = Recipe.of({"param b": "2", "param a": "1"})
    assert Recipe.load(json.loads(json.dumps(found.dump(), sort_keys=True))) == found
    for other in (None, "key", {"key": 1, "parts": {}}, {"key": "k"}, {"key": "k", "parts": [1]}):
        assert Recipe.load(other) is None
    assert Recipe.load({"key": "k", "parts": {"a": 1}}) is None


# what the job hands to the test


def test_what_is_noted_is_what_the_set_completes():
    params = dict(PARAMS)
    note(params)
    found = noted_parts(params)
    assert found == own_parts(PARAMS, code_of(PARAMS))
    done = complete(found, "p", FileInfo(1, generation="g"))
    assert done == Recipe.of({**found, "parent p": "generation g"})
    again = dict(params)
    note(again)
    assert again == params


def test_what_was_not_noted_is_no_recipe_and_no_failure():
    assert noted_parts({}) is None
    assert noted_parts({"pool_recipe": "{"}) is None is noted_parts({"pool_recipe": "[1]"})
    assert complete(None, "p", FileInfo(1)) is None


def test_a_failure_to_note_is_only_logged(monkeypatch, caplog):
    def fails(params):
        raise OSError("gone")

    monkeypatch.setattr(recipe, "code_of", fails)
    params = dict(PARAMS)
    note(params)
    assert params == PARAMS
    assert "install" in caplog.text and "gone" in caplog.text


def test_a_test_is_called_as_in_the_list_of_tests():
    assert recipes.test_name({"id": "a", "shortname": "b", "name": "c"}) == "a"
    assert recipes.test_name({"shortname": "b", "name": "c"}) == "b"
    assert recipes.test_name({"name": "c"}) == "c"
    assert recipes.test_name({}) == ""


# code


@pytest.fixture
def provider(tmp_path, monkeypatch) -> Path:
    """The tests of a provider; nothing is remembered of others."""
    tests = tmp_path / "qemu" / "tests"
    (tests / "deep").mkdir(parents=True)
    info = {"backends": {"qemu": {"path": str(tmp_path / "qemu")}}}
    monkeypatch.setattr(asset, "get_test_provider_info", lambda name: info)
    subdirs = {"qemu": [str(tmp_path / "qemu")], "generic": []}
    monkeypatch.setattr(asset, "get_test_provider_subdirs", subdirs.__getitem__)
    for cached in (recipe._source_digest, recipe._directories):
        cached.cache_clear()
    yield tests
    for cached in (recipe._source_digest, recipe._directories):
        cached.cache_clear()


@pytest.mark.parametrize("named", ["mine", ""])
def test_the_code_of_all_types_counts(provider, named):
    (provider / "one.py").write_text("1")
    (provider / "deep" / "two.py").write_text("2")
    params = {"type": "one two three", "provider": named, "vm_type": "qemu"}
    found = code_of(params)
    assert set(found) == {"one", "two"} and found["one"] != found["two"]
    recipe._source_digest.cache_clear()
    (provider / "one.py").write_text("1 and more")
    assert code_of(params)["one"] != found["one"]
    assert code_of(params)["two"] == found["two"]


def test_a_provider_that_is_not_set_up_leaves_the_code_out(provider, monkeypatch, caplog):
    def fails(name):
        raise ValueError("no such provider")

    monkeypatch.setattr(asset, "get_test_provider_info", fails)
    assert code_of({"type": "one", "provider": "mine"}) == {}
    assert "no such provider" in caplog.text
