"""A cache or pool in a directory of this host: all probes of it."""

import errno
import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from avocado_pool_plugin.core.answers import require_answer
from avocado_pool_plugin.upkeep.doctor import access, clocks, files, judge, locking
from avocado_pool_plugin.upkeep.doctor.finding import BAD, PATIENCE, WARN, Finding, Round
from avocado_pool_plugin.upkeep.doctor.mounts import Mount, mount_of, nearest, planned_mount
from avocado_pool_plugin.upkeep.doctor.workplace import clear, new, sweep

#: Looks at a working directory.
Look = Callable[[str, str], Iterable[Finding]]

#: What is to be mounted, as the administrator has it.
_FSTAB = "/etc/fstab"
#: In this order.
_PROBES: tuple[tuple[str, Look], ...] = (
    ("locks", locking.exclusion),
    ("rename", files.rename),
    ("reflink", files.reflink),
    ("sparse files", files.sparse),
    ("hard links", files.links),
    ("fsync", files.sync),
    ("time stamps", clocks.times),
)


@dataclass(frozen=True)
class Directory:
    """
    A directory to be probed.

    :param place: what users call it
    :param root: its path
    :param cache: whether it is the cache
    :param any_mirror: whether a set may fail on a mirror
    :param also: further probes with their names
    """

    place: str
    root: str
    cache: bool = False
    any_mirror: bool = False
    also: tuple[tuple[str, Look], ...] = ()


def examine(one: Directory, patience: float = PATIENCE) -> list[Finding]:
    """
    Probe a directory; one that does not exist is not made.

    :param patience: seconds each probe may take
    """
    done = Round(one.place, patience)
    if not done.do("answers", lambda: _answers(one.root)):
        return done.findings
    there: list[bool] = []
    done.do("directory", lambda: _look(one, there))
    if not there:
        return done.findings
    done.do("file system", lambda: _kind(one.place, one.root))
    done.do("free space", lambda: access.room(one.place, one.root))
    work = new(one.root)
    made: list[bool] = []
    try:
        done.do("writable", lambda: _begin(one, work, made))
        if made:
            for name, look in (*_PROBES, *one.also):
                done.do(name, functools.partial(look, one.place, work))
            if not one.cache:
                done.do("shared with", lambda: _sharing(one.place, one.root))
    finally:
        # in a thread as well: if nothing answers any more, what is there stays
        done.do("clean-up", lambda: _end(one.root, work))
    return done.findings


def _answers(root: str) -> Iterator[Finding]:
    require_answer(root, 0)
    yield from ()


def _look(one: Directory, there: list[bool]) -> Iterator[Finding]:
    """Look what there is; ``there`` gets an entry if it is a directory."""
    try:
        found: os.stat_result | None = os.stat(one.root)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except PermissionError as error:
        yield _closed(one, error)
        return
    point = _expected_mount(one.root)
    if point:
        told = f"{_FSTAB} has a file system for {point}, which is not mounted"
        yield Finding(one.place, "directory", BAD, told, f"mount it: mount {point}")
    elif found is None:
        above = nearest(one.root)
        writable = os.access(above, os.W_OK | os.X_OK)
        yield from judge.absent(one.place, one.cache, above, writable)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Finding(one.place, "directory", BAD, "is no directory", "correct the location")
        return
    there.append(True)
    try:
        names = os.listdir(one.root)
    except PermissionError as error:
        yield _closed(one, error)
        return
    if not names and not one.cache and not point:
        yield judge.empty(one.place)


def _closed(one: Directory, error: OSError) -> Finding:
    found = f"can't be looked into: {error.strerror}"
    advice = "let this user, or a group of it, read it and pass the directories above it"
    return Finding(one.place, "directory", BAD, found, advice)


def _expected_mount(root: str) -> str:
    """Return where something should be mounted for a directory, and is not."""
    planned = planned_mount(root, _FSTAB)
    return planned if planned not in ("", "/") and not os.path.ismount(planned) else ""


def _kind(place: str, root: str) -> Iterator[Finding]:
    mount = mount_of(os.path.realpath(root))
    if mount is None:
        return
    details = f"{mount.source} on {mount.point}{', read-only' if _read_only(mount) else ''}"
    yield from judge.kind(place, mount.kind, details)
    bad = sorted(mount.options & {"soft", "nolock", "local_lock=all", "local_lock=flock"})
    if mount.kind.startswith("nfs") and bad:
        found = f"mounted with {', '.join(bad)}"
        advice = "mount it 'hard' and with locking, else writes fail and locks are of one host only"
        yield Finding(place, "mount options", WARN, found, advice)


def _begin(one: Directory, work: str, made: list[bool]) -> Iterator[Finding]:
    """Make the working directory; ``made`` gets an entry if that can be."""
    try:
        os.mkdir(work)
        made.append(True)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        read_only = error.errno == errno.EROFS
        why = error.strerror or str(error)
        yield judge.refused(one.place, why, one.cache, read_only, one.any_mirror)


def _end(root: str, work: str) -> Iterator[Finding]:
    clear(work)
    sweep(root)
    yield from ()


def _sharing(place: str, root: str) -> Iterator[Finding]:
    found = os.stat(root)
    return access.sharing(place, found.st_mode, found.st_gid, access.my_umask())


def _read_only(mount: Mount) -> bool:
    return "ro" in mount.options
