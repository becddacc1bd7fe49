"""What QEMU and the kernel can do on this host."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from platform import machine
from typing import Any

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.errors import ToolFailed
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.upkeep.doctor.directory import Look
from avocado_pool_plugin.upkeep.doctor.finding import BAD, NOTE, OK, WARN, Finding

#: Where findings about it belong.
PLACE = "QEMU"
#: Programs that are QEMU, the usual one first; and directories besides those of PATH.
_NAMES, _MORE = (f"qemu-system-{machine()}", "qemu-kvm", "kvm"), "/usr/libexec"
#: Seconds for an answer, and for a vm to show that it runs.
_ANSWER, _MOMENT = 15.0, 1.0
#: Of linux/kvm.h: what version of the interface there is, and make a machine.
_API_VERSION, _CREATE_VM = 0xAE00, 0xAE01


def find_emulator() -> str:
    """Return the program that runs vms on this kind of machine, empty if there is none."""
    where = os.pathsep.join((os.environ.get("PATH", os.defpath), _MORE))
    return next(filter(None, (shutil.which(name, path=where) for name in _NAMES)), "")


def tools(emulator: str) -> Iterator[Finding]:
    """Look for the programs of QEMU and what they can do."""
    try:
        version = qemu.emulator_version(qemu.PROGRAM)
        yield Finding(PLACE, "qemu-img", OK, version)
    except ToolFailed as error:
        yield Finding(PLACE, "qemu-img", BAD, str(error), "install it: qemu-utils or qemu-img")
    if not emulator:
        found = f"none of {', '.join(_NAMES)} was found"
        yield Finding(PLACE, "emulator", WARN, found, "install it, or set qemu_binary for tests")
        return
    try:
        version = qemu.emulator_version(emulator)
    except ToolFailed as error:
        yield Finding(PLACE, "emulator", BAD, str(error))
        return
    yield Finding(PLACE, "emulator", OK, f"{emulator} {version}")
    yield from _mapped_ram(emulator)


def _mapped_ram(emulator: str) -> Iterator[Finding]:
    with _started(emulator, "-machine", "none") as process:
        names = {one.get("capability") for one in _ask(process, "query-migrate-capabilities")}
    if not names:
        found = "it does not tell what it can do with the RAM of vms"
        yield Finding(PLACE, "mapped-ram", WARN, found, "start it by hand to see why")
    elif "mapped-ram" in names:
        yield Finding(PLACE, "mapped-ram", OK, "the RAM of vms can be saved and loaded in parallel")
    else:
        found = "not known to it: states of running vms are saved and loaded as one stream"
        yield Finding(PLACE, "mapped-ram", NOTE, found, "QEMU 9.0 or later has it")


def kvm(emulator: str) -> Iterator[Finding]:
    """Make a machine with KVM, and let it run for a moment if there is an emulator."""
    try:
        fd = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        advice = "load its module; else tests need 'disable_kvm = yes'"
        found = "no /dev/kvm: vms run some ten times slower"
        yield Finding(PLACE, "KVM", NOTE, found, advice)
        return
    except OSError as error:
        advice = "let this user use it, by its group 'kvm'; else tests need 'disable_kvm = yes'"
        found = f"/dev/kvm can't be opened: {error.strerror}"
        yield Finding(PLACE, "KVM", WARN, found, advice)
        return
    try:
        fcntl.ioctl(fd, _API_VERSION)
        os.close(fcntl.ioctl(fd, _CREATE_VM, 0))
        problem = "" if not emulator or _runs(emulator) else "a vm ends or stops at once"
    except OSError as error:
        problem = f"it makes no machine: {error.strerror}"
    finally:
        os.close(fd)
    if problem:
        found = f"/dev/kvm is there and does not work: {problem}"
        advice = "check nested virtualization; else tests need 'disable_kvm = yes, cpu_model = max'"
        yield Finding(PLACE, "KVM", WARN, found, advice)
    else:
        yield Finding(PLACE, "KVM", OK, "a vm runs with it" if emulator else "it makes machines")


def _runs(emulator: str) -> bool:
    """Tell whether a vm that has nothing but its firmware still runs after a moment."""
    with _started(emulator, "-accel", "kvm", "-cpu", "max", "-m", "64") as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_MOMENT)
            return False
        return bool(_ask(process, "query-status").get("status") == "running")


def image_locks(emulator: str) -> Look:
    """Return the probe of a directory that tells whether an image that is in use shows."""

    def probe(place: str, work: str) -> Iterator[Finding]:
        path = os.path.join(work, "used.qcow2")
        try:
            qemu.create_blank(path, "1M")
        except ToolFailed:
            return  # told of where QEMU is looked at
        node = json.dumps(
            {"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": path}}
        )
        options = ("-machine", "none", "-blockdev", node)
        with _started(emulator, *options) as process:
            answered = bool(_ask(process, "query-named-block-nodes"))
            shown = in_use(path)
        if not answered:
            found = "not probed: QEMU does not open an image here"
            yield Finding(place, "image locks", WARN, found, "start it by hand to see why")
        elif shown:
            yield Finding(place, "image locks", OK, "an image that QEMU has open shows")
        else:
            found = "an image that QEMU has open does not show: it may be replaced under a vm"
            advice = "keep images where OFD locks work, and don't set 'locking=off'"
            yield Finding(place, "image locks", BAD, found, advice)

    return probe


@contextlib.contextmanager
def _started(emulator: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a QEMU to be asked things, and end it with the context."""
    # if this process is killed nobody else would end it
    command = ["timeout", f"{2 * _ANSWER:g}", emulator, *options]
    process = subprocess.Popen(
        [*command, "-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_MOMENT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _ask(process: "subprocess.Popen[str]", command: str) -> Any:
    """Ask a QEMU something; return its answer, an empty one if it gives none."""
    assert process.stdin is not None and process.stdout is not None
    asked = [{"execute": "qmp_capabilities"}, {"execute": command, "id": command}]
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write("".join(f"{json.dumps(one)}\n" for one in asked))
        process.stdin.flush()
        for line in process.stdout:
            answer = json.loads(line)
            if answer.get("id") == command:
                return answer.get("return", {})
    return {}
