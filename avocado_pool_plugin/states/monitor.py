"""What a running vm's QEMU is asked for through its QMP monitor; all it refuses is an error."""

import json
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin.core.durable import new_token
from avocado_pool_plugin.core.errors import MonitorRefused, NotBegun, SpaceMissing, VmNotRunning
from avocado_pool_plugin.states.running import is_alive

LOG = logging.getLogger("avocado." + __name__)

#: Seconds for an answer: while a QEMU writes or reads a vm's RAM it gives none.
_PATIENCE = 3600.0
_POLL = 0.02
#: What QEMU says of a disk without room: by name, or by the number of ENOSPC or EDQUOT.
_FULL = ("No space left on device", "Disk quota exceeded", "Error -28", "Error -122")


@dataclass(frozen=True)
class Monitor:
    """
    A QMP monitor of a running vm.

    :param vm: the vm's name, for errors
    :param qmp: Avocado-VT's monitor object
    """

    vm: str
    qmp: Any

    @classmethod
    def of(cls, vm: Any, name: str) -> "Monitor":
        """
        Return the monitor of a vm.

        :param vm: Avocado-VT's vm object, or None
        :param name: what the vm is called
        :raises VmNotRunning: it does not run
        :raises MonitorRefused: it has no QMP monitor
        """
        if not is_alive(vm):
            raise VmNotRunning(
                f"vm {name!r} does not run, and its states are those of a running vm; start it "
                f"first (start_vm = yes), or have it started for this (check_mode = rf)"
            )
        for monitor in filter(None, (vm.monitor, *vm.monitors)):
            if getattr(monitor, "protocol", "") == "qmp":
                return cls(name, monitor)
        raise MonitorRefused(
            f"vm {name!r} has no QMP monitor, by which its states are got and set; set "
            f"monitor_type = qmp"
        )

    def ask(
        self, command: str, arguments: dict[str, Any] | None = None, fd: int | None = None
    ) -> Any:
        """
        Return the answer to a command.

        :param fd: an open file that is handed over with it
        :raises NotBegun: it is an error
        :raises MonitorRefused: there is none
        """
        from virttest.qemu_monitor import MonitorError, QMPCmdError

        try:
            return self.qmp.cmd(command, arguments, timeout=_PATIENCE, debug=False, fd=fd)
        except QMPCmdError as error:
            said = error.data.get("desc", error.data)
            raise NotBegun(f"QEMU of vm {self.vm!r} refused {command}: {said}") from error
        except MonitorError as error:
            raise MonitorRefused(
                f"QEMU of vm {self.vm!r} did not answer {command}: {error}"
            ) from error

    def pause(self) -> bool:
        """Stop the vm's clock; return whether it was running."""
        runs = bool(self.ask("query-status")["running"])
        if runs:
            self.ask("stop")
        return runs

    def go_on(self) -> None:
        """
        Let the vm run.

        :raises MonitorRefused: it does not
        """
        self.ask("cont")
        status = self.ask("query-status")
        if not status["running"]:
            raise MonitorRefused(
                f"vm {self.vm!r} does not go on, its QEMU is in status {status['status']!r}; see "
                f"the test's log for what it ran into"
            )

    def run_job(self, command: str, **arguments: Any) -> None:
        """
        Do what takes its time, and wait for it.

        :raises NotBegun: it could not even begin, nothing was changed
        :raises SpaceMissing: there was no room
        :raises MonitorRefused: it failed
        """
        job = f"pool-{new_token()}"
        self.ask(command, {"job-id": job, **arguments})
        said = self._outcome(command, job)
        if any(reason in said for reason in _FULL):
            raise SpaceMissing(
                f"no room left for {command} of vm {self.vm!r} ({said}); free space on the file "
                f"system of its images and try again"
            )
        if said:
            raise MonitorRefused(f"{command} of vm {self.vm!r} failed: {said}")

    def _outcome(self, command: str, job: str) -> str:
        """Wait for the end of a job, and return what went wrong."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            found = next((one for one in self.ask("query-jobs") if one["id"] == job), None)
            if found is None:
                return "its job is gone"
            if found["status"] == "concluded":
                self.ask("job-dismiss", {"id": job})
                return str(found.get("error", ""))
            time.sleep(_POLL)
        return f"it did not end within {_PATIENCE:g} seconds, QEMU still works on it"

    def nodes(self, paths: Iterable[str]) -> list[str]:
        """
        Return the names of the block nodes by which the vm writes to images.

        :raises MonitorRefused: it does not write to one of them
        """
        known = {
            os.path.realpath(_file_name(node["file"])): str(node["node-name"])
            for node in self.ask("query-named-block-nodes", {"flat": True})
            if node["drv"] == "qcow2" and not node["ro"]
        }
        found = []
        for path in paths:
            if os.path.realpath(path) not in known:
                raise MonitorRefused(
                    f"vm {self.vm!r} does not write to its image {path}, so no state can be in it; "
                    f"check image_name, and that image_snapshot is off"
                )
            found.append(known[os.path.realpath(path)])
        return found


def _file_name(text: str) -> str:
    """Return the path in what QEMU calls a file, which may be a description of it."""
    if not text.startswith("json:"):
        return text
    try:
        node = json.loads(text.removeprefix("json:"))
    except ValueError:
        return ""  # QEMU cuts off a long one
    while isinstance(node.get("file"), dict):
        node = node["file"]
    return str(node.get("filename", ""))
