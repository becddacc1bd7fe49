"""Whether a file still is what was recorded, found out with as little reading as possible."""

import logging
import os
import stat as statmod
import time
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import durable, layout, records, seen
from avocado_pool_plugin.core.attempts import Attempts
from avocado_pool_plugin.core.digest import ALGORITHM, Progress, digest_fd
from avocado_pool_plugin.core.errors import (
    FileChanging,
    FileCorrupt,
    ImageRefused,
    unreachable,
)
from avocado_pool_plugin.core.evidence import Peek, adopted, match, weigh
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp
from avocado_pool_plugin.core.seen import Seen

LOG = logging.getLogger("avocado." + __name__)

#: Attempts at a working image that changes while it is looked at.
_ATTEMPTS = 5
#: How much older than this host's clock a change must be on a file system that can't be written
#: to, where that file system's own clock can't be asked: nanoseconds.
_OLD = 2_000_000_000


@dataclass(frozen=True)
class _Beside:
    """What is written in the directories of this host."""

    path: str
    seen_dir: str | None

    def record(self) -> Record | None:
        return records.read_record(self.path)

    def candidates(self) -> list[Record]:
        return records.read_candidates(self.path)

    def seen(self) -> list[Seen]:
        return seen.read_seen(self.path, self.seen_dir)


def resolve(path: str) -> str:
    """Return where a file really is: what is known about a linked state is kept in the pool."""
    return os.path.realpath(path) if os.path.islink(path) else path


def peek(path: str, seen_dir: str | None = None) -> Peek | None:
    """
    Return what is known about a file, None if there is none.

    :raises ImageRefused: it is a directory or device
    """
    path = resolve(path)
    stamp = _stamp(path)
    return None if stamp is None else known_as(path, stamp, seen_dir)


def known_as(path: str, stamp: Stamp, seen_dir: str | None = None) -> Peek:
    """
    Return what is known about a file that was looked at just now.

    :param path: where it really is, see :func:`resolve`
    """
    return weigh(stamp, _Beside(path, seen_dir))


def _stamp(path: str) -> Stamp | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreachable(path, error) from error
    if not statmod.S_ISREG(found.st_mode):
        raise ImageRefused(f"{path} is no regular file; a state must be one")
    return Stamp.of(found)


def identify(
    path: str,
    policy: Policy,
    seen_dir: str | None = None,
    progress: Progress | None = None,
) -> FileInfo | None:
    """
    Return what a file is, with its digest, after making sure that it is what was recorded.

    Content is read only if the stamp changed, the digest is unknown, or always by policy.

    :returns: None if there is no file
    :raises FileCorrupt: content and record differ; ``expected`` holds the recorded digest
    :raises FileChanging: it changes all the time
    """
    path = resolve(path)
    attempts = Attempts(path)
    while (known := peek(path, seen_dir)) is not None:
        if known.fresh and policy.verify != "always":
            return known.info
        attempts.count(known.stamp)
        found = read_digest(path, progress)
        if found is None:
            continue
        digest, stamp = found
        info = judge(path, digest, stamp, seen_dir)
        if info is not None:
            return info
        # where times are coarse, a file that replaces another one may have its stamp
        if _stamp(path) == stamp and known.info.digest != digest:
            raise corrupt(path, known.info.digest, digest)
    return None


def believe(path: str, policy: Policy, seen_dir: str | None = None) -> FileInfo | None:
    """
    Return what a file is, without reading it unless something speaks against its record.

    Unlike with :func:`identify`, a digest that nobody needed yet stays unknown.

    :returns: None if there is no file
    :raises FileCorrupt: content and record differ; ``expected`` holds the recorded digest
    :raises FileChanging: it changes all the time
    """
    path = resolve(path)
    known = peek(path, seen_dir)
    if known is None:
        return None
    if policy.verify != "always" and (known.fresh or known.untouched or not known.recorded):
        return known.info
    return identify(path, policy, seen_dir)


