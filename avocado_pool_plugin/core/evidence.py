"""What records and readers' notes say about a file, wherever they and the file are."""

from dataclasses import dataclass, replace
from typing import Protocol

from avocado_pool_plugin.core.digest import ALGORITHM
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp
from avocado_pool_plugin.core.seen import Seen

#: How generations begin that were not given when content was made, but made up of its digest.
ADOPTED = "adopted-"


@dataclass(frozen=True)
class Peek:
    """
    What is known of a file without reading its content.

    :param info: what is recorded; only its size if nothing is
    :param stamp: the file's stamp now
    :param recorded: whether there is a record at all
    :param fresh: whether the digest in ``info`` is known under this stamp
    :param untouched: whether nobody knows the digest and the stamp is the one of when it was made
    """

    info: FileInfo
    stamp: Stamp
    recorded: bool
    fresh: bool
    untouched: bool = False


class Evidence(Protocol):
    """What is written about a file; looked at only as far as needed."""

    def record(self) -> Record | None:
        """Return the committed record."""

    def candidates(self) -> list[Record]:
        """Return all records that the file may be true to, the committed one first."""

    def seen(self) -> list[Seen]:
        """Return what readers know."""


def weigh(stamp: Stamp, evidence: Evidence) -> Peek:
    """Return what is known about a file with this stamp."""
    record, fresh = _recorded(stamp, evidence)
    info = record.info if record else FileInfo(size=stamp.size)
    if fresh and info.digest:
        return Peek(info, stamp, recorded=True, fresh=True)
    seen = evidence.seen()
    if info.digest is None:
        info = replace(info, digest=_digest_of(info.generation, seen) if record else None)
    if not fresh:
        for known in seen:
            if known.stamp == stamp and (not record or info.digest == known.digest):
                info, fresh = replace(info, digest=known.digest), True
    if record is None or info.digest:
        return Peek(info, stamp, record is not None, fresh and info.digest is not None)
    return Peek(info, stamp, recorded=True, fresh=False, untouched=_as_made(record, stamp))


def _as_made(record: Record, stamp: Stamp) -> bool:
    """Tell whether a file of this stamp is the one that was made, as far as that can show."""
    return record.stamp == stamp if record.stamp else record.made_as.same_file(stamp)


def _recorded(stamp: Stamp, evidence: Evidence) -> tuple[Record | None, bool]:
    """Return the record that a file with this stamp most likely has, and whether it is fresh."""
    record = evidence.record()
    if record and record.stamp == stamp:
        return record, True
    candidates = evidence.candidates()
    for candidate in candidates:
        if candidate.made_as.same_file(stamp):
            return candidate, candidate.stamp == stamp
    return (candidates[0] if candidates else None), False


def _digest_of(generation: str, seen: list[Seen]) -> str | None:
    return next((s.digest for s in seen if generation and s.generation == generation), None)


def match(digest: str, stamp: Stamp, evidence: Evidence) -> tuple[Record | None, bool]:
    """
    Find the record that a file with this content and stamp is true to.

    :param digest: by an algorithm that the records have, or should have
    :returns: the record, None if it is true to none; and whether any speaks of this file: if not,
        there is none at all, or only of writers that died before their file was in place
    """
    seen = evidence.seen()
    # looked for before the candidates: one that another reader writes meanwhile is no evidence
    recorded = evidence.record() is not None
    # first the one of this very file: two may hold the same content
    candidates = sorted(
        evidence.candidates(), key=lambda record: not record.made_as.same_file(stamp)
    )
    for record in candidates:
        if _true_to(record, digest, stamp, seen):
            return record, True
    ours = any(record.made_as.inode == stamp.inode for record in candidates)
    return None, ours or recorded


def _true_to(record: Record, digest: str, stamp: Stamp, seen: list[Seen]) -> bool:
    algorithm = digest.partition(":")[0]
    expected = record.info.by(algorithm)
    if expected is None and algorithm == ALGORITHM:
        expected = _digest_of(record.info.generation, seen)
    if expected is not None:
        return expected == digest
    return _as_made(record, stamp)


def adopted(digest: str, stamp: Stamp) -> FileInfo:
    """Return the first info of a file that somebody else made."""
    return FileInfo(
        size=stamp.size,
        digest=digest,
        generation=ADOPTED + digest.partition(":")[2][:16],
        made=stamp.mtime_ns / 1e9,
        made_by="adopted: found without a record",
    )
