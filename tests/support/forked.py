"""
A function in a child of this process, killed at its n-th system call of a kind.

Everything is imported already, so a run costs milliseconds. Only the child itself is traced, not
its threads and not the programs that it starts.
"""

import os
import re
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avocado_pool_plugin.core.errors import PoolError
from tests.support.needs import need, need_programs

#: Calls that change something. A kill lands before its call takes effect, so that all other calls
#: would only show again what the one before of these left.
CALLS = ("openat", "mkdir", "chmod", "fchmod", "ftruncate", "write", "pwrite64", "link", "rename",
         "unlink", "vfork", "poll")  # fmt: skip
_CALL = re.compile(r"^(\w+)\(")

#: Exit status of a child whose work ended with an error of ours.
REFUSED = 3


@dataclass(frozen=True)
class Outcome:
    """How a child ended: exit status, negative for a signal, and what it said."""

    status: int
    said: str


def run(work: Callable[[], object], scratch: Path, options: list[str]) -> Outcome:
    """Run a function in a child under strace."""
    need_programs("strace")
    said = scratch / "said"
    go, wait = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(work, go, said)
    os.close(go)
    trace = subprocess.Popen(
        ["strace", "-p", str(pid), "-o", scratch / "trace", *options],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert trace.stderr is not None
        attached = "attached" in trace.stderr.readline()
        if attached:
            os.write(wait, b"x")
    finally:
        os.close(wait)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        trace.communicate()
    need(attached, "strace that may attach to a process (root, or kernel.yama.ptrace_scope = 0)")
    return Outcome(status, said.read_text() if said.exists() else "")


def _child(work: Callable[[], object], go: int, said: Path) -> None:
    status = 1
    try:
        if os.read(go, 1):
            work()
            status = 0
    except PoolError as error:
        said.write_text(str(error))
        status = REFUSED
    except BaseException:
        said.write_text(traceback.format_exc())
    finally:
        os._exit(status)


def points(
    work: Callable[[], object], scratch: Path, calls: tuple[str, ...] = CALLS
) -> list[tuple[str, int]]:
    """Run a function to its end; return its calls that matter: the name and its number."""
    outcome = run(work, scratch, ["-e", f"trace={','.join('?' + name for name in calls)}"])
    assert outcome.status == 0, outcome
    seen: dict[str, int] = {}
    found = []
    for line in (scratch / "trace").read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match and match.group(1) in calls:
            name = match.group(1)
            seen[name] = seen.get(name, 0) + 1
            if name != "openat" or "O_CREAT" in line or "O_TMPFILE" in line:
                found.append((name, seen[name]))
    return found


def killed(work: Callable[[], object], scratch: Path, call: str, number: int) -> Outcome:
    """Kill a function at a call, before that takes effect."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    return run(work, scratch, ["-e", f"trace={call}", "-e", inject])
