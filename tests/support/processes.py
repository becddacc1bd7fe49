"""Other processes: they hold locks, do one operation, or die at a chosen system call."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }


def python(code: str, *args: str | Path) -> subprocess.Popen[str]:
    """Start this Python on some code, in the project's directory."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


_HOLDER = """
import sys
from avocado_pool_plugin.core import locks
with locks.hold(sys.argv[1], 10):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def lock_holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock of a file; a line to it makes it let go."""
    with python(_HOLDER, path) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "held\n", process.communicate()[1]
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def in_child(work) -> int:
    """Run a function in a forked child; return its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
