"""
What readers know about states' files: which digest a file had under which stamp, or a generation.

Such facts stay true for ever, so readers overwrite each other without harm and never touch a
record.
"""

import contextlib
import hashlib
import json
import logging
import os
import zlib
from dataclasses import asdict, dataclass

from avocado_pool_plugin.core import durable, layout, typed
from avocado_pool_plugin.core.errors import PoolUnreachable
from avocado_pool_plugin.core.records import Stamp, read_small

LOG = logging.getLogger("avocado." + __name__)

#: The key of a note's sum.
_SUM = "sum"


@dataclass(frozen=True)
class Seen:
    """A reader's knowledge: this stamp (if trusted) and this generation have this digest."""

    digest: str
    generation: str
    stamp: Stamp | None


def _away(path: str, seen_dir: str) -> str:
    key = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]
    return os.path.join(seen_dir, f"{key}.json")


def read_seen(path: str, seen_dir: str | None) -> list[Seen]:
    """Return what readers know about a file, beside it and on this host."""
    beside = _load_seen(layout.seen_path(path))
    away = read_seen_away(path, seen_dir)
    return [seen for seen in (beside, away) if seen]


def read_seen_away(path: str, seen_dir: str | None) -> Seen | None:
    """Return what this host's readers know about a file."""
    return _load_seen(_away(path, seen_dir)) if seen_dir else None


def _load_seen(name: str) -> Seen | None:
    return decode_seen(read_small(name) or b"")


def decode_seen(text: bytes) -> Seen | None:
    """Return what a reader noted, None if it is damaged."""
    with contextlib.suppress(ValueError):
        data = typed.mapping(text)
        known = data.pop(_SUM, None)
        found = typed.fill(Seen, data)
        # earlier versions wrote none
        if known is None or known == _sum(found):
            return found
    return None


def encode_seen(seen: Seen) -> bytes:
    """Return what a reader notes."""
    return json.dumps({**asdict(seen), _SUM: _sum(seen)}).encode()


def _sum(seen: Seen) -> str:
    """Return what tells a note from a damaged one: a wrong digest would condemn a good file."""
    return f"{zlib.crc32(json.dumps(asdict(seen), sort_keys=True).encode()):08x}"


def write_seen(path: str, seen: Seen, seen_dir: str | None) -> None:
    """Keep what was found out about a file: beside it, else on this host, else not at all."""
    if not _try_write(layout.seen_path(path), seen):
        write_seen_away(path, seen, seen_dir)


def write_seen_away(path: str, seen: Seen, seen_dir: str | None) -> None:
    """Keep what was found out about a file on this host."""
    if seen_dir:
        _try_write(_away(path, seen_dir), seen)


def _try_write(name: str, seen: Seen) -> bool:
    try:
        durable.make_dirs(os.path.dirname(name), fsync=False)
        durable.write_whole(name, encode_seen(seen), fsync=False)
    except (PoolUnreachable, OSError) as error:
        # knowledge spares reading; not to have it is no failure of what was asked for
        LOG.debug("%s can't be written: %s", name, error)
        return False
    return True
