"""What tests of vm states do in the middle of a test; a test names one function as ``step``."""

import importlib.util
import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avocado_pool_plugin.states import setup

STEPS: dict[str, Callable[..., None]] = {}


def step(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function known by its name."""
    STEPS[function.__name__] = function
    return function


def run(test: Any, params: Any, env: Any) -> None:
    """Do the step that the params name, with the guests that they are about."""
    path = Path(params["memory_module"])
    spec = importlib.util.spec_from_file_location("guest_memory", path)
    assert spec is not None and spec.loader is not None
    memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(memory)
    vm = params["main_vm"]
    guest = memory.Guest(test, params.object_params(vm), env.get_vm(vm))
    STEPS[params["step"]](test, params, env, guest)
    guest.session.close()


def _do(verb: str, params: Any, env: Any, state: str, **more: str) -> None:
    own = params.copy()
    for key in [key for key in own if key.startswith(("get_state", "set_state"))]:
        del own[key]
    own[f"{verb}_state_vms"] = state
    own.update(more)
    getattr(setup, f"{verb}_states")(own, env)


def _again(guest: Any) -> None:
    """Attach to the console of a vm that was started anew."""
    from virttest import vt_console

    guest.session = vt_console.ConsoleSession(guest.vm.console_manager)


@step
def middle(test: Any, params: Any, env: Any, guest: Any) -> None:
    """Save in the middle, twice under one name, go on, and go back."""
    pid = guest.vm.get_pid()
    guest.remember("first")
    _do("set", params, env, "checkpoint")
    guest.remember("second")
    _do("set", params, env, "checkpoint")
    guest.remember("third")
    for name in ("first", "second", "third"):
        guest.require(name)
    assert guest.vm.get_pid() == pid, "saving started the vm anew"
    guest.session.close()
    _do("get", params, env, "checkpoint")
    _again(guest)
    assert guest.vm.get_pid() != pid
    guest.require("first")
    guest.require("second")
    guest.refuse("third")
    guest.remember("fourth")


@step
def paused(test: Any, params: Any, env: Any, guest: Any) -> None:
    """Measure from within the guest for how long a save stops it; it goes on by itself."""
    guest.session.cmd("while :; do cat /proc/uptime >> /run/ticks; usleep 10000; done &")
    time.sleep(1)
    _do("set", params, env, "ticking")
    time.sleep(1)
    ticks = guest.session.cmd_output("cat /run/ticks").splitlines()
    found = [float(line.split()[0]) for line in ticks if line.count(" ") == 1]
    gaps = [later - sooner for sooner, later in itertools.pairwise(found)]
    (Path(test.logdir) / "gaps.json").write_text(json.dumps(gaps))
    assert len(gaps) > 20


@step
def full_disk(test: Any, params: Any, env: Any, guest: Any) -> None:
    """A save for which there is no room leaves vm and old state as they were."""
    from avocado_pool_plugin.core.errors import SpaceMissing
    from avocado_pool_plugin.states import machine

    guest.remember("before")
    refused = []
    for size in (machine.used_memory, lambda vm: 1):
        machine.used_memory = size
        try:
            _do("set", params, env, "checkpoint", swarm_pool=params["small_cache"])
        except SpaceMissing as error:
            refused.append(str(error))
    assert len(refused) == 2, refused
    assert "is needed" in refused[0] or "needs" in refused[0], refused
    assert "goes on as before" in refused[1], refused
    guest.require("before")
    guest.remember("after")
    guest.require("after")
    left = [str(path) for path in Path(params["small_cache"]).rglob("*") if path.is_file()]
    assert not [path for path in left if path.endswith((".part", ".tmp")) or "intents/" in path]
    assert not [path for path in left if path.endswith(".state")]


def _is_avocado(pid: int) -> bool:
    """Tell whether a process runs one of Avocado's programs, by Python."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return any(Path(word).name.startswith("avocado") for word in words[:2])


def _die() -> None:
    """Die with the whole job: Avocado waits for ever for a test that is gone without a word."""
    pids = [os.getpid()]
    while _is_avocado(pids[-1]):
        pids.append(int(Path(f"/proc/{pids[-1]}/stat").read_text().rpartition(")")[2].split()[1]))
    for pid in reversed(pids[:-1]):
        os.kill(pid, 9)


@step
def killed(test: Any, params: Any, env: Any, guest: Any) -> None:
    """Die of SIGKILL after a number of steps of a save."""
    from avocado_pool_plugin.states import monitor

    guest.remember("before")
    left = int(params["kill_after"])

    def count(function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if threading.current_thread() is threading.main_thread():
                left -= 1
                if left < 0:
                    _die()
            return function(*args, **kwargs)

        return counted

    monitor.Monitor.ask = count(monitor.Monitor.ask)
    for name in ("rename", "link", "fsync", "unlink"):
        setattr(os, name, count(getattr(os, name)))
    _do("set", params, env, "checkpoint")
    Path(params["counted"]).write_text(str(int(params["kill_after"]) - left))


@step
def recall(test: Any, params: Any, env: Any, guest: Any) -> None:
    """Find what ``memory_wanted`` names, and nothing of what ``memory_unwanted`` does."""
    for name in params.objects("memory_wanted"):
        guest.require(name)
    for name in params.objects("memory_unwanted"):
        guest.refuse(name)


@step
def booted(test: Any, params: Any, env: Any, guest: Any) -> None:
    """Find what is on the disk of a vm that was booted instead of resumed."""
    for name in params.objects("disk_wanted"):
        assert guest.session.cmd_output(f"cat /root/{name}").strip() == name
        assert guest.session.cmd_status(f"test -e /run/{name}") != 0


@step
def remove(test: Any, params: Any, env: Any, guest: Any) -> None:
    """Remove the state that the vm was resumed from, while it runs."""
    _do("unset", params, env, "ready", unset_state_vms="ready")
    guest.require("answer")
