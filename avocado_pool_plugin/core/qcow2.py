"""
QCOW2 files: what their header says, and whether a QEMU has them open; no process is started.

Layout of the header: docs/interop/qcow2.txt of QEMU. Byte ranges of its locks: block/file-posix.c.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from avocado_pool_plugin.core.errors import ImageRefused, unreachable

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_EXTENSION = struct.Struct(">II")
#: Where the header says at which place the name of the backing file begins, and how long it is.
_NAMED_AT, _NAMED = 8, struct.Struct(">QI")
_BACKING_FORMAT = 0xE2792ACA
_CORRUPT, _DATA_FILE = 2, 4
#: QEMU holds shared locks on single bytes from 100 on while it uses an image.
_LOCK_FIRST, _LOCK_COUNT = 100, 110
#: The longest name of a backing file that the format allows, and the largest cluster: in bytes. The
#: first cluster holds the whole header and that name.
_MAX_BACKING, _MAX_CLUSTER = 1023, 2 << 20
#: Bytes that are read of an image at first: its header, and most often what it stands on.
_START = 4096


@dataclass(frozen=True)
class Header:
    """
    What matters of a QCOW2 header.

    :param virtual_size: bytes the guest sees
    :param backing: name of the backing file as written, empty for none
    :param backing_format: its format, empty if not written
    :param snapshots: number of internal snapshots
    :param encrypted: whether content is encrypted
    :param data_file: whether content is in another file
    :param corrupt: marked as damaged by QEMU
    """

    virtual_size: int
    backing: str = ""
    backing_format: str = ""
    snapshots: int = 0
    encrypted: bool = False
    data_file: bool = False
    corrupt: bool = False


@dataclass(frozen=True)
class Change:
    """
    Some bytes of a file that are to become others.

    :param at: where, in bytes from the start
    :param old: as they are
    :param new: as many others
    """

    at: int
    old: bytes
    new: bytes

    def applied(self, data: bytes) -> bytes:
        """Return data that begins where the file does, changed."""
        return data[: self.at] + self.new + data[self.at + len(self.new) :]


def is_qcow2(path: str) -> bool:
    """Tell whether a file starts like a QCOW2 image."""
    with open(path, "rb") as file:
        return file.read(4) == _MAGIC


def read_header(path: str) -> Header:
    """
    Return the header of a QCOW2 file.

    :raises ImageRefused: it is none, or is cut off within its header
    :raises FileNotFoundError: there is no such file
    :raises PoolUnreachable: it can't be read
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _read_header(path, fd)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise unreachable(path, error) from error


def _read_header(path: str, fd: int) -> Header:
    start = os.pread(fd, _START, 0)

    def read(at: int, size: int) -> bytes:
        found = start[at : at + size]
        return found if len(found) == size else os.pread(fd, size, at)

    return parse_header(path, start, read)


def parse_header(path: str, start: bytes, read: Callable[[int, int], bytes]) -> Header:
    """
    Return the header of a QCOW2 file that is read elsewhere.

    :param path: for errors
    :param start: the first 2 KiB or more
    :param read: reads more: position and size, both in bytes
    :raises ImageRefused: it is none, or is cut off within its header
    """
    if start[:4] != _MAGIC:
        raise ImageRefused(
            f"{path} is no QCOW2 image (it starts with {start[:4]!r}); only QCOW2 images can "
            f"have states, convert it with qemu-img"
        )
    try:
        return _parse(start, read)
    except (struct.error, UnicodeDecodeError) as error:
        raise ImageRefused(f"{path} has a damaged QCOW2 header: {error}") from error


def backing_end(start: bytes) -> int:
    """Return where the name of an image's backing file ends, 0 if none is named."""
    if len(start) < _HEADER.size or start[:4] != _MAGIC:
        return 0
    _, _, at, length, *_ = _HEADER.unpack_from(start)
    return int(at + length) if at else 0


