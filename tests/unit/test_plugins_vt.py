import json
import logging
import os
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from avocado.core import exceptions
from virttest import compat, env_process
from virttest.utils_params import Params

from avocado_pool_plugin.core.errors import ImageRefused
from avocado_pool_plugin.plugins import vt, vt_asked, vt_images, vt_machines
from avocado_pool_plugin.plugins.text import EVENTS_FILE

HOOKS = (
    "preprocess_vm_off_hook",
    "preprocess_vm_on_hook",
    "postprocess_vm_on_hook",
    "postprocess_vm_off_hook",
)


class Machine:
    """A vm as far as the hooks know it; only a real guest could tell more."""

    def __init__(self, name="vm1", obeys=None, **extra):
        self.name = name
        self.obeys = obeys
        self.dead = False
        self.told = []
        self.no_shutdown = False
        self.monitor = self
        self.__dict__.update(extra)

    def is_dead(self):
        return self.dead

    def is_alive(self):
        return not self.dead

    def is_paused(self):
        return False

    def graceful_shutdown(self, timeout):
        self._hear("command")

    def system_powerdown(self):
        self._hear("button")

    def destroy(self, gracefully=True):
        self.told.append("kill" if not self.dead else "clean up")
        self.dead = self.dead or self.obeys != "nothing"

    def verify_dmesg(self, dmesg_log_file=None):
        self.told.append(f"dmesg {dmesg_log_file}")

    def _hear(self, what):
        self.told.append(what)
        if self.obeys == what:
            self.dead = True


class Env(dict):
    def get_vm(self, name):
        return self.get(name)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A vm's image on the disk, an empty cache, and hooks that are undone afterwards."""
    for name in HOOKS:
        monkeypatch.setattr(env_process, name, None)
    monkeypatch.setattr(compat, "get_settings_value", lambda *_, default=None: default)
    image = tmp_path / "run" / "disk.qcow2"
    image.parent.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "4M"], check=True)
    logdir = tmp_path / "results"
    logdir.mkdir()

    def params(**own):
        base = {
            "vms": "vm1",
            "images": "image1",
            "image_name": str(image.with_suffix("")),
            "image_format": "qcow2",
            "image_size": "4M",
            "qemu_img_binary": "qemu-img",
            "vm_type": "qemu",
            "swarm_pool": str(tmp_path / "cache"),
        }
        return Params({**base, **own})

    test = SimpleNamespace(logdir=str(logdir), debugdir=str(logdir))
    return SimpleNamespace(image=image, params=params, test=test, env=Env(), dir=tmp_path)


def events(lab):
    path = os.path.join(lab.test.logdir, EVENTS_FILE)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def before(lab, params):
    vt.install(lab.test, params)
    env_process.preprocess_vm_off_hook(lab.test, params, lab.env)


def process_images(lab, params):
    """Do what Avocado-VT does with images after a test."""
    for vm, image in vt_asked.images(params):
        own = vt_asked.params_of(params, vm, image)
        env_process.postprocess_image(lab.test, own, image, "dead")


def after(lab, params, passed=True):
    params["test_passed"] = str(passed)
    env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    process_images(lab, params)
    env_process.postprocess_vm_off_hook(lab.test, params, lab.env)


def write(path, text, offset=0):
    command = f"write -P {ord(text)} {offset} 64k"
    subprocess.run(["qemu-io", "-c", command, str(path)], check=True, stdout=subprocess.DEVNULL)


def holds(path, text):
    command = ["qemu-io", "-r", "-c", f"read -P {ord(text)} 0 64k", str(path)]
    return (
        "verification failed"
        not in subprocess.run(command, capture_output=True, text=True, check=False).stdout
    )


def made(lab, state="install"):
    """Make a state by the hooks themselves."""
    params = lab.params(set_state_images=state)
    before(lab, params)
    write(lab.image, "A")
    after(lab, params)
    return lab.dir / "cache" / "vm1" / "image1" / f"{state}.qcow2"


# -- a whole test --------------------------------------------------------------------------------


def test_a_passed_test_leaves_its_state_and_its_image_is_removed_as_asked(lab):
    state = made(lab)
    assert holds(state, "A")
    # remove_image is yes by default
    assert not lab.image.exists()
    assert [event["verb"] for event in events(lab)] == ["set"]


def test_an_image_that_is_to_stay_stays(lab):
    params = lab.params(set_state_images="install", remove_image="no")
    before(lab, params)
    after(lab, params)
    assert lab.image.exists()


