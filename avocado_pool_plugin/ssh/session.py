"""
One login for everything that goes to a host, and programs over there that are ready for work.

A session is found by what it connects to. Its connection is made when first needed, made anew when
it broke, and closed with the process. Programs over there are handed out to one user at a time.
"""

import atexit
import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, cast

from avocado_pool_plugin.core.errors import HostUnreachable, LockTimeout, PoolSilent
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.ssh.bulk import Agent
from avocado_pool_plugin.ssh.content import Bulk
from avocado_pool_plugin.ssh.login import Connection
from avocado_pool_plugin.ssh.lost import Program
from avocado_pool_plugin.ssh.plain import Plain
from avocado_pool_plugin.ssh.rsync import Rsync
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.talk import Abilities

LOG = logging.getLogger("avocado." + __name__)

#: Programs at once on one connection; OpenSSH allows ten by default.
_MOST = 8
#: Of these for content; who has one may need one for small things as well.
_MOST_BULK = 6
#: Seconds before each further attempt after a connection broke.
_PAUSES = (0.5, 2.0, 5.0)
#: Further attempts after a host said nothing: each may take the whole timeout.
_AFTER_SILENCE = 1


@dataclass(frozen=True)
class _Loan:
    """A program over there, its process, and the connection that it belongs to."""

    tool: Shell | Bulk
    program: Program
    connection: Connection


#: Starts a program over there.
_Make = Callable[[Connection], _Loan]
_Result = TypeVar("_Result")


