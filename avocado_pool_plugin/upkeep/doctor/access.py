"""Who can use a directory, and how much room it has."""

import grp
import os
from collections.abc import Iterator

from avocado_pool_plugin.upkeep.doctor import judge
from avocado_pool_plugin.upkeep.doctor.finding import NOTE, OK, WARN, Finding


def room(place: str, root: str) -> Iterator[Finding]:
    """Look how much is left."""
    left = os.statvfs(root)
    unit = left.f_frsize
    yield from judge.room(
        place,
        judge.Room(left.f_bavail * unit, left.f_blocks * unit, left.f_favail, left.f_files),
    )


def sharing(place: str, mode: int, group: int | str, umask: int) -> Iterator[Finding]:
    """
    Judge who besides this user can use what is set in a pool.

    :param mode: of its directory
    :param group: that it belongs to
    :param umask: of this user there
    """
    name = _group(group)
    if not mode & 0o020:
        if umask & 0o044:
            found = f"states set by this user can't be read by others (umask {umask:03o})"
            yield Finding(place, "shared with", NOTE, found, "set umask 022 or 002 to share them")
        else:
            found = "all can read, only the owner can write"
            yield Finding(place, "shared with", OK, found)
    elif umask & 0o020:
        found = (
            f"group {name} may write, but not to directories that this user makes "
            f"(umask {umask:03o})"
        )
        advice = "set umask 002 for all who set states, and the directory's setgid bit (chmod g+s)"
        yield Finding(place, "shared with", WARN, found, advice)
    elif not mode & 0o2000:
        found = f"group {name} may write, but new directories get this user's own group"
        advice = "set the directory's setgid bit: chmod g+s"
        yield Finding(place, "shared with", NOTE, found, advice)
    else:
        yield Finding(place, "shared with", OK, f"group {name} can read and write")


def _group(group: int | str) -> str:
    if isinstance(group, str):
        return group
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def my_umask() -> int:
    """Return this process's umask without changing it."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