def test_a_failed_test_saves_nothing_and_its_image_is_removed_as_asked(lab):
    params = lab.params(set_state_images="install")
    before(lab, params)
    after(lab, params, passed=False)
    assert not (lab.dir / "cache" / "vm1").exists()
    assert not lab.image.exists()
    assert events(lab) == []


def test_a_user_may_ask_for_removal_on_failure_only(lab):
    for passed in (True, False):
        params = lab.params(
            set_state_images="s", set_mode="rf", remove_image="no", remove_image_on_error="yes"
        )
        before(lab, params)
        if not passed:
            env_process.postprocess_on_error(lab.test, params, lab.env)
        after(lab, params, passed=passed)
        assert lab.image.exists() is passed


def test_an_image_is_restored_only_after_it_was_saved(lab, monkeypatch):
    order = []
    monkeypatch.setattr(
        env_process.qemu_storage.QemuImg,
        "backup_image",
        lambda self, params, root, action, *rest: order.append((action, events(lab) != [])),
    )
    params = lab.params(set_state_images="install", restore_image="yes", remove_image="no")
    before(lab, params)
    after(lab, params)
    assert order == [("restore", True)]


def test_what_was_got_is_not_created_over(lab):
    made(lab)
    params = lab.params(
        get_state_images="install",
        create_image="yes",
        force_create_image="yes",
        force_create_image_image1="yes",
    )
    before(lab, params)
    own = vt_asked.params_of(params, "vm1", "image1")
    env_process.preprocess_image(lab.test, own, "image1")
    assert holds(lab.image, "A")


def test_other_images_are_created_as_asked(lab):
    made(lab)
    params = lab.params(
        images="image1 image2",
        get_state_image1_vm1="install",
        image_name_image2=str(lab.dir / "run" / "other"),
        force_create_image="yes",
    )
    before(lab, params)
    assert vt_asked.params_of(params, "vm1", "image1")["force_create_image"] == "no"
    assert vt_asked.params_of(params, "vm1", "image2")["force_create_image"] == "yes"


def test_an_ignored_missing_state_leaves_creation_to_the_user(lab):
    params = lab.params(get_state_images="nope", get_mode_images="ri", force_create_image="yes")
    before(lab, params)
    assert vt_asked.params_of(params, "vm1", "image1")["force_create_image"] == "yes"


def test_a_state_that_may_be_missing_but_is_there_is_not_created_over(lab):
    made(lab)
    params = lab.params(get_state_images="install", get_mode="ri", force_create_image="yes")
    before(lab, params)
    assert vt_asked.params_of(params, "vm1", "image1")["force_create_image"] == "no"


def test_a_missing_state_is_an_error_on_record(lab):
    params = lab.params(get_state_images="nope")
    with pytest.raises(exceptions.TestAbortError, match=r"'nope'.*does not exist"):
        before(lab, params)
    assert [list(event) for event in events(lab)] == [["error"]]
    # what Avocado-VT does on its way out does not fail on top of it
    after(lab, params, passed=False)


def test_a_save_that_fails_is_an_error_and_the_image_is_removed_as_asked(lab):
    (lab.dir / "file").write_text("")
    params = lab.params(set_state_images="install", swarm_pool=str(lab.dir / "file"))
    before(lab, params)
    with pytest.raises((RuntimeError, OSError)):
        after(lab, params)
    assert "error" in events(lab)[-1]
    assert not lab.image.exists()


def test_two_images_of_two_vms_are_told_apart(lab):
    params = lab.params(
        vms="vm1 vm2",
        images="image1 image2",
        set_state_image2_vm1="s",
        set_state_image1_vm2="s",
    )
    assert list(vt_asked.to_save(params)) == [("vm1", "image2"), ("vm2", "image1")]
    held = vt_images.HeldBack()
    held.hold(params)
    kept = {
        one: vt_asked.params_of(params, *one).get("remove_image") for one in vt_asked.images(params)
    }
    assert kept == {
        ("vm1", "image1"): None,
        ("vm1", "image2"): "no",
        ("vm2", "image1"): "no",
        ("vm2", "image2"): None,
    }


