"""Faults of remote pools: links that break, programs over there that die, what is there after."""

import contextlib
import functools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import layout, locks
from avocado_pool_plugin.core.dependents import Guard
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.session import Session
from avocado_pool_plugin.ssh.store import RemoteStore
from avocado_pool_plugin.ssh.talk import Answer, Talk
from tests.support.agents import noise
from tests.support.images import MIB, chain, image, write
from tests.support.places import Dir, digest_of, local_store, put, put_image, remove_tree
from tests.support.proxy import Proxy
from tests.support.sshd import Sshd

POLICY = Policy(timeout=10, fsync=False)
#: Believes nothing.
STRICT = Policy(timeout=10, verify="always", fsync=False)
#: Content, and another one that differs in one of its blocks.
NEW = noise(4 * MIB + 7)
OLD = NEW[:MIB] + noise(MIB, seed=1) + NEW[2 * MIB :]


class Line:
    """
    A line to a host that can break; gone with the context.

    :param server: the host
    """

    def __init__(self, server: Sshd) -> None:
        self.server = server
        self.proxy = Proxy(server.port)
        self._sessions: list[Session] = []

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.thaw()
        for pid in self.server.connections():
            _signal(pid, signal.SIGCONT)
        for one in self._sessions:
            one.close()
        self.proxy.stop()

    def store(
        self, policy: Policy = POLICY, guard: Guard | None = None, **host: object
    ) -> RemoteStore:
        """Return a store over there by a session of its own."""
        found = Session(self.server.host(port=self.proxy.port, **{"timeout": 5.0, **host}))
        self._sessions.append(found)
        return RemoteStore(found, LocalStore(policy, qemu.rename_backing, guard=guard))

    def programs(self) -> list[int]:
        """Return all programs that connections have started over there."""
        found: list[int] = []
        for pid in self.server.connections():
            found += [child for child in children(pid) if name_of(child) not in ("sshd", "")]
        return found

    def kill_programs(self) -> int:
        """Kill them; return how many there were."""
        found = self.programs()
        for pid in found:
            _signal(pid, signal.SIGKILL)
        return len(found)

    def stop_connections(self) -> None:
        """Let connections hang over there until the context ends; new ones can be made."""
        for pid in self.server.connections():
            _signal(pid, signal.SIGSTOP)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


# -- steps ---------------------------------------------------------------------------------------


class Steps:
    """
    The steps of an operation: calls of shells over there, and pieces of content.

    :param number: at which of them something happens, 0 for never
    :param happens: what
    :param lost: whether a call is done then, and its answer lost, or not done
    """

    def __init__(self, number: int = 0, happens: Callable[[], object] = int, lost: bool = False):
        self._number, self._happens, self._lost = number, happens, lost
        self.said: list[str] = []

    def progress(self, _: int) -> None:
        """To be told of content."""
        if self._is("content"):
            self._happens()

    def call(
        self, real: Callable[..., Answer], talk: Talk, *args: object, **more: object
    ) -> Answer:
        """To be done in place of a call."""
        if not self._is(str(args[0])):
            return real(talk, *args, **more)
        if not self._lost:
            self._happens()
            return real(talk, *args, **more)
        real(talk, *args, **more)
        talk.usable = False
        self._happens()
        while True:
            talk.channel.receive(1)  # whatever else is under way, until that is an error

    def _is(self, what: str) -> bool:
        self.said.append(what)
        return len(self.said) == self._number


_steps = threading.local()


