"""A process that saves a running vm, killed before one of the calls that change something."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from avocado_pool_plugin.states.monitor import Monitor
from tests.support.processes import in_child

#: Calls of the system that change something, or after which something lasts.
_SYSTEM = ("rename", "replace", "link", "unlink", "fsync")
#: What of them changes nothing that lasts: files that are gone in a moment.
_PASSING = (".tmp", ".lock")


class Cut:
    """
    Kills this process before its n-th call that matters, and notes which calls there were.

    :param number: which call, 0 for none of them
    :param log: file that gets a line for each call
    """

    def __init__(self, number: int, log: Path) -> None:
        self._number, self._log, self._seen = number, log.open("w"), 0

    def arm(self) -> None:
        """Watch all calls of this process from now on."""
        ask = Monitor.ask

        def watched_ask(monitor: Monitor, command: str, *args: Any, **named: Any) -> Any:
            # what only looks changes nothing, but while it waits for a job that goes on
            if "query" not in command or command in ("query-migrate", "query-jobs"):
                self._before(command)
            return ask(monitor, command, *args, **named)

        Monitor.ask = watched_ask  # type: ignore[method-assign]
        for name in _SYSTEM:
            setattr(os, name, self._watched(name, getattr(os, name)))
        subprocess.run = self._watched("run", subprocess.run)

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            what = " ".join(map(str, args[0])) if name == "run" else args[0]
            if name in ("replace", "fsync", "run") or not str(what).endswith(_PASSING):
                self._before(f"{name} {what}")
            return real(*args, **named)

        return call

    def _before(self, what: str) -> None:
        self._seen += 1
        self._log.write(f"{what}\n")
        self._log.flush()
        if self._seen == self._number:
            os.kill(os.getpid(), signal.SIGKILL)


def cut(work: Callable[[], object], number: int, log: Path) -> bool:
    """Do something in a child that is killed before its n-th call; tell whether it was."""

    def child() -> None:
        Cut(number, log).arm()
        work()

    status = in_child(child)
    assert status in (0, -signal.SIGKILL), log.read_text()
    return status != 0


def calls(work: Callable[[], object], log: Path) -> list[str]:
    """Do something in a child to its end; return the calls that it may be killed before."""
    assert not cut(work, 0, log)
    return log.read_text().splitlines()
