"""
Internal snapshots of QCOW2 images: the table of them, and which states they are.

A state has the tag ``<name>``, or ``<name>/<number>`` where that one can't be used: it is taken, or
QEMU would mistake it. No name has a slash, so there is no doubt whose tag it is. Where a state has
several snapshots the last one in the table counts; older ones were to be removed and are no more
than garbage.

Layout of the table: docs/interop/qcow2.txt of QEMU.
"""

import os
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from avocado_pool_plugin.core.errors import ImageRefused, unreachable
from avocado_pool_plugin.core.names import state_name
from avocado_pool_plugin.core.qcow2 import read_header

#: Where a header says how many snapshots there are and where their table is, and how.
_WHERE_AT, _WHERE = 60, struct.Struct(">IQ")
#: Of an entry: L1 table and its size, lengths of id and name, seconds and nanoseconds of the date,
#: clock of the vm, size of its RAM in 32 bits, length of what follows; there it is in 64 bits.
_ENTRY, _LARGE = struct.Struct(">QIHHIIQII"), struct.Struct(">Q")
_ALIGNED = 8
_NUMBERED = re.compile(r"(.+)/[0-9]+", re.DOTALL)
#: QEMU's own bounds: entries, bytes of what is not known of one, and bytes of the whole table.
_MOST, _MOST_EXTRA, _MOST_BYTES = 65536, 1024, 64 << 20
#: Where a table can begin at most, in bytes: files are no longer.
_FARTHEST = (1 << 63) - 1 - _MOST_BYTES
#: Attempts at a table that a running QEMU replaces meanwhile.
_ATTEMPTS = 20


@dataclass(frozen=True)
class Snapshot:
    """
    An internal snapshot.

    :param number: its id, which is unique in its image
    :param tag: its name, which need not be
    :param clock: nanoseconds that the vm had run, 0 if no vm ran
    :param ram: bytes of RAM and devices that it holds, 0 for none
    """

    number: str
    tag: str
    clock: int
    ram: int

    @property
    def of_vm(self) -> bool:
        """
        Whether a running vm made it: it holds RAM, or belongs to one in another image that does.

        What qemu-img makes has no clock.
        """
        return bool(self.ram or self.clock)


@dataclass(frozen=True)
class VMState:
    """
    A state of a running vm: snapshots of one tag in all of its images.

    :param holder: which of the images has the RAM, counted from 0
    :param parts: the snapshots, in the order of the images
    """

    name: str
    holder: int
    parts: tuple[Snapshot, ...]

    @property
    def tag(self) -> str:
        """The tag of all of its snapshots."""
        return self.parts[0].tag

    @property
    def ram(self) -> int:
        """Bytes of RAM and devices."""
        return self.parts[self.holder].ram


def read_snapshots(path: str) -> tuple[Snapshot, ...]:
    """
    Return the internal snapshots of a QCOW2 image, the oldest first; it may be open in a QEMU.

    :raises ImageRefused: it is none, or their table is damaged
    :raises FileNotFoundError: there is no such file
    :raises PoolUnreachable: it can't be read
    """
    if not read_header(path).snapshots:
        return ()
    try:
        with open(path, "rb") as file:
            return _read_stable(path, file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise unreachable(path, error) from error


def _read_stable(path: str, fd: int) -> tuple[Snapshot, ...]:
    """Read a table that was in force from the beginning of the reading to its end."""
    problem = ""
    for _ in range(_ATTEMPTS):
        where = os.pread(fd, _WHERE.size, _WHERE_AT)
        try:
            found, problem = tuple(_entries(fd, *_WHERE.unpack(where))), ""
        except struct.error as error:
            found, problem = (), str(error)
        if os.pread(fd, _WHERE.size, _WHERE_AT) == where:
            break
    if problem:
        raise ImageRefused(
            f"{path} has a damaged table of internal snapshots ({problem}); check it with "
            f"'qemu-img check'"
        )
    return found


def _entries(fd: int, count: int, at: int) -> Iterator[Snapshot]:
    if count > _MOST or at > _FARTHEST:
        raise struct.error(f"{count} entries at byte {at}")
    limit = at + _MOST_BYTES
    for _ in range(count):
        fields = _ENTRY.unpack(os.pread(fd, _ENTRY.size, at))
        id_size, name_size, clock, ram, extra = fields[2], fields[3], *fields[6:]
        start = at + _ENTRY.size
        if extra > _MOST_EXTRA or start > limit:
            raise struct.error("it is too long")
        rest = os.pread(fd, extra + id_size + name_size, start)
        if len(rest) != extra + id_size + name_size:
            raise struct.error("it is cut off")
        if extra >= _LARGE.size:
            (ram,) = _LARGE.unpack_from(rest)
        names = rest[extra:]
        yield Snapshot(os.fsdecode(names[:id_size]), os.fsdecode(names[id_size:]), clock, ram)
        end = start + len(rest)
        at = -(-end // _ALIGNED) * _ALIGNED


def state_of(tag: str) -> str | None:
    """Return the name of the state that a tag stands for, None if it is none of ours."""
    numbered = _NUMBERED.fullmatch(tag)
    return state_name(numbered.group(1) if numbered else tag, "")


def new_tag(state: str, taken: Collection[str]) -> str:
    """
    Return a tag for a new snapshot of a state.

    :param taken: tags that it must not have
    """
    tag, number = state, 0
    while tag in taken:
        number += 1
        tag = f"{state}/{number}"
    return tag


def image_states(table: Iterable[Snapshot]) -> dict[str, list[Snapshot]]:
    """Return the snapshots of each state of an image that no vm made, the oldest first."""
    found: dict[str, list[Snapshot]] = {}
    for snapshot in table:
        name = state_of(snapshot.tag)
        if name and not snapshot.of_vm:
            found.setdefault(name, []).append(snapshot)
    return found


def vm_states(tables: Sequence[Sequence[Snapshot]]) -> dict[str, VMState]:
    """
    Return the states of a vm that are whole, by name.

    What belongs together has one tag and was made at one moment of the vm's clock.

    :param tables: the snapshots of each of its images
    """
    found = {}
    for first in tables[0] if tables else ():
        name = state_of(first.tag)
        parts = [_part(table, first) for table in tables]
        whole = [part for part in parts if part is not None and part.of_vm]
        with_ram = [number for number, part in enumerate(whole) if part.ram]
        if name and len(whole) == len(tables) and with_ram:
            found[name] = VMState(name, with_ram[0], tuple(whole))
    return found


def _part(table: Iterable[Snapshot], first: Snapshot) -> Snapshot | None:
    wanted = first.tag, first.clock
    return next((part for part in table if (part.tag, part.clock) == wanted), None)


def loaded_by(table: Sequence[Snapshot], tag: str) -> Snapshot | None:
    """Return which snapshot a QEMU takes for a tag when it loads: an id comes before all names."""
    by_number = (snapshot for snapshot in table if snapshot.number == tag)
    by_name = (snapshot for snapshot in table if snapshot.tag == tag)
    return next(by_number, None) or next(by_name, None)


def deleted_by(table: Sequence[Snapshot], tag: str) -> Snapshot | None:
    """Return which snapshot goes if one with a tag is deleted: the first, whatever the ids are."""
    return next((snapshot for snapshot in table if snapshot.tag == tag), None)
