import json

import pytest
from avocado.core.nrunner.runnable import Runnable

from avocado_pool_plugin.plugins import test as plugin

CONFIG = {"pool.shared_pool": ":/pool", "pool.swarm_pool": "", "pool.lock_timeout": "5"}


def prepared(kind="avocado-vt", config=CONFIG, **kwargs):
    runnable = Runnable(kind, "a.test", **kwargs)
    assert plugin.PoolPreTest().pre_test_runnables(runnable, config) == []
    return runnable.kwargs


def test_a_test_that_asks_for_nothing_is_left_alone():
    kwargs = {"vms": "vm1", "get_state_images": "", "test_pre_hook": "/mine.py"}
    assert prepared(**kwargs) == kwargs


def test_a_test_of_another_kind_is_left_alone():
    assert prepared("exec-test", get_state="x") == {"get_state": "x"}


def test_nothing_is_done_when_switched_off():
    config = {**CONFIG, "pool.off": True}
    assert prepared(config=config, get_state_images="x") == {"get_state_images": "x"}


@pytest.mark.parametrize(
    "param", ["get_state_images", "set_state_image1_vm1", "unset_state", "push_state", "pop_state"]
)
def test_a_test_that_asks_for_states_gets_settings_and_hook(param):
    kwargs = prepared(**{param: "install"})
    saves = param.startswith(("set", "push"))
    # a test that makes a state also gets what its record is to say of it
    assert kwargs == {
        param: "install",
        **({"pool_recipe": '{"param image_name": ""}'} if saves else {}),
        "shared_pool": ":/pool",
        "update_pool_timeout": "5",
        "test_pre_hook": plugin.HOOK,
    }
    with open(plugin.HOOK, encoding="utf-8") as file:
        assert "install(self, params)" in file.read()


def test_what_is_recorded_of_a_test_is_what_the_user_wrote():
    kwargs = prepared(set_state="x", mem="192", type="t", test_pre_hook="/mine.py", qemu_binary="q")
    assert json.loads(kwargs["pool_recipe"]) == {
        "param image_name": "",
        "param mem": "192",
        "param type": "t",
    }
    assert prepared(**kwargs) == kwargs


def test_params_win_over_settings():
    kwargs = prepared(get_state="x", shared_pool=":/own", update_pool_timeout="1")
    assert (kwargs["shared_pool"], kwargs["update_pool_timeout"]) == (":/own", "1")


def test_the_users_hook_file_is_kept():
    kwargs = prepared(get_state="x", test_pre_hook="/mine.py")
    assert kwargs["test_pre_hook"] == plugin.HOOK
    assert kwargs["pool_test_pre_hook"] == "/mine.py"


def test_a_test_prepared_twice_keeps_the_users_hook_file():
    kwargs = prepared(**prepared(get_state="x", test_pre_hook="/mine.py"))
    assert kwargs["pool_test_pre_hook"] == "/mine.py"


def test_settings_of_the_job_are_used_without_a_suite(monkeypatch):
    class JobSettings:
        @staticmethod
        def as_dict():
            return {"pool.swarm_pool": "/job"}

    monkeypatch.setattr(plugin, "settings", JobSettings)
    assert prepared(config=None, get_state="x")["swarm_pool"] == "/job"


def test_an_error_is_handed_to_the_one_test_it_concerns(monkeypatch):
    def broken(config):
        raise RuntimeError("no settings today")

    monkeypatch.setattr(plugin, "job_params", broken)
    kwargs = prepared(get_state="x")
    assert "no settings today" in kwargs["pool_error"]
    assert kwargs["test_pre_hook"] == plugin.HOOK
    assert prepared(vms="vm1") == {"vms": "vm1"}


def test_no_task_is_scheduled_after_a_test_and_none_is_cached():
    runnable = Runnable("avocado-vt", "a.test", set_state="x")
    assert plugin.PoolPostTest().post_test_runnables(runnable, CONFIG) == []
    for each in (plugin.PoolPreTest, plugin.PoolPostTest):
        assert not getattr(each, "is_cacheable", False)
