"""
Runs in avocado-i2n's environment: the beginning and the end of a test with a hook file.

Avocado-VT's own code executes the file; then its hooks are called as it would call them.
"""

import logging
from types import SimpleNamespace

from avocado_vt.test import VirtTest
from virttest import env_process
from virttest.utils_params import Params

from avocado_pool_plugin.plugins.test import PoolPreTest
from avocado_pool_plugin.states import report
from benchmarks.answers import answer

HOOKS = ("preprocess_vm_off_hook", "preprocess_vm_on_hook",
         "postprocess_vm_on_hook", "postprocess_vm_off_hook")  # fmt: skip
NOW = SimpleNamespace()


class Begun(Exception):
    """The hook file was executed, the test itself would begin."""


class Machines:
    """An env without vms: the images of all are closed."""

    def get_vm(self, name):
        return None


def begin(what):
    """Execute a test's hook file; return which hooks are assigned, and by which modules."""
    for name in HOOKS:
        setattr(env_process, name, None)
    params = Params({**what["params"], "test_pre_hook": what["file"]})
    if what["plugin"]:
        runnable = SimpleNamespace(kind="avocado-vt", kwargs=params)
        PoolPreTest().pre_test_runnables(runnable, {})
    NOW.params, NOW.test = params, SimpleNamespace(
        params=params, log=logging.getLogger("test"), logdir=what["logdir"],
        debugdir=what["logdir"], _log_parameters=_stop,
    )  # fmt: skip
    try:
        VirtTest._runTest(NOW.test)
    except Begun:
        return [getattr(env_process, name).__module__ for name in HOOKS]


def _stop():
    raise Begun


def call(what):
    """Call a hook and return what was done with states."""
    told = len(report.events())
    NOW.params.update(what["params"])
    getattr(env_process, what["hook"])(NOW.test, NOW.params, Machines())
    return [f"{event.verb} {event.state}" for event in report.events()[told:]]


if __name__ == "__main__":
    answer({"begin": begin, "call": call}, fragile=False)
