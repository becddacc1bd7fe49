"""Kill a program, or fail it, at its n-th system call of a kind (strace's injection)."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.needs import need_programs
from tests.support.processes import environment

#: Calls that change something, or after which something changed. Counters are per name.
CALLS = ("openat", "mkdir", "chmod", "fchmod", "chown", "ftruncate", "write", "pwrite64", "fsync",
         "link", "rename", "unlink", "symlink", "flock", "ioctl", "lseek", "preadv",
         "close")  # fmt: skip
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")
_MARKER = '"/marker"'


def _run(options: list[str], program: list[str | Path]) -> subprocess.CompletedProcess[str]:
    need_programs("strace")
    return subprocess.run(
        ["strace", "-f", "-qq", *options, sys.executable, "-m", *program],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )


def points(program: list[str | Path], scratch: Path) -> list[tuple[str, int]]:
    """Run a program to its end; return each call after its marker: the name and its number."""
    log = scratch / "trace"
    names = ",".join(("access", "faccessat", "faccessat2", *CALLS))
    done = _run(["-o", str(log), "-e", f"trace=?{names.replace(',', ',?')}"], program)
    assert done.returncode == 0, done.stderr
    seen: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    marked = False
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if not match:
            continue
        name = match.group(1)
        if _MARKER in line:
            marked = True
        elif name in CALLS:
            seen[name] = seen.get(name, 0) + 1
            if marked:
                found.append((name, seen[name]))
    assert marked and found
    return found


def calls(program: list[str | Path], scratch: Path, names: str) -> list[str]:
    """Run a program; return its calls of these names, descriptors with their paths, in order."""
    log = scratch / "calls"
    done = _run(["-y", "-s", "400", "-o", str(log), "-e", f"trace={names}"], program)
    assert done.returncode == 0, done.stderr
    return log.read_text(errors="replace").splitlines()


def killed(program: list[str | Path], call: str, number: int) -> bool:
    """Kill a program at a call, before that takes effect; return whether it came there."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    done = _run(["-o", "/dev/null", "-e", f"trace={call}", "-e", inject], program)
    assert done.returncode in (0, -9, 137), done.stderr
    return done.returncode != 0


def failed(program: list[str | Path], call: str, number: str, error: str) -> str:
    """Run a program with a call failing; return what it said of it, nothing if it went on."""
    inject = f"inject={call}:error={error}:when={number}"
    done = _run(["-o", "/dev/null", "-e", f"trace={call}", "-e", inject], program)
    assert done.returncode in (0, 1), done.stderr
    return done.stderr if done.returncode else ""
