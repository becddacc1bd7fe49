"""Looks at each test about to be scheduled and prepares those that ask for states."""

import os
from collections.abc import Mapping
from typing import Any

from avocado.core.plugin_interfaces import PostTest, PreTest
from avocado.core.settings import settings

from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.options import is_off

#: File that Avocado-VT executes in the test's process before anything else.
HOOK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vt_hook.py")
#: Param that names such a file.
HOOK_PARAM = "test_pre_hook"
#: Param that keeps the user's own file; it is executed before ours.
USER_HOOK_PARAM = "pool_test_pre_hook"
#: Param with the reason why a test can't have its states; the test ends in an ERROR with it.
ERROR_PARAM = "pool_error"


class PoolPreTest(PreTest):
    """
    Hands Avocado-VT tests that ask for states the job's settings and our hook.

    No task is scheduled before the test: Avocado shows a failed one as a skipped test with exit
    status 0, but a state that can't be had has to be seen. The hook works inside the test.
    """

    name = "pool"
    description = "Prepares tests that ask for VM states"

    def pre_test_runnables(
        self, test_runnable: Any, suite_config: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """
        Change the params of a test that asks for states, leave all others alone.

        It never raises: that would end the whole job instead of one test.
        """
        config = settings.as_dict() if suite_config is None else suite_config
        if test_runnable.kind == "avocado-vt" and not is_off(config):
            params = test_runnable.kwargs
            try:
                _prepare(params, config)
            except Exception as error:
                params[ERROR_PARAM] = f"states of this test can't be prepared: {error}"
                _inject(params)
        return []


def _prepare(params: dict[str, Any], config: Mapping[str, Any]) -> None:
    from avocado_pool_plugin.states.requests import asked, asks_for_states

    if asks_for_states(params):
        if asked(params, "set", "push"):
            from avocado_pool_plugin.graph.recipe import note

            note(params)
        for param, value in job_params(config).items():
            params.setdefault(param, value)
        _inject(params)


def _inject(params: dict[str, Any]) -> None:
    own = params.get(HOOK_PARAM)
    if own != HOOK:
        if own:
            params[USER_HOOK_PARAM] = own
        params[HOOK_PARAM] = HOOK


class PoolPostTest(PostTest):
    """
    Schedules nothing after a test.

    Saving happens inside the test's process: a failed post task shows nowhere in Avocado's results
    and leaves exit status 0, and a state that could not be saved has to be seen. Nor is there a
    task that tidies up after a test that was killed: Avocado drops post tasks when a job times
    out or is interrupted, just when there would be something to do; one for each test holds back
    tests that run in parallel, and those of passed tests leave a log that speaks of an unfulfilled
    dependency. What a killed test left behind is completed by the next operation on that object.
    """

    name = "pool"
    description = "Nothing: VM states are saved inside the test"

    def post_test_runnables(
        self, test_runnable: Any, suite_config: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """Return no task."""
        return []
