"""
What a state's file must contain, as those say who made it.

A *record* is made by a writer only. It is at ``.pool/<file>.json``
or, while a writer is between renaming the file and committing, at ``.pool/<file>.next-*``; a file
true to any of them is good. So old and new are both good while one replaces the other, even
with several writers and no lock (docs/decisions/0002-records-and-knowledge.md).

What readers find out is kept apart from records, see seen.py.
"""

import json
import logging
import os
import re
import secrets
import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any

from avocado_pool_plugin.core import durable, layout, typed
from avocado_pool_plugin.core.digest import ALGORITHM
from avocado_pool_plugin.core.errors import PoolUnreachable, unreachable
from avocado_pool_plugin.core.names import state_name
from avocado_pool_plugin.core.passport import Passport
from avocado_pool_plugin.core.recipe import Recipe

LOG = logging.getLogger("avocado." + __name__)

_FORMAT = 1
#: What a record's sum is not of: stamps, which the far side of a transfer fills in, and itself.
_UNSUMMED = re.compile(rb'\n "(?:made_as|stamp)": (?:null|\{[^{}]*\})|\n "sum": "[0-9a-f]*"')
_SUM = b'\n "sum": "'


@dataclass(frozen=True)
class Stamp:
    """
    What changes when a file does; no device number, which differs from mount to mount.

    Times are nanoseconds, the size is in bytes.
    """

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "Stamp":
        """Take the stamp out of a stat or fstat."""
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def same_file(self, other: "Stamp") -> bool:
        """Tell whether only a rename, a link or a mode can lie between the two."""
        return replace(self, ctime_ns=0) == replace(other, ctime_ns=0)


@dataclass(frozen=True)
class FileInfo:
    """
    What is recorded of a state's file.

    :param size: bytes
    :param digest: of the whole content, None while nobody has read it
    :param source_digest: of the file that this is a copy of, where backing names had to differ
    :param parent: name of the backing state, empty for none
    :param parent_digest: what the parent contained when this was made, if known
    :param parent_generation: which parent it was
    :param generation: random, given when the content was made; copies keep it
    :param recipe: what made it, if known
    :param made: when, in seconds since 1970
    :param made_by: by whom: host, process and test
    :param passport: what a vm state can only be resumed on; None for images and if not known
    :param also: digests of the whole content by algorithms of hosts that can't make ours
    :param seconds: how long it took to make it, 0 if that is not known
    """

    size: int
    digest: str | None = None
    source_digest: str | None = None
    parent: str = ""
    parent_digest: str | None = None
    parent_generation: str = ""
    generation: str = ""
    recipe: Recipe | None = None
    made: float = 0.0
    made_by: str = ""
    passport: Passport | None = None
    also: tuple[str, ...] = ()
    seconds: float = 0.0

    def same_content(self, other: "FileInfo") -> bool:
        """Tell whether both have known, equal content, apart from adapted backing names."""
        mine = {self.digest, self.source_digest, *self.also} - {None}
        return bool(mine & {other.digest, other.source_digest, *other.also})

    def by(self, algorithm: str) -> str | None:
        """Return the digest by an algorithm, None if it is not known."""
        known = (digest for digest in (self.digest, *self.also) if digest)
        return next((one for one in known if one.partition(":")[0] == algorithm), None)


@dataclass(frozen=True)
class Record:
    """
    A record as stored.

    :param made_as: stamp of the file before it was renamed into place (its ctime says nothing)
    :param stamp: stamp of the file in place, None if it could not be trusted yet
    """

    info: FileInfo
    made_as: Stamp
    stamp: Stamp | None = None


def _split(*digests: str | None) -> dict[str, str]:
    return {one.partition(":")[0]: one.partition(":")[2] for one in digests if one}


def _join(digests: dict[str, str]) -> str | None:
    return f"{ALGORITHM}:{digests[ALGORITHM]}" if ALGORITHM in digests else None


def _others(digests: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}:{digests[name]}" for name in sorted(digests) if name != ALGORITHM)


def encode(record: Record) -> bytes:
    """Return a record as it is stored."""
    data: dict[str, Any] = {"format": _FORMAT, **vars(record.info)}
    data["recipe"] = record.info.recipe.dump() if record.info.recipe else None
    passport = data.pop("passport")
    if passport is not None:
        data["passport"] = passport.dump()
    if not data["seconds"]:
        del data["seconds"]
    data["digests"] = _split(data.pop("digest"), *data.pop("also"))
    for key in ("source_digest", "parent_digest"):
        data[f"{key}s"] = _split(data.pop(key))
    data["made_as"] = asdict(record.made_as)
    data["stamp"] = asdict(record.stamp) if record.stamp else None
    text = json.dumps({**data, "sum": ""}, indent=1, sort_keys=True).encode()
    return text.replace(_SUM, _SUM + _sum(text).encode())


def _sum(text: bytes) -> str:
    """Return what tells a stored record from a damaged one: its CRC-32, without the stamps."""
    return f"{zlib.crc32(_UNSUMMED.sub(b'', text)):08x}"


