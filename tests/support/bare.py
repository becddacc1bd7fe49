"""QEMU without a guest, started as Avocado-VT does, to be saved and resumed as a running vm."""

import contextlib
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from virttest.qemu_monitor import MonitorError, QMPMonitor
from virttest.virt_vm import VMCreateError

from avocado_pool_plugin.states.images import image_params, image_path
from tests.support.machines import Machine
from tests.support.needs import need_programs
from tests.support.processes import ROOT
from tests.support.vms import tool

#: Params of the machine, which has what a firmware needs and no more.
MACHINE = {
    "machine_type": "pc",
    "cpu_model": "max",
    "mem": "32",
    "disable_kvm": "yes",
    "qemu_binary": str(ROOT / "examples" / "suite" / "bin" / "qemu-vt"),
}


class _Qemu(subprocess.Popen[bytes]):
    """QEMU's process, which keeps what it says, as Avocado-VT's does."""

    def __init__(self, command: list[str], fds: tuple[int, ...]) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        both = {"stdout": self.said, "stderr": subprocess.STDOUT}
        super().__init__(command, stdin=subprocess.DEVNULL, pass_fds=fds, **both)

    def get_output(self) -> str:
        self.said.seek(0)
        return self.said.read().decode()


class _Monitor(QMPMonitor):
    """Avocado-VT's, which sleeps for a tenth of a second if it is not greeted at once."""

    def _read_objects(self, *args: Any) -> Any:
        if self._greeting is None:
            self._data_available(1.0)
        return super()._read_objects(*args)


class _Devices:
    """What Avocado-VT made a command line of."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def cmdline(self) -> str:
        return shlex.join(self._command)


class BareVm(Machine):
    """
    Stands in for Avocado-VT's vm: the same monitor, block nodes and devices, no guest.

    Its firmware runs. Disks are numbered in the order of ``images``.
    """

    def __init__(self, params: Any, name: str = "vm1") -> None:
        super().__init__(name=name)
        self.params = params
        self.root_dir = "/"
        self.devices = _Devices([])
        #: How often it was started.
        self.starts = 0
        self._directory = tempfile.TemporaryDirectory(prefix="qmp")
        self._socket = Path(self._directory.name) / "monitor"

    def make_create_command(self, name: str, params: Any, root_dir: str) -> tuple[_Devices, None]:
        """Return what the vm would be started with now."""
        command = ["-machine", f"{params['machine_type']},accel=tcg", "-m", params["mem"]]
        command += ["-cpu", params["cpu_model"], "-smp", params.get("smp", "1"), "-nodefaults"]
        command += ["-display", "none", "-S", "-chardev", "null,id=n"]
        command += ["-device", "isa-serial,chardev=n,id=serial0"]
        for number, own in enumerate(image_params(params)):
            command += _disk(own, self._file_of(own), f"0x{number + 2:x}")
        return _Devices([*command, *params.get("extra_params", "").split()]), None

    def _file_of(self, params: Any) -> str:
        """Return the file of a disk; all that is written to a snapshot is thrown away later."""
        path = image_path(params)
        if params.get("image_snapshot", "no") != "yes":
            return path
        snapshot = str(Path(self._directory.name) / "snapshot.qcow2")
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", snapshot)
        return snapshot

    def is_alive(self) -> bool:
        """Tell whether QEMU runs; children of the process that started it can ask as well."""
        if self.process is None:
            return False
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"

    def is_dead(self) -> bool:
        return not self.is_alive()

    def create(
        self, migration_mode: str | None = None, migration_fd: int | None = None, **_: Any
    ) -> None:
        need_programs("qemu-system-x86_64")
        self.devices, _ = self.make_create_command(self.name, self.params, self.root_dir)
        command = [self.params["qemu_binary"], *shlex.split(self.devices.cmdline())]
        command += ["-chardev", f"socket,id=m,path={self._socket},server=on,wait=off"]
        command += ["-mon", "chardev=m,mode=control"]
        if migration_mode:
            command += ["-incoming", f"{migration_mode}:{migration_fd}"]
        self._socket.unlink(missing_ok=True)
        self.process = _Qemu(command, (migration_fd,) if migration_fd else ())
        self.starts += 1
        self.connect()
        if not migration_mode and self.params.get("paused_after_start_vm") != "yes":
            self.resume()

    def connect(self) -> None:
        """Connect to the monitor: for the first time, or anew after another one was connected."""
        deadline = time.monotonic() + 20
        while self.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(MonitorError):
                where = {"monitor_filename": str(self._socket)}
                self.monitors = [_Monitor(self, "qmp1", where)]
                return
            time.sleep(0.01)
        process = self.process
        self.stop()
        raise VMCreateError("qemu", process.wait(), process.get_output())

    def disconnect(self) -> None:
        """Let another process connect to the monitor, of which there is one at a time."""
        for monitor in self.monitors:
            monitor._close_sock()
        self.monitors = []

    def pause(self) -> None:
        self.monitor.cmd("stop")

    def resume(self, timeout: float | None = None) -> None:
        self.monitor.cmd("cont")

    def write(self, pattern: int, disk: int = 0, at: str = "0") -> None:
        """Write as a guest that makes sure of it, so that it outlives a killed QEMU."""
        super().write(pattern, disk, at)
        self._io(disk, "flush")

    def _io(self, disk: int, command: str) -> str:
        name = self.params.objects("images")[disk]
        before = len(self.process.get_output())
        self.human(f'qemu-io -d /machine/peripheral/{name}/virtio-backend "{command}"')
        return self.process.get_output()[before:]

    def graph(self) -> dict[str, list[str]]:
        """Return the files from which each disk is read, the one it writes to first."""
        found = {}
        for block in self.monitor.cmd("query-block"):
            image, files = block["inserted"]["image"], []
            while image:
                files.append(image["filename"])
                image = image.get("backing-image")
            found[block["qdev"].split("/")[3]] = files
        return found


def _disk(params: Any, path: str, slot: str) -> list[str]:
    """Return the options of a disk, which Avocado-VT gives to QEMU in the same way."""
    name, read_only = params["images"], params.get("image_readonly", "no") == "yes"
    mode = "read-only=on" if read_only else "read-only=off"
    path = path.replace(",", ",,")
    file = f"node-name=file_{name},driver=file,auto-read-only=on,discard=unmap,filename={path}"
    node = f"node-name=drive_{name},driver=qcow2,{mode},file=file_{name}"
    bus = "pcie.0" if params["machine_type"] == "q35" else "pci.0"
    device = f"virtio-blk-pci,id={name},drive=drive_{name},bus={bus},addr={slot}"
    device += f",{params['blk_extra_params']}" if params.get("blk_extra_params") else ""
    return ["-blockdev", file, "-blockdev", node, "-device", device]


@contextlib.contextmanager
def bare_vm(params: Any, start: bool = True, name: str = "vm1") -> Iterator[BareVm]:
    """Give a vm, which is gone when the context ends."""
    found = BareVm(params.object_params(name), name)
    try:
        if start:
            found.create()
        yield found
    finally:
        found.stop()