def test_params_are_as_they_were_after_a_release(lab):
    params = lab.params(
        set_state_images="s", remove_image_image1_vm1="yes", skip_image_processing="yes"
    )
    old = dict(params)
    held = vt_images.HeldBack()
    held.hold(params)
    assert vt_asked.params_of(params, "vm1", "image1")["remove_image"] == "no"
    assert held.release(lab.test, params, lab.env) == []
    assert dict(params) == old


def test_an_image_called_image_is_held_back_as_well(lab):
    # Avocado-VT reads "remove_image_image" as a param "remove" of that image
    params = lab.params(images="image", set_state_images="s")
    vt_images.HeldBack().hold(params)
    assert vt_asked.params_of(params, "vm1", "image")["remove_image"] == "no"


def test_read_only_and_skipped_images_are_left_alone(lab):
    for own in ({"image_readonly": "yes"}, {"skip_types": "vms/images"}, {"states_chain": "vms"}):
        assert list(vt_asked.to_save(lab.params(set_state_images="s", **own))) == []


# -- what is refused before a test runs ----------------------------------------------------------


@pytest.mark.parametrize(
    "own, error",
    [
        ({"set_state_images": "s", "image_snapshot": "yes"}, exceptions.TestError),
        ({"push_state_images": "s", "image_snapshot_image1": "yes"}, exceptions.TestError),
        ({"set_state_images": "s", "master_images_clone": "image1"}, exceptions.TestError),
        ({"get_state_images": "s", "master_images_clone": "image1"}, exceptions.TestError),
        ({"set_state_images": "s", "image_format": "raw"}, ImageRefused),
    ],
)
def test_what_could_not_be_saved_is_refused_before_the_test(lab, own, error):
    with pytest.raises(error):
        before(lab, lab.params(**own))


def test_a_test_may_throw_away_what_it_writes_to_a_state(lab):
    made(lab)
    before(lab, lab.params(get_state_images="install", image_snapshot="yes"))


def test_an_error_of_the_preparation_ends_the_test(lab):
    params = lab.params(pool_error="states of this test can't be prepared: no settings today")
    with pytest.raises(exceptions.TestError, match="no settings today"):
        vt.install(lab.test, params)
    assert events(lab) == [{"error": params["pool_error"]}]


# -- the user's own hooks ------------------------------------------------------------------------


def a_hook_file(lab, text):
    path = lab.dir / "hook.py"
    path.write_text(text)
    return str(path)


def test_the_users_file_runs_first_and_its_hooks_are_called_before_ours(lab):
    made(lab)
    text = (
        "from virttest import env_process\n"
        "import os\n"
        "def off(test, params, env):\n"
        "    params['seen'] = str(os.path.getsize(params['image_name'] + '.qcow2'))\n"
        "env_process.preprocess_vm_off_hook = off\n"
        "params['get_state_images'] = 'install'\n"
        "assert self.logdir\n"
    )
    lab.image.write_text("old")
    params = lab.params(pool_test_pre_hook=a_hook_file(lab, text))
    before(lab, params)
    assert params["seen"] == "3"
    assert holds(lab.image, "A")


def test_an_error_in_the_users_file_is_not_swallowed(lab):
    params = lab.params(pool_test_pre_hook=a_hook_file(lab, "raise LookupError('mine')"))
    with pytest.raises(LookupError, match="mine"):
        vt.install(lab.test, params)
    assert env_process.preprocess_vm_off_hook is None


@pytest.mark.parametrize("name", ["postprocess_vm_on_hook", "postprocess_vm_off_hook"])
def test_nothing_is_saved_if_the_users_hook_fails_on_the_way_out(lab, name):
    def fails(test, params, env):
        raise LookupError("mine")

    setattr(env_process, name, fails)
    params = lab.params(set_state_images="install", test_passed="True")
    before(lab, params)
    with pytest.raises(LookupError):
        getattr(env_process, name)(lab.test, params, lab.env)
    if name == "postprocess_vm_on_hook":
        # Avocado-VT goes on with the rest
        env_process.postprocess_vm_off_hook(lab.test, params, lab.env)
    assert not (lab.dir / "cache" / "vm1").exists()
    assert not lab.image.exists()


def test_hooks_are_never_wrapped_twice(lab, monkeypatch):
    from avocado_pool_plugin.states import setup

    calls = []
    monkeypatch.setattr(setup, "set_states", lambda params, env: calls.append("ours"))
    env_process.postprocess_vm_off_hook = lambda *args: calls.append("theirs")
    params = lab.params(set_state_images="s", test_passed="True")
    for _ in range(3):
        vt.install(lab.test, params)
    env_process.postprocess_vm_off_hook(lab.test, params, lab.env)
    assert calls == ["theirs", "ours"]


