"""
Runs in the peer's environment: does what standard input says, answers how long it took.

Only the peer's public interface is used, with the params that its users have.
"""

import logging
import time

from benchmarks.answers import answer

logging.disable(logging.CRITICAL)


def params_for(lab):
    """Return test params for one image of one vm."""
    from virttest.utils_params import Params

    place = f":{lab['pool']}"
    return Params(
        {
            "vms": "vm1",
            "images": "image1",
            "object_id": "vm1",
            "object_type": "nets/vms/images",
            "object_name": "net1/vm1/image1",
            "image_name": lab["image"].removesuffix(".qcow2"),
            "image_format": "qcow2",
            "vms_base_dir": lab["root"],
            "images_base_dir": lab["root"],
            "qemu_img_binary": "/usr/bin/qemu-img",
            "swarm_pool": lab["cache"],
            "shared_pool": lab["pool"],
            "pool_scope": "own shared",
            "nets_gateway": "",
            "nets_host": "",
            "get_location": place,
            "show_location": place,
            "set_location": place,
            "get_state": lab["state"],
            "set_state": lab["state"],
        }
    )


def get(lab):
    """Validate the cached chain and put an overlay on it."""
    from avocado_i2n.states.qcow2 import QCOW2ExtBackend

    QCOW2ExtBackend.get(params_for(lab))


def fetch(lab):
    """Bring a chain from the pool."""
    from avocado_i2n.states.pool import QCOW2ImageTransfer

    QCOW2ImageTransfer.get(params_for(lab))


def publish(lab):
    """Bring a chain to the pool."""
    from avocado_i2n.states.pool import QCOW2ImageTransfer

    QCOW2ImageTransfer.set(params_for(lab))


def save(lab):
    """Save the working image as a state in the cache."""
    from avocado_i2n.states.qcow2 import QCOW2ExtBackend

    params = params_for(lab)
    params["pool_scope"] = "own"
    QCOW2ExtBackend.set(params)


def compare(lab):
    """Compare a chain between cache and pool."""
    from avocado_i2n.states.pool import QCOW2ImageTransfer

    QCOW2ImageTransfer.compare_chain(lab["state"], lab["cache"], f":{lab['pool']}", params_for(lab))


def hold(lab):
    """Wait for a lock that is let go meanwhile; answer when it was had."""
    from avocado_i2n.states.pool import image_lock

    with image_lock(lab["path"], timeout=20):
        return time.time()


def load(lab):
    """Import everything, so that no later answer counts it."""
    import avocado_i2n.states.qcow2  # noqa: F401
    from virttest import storage  # noqa: F401


if __name__ == "__main__":
    answer({work.__name__: work for work in (get, fetch, publish, save, compare, hold, load)})
