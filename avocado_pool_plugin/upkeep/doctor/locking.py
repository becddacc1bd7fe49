"""Whether locks keep processes apart."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

from avocado_pool_plugin.core import locks
from avocado_pool_plugin.core.errors import LockTimeout
from avocado_pool_plugin.upkeep.doctor import holder
from avocado_pool_plugin.upkeep.doctor.finding import BAD, NOTE, OK, WARN, Finding

#: Seconds a process may take to let go or to end.
_END = 5.0
_ADVICE = (
    "writers are not kept from doing work twice, nothing gets corrupted; on NFS mount without "
    "'nolock' and check its lock service"
)


def exclusion(place: str, work: str) -> Iterator[Finding]:
    """Let another process hold a lock, try to take it, and try again after that one ended."""
    path = os.path.join(work, "locked")
    process = holder.start(path)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != holder.HELD:
            yield Finding(place, "locks", BAD, f"can't be taken: {_why(process)}", _ADVICE)
            return
        yield from _contend(place, path, process)
    finally:
        process.kill()
        process.communicate()


def _contend(place: str, path: str, process: "subprocess.Popen[str]") -> Iterator[Finding]:
    kept_out, told = _tries(path)
    if not kept_out:
        found = "two processes held one lock at the same time"
        yield Finding(place, "locks", WARN, found, _ADVICE)
        return
    process.kill()
    process.wait(_END)
    try:
        with locks.hold(path, _END):
            pass
    except LockTimeout:
        found = "the lock of a process that was killed is not let go"
        yield Finding(place, "locks", BAD, found, "check the lock service of its mount")
        return
    found = "two processes keep each other out"
    if f"process {process.pid}," in told:
        yield Finding(place, "locks", OK, found)
    else:
        yield Finding(place, "locks", NOTE, f"{found}; who holds one is not told")


def _tries(path: str) -> tuple[bool, str]:
    """Try a lock once; return whether that failed, and what was said of its holder."""
    try:
        with locks.hold(path, 0):
            return False, ""
    except LockTimeout as error:
        return True, str(error)


def _why(process: "subprocess.Popen[str]") -> str:
    """Return the last thing that a process complained about."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        lines = process.communicate(timeout=_END)[1].strip().splitlines()
        return lines[-1] if lines else f"exit status {process.returncode}"
    return "no answer"
