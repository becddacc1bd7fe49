"""Running vms, which is what the root states of vm backends are; shared by the backends."""

import contextlib
import logging
import os
import signal
import time
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.errors import SettingRefused, VmNotRunning
from avocado_pool_plugin.states import images
from avocado_pool_plugin.states.imageroot import all_exist, make_image

LOG = logging.getLogger("avocado." + __name__)

#: Seconds that a killed QEMU may take to be gone, and between two looks.
_DYING, _POLL = 5.0, 0.01


class RunningRoot:
    """
    Root states that are running vms, for a ``RootSourcedStateBackend``: never the pool's.

    The vm is alive, and all images that it writes to exist. With ``use_env = no`` only the images
    count, for who deals with states where no vm can run.
    """

    @classmethod
    def _check_root(cls, params: Any, object: Any = None) -> bool:
        if not all_exist(writable_images(params)):
            return False
        return not _counts(params) or is_alive(object)

    @classmethod
    def _get_root(cls, params: Any, object: Any = None) -> None:
        """Nothing to do: the vm runs."""

    @classmethod
    def _set_root(cls, params: Any, object: Any = None) -> None:
        """
        Start the vm unless it runs, or anew in any case (``replace_root``); make missing images.

        :raises SettingRefused: there is no vm to start, or an image's size is not known
        :raises VmNotRunning: it can't be started
        """
        for own in writable_images(params):
            make_image(own)
        if not _counts(params):
            return
        if object is None:
            raise SettingRefused(
                f"vm {params['vms']!r} can't be started without a running test's environment; ask "
                f"for it in a test, or set use_env = no if only its images count"
            )
        if is_alive(object):
            if not settings.flag(params, "replace_root"):
                return
            cls._unset_root(params, object)
        LOG.info("starting vm %s, a state of it is asked for", params["vms"])
        start(object)

    @classmethod
    def _unset_root(cls, params: Any, object: Any = None) -> None:
        """Stop the vm by force, if it runs; its images stay."""
        if is_alive(object):
            LOG.info("stopping vm %s", params["vms"])
            object.destroy(gracefully=False)


def writable_images(params: Any) -> list[Any]:
    """Return a copy of a vm's params for each image that it writes to, narrowed to it."""
    each = images.image_params(params)
    return [own for own in each if not settings.flag(own, "image_readonly")]


def is_alive(vm: Any) -> bool:
    """Tell whether there is a vm and it runs, paused or not."""
    return vm is not None and bool(vm.is_alive())


def start(vm: Any, **how: Any) -> None:
    """
    Start a vm as its own params say.

    :param how: what Avocado-VT takes for a vm that is started from a file
    :raises VmNotRunning: it did not start
    """
    from virttest.virt_vm import VMError

    try:
        vm.create(**how)
    except VMError as error:
        raise VmNotRunning(f"vm {vm.name!r} could not be started: {error}") from error


def end(vm: Any) -> None:
    """
    End a vm whose present and images are about to be replaced.

    It is killed: asked to quit, it takes Avocado-VT half a second or more to see that it did.
    """
    with contextlib.suppress(ProcessLookupError, TypeError):
        os.kill(vm.get_pid(), signal.SIGKILL)
    deadline = time.monotonic() + _DYING
    while not vm.is_dead() and time.monotonic() < deadline:
        time.sleep(_POLL)
    vm.destroy(gracefully=False)


def _counts(params: Any) -> bool:
    """Tell whether a vm has to run; without an environment of a test none can."""
    return settings.flag(params, "use_env", True)
