"""A process that saves a running vm, killed before one of the calls that change something."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avocado_pool_plugin.states.monitor import Monitor
from tests.support.processes import in_child

#: What QEMU is asked until something has ended.
_POLLS = ("query-migrate", "query-jobs")
#: Calls of the system that change something.
_SYSTEM = ("rename", "replace", "link", "unlink")
#: Endings of files that are gone in a moment anyway.
_PASSING = (".tmp", ".lock")


@dataclass(frozen=True)
class Point:
    """
    A call before which a process may be killed.

    :param name: of the call: a command for QEMU or a function
    :param number: which of that name, from 1
    :param what: all of it, for people
    """

    name: str
    number: int
    what: str = ""


class Cut:
    """
    Kills this process before a call, and notes which calls there were.

    :param point: which call, None for none of them
    :param log: file that gets a line for each call
    """

    def __init__(self, point: Point | None, log: Path) -> None:
        self._point, self._log, self._seen = point, log.open("w"), Counter[str]()

    def arm(self) -> None:
        """Watch all calls of this process from now on."""
        ask, fsync = Monitor.ask, os.fsync

        def watched_ask(monitor: Monitor, command: str, *args: Any, **named: Any) -> Any:
            # what only looks changes nothing, but while it waits for a job that goes on
            if "query" not in command or command in _POLLS:
                self._before(command)
            return ask(monitor, command, *args, **named)

        def watched_fsync(fd: int) -> None:
            self._log.write(f"fsync {os.readlink(f'/proc/self/fd/{fd}')}\n")
            fsync(fd)

        Monitor.ask = watched_ask  # type: ignore[method-assign]
        # a kill before it leaves what one before the next call does
        os.fsync = watched_fsync
        for name in _SYSTEM:
            setattr(os, name, self._watched(name, getattr(os, name)))
        subprocess.run = self._watched("run", subprocess.run)

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            what = " ".join(map(str, args[0] if name == "run" else args))
            if name in ("replace", "run") or not what.endswith(_PASSING):
                self._before(name, what)
            return real(*args, **named)

        return call

    def _before(self, name: str, what: str = "") -> None:
        self._seen[name] += 1
        self._log.write(f"{name} {what}\n")
        self._log.flush()
        if self._point and (name, self._seen[name]) == (self._point.name, self._point.number):
            os.kill(os.getpid(), signal.SIGKILL)


def cut(work: Callable[[], object], point: Point | None, log: Path) -> bool:
    """Do something in a child that is killed before a call; tell whether it came there."""

    def child() -> None:
        Cut(point, log).arm()
        work()

    status = in_child(child)
    assert status in (0, -signal.SIGKILL), log.read_text()
    return status != 0


def calls(work: Callable[[], object], log: Path) -> list[str]:
    """Do something in a child to its end; return all calls, those of fsync as well."""
    assert not cut(work, None, log)
    return log.read_text().splitlines()


def points(work: Callable[[], object], log: Path) -> list[Point]:
    """Do something in a child to its end; return the calls that it may be killed before."""
    seen, found = Counter[str](), []
    for call in calls(work, log):
        name = call.split()[0]
        seen[name] += 1
        # how often it looks at a job depends on how busy the machine is
        if name != "fsync" and not (name in _POLLS and seen[name] > 1):
            found.append(Point(name, seen[name], call))
    return found
