"""A file of the trash back in its place."""

import time
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import evidence, layout, progress, records, seen
from avocado_pool_plugin.core.digest import ALGORITHM
from avocado_pool_plugin.core.errors import FileCorrupt, StateMissing, StatePresent
from avocado_pool_plugin.core.records import Record, Stamp
from avocado_pool_plugin.core.seen import Seen
from avocado_pool_plugin.upkeep.returning import put_back
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.trashcan import Thrown

#: Seconds to wait until a change of a file is sure to show, and between two looks.
_SETTLED, _LOOK = 0.05, 0.005


def restore(site: Site, thrown: Thrown, *, check: bool = True, over: bool = False) -> None:
    """
    Put a file back in its place, with its record; what it stands on is up to the caller.

    Killed at any moment, it is in the trash or whole in its place. The record is there before the
    file is, and trusts no stamp but the one of when the file was made.

    :param check: read the content and compare it with the record; else a later use does
    :param over: what is in its place goes to the trash
    :raises StateNeeded: that can't go, as something stands on it
    :raises StatePresent: another file is in its place
    :raises StateMissing: it is gone from the trash meanwhile
    :raises FileCorrupt: it is not what was recorded; it stays in the trash
    :raises LockTimeout: someone else held the state's lock all the time
    """
    if not over:
        _require_free(site, thrown)
    _require_there(site, thrown)
    read = _checked(site, thrown, check)
    if over:
        site.store.remove(thrown.original)
    record = replace(thrown.record, stamp=None) if thrown.record else None
    with site.store.lock(thrown.original, site.policy.timeout):
        _require_free(site, thrown)
        _require_there(site, thrown)
        text = records.encode(record) if record else None
        if not put_back(site, thrown.path, thrown.original, text):
            raise _taken(site, thrown)
    if record and read and read[0].startswith(ALGORITHM):
        _note(site, thrown.original, Seen(read[0], record.info.generation, read[1]))


def _require_free(site: Site, thrown: Thrown) -> None:
    if site.store.has(thrown.original):
        raise _taken(site, thrown)


def _require_there(site: Site, thrown: Thrown) -> None:
    if not site.store.has(thrown.path):
        raise StateMissing(
            f"{site.title(thrown.path)} is gone from the trash meanwhile; see 'avocado pool trash "
            f"list'"
        )


def _taken(site: Site, thrown: Thrown) -> StatePresent:
    return StatePresent(
        f"{site.title(thrown.original)} exists; the one in the trash can take its place with "
        f"--replace, or after 'avocado pool rm {thrown.title}'"
    )


def _checked(site: Site, thrown: Thrown, check: bool) -> tuple[str, Stamp] | None:
    """
    Make sure that a file is what was recorded; return its digest and stamp if it was read.

    :raises FileCorrupt: it is not
    """
    if thrown.record is None or thrown.entry.stamp is None:
        return None
    record = replace(thrown.record, stamp=None)
    if not record.info.digest and not record.info.also:
        if not record.made_as.same_file(thrown.entry.stamp):
            raise _corrupt(site, thrown, "content that was changed since")
        return None
    if not check:
        return None
    with progress.reported("checking", site.title(thrown.path), lambda: thrown.size) as told:
        digest, stamp = site.digest(thrown.path, record.info, told)
    if evidence.match(digest, stamp, _Alone(record))[0] is None:
        raise _corrupt(site, thrown, digest)
    return digest, stamp


def _corrupt(site: Site, thrown: Thrown, found: str) -> FileCorrupt:
    assert thrown.record is not None
    info = thrown.record.info
    wanted = info.digest or ", ".join(info.also) or "what was set"
    error = FileCorrupt(
        f"{site.title(thrown.path)} is corrupt: expected {wanted}, found {found}; it stays in the "
        f"trash - get or set state {thrown.title} again"
    )
    error.expected, error.path = info.digest, thrown.path
    return error


@dataclass(frozen=True)
class _Alone:
    """A record with nothing else around it; see ``evidence.Evidence``."""

    only: Record

    def record(self) -> Record:
        return self.only

    def candidates(self) -> list[Record]:
        return [self.only]

    def seen(self) -> list[Seen]:
        return []


def _note(site: Site, path: str, read: Seen) -> None:
    """
    Spare the next reader of a file what was just read, if any later change will show.

    :param read: with the file's stamp before it was renamed
    """
    deadline = time.monotonic() + _SETTLED
    while time.monotonic() < deadline:
        stamp = site.eyes.stamps([path]).get(path)
        if stamp is None or read.stamp is None or not stamp.same_file(read.stamp):
            return  # replaced meanwhile
        if site.clock() > stamp.ctime_ns / 1e9:
            site.write(layout.seen_path(path), seen.encode_seen(replace(read, stamp=stamp)))
            return
        time.sleep(_LOOK)
