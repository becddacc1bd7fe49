"""Which processes are known to be at work, as far as one host can tell."""

import os


def machine() -> str:
    """
    Return what tells apart where process ids mean the same: the boot and the pid namespace.

    A host's name would not do: a container that is started again has another one.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def started(pid: int) -> str:
    """Return when a process was started, in clock ticks since boot; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        # killed but not yet waited for by its parent, a process does nothing any more
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""