def template(info: FileInfo) -> tuple[bytes, bytes, bytes]:
    """Return a record as it is stored in three pieces: two stamps belong in between."""
    none = Stamp(0, 0, 0, 0)
    data = json.loads(encode(Record(info, none)))
    marks = [secrets.token_hex(16) for _ in range(2)]
    data["made_as"], data["stamp"] = marks
    text = json.dumps(data, indent=1, sort_keys=True)
    start, rest = text.split(json.dumps(marks[0]))
    middle, end = rest.split(json.dumps(marks[1]))
    return start.encode(), middle.encode(), end.encode()


def decode(text: bytes) -> Record | None:
    """Return a stored record, None if it is damaged or of a later version of this package."""
    try:
        data = typed.mapping(text)
        if data.pop("format") != _FORMAT:
            return None
        known = data.pop("sum", None)
        if known is not None and _SUM in text and known != _sum(text):
            return None
        made_as, stamp = typed.fill(Stamp, data.pop("made_as")), data.pop("stamp")
        info = _info(data)
        return Record(info, made_as, typed.fill(Stamp, stamp) if stamp else None)
    except (ValueError, KeyError):
        return None  # written by a power cut or by nobody we know: as good as none


def _info(data: dict[str, Any]) -> FileInfo:
    """Return what a stored record says of its file; what is wrong is a ValueError or KeyError."""
    recipe, passport = Recipe.load(data.pop("recipe", None)), data.pop("passport", None)
    for key in ("digest", "source_digest", "parent_digest"):
        digests = data.pop(f"{key}s")
        if not isinstance(digests, dict) or not all(isinstance(v, str) for v in digests.values()):
            raise ValueError(f"{key}s are {digests!r:.60}")
        data[key] = _join(digests)
        if key == "digest":
            data["also"] = list(_others(digests))
    found = typed.fill(FileInfo, data)
    # it is part of paths
    if found.size < 0 or (found.parent and state_name(found.parent, "") is None):
        raise ValueError(f"{found.size} bytes on {found.parent!r:.60}")
    return replace(found, recipe=recipe, passport=Passport.load(passport))


def damaged(text: bytes | None) -> bool:
    """Tell whether a record is none; one of a later version of this package is not damaged."""
    if text is None or decode(text) is not None:
        return False
    try:
        return bool(typed.mapping(text)["format"] == _FORMAT)
    except (ValueError, KeyError):
        return True


def read_small(path: str) -> bytes | None:
    """Return what is in a small file of ours, None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreachable(path, error) from error


def read_record(path: str) -> Record | None:
    """Return the committed record of a file."""
    text = read_small(layout.record_path(path))
    return decode(text) if text is not None else None


def read_pending(path: str) -> list[Record]:
    """Return the records of writers of a file that did not commit, newest name last."""
    found = [decode(read_small(name) or b"") for name in pending_names(path)]
    return [record for record in found if record is not None]


def read_candidates(path: str) -> list[Record]:
    """
    Return all records that a file may be true to, the committed one first.

    The pending ones are read first: a writer drops its own only after it committed, so that a
    record may be found twice but can't slip through between the two looks.
    """
    pending = read_pending(path)
    committed = read_record(path)
    return ([committed] if committed else []) + pending


def pending_names(path: str) -> list[str]:
    """
    Return the names of records of writers of a file that did not commit.

    :raises PoolUnreachable: they can't be looked for, so nothing may be taken for corrupt
    """
    directory, prefix = os.path.split(layout.pending_prefix(path))
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []  # who may not see the names goes by the record alone
    except OSError as error:
        raise unreachable(directory, error) from error
    return sorted(
        os.path.join(directory, name)
        for name in names
        if name.startswith(prefix) and durable.is_token(name.removeprefix(prefix))
    )


def write_pending(path: str, record: Record, fsync: bool) -> str:
    """Write the record of a file that is about to be renamed into place; return its name."""
    name = layout.pending_prefix(path) + durable.new_token()
    durable.write_whole(name, encode(record), fsync)
    return name


def write_record(path: str, record: Record, fsync: bool) -> None:
    """Commit the record of a file."""
    durable.write_whole(layout.record_path(path), encode(record), fsync)


def adopt(path: str, record: Record) -> bool:
    """
    Give a file its first record; one that a writer made meanwhile stays.

    :returns: whether the directory could be written to
    """
    name = layout.record_path(path)
    try:
        durable.make_meta(path, fsync=False)
        if not durable.create_whole(name, encode(record)) and damaged(read_small(name)):
            durable.write_whole(name, encode(record), fsync=False)
    except (PoolUnreachable, OSError) as error:
        # knowledge spares reading; not to have it is no failure of what was asked for
        LOG.debug("%s can't be written: %s", name, error)
        return False
    return True


def drop_records(path: str) -> None:
    """Forget everything about a file that is gone."""
    known = layout.record_path(path), layout.seen_path(path), layout.leaves_path(path)
    for name in [*known, *pending_names(path)]:
        durable.unlink(name)
