"""What a vm's machine is, for the passport of its state: of one that runs, of one to be started."""

import itertools
import json
import logging
import re
import shlex
from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.errors import ToolFailed
from avocado_pool_plugin.core.passport import ACCELERATOR, CPU, QEMU, device_entries
from avocado_pool_plugin.states.monitor import Monitor

LOG = logging.getLogger("avocado." + __name__)

#: Entries of the passport.
TYPE, MEMORY, VCPUS, FLAGS = "machine type", "memory", "virtual CPUs", "CPU flags of the host"
#: What of a device is the host's business, or can be another one without harm.
_HOST_SIDE = {
    *("id", "bus", "addr", "drive", "chardev", "netdev", "mac", "bootindex", "memdev", "iothread"),
    *("werror", "rerror", "serial", "audiodev", "host", "hostbus", "hostaddr"),
}
#: CPU models that are the host's own.
_OWN_MODELS = ("host", "max")


def running(vm: Any, monitor: Monitor) -> dict[str, str]:
    """Return the entries of a vm that runs."""
    version = monitor.ask("query-version")["qemu"]
    kind = str(monitor.ask("qom-get", {"path": "/machine", "property": "type"}))
    accelerator = "kvm" if monitor.ask("query-kvm")["enabled"] else "tcg"
    return _entries(
        vm.devices.cmdline(),
        f"{version['major']}.{version['minor']}.{version['micro']}",
        kind.removesuffix("-machine"),
        accelerator,
    )


def to_be_started(params: Any, vm: Any, directory: str) -> dict[str, str]:
    """
    Return the entries of a vm as Avocado-VT would start it now, as far as that can be told.

    :param params: of the vm
    :param vm: virttest's vm that is started again as it was; None for one that is made first
    :param directory: where virttest looks for relative paths
    """
    from virttest.utils_misc import get_qemu_binary

    binary = get_qemu_binary(params)
    version, command = qemu.emulator_version(binary), _command(params, vm, directory)
    if not command:
        kind = str(params.get("machine_type") or "").rpartition(":")[2]
        memory = _megabytes(str(params.get("mem") or ""))
        return {QEMU: version, TYPE: qemu.machine_type(binary, kind), MEMORY: memory}
    kind = dict(_options(command)).get("machine", "").partition(",")[0].removeprefix("type=")
    accelerator = "kvm" if re.search(r"-enable-kvm|accel[= ]kvm", command) else "tcg"
    return _entries(command, version, qemu.machine_type(binary, kind), accelerator)


def _command(params: Any, vm: Any, directory: str) -> str:
    """
    Return the command line that virttest would start, empty if that can't be told before.

    A vm that was started is started with the same devices again. To find them out takes QEMU to be
    asked some twenty times.
    """
    from virttest.qemu_vm import VM

    if vm is not None and vm.devices is not None:
        return str(vm.devices.cmdline())
    try:
        probe = vm or VM(params["vms"], params, directory, None)
        devices, _ = probe.make_create_command(params["vms"], params, directory)
        return str(devices.cmdline())
    except Exception as error:  # whatever virttest stumbles over, it will again when it starts it
        LOG.debug("the devices of %s can't be told before it is started: %s", params["vms"], error)
        return ""


def _entries(command: str, version: str, kind: str, accelerator: str) -> dict[str, str]:
    options = list(_options(command))
    plain = dict(options)
    found = {
        QEMU: version,
        TYPE: kind,
        ACCELERATOR: accelerator,
        CPU: plain.get("cpu", "default"),
        MEMORY: _megabytes(plain.get("m", "")),
        VCPUS: plain.get("smp", "1"),
    }
    model = found[CPU].partition(",")[0]
    if accelerator == "kvm" and model in _OWN_MODELS:
        found[FLAGS] = _host_flags()
    devices = (_device(value) for name, value in options if name == "device")
    return {**found, **device_entries(devices)}


def _options(command: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of the options of a command line."""
    for word, following in itertools.pairwise([*shlex.split(command), "-"]):
        if word.startswith("-") and len(word) > 1:
            yield word.lstrip("-"), "" if following.startswith("-") else following


def _device(value: str) -> tuple[str, str]:
    """Return where a device is, and what it is: its kind and what of it a guest can see."""
    if value.startswith("{"):
        fields = {str(k): str(v) for k, v in json.loads(value).items()}
    else:
        kind, *pairs = value.split(",")
        fields = dict(pair.partition("=")[::2] for pair in pairs)
        fields.setdefault("driver", kind.removeprefix("driver="))
    seat = " ".join(filter(None, (fields.get("bus"), fields.get("addr"))))
    driver = fields.pop("driver")
    seen = (f"{name}={fields[name]}" for name in sorted(fields) if name not in _HOST_SIDE)
    return seat or driver, ",".join((driver, *seen))


def _megabytes(text: str) -> str:
    """Return QEMU's way to write a size of memory in one way."""
    found = re.match(r"(?:size=)?(\d+)([MGTmgt]?)", text)
    if not found:
        return text or "default"
    factor = {"": 1, "m": 1, "g": 1 << 10, "t": 1 << 20}[found[2].lower()]
    return f"{int(found[1]) * factor} MiB"


def _host_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            found = re.search(r"^flags\s*:\s*(.*)$", file.read(), re.MULTILINE)
    except OSError:
        return ""
    return " ".join(sorted(found[1].split())) if found else ""


def used_memory(vm: Any) -> int:
    """
    Return how many bytes of RAM a vm uses at most, as far as its host can tell.

    :raises ToolFailed: its QEMU is gone
    """
    try:
        with open(f"/proc/{vm.get_pid()}/status", encoding="ascii", errors="replace") as file:
            found = re.search(r"^VmRSS:\s*(\d+) kB$", file.read(), re.MULTILINE)
    except OSError as error:
        raise ToolFailed(f"the QEMU of vm {vm.name!r} is gone: {error}") from error
    return int(found[1]) << 10 if found else 0
