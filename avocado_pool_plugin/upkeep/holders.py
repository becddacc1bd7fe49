"""
Who is at work in a cache or pool: who holds locks, which overlays stand on states, who pins what.

A lock's file stays when it is let go, and only the kernel of a host knows whether it is held. So
that is asked; a lock is never tried, for that would keep others from it.
"""

import os
import re
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from avocado_pool_plugin.core import layout, pins, users
from avocado_pool_plugin.core.pins import Pin
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.upkeep.site import KERNEL_LOCKS, Entry, Site

#: What became of who holds a lock: alive, not alive, or not to be seen from here.
HELD, DEAD, UNKNOWN = "held", "dead", "unknown"
#: What is known of an overlay: open in a QEMU, on the state, no longer on it, of another host.
OPEN, CLOSED, STALE, ELSEWHERE = "open", "closed", "stale", "elsewhere"

_HOLDER = re.compile(
    r"host (?P<host>.*?), process (?P<pid>\d+), since (?P<since>[^,\n]*)"
    r"(?:, over ssh: shell (?P<shell>\d+) on (?P<far>[^\n]*))?"
)
#: File systems on which a host does not see the locks of others.
_NETWORK = re.compile(r"nfs4?|cifs|smb3|9p|ceph|lustre|afs|ocfs2|gfs2|fuse\.\S+|virtiofs")
_ABOUT = ("/proc/sys/kernel/hostname", "/proc/self/mountinfo")


@dataclass(frozen=True)
class KernelLock:
    """
    A lock on a file as a kernel has it.

    :param pid: who took it, 0 if that can't be told
    :param device: numbers of the file's device, major and minor
    """

    pid: int
    device: tuple[int, int]
    inode: int

    def is_on(self, entry: Entry) -> bool:
        """Tell whether a file is the locked one."""
        if entry.stamp is None or entry.stamp.inode != self.inode:
            return False
        device = (os.major(entry.device), os.minor(entry.device))
        # file systems without a device of their own go by several numbers
        return device == self.device or device[0] == self.device[0] == 0


@dataclass(frozen=True)
class Lock:
    """
    A lock that is held, or may be.

    :param path: what is locked
    :param status: ``HELD``, ``DEAD`` or ``UNKNOWN``
    :param host: of who holds it, empty if that is not known
    :param pid: the process there, 0 if that is not known
    :param command: that it runs, as far as it can be seen
    :param since: local time of who took it, as a text
    :param told: what is written in the lock's file
    """

    path: str
    status: str
    host: str = ""
    pid: int = 0
    command: str = ""
    since: str = ""
    told: str = ""


@dataclass(frozen=True)
class Overlay:
    """
    A working overlay, or a link, that is registered with a state.

    :param path: the state
    :param status: ``OPEN``, ``CLOSED``, ``STALE`` or ``ELSEWHERE``
    """

    path: str
    user: User
    status: str


@dataclass(frozen=True)
class Pinned:
    """
    A pin.

    :param beat: seconds since its holder said that it lives
    """

    pin: Pin
    beat: float

    @property
    def live(self) -> bool:
        """Whether it still keeps states from being removed."""
        return self.beat <= self.pin.lease


@dataclass(frozen=True)
class Holders:
    """Who is at work in a place."""

    locks: tuple[Lock, ...]
    overlays: tuple[Overlay, ...]
    pins: tuple[Pinned, ...]

    @property
    def fine(self) -> bool:
        """Whether all who hold something are known to live."""
        return all(lock.status == HELD for lock in self.locks) and all(p.live for p in self.pins)


def kernel_locks(text: str) -> list[KernelLock]:
    """Return the locks of ``/proc/locks`` that are held; waiting ones are not."""
    found = []
    for line in text.splitlines():
        words = line.split()
        # number, kind, ADVISORY, READ or WRITE, process, device and inode, first and last byte
        numbers = words[5].split(":") if len(words) == 8 else []
        if len(numbers) == 3 and numbers[2].isdigit():  # not of a file that is gone
            device = int(numbers[0], 16), int(numbers[1], 16)
            found.append(KernelLock(max(0, int(words[4])), device, int(numbers[2])))
    return found


def held_locks(site: Site) -> list[KernelLock] | None:
    """Return the locks that the kernel of a place's host knows of, None if it does not tell."""
    text = site.read([KERNEL_LOCKS]).get(KERNEL_LOCKS)
    return None if text is None else kernel_locks(text.decode("ascii", "replace"))


def registered(site: Site, notes: Iterable[Entry]) -> dict[str, list[User]]:
    """Return the overlays and links that are noted of states, by state; those are all there are."""
    files = [entry.path for entry in notes if _state_of(entry.path)]
    found: dict[str, list[User]] = defaultdict(list)
    for path, text in sorted(site.read(files).items()):
        user = users.decode(text)
        if user is not None:
            found[_state_of(path)].append(user)
    return found


def _state_of(path: str) -> str:
    """Return the state that a note of an overlay is about, empty if it is no such note."""
    directory, name = os.path.split(path)
    state = layout.subject(directory, layout.USERS)
    return state if name.endswith(".json") else ""