@contextlib.contextmanager
def steps_of_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let ``during`` have a say in the calls of shells."""
    real = Talk.call

    def call(talk: Talk, *args: object, **more: object) -> Answer:
        now: Steps | None = getattr(_steps, "now", None)
        do = functools.partial(now.call, real) if now else real
        return do(talk, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Talk, "call", call)
        patch.setattr(session, "_PAUSES", (0.05, 0.1, 0.2))
        yield


@contextlib.contextmanager
def during(steps: Steps) -> Iterator[Steps]:
    """Watch the steps of what this thread does."""
    _steps.now = steps
    try:
        yield steps
    finally:
        _steps.now = None


# -- operations ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """
    An operation, and how things are before.

    :param old: what is at the target: nothing, a file with a known digest or with an unknown one
    :param kind: ``ram``: plain bytes, or ``image``: the top one of a chain
    """

    verb: str
    old: str = "nothing"
    kind: str = "ram"

    def __str__(self) -> str:
        return f"{self.verb}-{self.old}-{self.kind}"


class Scene:
    """Source and target of a case in a directory of their own."""

    def __init__(self, case: Case, directory: Path, templates: Path) -> None:
        self.case, self.directory = case, directory
        self.pool, self.cache = Dir(directory / "pool"), Dir(directory / "cache")
        ends = (self.cache, self.pool)
        source, target = ends if case.verb == "publish" else ends[::-1]
        if case.kind == "image":
            self.source, self.target = source.state("top"), target.state("top")
            self._make_images(templates, source, target)
        else:
            self.source, self.target = source.ram("s"), target.ram("s")
            put(self.source, NEW)
            if case.old != "nothing":
                put(self.target, OLD, hashed=case.old == "known")
        self.new = digest_of(self.source)
        self.old = digest_of(self.target) if case.old != "nothing" else None
        self.before = set(local_store().names(str(self.target.parent)))

    def _make_images(self, templates: Path, source: Dir, target: Dir) -> None:
        for where in (source, target):
            put_image(templates / "base.qcow2", where.state("base"))
        put_image(templates / "top.qcow2", self.source, parent=source.state("base"))
        if self.case.old != "nothing":
            old, base = templates / "old" / "top.qcow2", target.state("base")
            put_image(old, self.target, parent=base, hashed=self.case.old == "known")

    def do(self, store: RemoteStore, steps: Steps | None = None) -> object:
        """Do it."""
        progress = steps.progress if steps else None
        source, target = str(self.source), str(self.target)
        if self.case.verb == "remove":
            return store.remove(source)
        if self.case.verb == "publish":
            return store.publish(source, target, progress)
        return store.fetch(source, target, progress)

    def check(self, where: str) -> None:
        """All that is visible is whole and true, and what it was before or is to become."""
        for path in (self.source, self.target):
            for name in local_store().names(str(path.parent)):
                one = path.parent / name
                info = local_store(STRICT).info(str(one))
                assert info is not None and info.digest == digest_of(one), f"{where}: {one}"
        assert self.found() in (self.old, self.new), where
        assert self.case.verb == "remove" or digest_of(self.source) == self.new, where
        names = set(local_store().names(str(self.target.parent)))
        assert names in (self.before, self.before | {self.target.name}), where

    def found(self) -> str | None:
        """Return what is at the target."""
        return digest_of(self.target) if self.target.exists() else None

    def check_done(self, where: str) -> None:
        """It is done, no part is left over and nobody holds a lock."""
        self.check(where)
        if self.case.verb == "remove":
            assert not self.source.exists(), where
        else:
            assert self.found() == self.new, where
        # small files of killed writers stay for a while
        found = left(self.directory, layout.PART)
        assert found == [], f"{where}: {found}"
        free(self.source)
        free(self.target)

    def drop(self) -> None:
        remove_tree(self.directory)


def left(directory: Path, *endings: str) -> list[str]:
    """Return temporary files below a directory."""
    wanted = endings or (layout.PART, ".tmp")
    return sorted(path.name for path in directory.rglob("*") if path.name.endswith(wanted))


def free(path: Path, within: float = 5) -> None:
    """Make sure that nobody holds a file's lock."""
    if path.parent.is_dir():
        with locks.hold(str(path), within):
            pass


def processes_with(text: str) -> list[int]:
    """Return the processes that have a text in their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(text) in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def gone(programs: Callable[[], list[int]], within: float = 10) -> None:
    """Wait until there are no programs any more."""
    deadline = time.monotonic() + within
    while found := programs():
        assert time.monotonic() < deadline, [name_of(pid) for pid in found]
        time.sleep(0.02)


def make_templates(directory: Path) -> Path:
    """Make a chain of images, and another version of its top."""
    chain(directory, "base", "top")
    write(directory / "top.qcow2", 7, at="4M", length="3M")
    (directory / "old").mkdir()
    shutil.copy(directory / "base.qcow2", directory / "old")
    old = image(directory / "old" / "top.qcow2", backing="base.qcow2")
    write(write(old, 7, at="4M", length="3M"), 99, at="2M")
    return directory
