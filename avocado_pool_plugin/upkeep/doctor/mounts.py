"""What is mounted where, as the kernel and the administrator have it."""

import os
import re
from dataclasses import dataclass

#: Space, tab, line end and backslash in tables of mounts.
_ESCAPED = re.compile(r"\\([0-7]{3})")
#: What is mounted now.
_NOW = "/proc/self/mountinfo"


@dataclass(frozen=True)
class Mount:
    """
    A mounted file system.

    :param point: where
    :param kind: such as ``ext4`` or ``nfs4``
    :param source: a device, or a server with a path
    :param options: of the mount and of the file system
    """

    point: str
    kind: str
    source: str
    options: frozenset[str]


def mount_of(path: str, table: str = _NOW) -> Mount | None:
    """Return the mount that an absolute path without links is on; None if that can't be told."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [mount for line in file if (mount := _parse(line))]
    except OSError:
        return None
    fits = [mount for mount in mounts if _is_below(path, mount.point)]
    # of several at one point the last one is on top
    return max(reversed(fits), key=lambda mount: len(mount.point), default=None)


def planned_mount(path: str, table: str) -> str:
    """Return the nearest mount point at or above a path in a table like fstab, empty for none."""
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split() for line in file if not line.lstrip().startswith("#")]
    except OSError:
        return ""
    points = (_plain(row[1]) for row in rows if len(row) > 2)
    fits = [point for point in points if point.startswith("/") and _is_below(path, point)]
    return max(fits, key=len, default="")


def _parse(line: str) -> Mount | None:
    # id, parent, device, root, point, options, more fields, "-", kind, source, options
    before, _, after = line.partition(" - ")
    first, last = before.split(), after.split()
    if len(first) < 6 or len(last) < 2:
        return None
    options = {*first[5].split(","), *(last[2].split(",") if len(last) > 2 else ())}
    return Mount(_plain(first[4]), last[0], _plain(last[1]), frozenset(options))


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def nearest(path: str) -> str:
    """Return a directory if it exists, else the nearest one above that does."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path