def hooked(name, work):
    """Let a user's hook do some work with the test's params."""
    setattr(env_process, name, lambda test, params, env: work(params))


def done_with_states(lab):
    return [f"{event['verb']} {event['state']}" for event in events(lab)]


def test_states_that_the_users_hooks_dealt_with_are_not_dealt_with_again(lab):
    from avocado_pool_plugin.states import setup

    made(lab)
    hooked("preprocess_vm_off_hook", setup.get_states)
    hooked("postprocess_vm_off_hook", setup.set_states)
    params = lab.params(get_state_images="install", set_state_images="more", remove_image="yes")
    told = len(events(lab))
    before(lab, params)
    assert params["create_image_image1_vm1"] == "no"
    write(lab.image, "B")
    after(lab, params)
    assert done_with_states(lab)[told:] == ["got install", "set more"]
    assert not lab.image.exists()


def test_what_the_users_hook_left_is_done(lab):
    """It got the state of one image only, and what was set is pushed, too."""
    from avocado_pool_plugin.states import setup

    made(lab)
    other = lab.dir / "run" / "other.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(other), "4M"], check=True)
    two = {"images": "image1 image2", "image_name_image2": str(other.with_suffix(""))}
    params = lab.params(set_state_images_image2="install", **two)
    before(lab, params)
    after(lab, params)
    told = len(events(lab))
    hooked(
        "preprocess_vm_off_hook",
        lambda p: setup.get_states(lab.params(**{**p, "images": "image1"})),
    )
    hooked("postprocess_vm_off_hook", setup.set_states)
    asked = {"get_state": "install", "set_state": "more", "push_state": "pushed"}
    params = lab.params(**{f"{key}_images": state for key, state in asked.items()}, **two)
    before(lab, params)
    assert done_with_states(lab)[told:] == ["got install"] * 2
    after(lab, params)
    assert sorted(done_with_states(lab)[told + 2 :]) == ["set more"] * 2 + ["set pushed"] * 2


def test_policies_of_others_with_our_backends_are_the_users_too(lab):
    from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend

    made(lab)
    told = len(events(lab))
    hooked("preprocess_vm_off_hook", QCOW2ExtBackend.get)
    hooked("postprocess_vm_off_hook", QCOW2ExtBackend.set)
    asked = {"get_state": "install", "set_state": "more"}
    params = lab.params(**asked, skip_types="vms")
    before(lab, params)
    after(lab, params)
    assert done_with_states(lab)[told:] == ["got install", "set more"]


def test_what_has_to_come_first_comes_before_the_users_hook_gets_states(lab):
    """Here: a vm of an earlier test has the image, and it is not the user's hook that stops it."""
    from avocado_pool_plugin.states import setup

    made(lab)
    order = []
    lab.env["vm1"] = Machine(destroy=lambda gracefully: order.append("stopped"))
    hooked(
        "preprocess_vm_off_hook", lambda params: (order.append("hook"), setup.get_states(params))
    )
    before(lab, lab.params(get_state_images="install"))
    assert order == ["hook", "stopped"]
    assert holds(lab.image, "A")


def test_a_damaged_image_is_not_saved_by_the_users_hook_either(lab):
    from avocado_pool_plugin.states import setup

    hooked("postprocess_vm_off_hook", setup.set_states)
    params = lab.params(set_state_images="install")
    before(lab, params)
    damaged(lab.image)
    with pytest.raises(exceptions.TestError, match="damaged"):
        after(lab, params)
    assert not (lab.dir / "cache" / "vm1" / "image1" / "install.qcow2").exists()
    assert [key for event in events(lab) for key in event] == ["error"]


def test_an_error_of_states_in_the_users_hook_is_told_as_one_of_ours(lab):
    from avocado_pool_plugin.states import setup

    hooked("preprocess_vm_off_hook", setup.get_states)
    with pytest.raises(exceptions.TestAbortError, match="install"):
        before(lab, lab.params(get_state_images="install"))
    assert "install" in events(lab)[-1]["error"]


