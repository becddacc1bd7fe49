"""What lies over there about files, as a far shell finds it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from avocado_pool_plugin.core import chain, qcow2
from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.errors import ImageRefused
from avocado_pool_plugin.core.records import Stamp


@dataclass(frozen=True)
class Status:
    """
    What a file is, as the far system has it.

    :param mode: type and permissions
    :param allocated: bytes on disk
    :param device: number of its file system's device
    :param links: how many names it has, hard links
    """

    stamp: Stamp
    mode: int
    allocated: int
    device: int
    links: int = 1


@dataclass(frozen=True)
class Look:
    """
    What lies over there about one file, taken at about the same moment, the stamp first.

    :param path: as asked for
    :param real: where it is if ``path`` is a link; what is known about it lies beside this one
    :param stamp: None if there is no such file, a link that leads nowhere included
    :param regular: whether it is a plain file
    :param mode: its permissions
    :param allocated: bytes on disk
    :param device: number of its file system's device, as stat has it over there
    :param links: how many names it has, hard links
    :param record: the committed record
    :param pending: names and content of records of writers that did not commit
    :param seen: what readers know
    :param leaves: digests of its blocks, if asked for
    :param header: how an image begins, 2048 bytes
    """

    path: str
    real: str
    stamp: Stamp | None = None
    regular: bool = False
    mode: int = 0
    allocated: int = 0
    device: int = 0
    links: int = 1
    record: bytes | None = field(default=None, repr=False)
    pending: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    seen: bytes | None = field(default=None, repr=False)
    leaves: bytes | None = field(default=None, repr=False)
    header: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class ByteLock:
    """A lock on bytes of a file that the far system knows of; the device as in its lock table."""

    major: int
    minor: int
    inode: int

    def is_on(self, look: Look) -> bool:
        """Tell whether a file is the locked one."""
        return look.stamp is not None and self.is_at(look.device, look.stamp.inode)

    def is_at(self, number: int, inode: int) -> bool:
        """Tell whether the file with a device and inode is the locked one."""
        if inode != self.inode:
            return False
        device = (os.major(number), os.minor(number))
        # file systems without a device of their own go by several numbers
        return device == (self.major, self.minor) or device[0] == self.major == 0


@dataclass(frozen=True)
class ShelfLook:
    """
    What stands on the states of a directory, or may do so.

    :param states: its image states by path, with header and record
    :param rams: RAM files in the directory above by path, with record
    :param users: by state the registrations of working overlays: path and content of each
    :param overlays: the overlays that these name, by path, with the start of each
    :param below: what each of these stands on, by the overlay's path
    :param locks: on bytes that a QEMU locks of each file it has open; none if they can't be seen
    """

    states: Mapping[str, Look]
    rams: Mapping[str, Look]
    users: Mapping[str, tuple[tuple[str, bytes], ...]] = field(default_factory=dict)
    overlays: Mapping[str, Look] = field(default_factory=dict)
    below: Mapping[str, Look] = field(default_factory=dict)
    locks: frozenset[ByteLock] = frozenset()

    def is_open(self, look: Look) -> bool:
        """Tell whether a QEMU over there had a file open."""
        return any(lock.is_on(look) for lock in self.locks)


def backing_name(header: bytes) -> str:
    """Return the name of the file that an image stands on as its header has it, empty for none."""
    try:
        return _header("", header).backing
    except ImageRefused:
        return ""


def reaches_further(look: Look) -> bool:
    """Tell whether an image names what it stands on beyond what was looked at of it."""
    size = look.stamp.size if look.stamp else 0
    return len(look.header) < qcow2.backing_end(look.header) <= size


def _header(title: str, start: bytes) -> qcow2.Header:
    return qcow2.parse_header(title, start, lambda at, size: start[at : at + size])


def backing_of(look: Look, title: str) -> Backing:
    """
    Return what an image stands on.

    :param title: what it is called in errors
    :raises ImageRefused: its backing is not a plain file, or it is no QCOW2 image
    """
    header = _header(title, look.header)
    qcow2.check_movable(title, header)
    return chain.named_backing(header, look.path, os.path.dirname(look.path))


def backing_path(look: Look) -> str:
    """Return the file beside an image that it stands on; empty for none, or one elsewhere."""
    name = backing_name(look.header)
    if not look.path.endswith(".qcow2") or not name or "/" in name or not is_speakable(name):
        return ""
    return os.path.join(os.path.dirname(look.path), name)


def is_speakable(text: str) -> bool:
    """Tell whether a name can be told to a shell and back: it has no control characters."""
    return not re.search(r"[\x00-\x1f\x7f]", text)
