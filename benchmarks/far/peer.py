"""
Runs in the peer's environment: pools on another host, as avocado-i2n has them.

Only its public interface is used, with the params that its users have.
"""

import os
import sys

# where its aexpect looks for a helper
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

from benchmarks.answers import answer
from benchmarks.peer import params_for


def _params(what):
    """Return test params for one image of one vm, with a pool on another host."""
    params = params_for({**what, "image": f"{what['root']}/run/peer.qcow2"})
    there = f"lab:{what['pool']}"
    return params | {
        "get_location": there,
        "set_location": there,
        "nets_shell_client": "ssh",
        "nets_shell_host": "127.0.0.1",
        "nets_shell_port": what["port"],
        "nets_shell_prompt": r"[\#\$]\s*$",
        "nets_username": what["user"],
        "nets_password": what["password"],
        "nets_file_transfer_client": "scp",
        "nets_file_transfer_port": what["port"],
    }


def _logged_out():
    from avocado_i2n.states.pool import TransferOps

    for session in TransferOps._session_cache.values():
        session.close()
    TransferOps._session_cache.clear()


def login(what):
    """Log in."""
    from avocado_i2n.states.pool import TransferOps

    _logged_out()
    TransferOps.get_session("lab", _params({**what, "root": "/", "pool": "/"} | _NOWHERE))


def fetch(what):
    """Bring a chain from the host, logging in first."""
    from avocado_i2n.states.pool import QCOW2ImageTransfer

    _logged_out()
    QCOW2ImageTransfer.get(_params(what))


def publish(what):
    """Bring a chain to the host, logging in first."""
    from avocado_i2n.states.pool import QCOW2ImageTransfer

    _logged_out()
    QCOW2ImageTransfer.set(_params(what))


def load(what):
    """Import everything, so that no later answer counts it."""
    import avocado_i2n.states.pool  # noqa: F401


_NOWHERE = {"cache": "/", "state": "none"}


if __name__ == "__main__":
    works = (login, fetch, publish, load)
    answer({work.__name__: work for work in works}, fragile=False)
