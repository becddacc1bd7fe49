"""
Starting a vm from a RAM file: QEMU is started once, and reads it.

Mid-test the vm is started here. Before a test Avocado-VT starts it, which is told how by params;
what is to be started is kept here until then. The file is handed over open, so no shell ever sees
its name, and it may be removed as soon as it is open.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.durable import typed_failures
from avocado_pool_plugin.core.errors import VmNotRunning, VmStateRefused
from avocado_pool_plugin.params import flag
from avocado_pool_plugin.states import report, running

LOG = logging.getLogger("avocado." + __name__)

#: Param that says that a vm is started by Avocado-VT after a get.
LATER_PARAM = "start_later"
#: Seconds between two looks at a vm that reads its RAM file.
_POLL = 0.02


@dataclass(frozen=True)
class Start:
    """
    A vm that is to be started from a RAM file.

    :param vm: its name
    :param state: the state's name
    :param object_id: directory name of the vm's variant
    :param fd: the RAM file, open
    :param size: bytes of it
    :param timeout: seconds in which QEMU has to read it
    :param watch: of the get
    """

    vm: str
    state: str
    object_id: str
    fd: int
    size: int
    timeout: float
    watch: report.Watch

    def params(self) -> Iterator[tuple[str, Any]]:
        """Yield the params that make Avocado-VT start the vm from the file."""
        yield f"migration_mode_{self.vm}", "fd"
        yield f"migration_fd_{self.vm}", self.fd


_waiting: dict[str, Start] = {}


def waiting() -> list[Start]:
    """Return the vms that are to be started from RAM files in this process, and forget them."""
    found = list(_waiting.values())
    _waiting.clear()
    return found


def directory(vm: Any) -> str:
    """Return where virttest looks for relative paths of a vm."""
    return str(getattr(vm, "root_dir", None) or os.getcwd())


def start(ram: str, params: Any, vm: Any, watch: report.Watch) -> None:
    """
    Start a vm from a RAM file, or note that it is to be (``start_later = yes``).

    :param watch: of the get
    :raises VmNotRunning: it can't be started
    :raises VmStateRefused: QEMU can't resume it
    """
    timeout, later = max(settings.policy(params).timeout, 1.0), flag(params, LATER_PARAM)
    with typed_failures(ram):
        fd = os.open(ram, os.O_RDONLY | os.O_CLOEXEC)
    one = Start(
        vm=params["vms"],
        state=params["get_state"],
        object_id=params["object_id"],
        fd=fd,
        size=os.fstat(fd).st_size,
        timeout=timeout,
        watch=watch,
    )
    if later:
        forget(one.vm)
        _waiting[one.vm] = one
        return
    try:
        running.start(vm, migration_mode="fd", migration_fd=fd)
        resume(vm, one)
    finally:
        os.close(fd)


def boot(params: Any, vm: Any) -> None:
    """Start a vm from its images only, unless Avocado-VT does."""
    forget(params["vms"])
    if not flag(params, LATER_PARAM):
        running.start(vm)


def forget(vm: str) -> None:
    """Forget that a vm is to be started from a RAM file."""
    if vm in _waiting:
        os.close(_waiting.pop(vm).fd)


def require_startable(params: Any, vm: Any) -> None:
    """
    Make sure that there is a vm to start, or that Avocado-VT will start it.

    :raises VmNotRunning: there is none
    """
    if vm is None and not flag(params, LATER_PARAM):
        raise VmNotRunning(
            f"vm {params['vms']!r} can't be brought into state {params['get_state']!r} without a "
            f"running test's environment; get the state in a test"
        )


def resume(vm: Any, one: Start) -> None:
    """
    Wait until a started vm has read its RAM file, and let its guest go on.

    :param vm: Avocado-VT's vm object, None if there is none
    :raises VmNotRunning: nobody started it
    :raises VmStateRefused: QEMU can't resume it
    """
    if vm is None or vm.process is None:
        raise VmNotRunning(
            f"vm {one.vm!r} was not started, so it can't be in state {one.state!r}; set start_vm = "
            f"yes for it, or don't ask for the state"
        )
    deadline = time.monotonic() + one.timeout
    while _reads(vm, one):
        if time.monotonic() > deadline:
            raise VmStateRefused(
                f"vm {vm.name!r} did not read its RAM file of state {one.state!r} within "
                f"{one.timeout:.0f} s; see QEMU's output in the test's log"
            )
        time.sleep(_POLL)
    with _refusals(vm, one):
        vm.resume()
    where, hit = f"for vm {vm.name}", one.watch.hit(one.object_id)
    seconds = one.watch.seconds()
    report.record(report.Event("got", one.state, one.object_id, one.size, seconds, where, hit))


def _reads(vm: Any, one: Start) -> bool:
    with _refusals(vm, one):
        return bool(vm.monitor.get_status()["status"] == "inmigrate")


@contextlib.contextmanager
def _refusals(vm: Any, one: Start) -> Iterator[None]:
    """Make what Avocado-VT raises of a QEMU that is gone, or does not go on, an error of ours."""
    from virttest.qemu_monitor import MonitorError
    from virttest.virt_vm import VMError

    try:
        yield
    except (MonitorError, VMError, AttributeError) as error:
        said = vm.process.get_output().strip()[-500:] if vm.process else ""
        raise VmStateRefused(
            f"QEMU of vm {vm.name!r} can't resume state {one.state!r}: {said or error}; the state "
            f"and its images are unharmed"
        ) from error
