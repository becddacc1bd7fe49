"""The socket of a shared OpenSSH connection: its directory, and the processes behind it."""

import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
import time

#: Seconds for a connection to end when told to, and once more when killed.
END = 2.0
#: How the directories of connections and of aexpect for them begin.
PREFIX, AEXPECT = "pool-ssh-", "aexpect_pool_"
#: Seconds after which a directory that nobody uses is removed.
STALE = 3600.0
#: Bytes of a socket's path: ssh first makes it under a name with 17 bytes more.
_SOCKET_PATH = 107 - 17
#: Directories that ssh takes as they are; it replaces percent signs and more.
_PLAIN = re.compile(r"/[A-Za-z0-9_./-]*")


def new_directory() -> str:
    """Make a private directory for a connection's socket and files."""
    base = tempfile.gettempdir()
    example = socket_path(os.path.join(base, f"{PREFIX}12345678"))
    if not _PLAIN.fullmatch(base) or len(os.fsencode(example)) > _SOCKET_PATH:
        base = "/tmp"
    _sweep(base)
    return tempfile.mkdtemp(prefix=PREFIX, dir=base)


def socket_path(directory: str) -> str:
    """Return the path of the socket in a connection's directory."""
    return os.path.join(directory, "s")


def listens(path: str) -> bool:
    """Tell whether somebody accepts connections at a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(END)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def see_off(path: str) -> None:
    """Wait until the ssh processes at a socket are gone, and kill those that stay."""
    begin = time.monotonic()
    while (waited := time.monotonic() - begin) < 2 * END and (found := _processes(path)):
        if waited > END:
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _processes(path: str) -> list[int]:
    """Return the processes that have a socket's path as an argument."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                if os.fsencode(path) in file.read().split(b"\0"):
                    found.append(int(name))
    return found


def _sweep(base: str) -> None:
    """Remove what connections left whose owners were killed."""
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if not entry.name.startswith((PREFIX, AEXPECT)):
                continue
            found = entry.stat(follow_symlinks=False)
            old = time.time() - found.st_mtime > STALE
            if old and found.st_uid == os.getuid() and not listens(socket_path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)