def _parse(start: bytes, read: Callable[[int, int], bytes]) -> Header:
    fields = _HEADER.unpack_from(start)
    version, size, crypt, snapshots = fields[1], fields[5], fields[6], fields[11]
    if version not in (2, 3):
        raise struct.error(f"its version is {version}, expected 2 or 3")
    features, length = 0, 72
    if version == 3:
        (features,) = struct.unpack_from(">Q", start, 72)
        (length,) = struct.unpack_from(">I", start, 100)
    backing = _backing(fields[2], fields[3], read)
    return Header(
        virtual_size=size,
        backing=os.fsdecode(backing),
        backing_format=_backing_format(start, length),
        snapshots=snapshots,
        encrypted=crypt != 0,
        data_file=bool(features & _DATA_FILE),
        corrupt=bool(features & _CORRUPT),
    )


def _backing(at: int, length: int, read: Callable[[int, int], bytes]) -> bytes:
    """Return the name of the backing file, which is at a place of the file; none is at 0."""
    if not at:
        return b""
    if length > _MAX_BACKING:
        raise struct.error(f"its backing file's name has {length} bytes")
    if at + length > _MAX_CLUSTER:
        raise struct.error(f"its backing file's name is at byte {at}, outside of the header")
    name = read(at, length)
    if len(name) != length:
        raise struct.error("the backing file's name is cut off")
    if b"\0" in name:
        raise struct.error("the backing file's name holds a null byte")
    return name


def _backing_format(start: bytes, at: int) -> str:
    """Walk the header's extensions up to the one that holds the backing file's format."""
    while at + _EXTENSION.size <= len(start):
        kind, length = _EXTENSION.unpack_from(start, at)
        at += _EXTENSION.size
        if kind == 0:
            break
        if kind == _BACKING_FORMAT:
            return start[at : at + length].decode()
        at += (length + 7) // 8 * 8
    return ""


def without_directory(path: str, start: bytes) -> Change:
    """
    Return what lets an image name its backing file without a directory.

    The last part of the name is a name already. So only where the name begins and how long it is
    have to change: twelve bytes in the first sector.

    :param path: for errors
    :param start: the first 4 KiB
    :raises ImageRefused: its header is of a kind that can't be changed in that way
    """
    header = parse_header(path, start, lambda at, size: start[at : at + size])
    _, version, at, length, *_ = _HEADER.unpack_from(start)
    name = os.path.basename(header.backing)
    if not _ends(start, 72 if version < 3 else struct.unpack_from(">I", start, 100)[0], at):
        raise ImageRefused(
            f"the header of {path} has no room between its parts; change the name of its backing "
            f"file with 'qemu-img rebase -u -f qcow2 -F qcow2 -b {name} {path}'"
        )
    kept = len(os.fsencode(name))
    changed = _NAMED.pack(at + length - kept, kept)
    return Change(_NAMED_AT, start[_NAMED_AT : _NAMED_AT + _NAMED.size], changed)


def _ends(start: bytes, at: int, end: int) -> bool:
    """Tell whether the extensions of a header have an end of their own, before a place."""
    while at + _EXTENSION.size <= min(end, len(start)):
        kind, length = _EXTENSION.unpack_from(start, at)
        if kind == 0:
            return True
        at += _EXTENSION.size + (length + 7) // 8 * 8
    return False


def check_movable(path: str, header: Header) -> None:
    """
    Make sure that an image is whole in its own file and its backing files.

    :raises ImageRefused: content is elsewhere or unreadable to others, or QEMU marked it damaged
    """
    problem = ""
    if header.encrypted:
        problem = "is encrypted; states hold plain images only"
    elif header.data_file:
        problem = "keeps its data in an external file; convert it to a plain QCOW2 image"
    elif header.corrupt:
        problem = "was marked corrupt by QEMU; check it with 'qemu-img check'"
    elif header.backing.startswith("json:") or ":" in header.backing.partition("/")[0]:
        problem = f"is backed by {header.backing!r}; only plain files can back a state"
    if problem:
        raise ImageRefused(f"image {path} {problem}")


def in_use(path: str) -> bool:
    """
    Tell whether a QEMU process of this host has an image open, for itself or as a backing file.

    :returns: False as well if there is no such file
    :raises PoolUnreachable: it can't be looked at
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # struct flock: type, whence, start, length, pid
            ask = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_FIRST, _LOCK_COUNT, 0)
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, ask)
            return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreachable(path, error) from error