# -- running vms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "obeys, own, told, clean",
    [
        ("command", {"nics": "nic1"}, ["command", "clean up"], True),
        ("button", {"nics": "nic1"}, ["command", "button", "clean up"], True),
        (None, {"nics": "nic1"}, ["command", "button", "kill"], False),
        ("command", {"nics": "nic1", "soft_boot": "no"}, ["kill"], False),
        # a login without a network takes long
        ("button", {"nics": ""}, ["button", "clean up"], True),
        ("command", {}, ["button", "command", "clean up"], True),
    ],
)
def test_a_vm_is_shut_down_by_its_guest_or_else_by_force(obeys, own, told, clean):
    machine = Machine(obeys=obeys)
    assert vt_machines.shut_down(machine, Params({"kill_timeout": "0.2", **own})) is clean
    assert machine.told == told


def test_trouble_with_a_guest_does_not_keep_its_vm_up():
    def no_login(timeout):
        raise OSError("no console")

    machine = Machine(obeys="button", graceful_shutdown=no_login)
    assert vt_machines.shut_down(machine, Params({"kill_timeout": "1"}))


def test_a_guest_gets_the_time_it_is_given():
    machine = Machine()
    machine.system_powerdown = threading.Timer(0.3, lambda: setattr(machine, "dead", True)).start
    assert vt_machines.shut_down(machine, Params({"kill_timeout": "5"}))


def test_a_qemu_that_stays_after_the_guest_went_counts_as_shut_down():
    machine = Machine(no_shutdown=True, verify_status=lambda status: status == "shutdown")
    started = time.monotonic()
    assert vt_machines.shut_down(machine, Params({"kill_timeout": "5"}))
    assert time.monotonic() - started < 2
    assert machine.is_dead()


def test_a_vm_that_can_not_be_stopped_is_an_error():
    with pytest.raises(exceptions.TestError, match="can't be stopped"):
        vt_machines.shut_down(Machine(obeys="nothing"), Params({"kill_timeout": "0.1"}))


def test_all_vms_with_an_image_to_save_are_stopped_and_no_others(lab):
    params = lab.params(
        vms="vm1 vm2 vm3",
        image_name_image1_vm1=str(lab.dir / "run" / "one"),
        image_name_image1_vm2=str(lab.dir / "run" / "two"),
        set_state_image1_vm1="s",
        unset_state_image1_vm2="s",
        test_passed="True",
        kill_timeout="0.1",
    )
    for name in ("vm1", "vm2", "vm3"):
        lab.env[name] = Machine(name, obeys="command")
    before(lab, params)
    env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    assert [lab.env[name].is_dead() for name in ("vm1", "vm2", "vm3")] == [True, True, False]


def test_vms_of_a_failed_test_are_left_to_the_user(lab):
    params = lab.params(set_state_images="s", test_passed="False")
    lab.env["vm1"] = Machine(obeys="command")
    before(lab, params)
    env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    assert lab.env["vm1"].told == []


def test_a_guests_kernel_log_is_looked_at_before_it_is_gone(lab):
    params = lab.params(set_state_images="s", test_passed="True", start_vm="yes")
    lab.env["vm1"] = Machine(obeys="button")
    before(lab, params)
    env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    log = os.path.join(lab.test.debugdir, "guest_dmesg.log.vm1")
    assert lab.env["vm1"].told == [f"dmesg {log}", "button", "clean up"]


def damaged(path):
    """Make the image's first level table point beyond the end of the file."""
    with open(path, "r+b") as file:
        file.seek(40)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        file.write(((1 << 63) | 0x7F0000000000).to_bytes(8, "big"))


@pytest.mark.parametrize("obeys", [None, "command"])
def test_the_image_of_a_killed_vm_is_checked_before_it_becomes_a_state(lab, obeys, monkeypatch):
    checked = []
    monkeypatch.setattr(vt_machines, "check_image", lambda path, name: checked.append(path))
    params = lab.params(set_state_images="s", kill_timeout="0.1")
    lab.env["vm1"] = Machine(obeys=obeys)
    before(lab, params)
    after(lab, params)
    assert checked == ([] if obeys else [str(lab.image)])


@pytest.mark.parametrize("own", [{"check_image": "yes"}, {}])
def test_an_image_is_checked_if_asked_for_or_written_to_since(lab, own, monkeypatch):
    checked = []
    monkeypatch.setattr(vt_machines, "check_image", lambda path, name: checked.append(path))
    params = lab.params(set_state_images="s", **own)
    lab.env["vm1"] = Machine(obeys="button")
    before(lab, params)
    params["test_passed"] = "True"
    env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    if not own:
        write(lab.image, "B", offset=1 << 20)
    env_process.postprocess_vm_off_hook(lab.test, params, lab.env)
    assert checked == [str(lab.image)]


