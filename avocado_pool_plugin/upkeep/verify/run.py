"""A check of a place from its begin to its end: look, read, judge, repair."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Item, Site
from avocado_pool_plugin.upkeep.verify import checks, journal
from avocado_pool_plugin.upkeep.verify import findings as kinds
from avocado_pool_plugin.upkeep.verify.findings import Finding, Report, in_order
from avocado_pool_plugin.upkeep.verify.journal import Damaged, Journal, Verdict
from avocado_pool_plugin.upkeep.verify.mirrors import Mirrors
from avocado_pool_plugin.upkeep.verify.pace import Pace
from avocado_pool_plugin.upkeep.verify.reading import Reading
from avocado_pool_plugin.upkeep.verify.repair import Repair
from avocado_pool_plugin.upkeep.verify.sample import Sample
from avocado_pool_plugin.upkeep.verify.scene import Scene, look

#: Repairs make others possible, but not for ever.
_ROUNDS = 5
#: Seconds after which temporary files of runs that were killed go.
_OLD = 24 * 3600.0


@dataclass(frozen=True)
class Wish:
    """
    What is to be checked, and how.

    :param below: an object id, or one with an image; empty for all
    :param everything: read all content, not only what was never read or changed since
    :param sample: read all of this part, and nothing else
    :param rate: bytes a second, 0 for as fast as it goes
    :param restart: take no notice of a run that was interrupted
    """

    below: str = ""
    everything: bool = False
    sample: Sample | None = None
    rate: float = 0.0
    restart: bool = False

    @property
    def always(self) -> bool:
        """Whether content is read that is known already."""
        return self.everything or self.sample is not None

    @property
    def mode(self) -> str:
        """What tells runs apart that may not continue each other."""
        return str(self.sample or ("all" if self.everything else "changed"))


@dataclass
class Check:
    """
    A check of a place.

    :param site: the place, with a policy to read content always or when it changed, as wished
    :param careful: the same with a policy to read content always
    :param cache: the directory of the caller's cache
    :param mirrors: other places to repair from, None to repair nothing
    """

    site: Site
    careful: Site
    cache: str
    wish: Wish = field(default_factory=Wish)
    mirrors: Mirrors | None = None

    def run(self) -> Report:
        """
        Do it; a run that does not get to its end is continued by the next one.

        :raises PoolUnreachable: the place can't be used
        """
        started = time.monotonic()
        _sweep(journal.directory(self.cache))
        scene = look(self.site, self.wish.below)
        known = self._journal()
        pace = Pace(self.wish.rate)
        complete = False
        try:
            reading = Reading(self.site, pace, known)
            items = self._asked(scene)
            verdicts = reading.all(self._readable(scene, items))
            bad = [one.path for one in verdicts if one.damage]
            self._damaged.learn([one.path for one in verdicts], bad)
            report = self._judged(scene, items, reading, verdicts)
            complete = True
        finally:
            known.close(complete)
        size, seconds = pace.done, time.monotonic() - started
        return replace(report, files=reading.files, size=size, seconds=seconds)

    @property
    def _damaged(self) -> Damaged:
        return Damaged(self.cache, str(self.site.place))

    def _journal(self) -> Journal:
        found = Journal(self.cache, str(self.site.place), self.wish.mode, self.wish.below)
        if self.wish.restart:
            found.restart()
        else:
            found.read()
        return found

    def _asked(self, scene: Scene) -> list[Item]:
        """Return the files that are to be checked."""
        sample, root = self.wish.sample, scene.root
        every = scene.items.values()
        return [item for item in every if sample is None or sample.holds(root, item.path)]

    def _readable(self, scene: Scene, items: Iterable[Item]) -> list[Item]:
        """Return those to be read: known ones only if that is wished, but always what looks odd."""
        damaged = self._damaged.paths()
        return [
            item
            for item in items
            if item.entry.stamp
            and not scene.damaged(item.path)
            and (self._is_due(item) or item.path in damaged)
        ]

    def _is_due(self, item: Item) -> bool:
        fresh = item.peek is not None and item.peek.fresh and not item.problem
        return self.wish.always or not fresh

    # -- what is found -----------------------------------------------------------------------

    def _judged(
        self, scene: Scene, items: Sequence[Item], reading: Reading, verdicts: Sequence[Verdict]
    ) -> Report:
        contents = self._settled(scene, reading, verdicts)
        corrupt = [one.path for one in contents if one.kind == kinds.CORRUPT]
        found = self._confirmed(scene, corrupt)
        every = [*contents, *(one for one in found if not _covered(one, contents))]
        notes = [*self._notes(scene, items, verdicts)]
        if self.mirrors is not None:
            every = self._repaired(every, self.mirrors)
            notes += [f"{place} was of no use: {why}" for place, why in self.mirrors.silent.items()]
        every += self._broken(every)
        bad = {finding.path for finding in every if finding.kind != kinds.PENDING}
        fine = sum(item.path not in bad for item in items)
        place = str(self.site.place)
        told = in_order(replace(finding, path=self._where(finding.path)) for finding in every)
        return Report(place, len(items), fine, 0, 0, 0.0, reading.before, told, tuple(notes))

    def _where(self, path: str) -> str:
        return self.site.title(path)

    def _settled(
        self, scene: Scene, reading: Reading, verdicts: Sequence[Verdict]
    ) -> list[Finding]:
        """Return what is wrong with contents, unless a file was replaced meanwhile."""
        bad = [one for one in verdicts if one.corrupt or one.damage or one.unreadable]
        now = self.site.eyes.stamps([one.path for one in bad])
        found = []
        for verdict in bad:
            item = scene.items[verdict.path]
            if now.get(verdict.path) == item.entry.stamp:
                found += _of_content(scene, item, verdict)
            elif (again := self._again(verdict.path, reading)) is not None:
                found += _of_content(scene, *again)
        return found

    def _again(self, path: str, reading: Reading) -> tuple[Item, Verdict] | None:
        """Look at a file anew that was replaced; None if it is gone, or good now."""
        below = os.path.dirname(os.path.relpath(path, self.site.root))
        item = {one.path: one for one in self.site.items(below, known=True)}.get(path)
        if item is None or item.entry.stamp is None:
            return None
        verdict = reading.one(item)
        return (item, verdict) if verdict and (verdict.corrupt or verdict.damage) else None

    def _confirmed(self, scene: Scene, corrupt: Sequence[str]) -> list[Finding]:
        """Return what is wrong besides content, and was so before and after content was read."""
        first = checks.found(scene, corrupt)
        if not first:
            return []
        second = {one.key: one for one in checks.found(look(self.site, self.wish.below), corrupt)}
        return [one for one in first if one.key in second and one.text == second[one.key].text]

    def _notes(
        self, scene: Scene, items: Sequence[Item], verdicts: Sequence[Verdict]
    ) -> Iterable[str]:
        adopted = [one.path for one in verdicts if one.adopted and not one.corrupt]
        if adopted:
            names = checks.named(map(scene.title, adopted))
            yield f"no record before, recorded as found: {names}"
        links = sum(bool(item.entry.link and item.entry.stamp) for item in items)
        if links:
            yield f"{links} of the states are links, what they lead to was checked"
        if any(one.unchecked for one in verdicts):
            yield "images were not checked by QEMU, there is no qemu-img"
        for busy in (one.busy for one in verdicts if one.busy):
            yield f"not checked: {busy}"
        for path in (item.path for item in items if scene.later(item.path)):
            yield f"{scene.title(path)} has a record of a later version of this package"
        if scene.quarantined:
            homes = sorted({os.path.dirname(path) for path in scene.quarantined})
            yield f"{len(scene.quarantined)} in quarantine: {checks.named(map(self._where, homes))}"

    # -- what is done ------------------------------------------------------------------------

    def _repaired(self, found: Sequence[Finding], mirrors: Mirrors) -> list[Finding]:
        """Repair what can be, what others stand on first; return all, with what was done."""
        repair = Repair(self.careful, mirrors, self.cache)
        results: dict[tuple[str, str], Finding] = {}
        todo = list(found)
        for _ in range(_ROUNDS):
            scene = look(self.site, self.wish.below)
            todo.sort(key=lambda one: (one.path.endswith(".state"), checks.depth(scene, one.path)))
            for finding in todo:
                results[finding.key] = repair.do(scene, finding)
            corrupt = [one.path for one in results.values() if one.kind == kinds.CORRUPT]
            still = [one.path for one in results.values() if not one.done]
            after = checks.found(look(self.site, self.wish.below), set(corrupt) & set(still))
            todo = [one for one in after if not _covered(one, results.values())]
            if not todo:
                break
        return [*results.values(), *todo]

    def _broken(self, found: Sequence[Finding]) -> list[Finding]:
        """Return the states that stand on those with bad content, or on none."""
        spoiled = (kinds.CORRUPT, kinds.UNREADABLE, kinds.MISSING, kinds.STRAY)
        bad = [one.path for one in found if one.kind in spoiled and one.done != kinds.REPAIRED]
        if not bad:
            return []
        scene = look(self.site, self.wish.below)
        taken = {one.path for one in found}
        return [
            Finding(path, scene.title(path), kinds.BROKEN, f"stands on {scene.title(under)}")
            for path, under in checks.standing_on(scene, bad).items()
            if path not in taken
        ]


def _covered(finding: Finding, others: Iterable[Finding]) -> bool:
    """Tell whether a finding is known, or only says again what another one does."""
    for other in others:
        if other.path == finding.path and (
            other.kind == finding.kind
            or (other.kind in (kinds.CORRUPT, kinds.MISSING) and finding.kind != kinds.RECORD)
        ):
            return True
    return False


def _of_content(scene: Scene, item: Item, verdict: Verdict) -> list[Finding]:
    path, title = item.path, scene.title(item.path)
    if verdict.unreadable:
        return [Finding(path, title, kinds.UNREADABLE, verdict.unreadable)]
    if verdict.corrupt:
        info = item.peek.info if item.peek else FileInfo(0)
        expected = info.digest or " ".join(info.also) or "what it was when it was made"
        text = f"expected {expected}, found {verdict.digest}"
        wanted = (info,)
        return [Finding(path, title, kinds.CORRUPT, text, wanted=wanted, found=verdict.digest)]
    return [Finding(path, title, kinds.IMAGE, f"qemu-img check: {verdict.damage}")]


def _sweep(directory: str) -> None:
    """Remove temporary files of runs that were killed."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if entry.name.endswith(layout.PART) and time.time() - entry.stat().st_mtime > _OLD:
                shutil.rmtree(entry.path, ignore_errors=True)