def identify_working(path: str, seen_dir: str | None) -> FileInfo | None:
    """
    Return what a VM's working image is now; it may change, so nothing is recorded beside it.

    :param seen_dir: keeps the digest for as long as the image does not change
    """
    for _ in range(_ATTEMPTS):
        stamp = _stamp(path)
        if stamp is None:
            return None
        known = seen.read_seen_away(path, seen_dir)
        if known and known.stamp == stamp:
            return FileInfo(stamp.size, known.digest)
        found = read_digest(path, None)
        if found is not None:
            digest, stamp = found
            old = time.time_ns() - _OLD > stamp.ctime_ns
            seen.write_seen_away(path, Seen(digest, "", stamp if old else None), seen_dir)
            return FileInfo(stamp.size, digest)
    raise FileChanging(f"{path} is being written to; wait until that is done")


def read_digest(
    path: str, progress: Progress | None, algorithm: str = ALGORITHM
) -> tuple[str, Stamp] | None:
    """Read a file and return its digest and stamp, None if it changed or went meanwhile."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            before = Stamp.of(os.fstat(fd))
            digest = digest_fd(fd, before.size, progress, algorithm)
            if Stamp.of(os.fstat(fd)) == before:
                return digest, before
        finally:
            os.close(fd)
    except (FileNotFoundError, FileChanging):
        return None
    except OSError as error:
        raise unreachable(path, error) from error
    return None


def corrupt(path: str, expected: str | None, found: str) -> FileCorrupt:
    """Return the error for a file that is not what was recorded."""
    wanted = expected or "the content it had when it was made (it was changed since)"
    error = FileCorrupt(
        f"{path} is corrupt: expected {wanted}, found {found}; it will not be used - get or set "
        f"the state again, or remove the file"
    )
    error.expected, error.found, error.path = expected, found, path
    return error


def judge(path: str, digest: str, stamp: Stamp, seen_dir: str | None) -> FileInfo | None:
    """
    Return what a file with this content and stamp is, None if it is true to no record.

    What was found out is kept; a file without any record is adopted.
    """
    found, ours = match(digest, stamp, _Beside(path, seen_dir))
    if found is not None:
        info = replace(found.info, digest=digest)
        remember(path, digest, info.generation, stamp, seen_dir)
        return info
    if ours:
        return None
    return _adopt(path, digest, stamp, seen_dir)


def _adopt(path: str, digest: str, stamp: Stamp, seen_dir: str | None) -> FileInfo:
    info = adopted(digest, stamp)
    if _stamp(path) != stamp:
        return info  # gone or replaced meanwhile: what was read says nothing of what comes there
    trusted = stamp if _trusted(path, stamp) else None
    if records.adopt(path, Record(info, stamp, trusted)):
        LOG.info("%s had no record, its content is recorded now: %s", path, digest)
    else:
        remember(path, digest, info.generation, stamp, seen_dir)
    return info


def remember(path: str, digest: str, generation: str, stamp: Stamp, seen_dir: str | None) -> None:
    """Keep the digest of a file for later readers."""
    trusted = stamp if _trusted(path, stamp) else None
    seen.write_seen(path, Seen(digest, generation, trusted), seen_dir)


def _trusted(path: str, stamp: Stamp) -> bool:
    """Tell whether any later change of the file will show in its stamp."""
    try:
        now = durable.clock(layout.meta_dir(path))
    except OSError:
        now = time.time_ns() - _OLD
    return now > stamp.ctime_ns and _stamp(path) == stamp


def wait_trusted(path: str, longest: float = 0.02) -> Stamp | None:
    """
    Return a file's stamp once every later change will show in it.

    :param longest: seconds to wait; a file system with coarse times may need more
    :returns: None if that was too short
    """
    deadline = time.monotonic() + longest
    while True:
        now = durable.clock(layout.meta_dir(path))
        stamp = _stamp(path)
        if stamp is None:
            return None
        if now > stamp.ctime_ns:
            return stamp
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)
