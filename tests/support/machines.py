"""QEMU without a guest, which only runs its firmware: what states code does with a running vm."""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from virttest.qemu_monitor import HumanMonitor, MonitorConnectError, QMPMonitor
from virttest.virt_vm import VMCreateError

from tests.support.needs import need_programs

#: A register of the serial port that holds whatever one writes to it, and that no firmware uses.
_SCRATCH = "0x3ff"


class Machine:
    """
    Stands in for Avocado-VT's vm: the same monitor, a real QEMU, no guest.

    It starts in a fraction of a second, its clock runs, and it has disks and a device with memory.
    """

    def __init__(self, *disks: Path, name: str = "vm1", options: tuple[str, ...] = ()) -> None:
        self.name = name
        self.disks = disks
        self.options = options
        self.kind = "qmp"
        self.process: subprocess.Popen[bytes] | None = None
        self.monitors: list[Any] = []
        self.destroyed: list[bool] = []
        self._said = tempfile.TemporaryFile()  # noqa: SIM115

    @property
    def monitor(self) -> Any:
        return self.monitors[0] if self.monitors else None

    def check_capability(self, flag: Any) -> bool:
        return True

    def get_pid(self) -> int | None:
        return self.process.pid if self.process else None

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def create(self) -> None:
        need_programs("qemu-system-x86_64")
        # short, as a socket's path may have some 100 bytes only
        with tempfile.TemporaryDirectory(prefix="qmp") as directory:
            socket = str(Path(directory) / "monitor")
            self._start(socket)
            self.monitors = [self._connect(socket)]

    def _start(self, socket: str) -> None:
        mode = "control" if self.kind == "qmp" else "readline"
        command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "16", "-display", "none"]
        command += ["-nodefaults", "-chardev", f"socket,id=m,path={socket},server=on,wait=off"]
        command += ["-mon", f"chardev=m,mode={mode}", "-chardev", "null,id=n"]
        command += ["-device", "isa-serial,chardev=n", *self.options]
        for number, disk in enumerate(self.disks):
            node = {"driver": "file", "filename": str(disk)}
            block = {"driver": "qcow2", "node-name": f"disk{number}", "file": node}
            device = f"virtio-blk,drive=disk{number},id=dev{number}"
            command += ["-blockdev", json.dumps(block), "-device", device]
        self._said.seek(0)
        self.process = subprocess.Popen(command, stdout=self._said, stderr=subprocess.PIPE)

    def _connect(self, socket: str) -> Any:
        cls = QMPMonitor if self.kind == "qmp" else HumanMonitor
        deadline = time.monotonic() + 20
        while True:
            if self.process.poll() is not None:
                raise VMCreateError("qemu", self.process.returncode, self.process.stderr.read())
            try:
                return cls(self, "monitor", {"monitor_filename": socket})
            except MonitorConnectError:  # it is not listening yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def destroy(self, gracefully: bool = True) -> None:
        self.destroyed.append(gracefully)
        self.stop()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process, self.monitors = None, []

    # -- what a guest would do ---------------------------------------------------------------

    def status(self) -> str:
        return str(self.monitor.cmd("query-status")["status"])

    def human(self, command: str) -> str:
        return str(self.monitor.human_monitor_cmd(command))

    def write(self, pattern: int, disk: int = 0, at: str = "0") -> None:
        """Write as a guest that makes sure of it, so that it outlives a killed QEMU."""
        said = self._io(disk, f"write -P {pattern} {at} 64k")
        assert "wrote 65536/65536" in said, said
        self._io(disk, "flush")

    def holds(self, pattern: int, disk: int = 0, at: str = "0") -> bool:
        said = self._io(disk, f"read -P {pattern} {at} 64k")
        assert "read 65536/65536" in said, said
        return "verification failed" not in said

    def _io(self, disk: int, command: str) -> str:
        """Have the disk used through the device, as the guest would; QEMU prints what it says."""
        self._said.truncate(0)
        self.human(f'qemu-io -d /machine/peripheral/dev{disk}/virtio-backend "{command}"')
        self._said.seek(0)
        return self._said.read().decode()

    def remember(self, byte: int) -> None:
        """Keep a byte in a device's memory, which no disk has."""
        self.human(f"o /b {_SCRATCH} {byte:#x}")

    def remembers(self) -> int:
        return int(self.human(f"i /b {_SCRATCH}").split("=")[1], 16)


class Env:
    """Stands in for Avocado-VT's env with one vm."""

    def __init__(self, vm: Machine) -> None:
        self.vm = vm

    def get_vm(self, name: str) -> Machine | None:
        return self.vm if name == self.vm.name else None


@contextlib.contextmanager
def machine(*disks: Path, start: bool = True, **more: Any) -> Iterator[Machine]:
    """Give a machine, which is gone when the context ends."""
    found = Machine(*disks, **more)
    try:
        if start:
            found.create()
        yield found
    finally:
        found.stop()
