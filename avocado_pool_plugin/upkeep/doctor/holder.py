"""
A process that holds the lock of a file until its input ends; for the probe of locks.

Started as a program of its own: locks of one process do not show what those of two do.
"""

import subprocess
import sys

#: What it says once it holds the lock.
HELD = "held"


def start(path: str) -> "subprocess.Popen[str]":
    """Start it; the lock is held when it has said so."""
    # without the current directory, which anything may lie in
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main(sys.argv[1])"
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for its parent to handle
    )


def main(path: str) -> None:
    """Hold the lock."""
    from avocado_pool_plugin.core import locks

    with locks.hold(path, 0):
        sys.stdout.write(f"{HELD}\n")
        sys.stdout.flush()
        sys.stdin.read()