def test_a_damaged_image_does_not_become_a_state(lab):
    params = lab.params(set_state_images="s")
    before(lab, params)
    write(lab.image, "A")
    damaged(lab.image)
    with pytest.raises(exceptions.TestError, match="damaged"):
        after(lab, params)
    assert not (lab.dir / "cache" / "vm1" / "image1" / "s.qcow2").exists()


def test_a_vm_that_was_started_again_is_stopped_before_its_image_is_checked(lab, monkeypatch):
    dead = []
    note = lambda *_: dead.append(lab.env["vm1"].is_dead())  # noqa: E731
    monkeypatch.setattr(vt_machines, "check_image", note)
    params = lab.params(set_state_images="s", test_passed="True")
    before(lab, params)
    env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    lab.env["vm1"] = Machine()
    env_process.postprocess_vm_off_hook(lab.test, params, lab.env)
    assert dead == [True]


def test_nothing_is_saved_after_an_error_with_the_running_vm(lab):
    params = lab.params(set_state_images="s", kill_timeout="0.1", test_passed="True")
    lab.env["vm1"] = Machine(obeys="nothing")
    before(lab, params)
    with pytest.raises(exceptions.TestError):
        env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    lab.env["vm1"].dead = True
    env_process.postprocess_vm_off_hook(lab.test, params, lab.env)
    assert not (lab.dir / "cache" / "vm1").exists()


def test_a_vm_left_by_an_earlier_test_is_stopped_before_its_image_is_replaced(lab, caplog):
    made(lab)
    lab.env["vm1"] = Machine()
    with caplog.at_level(logging.INFO):
        before(lab, lab.params(get_state_images="install"))
    assert lab.env["vm1"].is_dead()
    assert holds(lab.image, "A")


@pytest.mark.parametrize(
    "own, shared, kill",
    [
        ({"get_state_images": "s"}, "", "yes"),
        ({"get_state_images": "s"}, "/shared", None),
        ({"get_state_images": "s", "keep_vms_after_test": "yes"}, "", None),
        ({"set_state_images": "s"}, "", None),
    ],
)
def test_no_vm_is_left_where_no_later_test_could_find_it(lab, monkeypatch, own, shared, kill):
    monkeypatch.setattr(compat, "get_settings_value", lambda *_, default=None: shared)
    params = lab.params(**own)
    vt_machines.abandon_none(params)
    assert params.object_params("vm1").get("kill_vm") == kill


def test_how_a_user_wants_vms_stopped_is_kept(lab):
    params = lab.params(get_state_images="s", kill_vm="yes", kill_vm_gracefully="yes")
    vt_machines.abandon_none(params)
    assert params.object_params("vm1")["kill_vm_gracefully"] == "yes"


# -- states of running vms -----------------------------------------------------------------------


def test_states_of_vms_and_images_are_dealt_with_apart(lab, monkeypatch):
    from avocado_pool_plugin.states import setup

    calls = []
    monkeypatch.setitem(setup.BACKENDS, "ramfile", object)
    for verb in ("get", "set", "unset", "push", "pop"):
        monkeypatch.setattr(
            setup,
            f"{verb}_states",
            lambda params, env, verb=verb: calls.append((verb, params["skip_types"])),
        )
    params = lab.params(
        get_state_images="a", pop_state_image1_vm1="b", get_state_vms="c", set_state_vms="d"
    )
    before(lab, params)
    env_process.preprocess_vm_on_hook(lab.test, params, lab.env)
    params["test_passed"] = "True"
    env_process.postprocess_vm_on_hook(lab.test, params, lab.env)
    env_process.postprocess_vm_off_hook(lab.test, params, lab.env)
    off, on = "nets vms", "images"
    before_test = [("get", off), ("pop", off), ("get", on), ("pop", on)]
    assert calls == [*before_test, ("set", on), ("set", off)]
    assert "skip_types" not in params


def test_nothing_is_asked_of_vm_states_where_there_are_none(lab, monkeypatch):
    from avocado_pool_plugin.states import setup

    monkeypatch.setattr(setup, "get_states", lambda params, env: pytest.fail("asked for"))
    params = lab.params(get_state_images="a")
    vt.install(lab.test, params)
    env_process.preprocess_vm_on_hook(lab.test, params, lab.env)