def look(site: Site) -> Holders:
    """Return who is at work in a place; nothing is changed there, and no lock is taken."""
    notes = site.notes()
    return Holders(tuple(_locks(site, notes)), tuple(_overlays(site, notes)), _pins(site, notes))


def _locks(site: Site, notes: list[Entry]) -> list[Lock]:
    table = held_locks(site)
    known = table or []
    taken = {lock.inode for lock in known}
    files = [entry for entry in notes if layout.subject(entry.path, layout.LOCK)]
    others = [entry for entry in notes if not layout.subject(entry.path, layout.LOCK)]
    others += [entry for entry in site.hands.others() if entry.path.endswith(layout.LOCK)]
    # of files that are no locks, such as parts that are written to, only held ones count
    files += [entry for entry in others if entry.stamp and entry.stamp.inode in taken]
    host = _Host(site, table is not None)
    texts = site.read(entry.path for entry in files if entry.path.endswith(layout.LOCK))
    found = []
    for entry in sorted(files, key=lambda entry: entry.path):
        told = texts.get(entry.path, b"").decode("utf-8", "replace").strip()
        on_it = [lock.pid for lock in known if lock.is_on(entry)]
        lock = host.judge(entry, on_it, told)
        if lock is not None:
            found.append(lock)
    return found


class _Host:
    """Tells of locks, as the host of a place sees them."""

    def __init__(self, site: Site, sees: bool) -> None:
        self._site = site
        self._sees = sees
        texts = site.read(_ABOUT)
        names, mounts = (texts.get(path, b"").decode("utf-8", "replace") for path in _ABOUT)
        self._name = names.strip()
        self._network = set(_network(mounts))

    def judge(self, entry: Entry, pids: list[int], told: str) -> Lock | None:
        """
        Return a lock if it is held or may be.

        :param pids: of those who hold it, as the kernel knows them
        """
        path = layout.subject(entry.path, layout.LOCK) or entry.path.removesuffix(layout.LOCK)
        match = _HOLDER.match(told)
        if not pids:
            if match is None or not self._may_be_held(entry, match):
                return None
            return Lock(path, UNKNOWN, match["host"], int(match["pid"]), "", match["since"], told)
        if match is None:
            command = self._command(pids[0])
            return Lock(path, self._status([*pids]), self._name, pids[0], command, "", told)
        here = int(match["shell"] or (match["pid"] if match["host"] == self._name else 0))
        status = self._status([here, *pids])
        pid = int(match["pid"])
        if match["host"] == socket.gethostname() and not os.path.exists(f"/proc/{pid}"):
            status = DEAD
        command = _own_command(pid) if match["host"] == socket.gethostname() else ""
        command = command or self._command(here)
        return Lock(path, status, match["host"], pid, command, match["since"], told)

    def _may_be_held(self, entry: Entry, match: re.Match[str]) -> bool:
        """Tell whether a lock that this host's kernel does not know of may be held all the same."""
        device = (os.major(entry.device), os.minor(entry.device))
        elsewhere = (match["far"] or match["host"]) != self._name
        return not self._sees or (elsewhere and device in self._network)

    def _status(self, pids: list[int]) -> str:
        known = [pid for pid in pids if pid > 0]
        if not known:
            return UNKNOWN
        return HELD if self._site.read([f"/proc/{pid}/stat" for pid in known]) else DEAD

    def _command(self, pid: int) -> str:
        path = f"/proc/{pid}/cmdline"
        return _words(self._site.read([path]).get(path, b"")) if pid > 0 else ""


def _own_command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return _words(file.read())
    except OSError:
        return ""


def _words(text: bytes) -> str:
    return " ".join(text.decode("utf-8", "replace").split("\0")).strip()


def _network(mounts: str) -> Iterable[tuple[int, int]]:
    """Yield the devices of network file systems, of a text of ``/proc/self/mountinfo``."""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        words = left.split()
        if right and _NETWORK.fullmatch(right.split()[0]) and len(words) > 2:
            major, _, minor = words[2].partition(":")
            yield int(major), int(minor)


def _overlays(site: Site, notes: list[Entry]) -> Iterable[Overlay]:
    noted = registered(site, notes)
    name = site.read(_ABOUT[:1]).get(_ABOUT[0], b"").decode("utf-8", "replace").strip()
    for path in sorted(noted):
        standing = site.hands.standing(path, noted[path])
        for user in noted[path]:
            yield Overlay(path, user, _overlay_status(user, standing, name))


def _overlay_status(user: User, standing: Mapping[str, bool], name: str) -> str:
    if user.path in standing:
        return OPEN if standing[user.path] else CLOSED
    return STALE if user.host == name else ELSEWHERE


def _pins(site: Site, notes: list[Entry]) -> tuple[Pinned, ...]:
    home = layout.pins_dir(site.root)
    files = {e.path: e for e in notes if os.path.dirname(e.path) == home and e.stamp}
    found = []
    if files:
        now = site.clock()
        for path, text in sorted(site.read(p for p in files if p.endswith(".json")).items()):
            pin, stamp = pins.decode(text), files[path].stamp
            if pin is not None and stamp is not None:
                found.append(Pinned(pin, max(0.0, now - stamp.mtime_ns / 1e9)))
    return tuple(found)
