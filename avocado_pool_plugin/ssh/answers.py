"""Answers of a far shell and the complaints of its tools, taken apart."""

import base64
import contextlib
import functools
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from stat import S_IMODE, S_ISREG

from avocado_pool_plugin.core import durable, layout, typed
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh.looks import ByteLock, Look, Status

#: Characters of the tokens of temporary names.
_TOKEN = 16
#: QEMU holds locks on single bytes of these while it uses an image.
_LOCKED = range(100, 210)
#: Tools, and shells of several kinds, say so of a file that is not there.
_ABSENT = (
    ": No such file or directory",
    ": Not a directory",
    ": No such file",
    ": Directory nonexistent",
    ": no such file",
    ": nonexistent directory",
)
_COMPLAINT = re.compile(
    r"(?:\S*/)?(?:base64|cat|chgrp|chmod|cp|flock|head|ln|ls|mkdir|mv|od|realpath|rm|stat|"
    r"sync|\S*sh): .*: .+"
)
#: Escapes in names of ``ls --quoting-style=c``.
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_PLAIN = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13}


class Found:
    """
    The files that an answer tells of.

    ``links`` says where those lead that are links; ``unread`` is how many could not be read.

    :param fields: keys and texts of the answer, in order
    """

    def __init__(self, fields: Iterable[tuple[str, bytes]]) -> None:
        self.statuses: dict[str, Status] = {}
        self.texts: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.links: dict[str, str] = {}
        self.unread = 0
        names: list[str] = []
        link = ""
        for key, text in fields:
            if key == "s":
                name, status = parse_status(text)
                self.statuses[name] = status
            elif key == "f":
                names.append(os.fsdecode(text))
            elif key == "text":
                read = split_texts(names, text)
                self.texts |= read
                self.unread += len(set(names)) - len(read)
                names = []
            elif key == "file":
                self.asked.append(os.fsdecode(text))
            elif key == "link":
                link = os.fsdecode(text)
            elif key == "to":
                self.links[link] = os.fsdecode(text)

    def look(self, path: str) -> Look:
        """Return what was found about a file."""
        real = self.links.get(path, path)
        look = Look(
            path,
            real,
            record=self.texts.get(layout.record_path(real)),
            pending=tuple(
                (name, self.texts[name])
                for name in self._pending.get(layout.pending_prefix(real), ())
            ),
            seen=self.texts.get(layout.seen_path(real)),
            leaves=self.texts.get(layout.leaves_path(real)),
        )
        status = self.statuses.get(real)
        if status is None or self._went(real, status):
            return look
        return replace(
            look,
            stamp=status.stamp,
            regular=S_ISREG(status.mode),
            mode=S_IMODE(status.mode),
            allocated=status.allocated,
            device=status.device,
            links=status.links,
            header=self.texts.get(real, b""),
        )

    def _went(self, real: str, status: Status) -> bool:
        """Tell whether an image was there at the first look, and gone when its start was read."""
        read = S_ISREG(status.mode) and real.endswith(IMAGE_SUFFIX) and status.stamp.size > 0
        return read and not self.texts.get(real)

    @property
    def missing(self) -> int:
        """How many of the files asked for, and what lies beside them, were not found."""
        reals = {self.links.get(path, path) for path in self.asked}
        around = {os.path.join(layout.meta_dir(real), ".") for real in reals}
        return len((reals | around) - self.statuses.keys()) + self.unread

    @functools.cached_property
    def _pending(self) -> dict[str, list[str]]:
        """Names of records of writers that did not commit, by how they begin."""
        found = defaultdict(list)
        for name in sorted(self.texts):
            token = name[-_TOKEN:]
            if durable.is_token(token):
                found[name.removesuffix(token)].append(name)
        return found


def parse_status(text: bytes) -> tuple[str, Status]:
    """
    Return the name of a file and what it is.

    :raises ValueError: the text is something else
    """
    inode, size, mtime, ctime, mode, blocks, unit, device, links, name = text.split(b" ", 9)
    stamp = Stamp(counted(inode), counted(size), _ns(mtime), _ns(ctime))
    allocated = counted(counted(blocks) * counted(unit))
    kind = counted(int(mode, 16), 1 << 16)
    return os.fsdecode(name), Status(stamp, kind, allocated, counted(device), counted(links))


def _ns(seconds: bytes) -> int:
    """Return nanoseconds of seconds with nine digits after the point."""
    return typed.whole(int(seconds.replace(b".", b"")))


def parse_stamp(text: str) -> Stamp:
    """
    Return a stamp of four whole numbers.

    :raises ValueError: the text is something else
    """
    inode, size, mtime, ctime = (typed.whole(int(word)) for word in text.split())
    return Stamp(inode, counted(size), mtime, ctime)


def counted(number: int | bytes | str, most: int = 1 << 64) -> int:
    """Return a number of things; a ValueError if it can't be one."""
    found = int(number)
    if not 0 <= found < most:
        raise ValueError(f"{found} can't be a number of anything")
    return found


def split_texts(names: Iterable[str], text: bytes) -> dict[str, bytes]:
    """
    Return the starts of files, of those that could be read.

    :param text: what ``head -v`` says of these files, in base64
    """
    data = base64.b64decode(text)
    heads = [(name, b"==> " + os.fsencode(name) + b" <==\n") for name in names]
    begins: list[tuple[str, int, int]] = []
    at = 0
    for name, head in heads:
        # the first one that could be read has no line end before it
        found = 0 if data.startswith(head) and not begins else data.find(b"\n" + head, at)
        if found >= 0:
            at = found + len(head) + (found > 0)
            begins.append((name, found, at))
    ends = [*(before for _, before, _ in begins[1:]), len(data)]
    return {name: data[at:end] for (name, _, at), end in zip(begins, ends, strict=False)}


def parse_names(text: bytes) -> list[str]:
    """
    Return the names that ``ls --quoting-style=c`` lists, in base64.

    :raises ValueError: one could not be the name of a file
    """
    lines = base64.b64decode(text).splitlines()
    names = [os.fsdecode(_ESCAPE.sub(_unescaped, line[1:-1])) for line in lines]
    if "" in names[:-1] or any("/" in name or "\0" in name for name in names):
        raise ValueError("a name that no file can have")
    return names


def _unescaped(match: re.Match[bytes]) -> bytes:
    char = match.group(1)
    if len(char) == 3:
        return bytes([int(char, 8)])
    return bytes([_PLAIN[char]]) if char in _PLAIN else char


def parse_locks(text: bytes) -> frozenset[ByteLock]:
    """Return the locks of /proc/locks that a QEMU may hold on images."""
    found = set()
    for line in text.decode("ascii", "replace").splitlines():
        words = line.split()
        # number, kind, ADVISORY, READ or WRITE, process, device and inode, first and last byte
        if len(words) != 8 or words[1] not in ("POSIX", "OFDLCK"):
            continue
        with contextlib.suppress(ValueError):  # of a file that is gone: "<none>:0"
            first, last = int(words[6]), _LOCKED[-1] if words[7] == "EOF" else int(words[7])
            major, minor, inode = words[5].split(":")
            if first <= _LOCKED[-1] and last >= _LOCKED[0]:
                found.add(ByteLock(int(major, 16), int(minor, 16), int(inode)))
    return frozenset(found)


def complaints(said: Iterable[str]) -> list[str]:
    """Return what tools and the shell complain about, of all that was said."""
    return [line for line in said if _COMPLAINT.fullmatch(line)]


def is_of_absence(complaint: str) -> bool:
    """Tell whether a complaint only says that a file or directory is not there."""
    return complaint.endswith(_ABSENT)
