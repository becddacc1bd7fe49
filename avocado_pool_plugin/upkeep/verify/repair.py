"""What can be done about findings: content from a mirror, records anew, or out of the way."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.digest import ALGORITHM
from avocado_pool_plugin.core.errors import (
    FileCorrupt,
    HostUnreachable,
    LoginRefused,
    PoolError,
    PoolSilent,
)
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp
from avocado_pool_plugin.upkeep.returning import write_record
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.verify import findings as kinds
from avocado_pool_plugin.upkeep.verify.bringing import bring
from avocado_pool_plugin.upkeep.verify.findings import Finding
from avocado_pool_plugin.upkeep.verify.mirrors import Copy, Mirrors, known, same, stamp_of
from avocado_pool_plugin.upkeep.verify.quarantine import put_aside
from avocado_pool_plugin.upkeep.verify.scene import Scene

LOG = logging.getLogger("avocado." + __name__)

_NO_MIRROR = "no other place has this content"
#: Has a digest by our algorithm, so that one is made by it.
_OURS = FileInfo(0, digest=f"{ALGORITHM}:")
_NOBODY_KNOWS = "nobody recorded what it contained"


@dataclass(frozen=True)
class Repair:
    """
    Repairs a place.

    :param site: the place, with a policy to read content always
    :param mirrors: other places
    :param cache: where there is room for temporary files
    """

    site: Site
    mirrors: Mirrors
    cache: str

    def do(self, scene: Scene, finding: Finding) -> Finding:
        """
        Do about a finding what can be done, and return it with what that was.

        :param scene: where it was found
        :raises PoolUnreachable: the place can't be used any more
        """
        ways: dict[str, Callable[[Scene, Finding], Finding]] = {
            kinds.CORRUPT: self._corrupt,
            kinds.MISSING: self._missing,
            kinds.RECORD: self._record,
            kinds.PENDING: self._pending,
        }
        way = ways.get(finding.kind)
        if way is None:
            return finding
        item = scene.items.get(finding.path)
        if item and item.entry.link:
            return _left(finding, f"it is a link to {item.entry.link}; repair what that leads to")
        try:
            with durable.typed_failures(finding.path):
                return way(scene, finding)
        except (HostUnreachable, PoolSilent, LoginRefused):
            raise
        except PoolError as error:
            return _left(finding, str(error))

    # -- content -----------------------------------------------------------------------------

    def _corrupt(self, scene: Scene, finding: Finding) -> Finding:
        brought = self._brought(finding, finding.wanted)
        if brought.done:
            return brought
        item = scene.items[finding.path]
        assert item.entry.stamp is not None
        right = self._rightly(finding, item.entry.stamp)
        if right is not None:
            return right
        record = scene.record(finding.path)
        if record and not _says(record.info) and record.made_as.same_file(item.entry.stamp):
            why = "only a reader's note says what it contained, which may be wrong"
            return _left(finding, f"{brought.told}; {why}")
        if brought.told not in (_NO_MIRROR, _NOBODY_KNOWS) or self.mirrors.silent:
            return _left(finding, f"{brought.told}; not all other places could be asked")
        pending = scene.pending.get(finding.path, ())
        if self._is_true(finding.path):
            return _left(finding, "it is what was recorded now that it was read once more")
        try:
            kept = put_aside(self.site, finding.path, item.entry.stamp, pending)
        except PoolError as error:
            return _left(finding, f"{brought.told}; {error}")
        return replace(finding, done=kinds.QUARANTINED, told=f"{brought.told}; it is {kept} now")

    def _is_true(self, path: str) -> bool:
        """Read a file once more: what showed may be long ago, or the fault of a disk or a cable."""
        try:
            return self.site.store.info(path) is not None
        except FileCorrupt:
            return False

    def _rightly(self, finding: Finding, stamp: Stamp) -> Finding | None:
        """Believe a file, not its record, if that is the wrong one: a mirror has both right."""
        ours = {info.generation for info in finding.wanted}
        digest = finding.found
        for copy in self.mirrors.same(self.site, finding.path, recorded=True):
            if copy.info.generation in ours and digest in (copy.info.digest, *copy.info.also):
                return self._recorded(finding, copy, stamp)
        return None

    def _missing(self, scene: Scene, finding: Finding) -> Finding:
        return self._brought(finding, finding.wanted)

    def _brought(self, finding: Finding, wanted: Iterable[FileInfo]) -> Finding:
        """Bring a file from the first mirror that can give it."""
        asked = [info for info in wanted if known(info)]
        if not asked:
            return _left(finding, _NOBODY_KNOWS)
        problem = _NO_MIRROR
        for copy in self.mirrors.copies(self.site, finding.path, asked):
            try:
                bring(copy, self.site, finding.path, self.cache)
                self._made_sure(finding.path, asked, copy)
            except PoolError as error:
                problem = f"{copy.site.place} could not give it: {error}"
                continue
            return _repaired(finding, f"from {copy.site.place}")
        return _left(finding, problem)

    def _made_sure(self, path: str, asked: list[FileInfo], copy: Copy) -> None:
        """
        Read what was brought.

        :raises FileCorrupt: it is not what was wanted
        """
        info = self.site.store.info(path)
        if info is None or not (same(info, copy.info) or any(same(info, one) for one in asked)):
            raise FileCorrupt(f"{self.site.title(path)} is not what was brought there")

    # -- records -----------------------------------------------------------------------------

    def _record(self, scene: Scene, finding: Finding) -> Finding:
        """Write a record anew that is damaged, as a mirror has it of the same content."""
        path = finding.path
        digest, stamp = self.site.digest(path, _OURS)
        mine = FileInfo(0, digest=digest)
        for copy in self.mirrors.same(self.site, path, recorded=True):
            if self.mirrors.fits(copy, mine):
                return self._recorded(finding, copy, stamp)
        wanted = [info for info in finding.wanted if known(info)]
        if any(mine.same_content(info) for info in wanted):
            return _left(finding, "its content is good, but no other place has its record")
        return self._brought(finding, wanted) if wanted else _left(finding, _NO_MIRROR)

    def _recorded(self, finding: Finding, copy: Copy, stamp: Stamp) -> Finding:
        self._write(finding.path, copy.info, stamp)
        self.site.store.info(finding.path)
        return _repaired(finding, f"its record is the one of {copy.site.place} now")

    def _write(self, path: str, info: FileInfo, stamp: Stamp) -> None:
        """
        Write a record for a file that was read.

        :param stamp: of the file when it was read
        """
        trusted = self.site.hands.trusted(path)
        record = Record(info, stamp, stamp if trusted == stamp else None)
        with self.site.store.lock(path, self.site.policy.timeout):
            if stamp_of(self.site, path) == stamp:
                write_record(self.site, path, record, stamp)

    def _pending(self, scene: Scene, finding: Finding) -> Finding:
        """Write the record of a file whose writer could not, and drop what such writers left."""
        path = finding.path
        names = scene.pending[path]
        before = stamp_of(self.site, path)
        if before is not None and not scene.damaged(path):
            info = self.site.store.info(path)
            record = scene.record(path)
            if info and not (record and record.info.same_content(info)):
                self._write(path, info, before)
        elif before is not None:
            return _left(finding, "its record is damaged, so they have to stay")
        with self.site.store.lock(path, self.site.policy.timeout):
            self.site.drop(names)
        return _repaired(finding, "what they left is gone")


def _says(info: FileInfo) -> bool:
    """Tell whether a record says what its file contains."""
    return bool(info.digest or info.also)


def _left(finding: Finding, why: str) -> Finding:
    return replace(finding, done="", told=why)


def _repaired(finding: Finding, how: str) -> Finding:
    return replace(finding, done=kinds.REPAIRED, told=how)
