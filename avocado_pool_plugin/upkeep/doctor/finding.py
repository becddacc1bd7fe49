"""What a probe found, and how probes are run so that none of them can hang or crash the rest."""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from avocado_pool_plugin.core.errors import HostUnreachable, PoolError, PoolSilent, SpaceMissing

#: What may be said of something: it is fine; good to know; costs something; does not work.
OK, NOTE, WARN, BAD = "ok", "note", "warn", "bad"

#: Seconds a probe of files may take.
PATIENCE = 20.0
#: Seconds that a probe has left when nobody wants to know any more.
_MOMENT = 1.0
_MOUNT = "check the server of its mount, or take it out of the locations"


@dataclass(frozen=True)
class Finding:
    """
    What was found out about one thing.

    :param place: the location, or a part of this host, as users call it
    :param check: what was looked at, in a word or two
    :param level: ``OK``, ``NOTE``, ``WARN`` or ``BAD``
    :param found: what is so
    :param advice: what to change, empty for nothing
    :param settings: options of section ``[pool]`` that would help, with their values
    """

    place: str
    check: str
    level: str
    found: str
    advice: str = ""
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def serious(self) -> bool:
        """Whether something should be done about it."""
        return self.level in (WARN, BAD)


#: Finds out things; may raise anything.
Probe = Callable[[], Iterable[Finding]]


class Round:
    """
    The probes of one place, one after the other; after one that gets no answer the others are left.

    :param place: for findings about the probes themselves
    :param patience: seconds each may take; None for probes whose waits have limits of their own
    """

    def __init__(self, place: str, patience: float | None = PATIENCE) -> None:
        self.place = place
        self.findings: list[Finding] = []
        self._patience = patience
        self._silent = False
        self._full = False

    def do(self, check: str, probe: Probe) -> bool:
        """
        Do a probe and keep what it finds; return whether it came to its end.

        :param check: what to call it if it fails
        """
        if self._silent:
            return False
        problem = self._bounded(check, probe) if self._patience else self._collected(probe)
        if problem is None:
            return True
        if not isinstance(problem, Exception):
            raise problem
        self._failed(check, problem)
        return False

    def _collected(self, probe: Probe) -> BaseException | None:
        try:
            for finding in probe():  # which may do probes of its own meanwhile
                self.findings.append(finding)
        except Exception as error:
            return error
        return None

    def _bounded(self, check: str, probe: Probe) -> BaseException | None:
        """Do a probe in a thread that is left behind if the system does not give it back."""
        told: queue.SimpleQueue[Finding | BaseException | None] = queue.SimpleQueue()
        ended = threading.Event()

        def work() -> None:
            problem: BaseException | None = None
            try:
                for finding in probe():
                    told.put(finding)
            except BaseException as error:
                problem = error
            ended.set()
            told.put(problem)

        thread = threading.Thread(target=work, name=f"{check} of {self.place}", daemon=True)
        try:
            thread.start()
            return self._heard(told)
        except BaseException:
            ended.wait(_MOMENT)  # what it works on is about to go
            raise

    def _heard(
        self, told: "queue.SimpleQueue[Finding | BaseException | None]"
    ) -> BaseException | None:
        """Keep what a probe finds, and return why it failed."""
        assert self._patience is not None
        deadline = time.monotonic() + self._patience
        while True:
            try:
                found = told.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return PoolSilent(f"no answer within {self._patience:g} seconds; {_MOUNT}")
            if not isinstance(found, Finding):
                return found
            self.findings.append(found)

    def _failed(self, check: str, problem: Exception) -> None:
        if self._silent or (self._full and is_full(problem)):
            return  # follows from what was told
        if is_full(problem):
            self._full = True
            told = "no room for a small file, so not all could be probed"
            advice = "free space there (what was removed lies in .pool/trash), or raise a quota"
            self.findings.append(Finding(self.place, "room", BAD, told, advice))
        elif isinstance(problem, PoolError):
            self._silent = isinstance(problem, HostUnreachable | PoolSilent)
            # our errors say what is so, and what to do
            told, _, advice = str(problem).rpartition("; ")
            self.findings.append(Finding(self.place, check, BAD, told or advice, told and advice))
        else:
            told = f"the probe failed: {_text(problem)}"
            advice = "check that its file system is mounted and sound"
            self.findings.append(Finding(self.place, check, BAD, told, advice))


def is_full(problem: Exception) -> bool:
    """Tell whether something failed for want of room."""
    number = problem.errno if isinstance(problem, OSError) else None
    return isinstance(problem, SpaceMissing) or number in (errno.ENOSPC, errno.EDQUOT)


def _text(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.errno:
        return os.strerror(problem.errno)
    return str(problem) or type(problem).__name__
