"""
Whether files of a host are what was recorded, found out with as little reading as possible.

A host without blake3 makes other digests than ours. So what a record says is compared over there if
the record has a digest of that kind, else with a copy on this host, else with the content itself,
which has to travel then.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import replace

from avocado_pool_plugin.core import durable, evidence, knowledge, layout, records, seen
from avocado_pool_plugin.core.copy import require_space
from avocado_pool_plugin.core.digest import ALGORITHM, Progress
from avocado_pool_plugin.core.errors import (
    FileChanging,
    FileCorrupt,
    HostUnreachable,
    PoolSilent,
    PoolUnreachable,
    SpaceMissing,
)
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp
from avocado_pool_plugin.ssh.looks import Look
from avocado_pool_plugin.ssh.view import View

LOG = logging.getLogger("avocado." + __name__)

#: Attempts at a file that is replaced while it is looked at.
_ATTEMPTS = 5
#: How much older than a host's clock a change must be on a file system that can't be written to,
#: where that file system's own clock can't be asked: nanoseconds.
_OLD = 2_000_000_000
#: A file over there that always is new.
_NEW = "/proc/self/stat"


class Judge:
    """
    Tells of files whether they are what was recorded.

    :param view: of the host
    :param policy: whether a known digest is enough
    """

    def __init__(self, view: View, policy: Policy) -> None:
        self.view = view
        self.policy = policy

    def known(self, peek: Peek) -> bool:
        """Tell whether the digest of a file need not be found out."""
        return peek.fresh and self.policy.verify != "always"

    def believe(self, look: Look) -> FileInfo | None:
        """
        Return what a file is, without having it read unless something speaks against its record.

        Errors of :meth:`identify`; see ``knowledge.believe``.

        :returns: None if there is no file
        """
        peek = self.view.weigh(look)
        if peek is None:
            return None
        quiet = peek.untouched or not peek.recorded
        if self.known(peek) or (quiet and self.policy.verify != "always"):
            return peek.info
        return self.identify(look.path)

    def identify(self, path: str, progress: Progress | None = None) -> FileInfo | None:
        """
        Return what a file is, with a digest, after making sure that it is what was recorded.

        :param progress: told how many bytes more were read, if any have to be
        :returns: None if there is no file
        :raises FileCorrupt: content and record differ; ``expected`` holds the recorded digest
        :raises FileChanging: it changes all the time
        """
        for _ in range(_ATTEMPTS):
            look = self.view.look(path)
            peek = self.view.weigh(look)
            if peek is None or self.known(peek):
                return peek.info if peek else None
            digest, stamp = self._digest(path, look, progress)
            if stamp == look.stamp:
                return self.judge(look, digest, stamp)
            self.view.forget(path)
        raise self._changing(path)

    def equal(self, path: str, local: str, mine: FileInfo) -> bool:
        """
        Tell whether a file has the content of one on this host.

        :param mine: what the file on this host is
        :raises FileCorrupt: it should, but was damaged
        """
        for _ in range(_ATTEMPTS):
            look = self.view.look(path)
            peek = self.view.weigh(look)
            if peek is None:
                return False
            if self.known(peek) or (peek.info.digest and not mine.same_content(peek.info)):
                return mine.same_content(peek.info)
            if peek.info.digest and peek.info.digest != mine.digest:
                # ours was adapted when it came here: only a look at all of the content can tell
                info = self.identify(path)
                return bool(info and mine.same_content(info))
            digest, stamp = self._digest_over_there(path)
            if stamp != look.stamp:
                self.view.forget(path)
                continue
            algorithm = digest.partition(":")[0]
            ours = knowledge.read_digest(local, None, algorithm)
            if mine.digest and ours and digest == ours[0]:
                # what has the content of ours has our digest
                info = self.judge(look, digest if peek.info.by(algorithm) else mine.digest, stamp)
                if info.digest is None:
                    info = replace(info, digest=mine.digest)
                    self._remember(look, info, stamp)
                return mine.same_content(info)
            # what has not, and should, is damaged
            return bool(peek.info.digest) and mine.same_content(self.judge(look, digest, stamp))
        raise self._changing(path)

    def usable(self, path: str, local: str, mine: FileInfo) -> bool:
        """Tell whether a file is as one on this host; one that is corrupt is not."""
        try:
            return self.equal(path, local, mine)
        except FileCorrupt as error:
            LOG.warning("%s", error)
            return False

    def both(self, path: str, local: str, here: LocalStore) -> tuple[FileInfo | None, ...]:
        """
        Return what is known of a file over there and of one here, such that it can be compared.

        Each is None if there is no such file.
        """
        there = self.view.peek(path)
        mine = knowledge.peek(local, here.seen_dir)
        if there is None or mine is None or there.info.digest or not here.has(local):
            return there.info if there else None, mine.info if mine else None
        info = here.usable(local)
        if info is not None and self.usable(path, local, info):
            return replace(there.info, digest=info.digest), info
        # what it is has no digest that ours can be compared with, but it is another one for sure
        return replace(there.info, digest=" ".join(there.info.also) or "another"), info

    def judge(self, look: Look, digest: str | None, stamp: Stamp) -> FileInfo:
        """
        Return what a file with this content and stamp is.

        What was found out is kept over there; a file without any record is adopted.

        :raises FileCorrupt: it is true to no record
        """
        assert digest
        found, ours = evidence.match(digest, stamp, self.view.written(look))
        if found is not None and _could_tell(found, digest):
            info = _with(found.info, digest)
            self._remember(look, info, stamp)
            return info
        if found is None and not ours:
            return self._adopt(look, digest, stamp)
        peek = self.view.weigh(look)
        raise knowledge.corrupt(
            self.view.title(look.path), peek.info.digest if peek else None, digest
        )

    # -- digests -----------------------------------------------------------------------------

    def _digest(self, path: str, look: Look, progress: Progress | None) -> tuple[str, Stamp]:
        """Return a digest that the file's records can be held against."""
        candidates = self.view.written(look).candidates()
        return self.digest(path, [record.info for record in candidates], progress, look.allocated)

    def digest(
        self,
        path: str,
        wanted: list[FileInfo],
        progress: Progress | None = None,
        allocated: int | None = None,
    ) -> tuple[str, Stamp]:
        """Return a digest of a file that some infos can be held against, and its stamp."""
        with self.view.session.bulk() as bulk:
            algorithm = bulk.algorithm
        if all(info.by(algorithm) or not info.digest for info in wanted):
            return self._digest_over_there(path, progress)
        LOG.info(
            "%s has to be read from here to be checked: its record has no %s digest",
            self.view.title(path),
            algorithm,
        )
        if allocated is None:
            allocated = self.view.look(path).allocated
        return self._digest_over_the_wire(path, allocated, progress)

    def _digest_over_there(self, path: str, progress: Progress | None = None) -> tuple[str, Stamp]:
        def ask() -> tuple[str, Stamp]:
            with self.view.session.bulk() as bulk:
                found = bulk.digest(path, progress)
                return found.digest, found.stamp

        return self.view.session.again(f"reading {self.view.title(path)}", ask)

    def _digest_over_the_wire(
        self, path: str, allocated: int, progress: Progress | None
    ) -> tuple[str, Stamp]:
        directory = self.view.seen_dir or "/var/tmp"
        durable.make_dirs(directory, fsync=False)
        require_space(directory, allocated, f"a look at {self.view.title(path)}")

        def ask() -> tuple[str, Stamp]:
            with durable.unnamed(directory) as fd, self.view.session.bulk() as bulk:
                received = bulk.download(path, fd, basis=False, progress=progress)
                return received.digest, received.stamp

        with durable.typed_failures(directory):
            return self.view.session.again(f"reading {self.view.title(path)}", ask)

    def _changing(self, path: str) -> FileChanging:
        return FileChanging(f"{self.view.title(path)} is being written to; wait until that is done")

    # -- what is kept ------------------------------------------------------------------------

    def _remember(self, look: Look, info: FileInfo, stamp: Stamp) -> None:
        """Keep our digest of a file for later readers."""
        if info.digest is None or info.by(ALGORITHM) is None:
            return
        noted = seen.Seen(info.digest, info.generation, self._trusted(look, stamp))
        if not self._write(layout.seen_path(look.real), seen.encode_seen(noted)):
            seen.write_seen_away(self.view.away(look.real), noted, self.view.seen_dir)
        self.view.forget(look.path)

    def _adopt(self, look: Look, digest: str, stamp: Stamp) -> FileInfo:
        info = evidence.adopted(digest, stamp)
        if not digest.startswith(ALGORITHM):
            info = replace(info, digest=None, also=(digest,))
        record = records.encode(Record(info, stamp, self._trusted(look, stamp)))
        with self.view.session.shell() as shell, _optional("a record"):
            if shell.create(layout.record_path(look.real), record):
                LOG.info(
                    "%s had no record, its content is recorded now: %s",
                    self.view.title(look.path),
                    digest,
                )
        self._remember(look, info, stamp)
        self.view.forget(look.path)
        return info

    def _write(self, path: str, data: bytes) -> bool:
        with self.view.session.shell() as shell, _optional("a note"):
            shell.write(path, data, fsync=False)
            return True
        return False

    def _trusted(self, look: Look, stamp: Stamp) -> Stamp | None:
        """Return a stamp if any later change of the file will show in it."""
        now = 0
        with self.view.session.shell() as shell, _optional("the clock over there"):
            now = shell.clock(os.path.dirname(look.real))
        if not now:
            # a process is new whenever it is looked at, so this is the host's own clock
            with self.view.session.shell() as shell, _optional("the time over there"):
                process = shell.look([_NEW])[_NEW].stamp
                now = process.ctime_ns - _OLD if process else 0
        return stamp if now > stamp.ctime_ns else None


@contextlib.contextmanager
def _optional(what: str) -> Iterator[None]:
    """
    Go on if something can't be written over there: knowledge spares reading, no more.

    :raises HostUnreachable: the connection broke
    :raises PoolSilent: no answer came in time
    """
    try:
        yield
    except (HostUnreachable, PoolSilent):
        raise
    except (PoolUnreachable, SpaceMissing) as error:
        LOG.debug("%s is not to be had: %s", what, error)


def _with(info: FileInfo, digest: str) -> FileInfo:
    if digest.startswith(ALGORITHM):
        return replace(info, digest=digest)
    return info if digest in info.also else replace(info, also=(*info.also, digest))


def _could_tell(record: Record, digest: str) -> bool:
    """Tell whether a record says something about digests of this kind, or about none at all."""
    return record.info.by(digest.partition(":")[0]) is not None or record.info.digest is None
