"""Runs in avocado-i2n's environment: its own ``states.setup`` with our backends."""

from avocado_i2n.states import setup
from virttest.utils_params import Params

from avocado_pool_plugin.states import qcow2, ramfile, report
from benchmarks.answers import answer

setup.BACKENDS["qcow2ext"] = qcow2.QCOW2ExtBackend
setup.BACKENDS["qcow2"] = qcow2.QCOW2Backend
setup.BACKENDS["ramfile"] = ramfile.RamfileBackend


def policy(what):
    """Do a verb and return what came of it, and what was done with states."""
    told = len(report.events())
    found = getattr(setup, f"{what['verb']}_states")(Params(what["params"]), None)
    return {"found": found, "done": [f"{e.verb} {e.state}" for e in report.events()[told:]]}


if __name__ == "__main__":
    answer({"policy": policy}, fragile=False)
