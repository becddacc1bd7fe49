"""Times what is done with the state of a running vm, until a shell in its guest answers."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import vm_ways
from virttest import vt_console

#: A file in a file system in the guest's RAM, and what it holds.
_MARK, _MARKED = "/run/marked", "by the benchmark"
_PAGE, _CHUNK, _MIB = 4096, 1 << 20, 1 << 20


def run(test: Any, params: Any, env: Any) -> None:
    """
    Do a work in somebody's way and leave its figures as ``figures.json`` in the test's results.

    :param test: the running Avocado-VT test
    :param params: ``work`` is one of those below, ``way`` one of those of vm_ways.py
    :param env: Avocado-VT's environment, which holds the virtual machine
    """
    way = vm_ways.WAYS[params["way"]](params, env)
    figures = WORKS[params["work"]](test, way)
    (Path(test.logdir) / "figures.json").write_text(json.dumps(figures))


def leave(test: Any, way: vm_ways.Way) -> dict[str, float]:
    """Boot a guest that is to become a state."""
    session = _boot(way)
    session.cmd(f"echo {_MARKED} > {_MARK}")
    return {}


def before(test: Any, way: vm_ways.Way) -> dict[str, float]:
    """
    Have a guest in a state as soon as possible after the beginning of the test.

    That is where Avocado-VT forks the process of the test, with all of its own imported.
    """
    if not way.before_test:
        way.get("ready")
    _require_mark(test, way)
    return {"seconds": _age()}


def midway(test: Any, way: vm_ways.Way) -> dict[str, float]:
    """Bring a guest that runs into a state."""
    started = time.monotonic()
    way.get("ready")
    _require_mark(test, way)
    return {"seconds": time.monotonic() - started}


def save(test: Any, way: vm_ways.Way) -> dict[str, float]:
    """Save a guest, and see for how long it is paused and what the file of its RAM is like."""
    session, params = _boot(way), way.params
    session.cmd(f"echo {_MARKED} > {_MARK}")
    session.cmd(f"dd if=/dev/urandom of=/run/fill bs=1M count={params['fill']}", timeout=240)
    os.sync()
    started, now = time.monotonic(), time.time()
    with vm_ways.heard(way.vm) as events:
        way.set("saved")
        seconds = time.monotonic() - started
    _require_mark(test, way)
    paused = max(_when(events, "RESUME", now)) - min(_when(events, "STOP", now))
    ram = way.ram("saved")
    return {
        "seconds": seconds,
        "paused": paused,
        "written": _write(ram, "conv=fsync"),
        "written_to_cache": _write(ram),
        "size": ram.stat().st_size,
        "allocated": ram.stat().st_blocks * 512,
        "not_zero": _not_zero(way, int(params["mem"]) * _MIB),
        "used": _used(way),
    }


WORKS = {work.__name__: work for work in (leave, before, midway, save)}


def _boot(way: vm_ways.Way) -> Any:
    return way.vm.wait_for_serial_login(timeout=float(way.params.get("login_timeout", 240)))


def _age() -> float:
    """Return for how many seconds this process has been there, to 0.01 s."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _require_mark(test: Any, way: vm_ways.Way) -> None:
    """Make sure that a shell answers, in the guest that it should be."""
    # a resumed guest waits at its prompt and says nothing that a login could wait for
    session = vt_console.ConsoleSession(way.vm.console_manager)
    found = session.cmd_output(f"cat {_MARK}").strip()
    session.close()
    if found != _MARKED:
        test.fail(f"{_MARK} holds {found!r}")


def _when(events: list[Any], name: str, since: float) -> list[float]:
    """Return when QEMU said that something happened, as of ``time.time``."""
    stamps = [event["timestamp"] for event in events if event["event"] == name]
    found = [stamp["seconds"] + stamp["microseconds"] / 1e6 for stamp in stamps]
    return [when for when in found if when >= since]


def _write(ram: Path, *how: str) -> float:
    """Write what is in the RAM file once more beside it, and return the seconds."""
    os.sync()
    copy = ram.with_name("written")
    started = time.monotonic()
    subprocess.run(
        ["dd", f"if={ram}", f"of={copy}", "bs=1M", *how], stderr=subprocess.DEVNULL, check=True
    )
    seconds = time.monotonic() - started
    copy.unlink()
    return seconds


def _not_zero(way: vm_ways.Way, size: int) -> int:
    """Return how many bytes of the guest's RAM are in pages that are not all zero."""
    dump = way.ram("saved").with_name("dump")
    way.vm.monitor.cmd("pmemsave", {"val": 0, "size": size, "filename": str(dump)}, timeout=240)
    found = 0
    with dump.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if chunk.count(0) < len(chunk):
                pages = range(0, len(chunk), _PAGE)
                found += sum(any(chunk[at : at + _PAGE]) for at in pages) * _PAGE
    dump.unlink()
    return found


def _used(way: vm_ways.Way) -> int:
    """Return how many bytes of its memory the guest says to be in use."""
    session = vt_console.ConsoleSession(way.vm.console_manager)
    lines = dict(line.split(":") for line in session.cmd("cat /proc/meminfo").split("\n") if line)
    session.close()
    total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemFree"))
    return total - free