class Session:
    """
    All that goes on between this process and a host.

    Of several threads each gets programs of its own.

    :param host: where to, and how to log in
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._attempts = threading.local()
        self._bulks = threading.BoundedSemaphore(_MOST_BULK)
        self._abilities: Abilities | None = None
        self._worked = False
        #: Programs at hand, those that are in use, and how many are being started.
        self._idle: list[_Loan] = []
        self._out: list[_Loan] = []
        self._starting = 0
        self._lost: list[Program] = []
        #: Directories over there in which nobody has to look for old temporary files any more.
        self.swept: set[str] = set()

    def __str__(self) -> str:
        return f"host {self.host.label} ({self.host})"

    @property
    def alive(self) -> bool:
        """Whether there is a connection that nobody broke."""
        return self._connection is not None and self._connection.alive

    @property
    def abilities(self) -> Abilities:
        """What can be done over there."""
        if self._abilities is None:
            with self.shell() as shell:
                self._abilities = shell.abilities
        return self._abilities

    @contextlib.contextmanager
    def shell(self) -> Iterator[Shell]:
        """
        Give a shell over there, for small things.

        :raises LoginRefused: nobody is let in
        :raises HostUnreachable: the host can't be reached, or the connection broke
        :raises PoolSilent: no answer came in time
        """
        with self._borrow((Shell,), self._make_shell) as tool:
            yield cast(Shell, tool)

    @contextlib.contextmanager
    def bulk(self) -> Iterator[Bulk]:
        """Give what moves content best between here and there; errors of :meth:`shell`."""
        can = self.abilities

        def make(connection: Connection) -> _Loan:
            with connection.channel().whole() as channel:
                program = Program.at(channel)
                if can.python:
                    return _Loan(Agent(channel, can.python), program, connection)
                if can.rsync and shutil.which("rsync"):
                    return _Loan(Rsync(channel, connection.ssh), program, connection)
                return _Loan(Plain(channel), program, connection)

        if not self._bulks.acquire(timeout=self.host.timeout):
            raise self._busy(_MOST_BULK)
        try:
            with self._borrow((Agent, Plain), make) as tool:
                yield cast(Bulk, tool)
        finally:
            self._bulks.release()

    def again(self, doing: str, work: Callable[[], _Result]) -> _Result:
        """
        Do something that can be done anew from its start, until no connection breaks meanwhile.

        Within itself it leaves that to the outermost one.

        :param doing: what is done to which file, for errors and the log
        """
        if getattr(self._attempts, "under_way", False):
            return work()
        self._attempts.under_way = True
        try:
            return self._try(doing, work)
        finally:
            self._attempts.under_way = False

    def _try(self, doing: str, work: Callable[[], _Result]) -> _Result:
        silences = 0
        for pause in (*_PAUSES, None):
            try:
                return work()
            except (HostUnreachable, PoolSilent) as error:
                silent = isinstance(error, PoolSilent)
                silences += silent
                self._clean(silent)
                if pause is None or silences > _AFTER_SILENCE or not self._worked:
                    raise type(error)(f"{doing} failed: {error}") from error
                LOG.warning("%s is tried again in %g s: %s", doing, pause, error)
                time.sleep(pause)
        raise AssertionError("not reached")

    def close(self) -> None:
        """End all programs over there and the connection."""
        with self._changed:
            self._drop()
            self._lost.clear()

    @contextlib.contextmanager
    def _borrow(self, kinds: tuple[type, ...], make: _Make) -> Iterator[Shell | Bulk]:
        loan = self._take(kinds) or self._make(make)
        try:
            if isinstance(loan.tool, Shell):
                self._end_lost(loan.tool)
            yield loan.tool
        finally:
            self._give_back(loan)

    def _take(self, kinds: tuple[type, ...]) -> _Loan | None:
        """Return an idle program, or None when there is room for one more."""
        deadline = time.monotonic() + self.host.timeout
        with self._changed:
            while True:
                for loan in self._idle:
                    if isinstance(loan.tool, kinds):
                        self._idle.remove(loan)
                        self._out.append(loan)
                        return loan
                if self._count() >= _MOST and self._idle:
                    self._idle.pop(0).tool.close()
                if self._count() < _MOST:
                    self._starting += 1
                    return None
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise self._busy(_MOST)

    def _count(self) -> int:
        """Return how many programs the connection carries, or is about to."""
        out = sum(loan.connection is self._connection for loan in self._out)
        return len(self._idle) + out + self._starting

    def _busy(self, most: int) -> LockTimeout:
        return LockTimeout(
            f"all {most} channels to {self} are in use for {self.host.timeout:g} seconds; use "
            f"fewer threads, or raise ssh_timeout"
        )

    def _make_shell(self, connection: Connection) -> _Loan:
        with connection.channel().whole() as channel:
            shell = Shell(channel, self._abilities)
            return _Loan(shell, Program.of(shell), connection)

    def _make(self, make: _Make) -> _Loan:
        loan = None
        try:
            loan = make(self._connected())
        finally:
            with self._changed:
                self._starting -= 1
                self._out += [loan] if loan else []
                self._changed.notify()
        return loan

    def _connected(self) -> Connection:
        with self._changed:
            if self._connection is not None and not self._connection.alive:
                LOG.debug("the connection to %s ended, logging in again", self)
                self._drop()
            if self._connection is None:
                self._connection = Connection.open(self.host)
                self._worked = True
            return self._connection

    def _give_back(self, loan: _Loan) -> None:
        with self._changed:
            self._out.remove(loan)
            if loan.connection is self._connection and loan.tool.usable:
                self._idle.append(loan)
            else:
                self._end(loan)
            self._changed.notify()

    def _clean(self, hangs: bool) -> None:
        """Let go of a connection that broke or hangs, or else of what waits on it."""
        with self._changed:
            if hangs or (self._connection is not None and not self._connection.alive):
                self._drop()
            else:
                self._drop_idle()

    def _drop_idle(self) -> None:
        for loan in self._idle:
            self._end(loan)
        self._idle.clear()

    def _drop(self) -> None:
        self._drop_idle()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _end(self, loan: _Loan) -> None:
        self._lost.append(loan.program)
        loan.tool.close()

    def _end_lost(self, shell: Shell) -> None:
        """End what broken connections left, which may still hold locks."""
        while self._lost:
            lost = self._lost.pop()
            try:
                lost.end(shell)
            except (HostUnreachable, PoolSilent):
                self._lost.append(lost)
                return


_sessions: dict[tuple[object, ...], Session] = {}
_lock = threading.Lock()


def of(host: Host) -> Session:
    """Return this process's session with a host; nothing is connected before it is used."""
    with _lock:
        # a forked child has no share in what its parent talks
        key = (os.getpid(), *host.key)
        session = _sessions.get(key)
        if session is None:
            session = _sessions[key] = Session(host)
        elif session.host != host and not session.alive:
            session.host = host
        return session


def close_all() -> None:
    """Close what this process has open."""
    with _lock:
        mine = [key for key in _sessions if key[0] == os.getpid()]
        sessions = [_sessions.pop(key) for key in mine]
    for session in sessions:
        session.close()


atexit.register(close_all)
