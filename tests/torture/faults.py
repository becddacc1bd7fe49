"""
Faults at the n-th write-side call of a process and all that it starts.

A library in C is loaded before libc (faults.c); it counts calls in a page of memory that all
processes share, and hurts one of them. A run costs what the work costs.
"""

import atexit
import contextlib
import ctypes
import errno
import functools
import mmap
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from avocado_pool_plugin.core.errors import PoolError
from tests.support.memory import MEMORY
from tests.support.needs import need_programs
from tests.support.processes import ROOT

_PAGE, _PRELOAD = "POOL_FAULTS", "LD_PRELOAD"
#: How a call is hurt: the numbers of faults.c.
KILL, SHORT = "kill", "short write"
_HOW = {KILL: 1, SHORT: 3}
#: What the letters of faults.c stand for.
CALLS = {
    "w": "write", "p": "pwrite", "v": "writev", "c": "copy_file_range", "t": "ftruncate",
    "a": "fallocate", "f": "fsync", "r": "rename", "l": "link", "u": "unlink", "d": "mkdir",
    "m": "chmod", "o": "open", "i": "reflink", "s": "utimensat", "x": "exec",
}  # fmt: skip
#: Calls that may do half of what they are asked for.
PARTIAL = ("write", "pwrite", "copy_file_range")


class _Page(ctypes.Structure):
    """As in faults.c."""

    _fields_ = [
        ("armed", ctypes.c_int), ("count", ctypes.c_int), ("at", ctypes.c_int),
        ("how", ctypes.c_int), ("error", ctypes.c_int), ("hit", ctypes.c_int),
        ("calls", ctypes.c_char * 4096),
    ]  # fmt: skip


def library(name: str = "faults") -> Path:
    """Return a library; it is built of the file of that name beside this one if need be."""
    need_programs("gcc")
    source = Path(__file__).with_name(f"{name}.c")
    built = ROOT / ".build" / "torture" / f"{name}.so"
    built.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(built.with_suffix(".lock")):
        if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
            options = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-nostdlib"]
            subprocess.run(["gcc", *options, "-o", built, source], check=True)
    return built


def load() -> None:
    """Start this program once more with the library loaded, unless it is."""
    built = str(library())
    if os.environ.get(_PRELOAD) != built:
        command = [sys.executable, "-m", "tests.torture", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, _PRELOAD: built})
    # what is started outside of the work that is hurt is left alone
    del os.environ[_PRELOAD]


@dataclass(frozen=True)
class Outcome:
    """
    How some work ended.

    :param status: exit status, negative for a signal
    :param said: the error it ended with, nothing if none
    :param ours: whether that is one that users are told
    :param hit: whether it came to the call that was to be hurt
    :param calls: the names of its write-side calls
    """

    status: int
    said: str
    ours: bool
    hit: bool
    calls: tuple[str, ...]


class Faults:
    """The page of this process and of what it forks; others of this program have their own."""

    def __init__(self) -> None:
        with tempfile.NamedTemporaryFile(
            prefix="torture-faults-", dir=MEMORY, delete=False
        ) as file:
            self._path = file.name
            file.truncate(ctypes.sizeof(_Page))
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Page))
        self._page = _Page.from_buffer(self._memory)
        self._library = str(library())
        assert ctypes.CDLL(None).faults_use(self._path.encode()) == 0, "started without the library"
        atexit.register(os.unlink, self._path)

    def run(
        self, work: Callable[[], object], scratch: Path, at: int = 0, how: str = KILL
    ) -> Outcome:
        """
        Do some work in a child; with what that starts, it is a group of processes.

        :param at: the call to hurt, from 1; none if 0
        :param how: ``KILL`` kills the whole group, ``SHORT`` writes half, else the name of an error
        """
        page = self._page
        page.armed, page.count, page.at, page.hit = 0, 0, at, 0
        page.how = _HOW.get(how, 2)
        page.error = getattr(errno, how, 0)
        said = scratch / "said"
        said.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            self._child(work, said)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        page.armed = 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, 9)
        told = said.read_text() if said.exists() else ""
        letters = ctypes.string_at(
            ctypes.addressof(page) + _Page.calls.offset, min(page.count, 4096)
        )
        calls = tuple(CALLS[chr(letter)] for letter in letters)
        return Outcome(status, told, status == _REFUSED, bool(page.hit), calls)

    def _child(self, work: Callable[[], object], said: Path) -> None:
        os.environ[_PAGE], os.environ[_PRELOAD] = self._path, self._library
        status, text = 1, ""
        try:
            self._page.armed = 1
            work()
            status = 0
        except PoolError as error:
            status, text = _REFUSED, str(error)
        except BaseException:
            text = traceback.format_exc()
        finally:
            self._page.armed = 0
            if text:
                said.write_text(text)
            os._exit(status)


@functools.cache
def faults() -> Faults:
    """Return the faults of this process."""
    return Faults()


def sorts(outcome: Outcome) -> str:
    """Return what came of a try, for the table."""
    if not outcome.hit:
        return "ended before"
    return {-9: "killed", 0: "went on"}.get(outcome.status, "told")


#: Exit status of a child whose work ended with an error of ours.
_REFUSED = 3
