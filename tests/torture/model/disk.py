"""What a guest would read of small QCOW2 images, found out by neither programs nor our code."""

import functools
import os
import struct
from dataclasses import dataclass
from pathlib import Path

#: An image has so many slots of one cluster; what a guest writes is a number in one of them.
SLOTS, CLUSTER = 4, 1 << 16
#: Numbers are two bytes, each other than zero: each fills half a cluster.
BASE = 250
Content = tuple[int, ...]
_MAGIC = b"QFI\xfb"
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED, _ZERO = 1 << 62, 1


class Unreadable(Exception):
    """An image that no guest could use, or that holds what no guest wrote."""


@dataclass(frozen=True)
class Layer:
    """
    One file.

    :param backing: as it is named in the file, empty for none
    :param own: the number in each slot, None where the file below tells
    """

    backing: str
    own: tuple[int | None, ...]


def halves(number: int) -> tuple[int, int]:
    """Return the bytes that stand for a number."""
    return 1 + number // BASE % BASE, 1 + number % BASE


def content(path: Path) -> Content:
    """
    Return what a guest reads in each slot.

    :raises Unreadable: it could not start
    """
    found: list[int | None] = [None] * SLOTS
    seen: set[Path] = set()
    while True:
        if path in seen:
            raise Unreadable(f"{path} stands on itself")
        seen.add(path)
        layer = _layer(path)
        found = [below if above is None else above
                 for above, below in zip(found, layer.own, strict=True)]  # fmt: skip
        if not layer.backing:
            return tuple(number or 0 for number in found)
        path = path.parent / layer.backing


def backing(path: Path) -> str:
    """Return the name of the file that an image stands on, empty for none."""
    return _layer(path).backing


def _layer(path: Path) -> Layer:
    try:
        stamp = path.stat()
        if stamp.st_mode & 0o222:
            return _read(path)  # somebody's working image
        return _read_once(path, stamp.st_ino, stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None


@functools.lru_cache(maxsize=1 << 12)
def _read_once(path: Path, *_stamp: int) -> Layer:
    return _read(path)


def _read(path: Path) -> Layer:
    data = path.read_bytes()
    if len(data) < 104 or data[:4] != _MAGIC:
        raise Unreadable(f"{path} is no QCOW2 file")
    at, length = struct.unpack_from(">QI", data, 8)
    entries, table = struct.unpack_from(">IQ", data, 36)
    name = os.fsdecode(data[at : at + length]) if at else ""
    (first,) = struct.unpack(">Q", _part(path, data, table, 8)) if entries else (0,)
    if not first & _OFFSET:
        return Layer(name, (None,) * SLOTS)
    below = struct.unpack(f">{SLOTS}Q", _part(path, data, first & _OFFSET, 8 * SLOTS))
    return Layer(name, tuple(_number(path, data, entry) for entry in below))


def _number(path: Path, data: bytes, entry: int) -> int | None:
    if entry & _COMPRESSED:
        raise Unreadable(f"{path} is compressed")
    if entry & _ZERO:
        return 0
    if not entry & _OFFSET:
        return None
    cluster = _part(path, data, entry & _OFFSET, CLUSTER)
    high, low = cluster[0], cluster[-1]
    if cluster != bytes([high]) * (CLUSTER // 2) + bytes([low]) * (CLUSTER // 2):
        raise Unreadable(f"{path} has a cluster at {entry & _OFFSET} that nobody wrote")
    return (high - 1) * BASE + low - 1 if high else 0


def _part(path: Path, data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise Unreadable(f"{path} is cut off: {len(data)} bytes, and {length} at {at} are missing")
    return data[at : at + length]
