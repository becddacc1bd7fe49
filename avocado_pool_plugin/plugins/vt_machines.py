"""How a running vm is brought to leave whole images behind."""

import logging
import os
import time
from typing import Any

from avocado.core.exceptions import TestError

from avocado_pool_plugin import qemu
from avocado_pool_plugin.params import flag
from avocado_pool_plugin.plugins import vt_asked

LOG = logging.getLogger("avocado." + __name__)

#: Seconds for a guest to shut down, where ``kill_timeout`` does not say; Avocado-VT's own default.
_PATIENCE = 60
#: Seconds between two looks at a vm that is shutting down.
_POLL = 0.1


def to_stop(params: Any, env: Any) -> list[str]:
    """Return the running vms that have to be off before their images' states are dealt with."""
    asked = {
        vm
        for vm, image in vt_asked.images(params)
        if vt_asked.wanted(params, vm, image, *vt_asked.LEAVING)
    }
    return [vm for vm in params.objects("vms") if vm in asked and is_running(env.get_vm(vm))]


def is_running(machine: Any) -> bool:
    """Return whether there is a vm and its QEMU runs, responsive or not."""
    return machine is not None and not machine.is_dead()


def stop_leftovers(params: Any, env: Any) -> None:
    """Stop vms of an earlier test whose images are about to be replaced."""
    for vm in _users_of_states(params):
        if is_running(env.get_vm(vm)):
            LOG.info("stopping vm %r of an earlier test", vm)
            gracefully = params.object_params(vm).get("kill_vm_gracefully") == "yes"
            env.get_vm(vm).destroy(gracefully=gracefully)


def abandon_none(params: Any) -> None:
    """
    Make Avocado-VT stop vms that are in states, or were saved, if no later test could reach them.

    With ``kill_vm`` at its default it leaves vms to the next test, but unless tests are told to
    share a directory (``tmp_dir`` of ``[vt.common]``) that one never hears of them: it would only
    find its image held open. ``keep_vms_after_test = yes`` keeps them all the same.
    """
    from virttest.compat import get_settings_value

    if get_settings_value("vt.common", "tmp_dir", default=""):
        return
    if params.get_boolean("keep_vms_after_test", False):
        return
    saved = {vm for vm in params.objects("vms") if vt_asked.vm_states(params, vm, *vt_asked.SAVING)}
    for vm in sorted(saved.union(_users_of_states(params))):
        if params.object_params(vm).get("kill_vm") != "yes":
            params[f"kill_vm_{vm}"] = "yes"
            params[f"kill_vm_gracefully_{vm}"] = "no"


def _users_of_states(params: Any) -> list[str]:
    """Return the vms that are to be in a state, or that have an image which is to be in one."""
    return [
        vm
        for vm in params.objects("vms")
        if vt_asked.vm_states(params, vm, *vt_asked.GETTING)
        or any(
            name == vm and vt_asked.wanted(params, vm, image, *vt_asked.GETTING)
            for name, image in vt_asked.images(params)
        )
    ]


def verify_guest(test: Any, params: Any, machine: Any) -> None:
    """
    Look for errors in a guest's kernel log, as Avocado-VT does with vms that still run later.

    :param params: the params of the test
    :raises Exception: there are some, so the test fails and its images do not become states
    """
    asked = params.get("verify_guest_dmesg", "yes") == "yes" and params.get("start_vm") == "yes"
    if not asked or not machine.is_alive() or machine.is_paused():
        return
    log = None
    if params.get("guest_dmesg_dump_console") != "yes":
        name = params.get("guest_dmesg_logfile", "guest_dmesg.log")
        log = os.path.join(test.debugdir, f"{name}.{machine.name}")
    machine.verify_dmesg(dmesg_log_file=log)


def shut_down(machine: Any, params: Any) -> bool:
    """
    Stop a running vm: by its guest, or by force where that is asked for (``soft_boot = no``) or
    the guest does not react within ``kill_timeout`` seconds.

    Avocado-VT's own ``destroy`` kills a guest that does not react and does not tell.

    :param params: the params of the vm
    :return: whether the guest shut down itself, so that its images are whole
    :raises TestError: the vm is still running
    """
    clean = flag(params, "soft_boot", True) and _ask_guest(machine, params)
    if not clean:
        LOG.warning("vm %r was not shut down by its guest: stopped by force", machine.name)
    machine.destroy(gracefully=False)
    if not machine.is_dead():
        raise TestError(f"vm {machine.name!r} can't be stopped, so its images can't become states")
    return clean


def _ask_guest(machine: Any, params: Any) -> bool:
    """
    Ask by ``shutdown_command`` and by the power button; return whether the guest obeyed.

    Without a network the command needs a login on a silent console, which takes Avocado-VT more
    than ten seconds, so then the button comes first.
    """
    patience = float(params.get("kill_timeout") or _PATIENCE)
    ways = (
        [_by_command, _by_power_button] if params.get("nics") else [_by_power_button, _by_command]
    )
    for ask in ways:
        try:
            ask(machine, patience / len(ways))
        except Exception as error:
            # whatever went wrong between us and the guest, the vm has to go down
            LOG.info("vm %r could not be asked to shut down: %s", machine.name, error)
        if _is_down(machine):
            return True
    return False


def _by_command(machine: Any, patience: float) -> None:
    if machine.is_paused():
        machine.resume()
    # it waits itself, but its result says nothing
    machine.graceful_shutdown(patience)


def _by_power_button(machine: Any, patience: float) -> None:
    monitor = getattr(machine, "monitor", None)
    if monitor is None:
        return
    monitor.system_powerdown()
    deadline = time.monotonic() + patience
    while not _is_down(machine) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _is_down(machine: Any) -> bool:
    """Return whether the guest has shut down; QEMU may be told to stay (``disable_shutdown``)."""
    if machine.is_dead():
        return True
    stays = getattr(machine, "no_shutdown", False)
    return bool(stays and machine.monitor.verify_status("shutdown"))


def check_image(path: str, name: str) -> None:
    """
    Make sure that an image whose vm may have been killed is whole.

    :param name: what it is called in the error
    :raises TestError: it is damaged
    """
    try:
        qemu.check(path)
    except RuntimeError as error:
        raise TestError(f"{name} is damaged and does not become a state: {error}") from error
