"""Content held against what is recorded of it, several files at a time."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace

from avocado_pool_plugin.core.errors import (
    FileChanging,
    FileCorrupt,
    HostUnreachable,
    ImageRefused,
    LoginRefused,
    PoolSilent,
    PoolUnreachable,
    StateMissing,
)
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.progress import reported
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Item, Site
from avocado_pool_plugin.upkeep.verify.journal import Journal, Verdict
from avocado_pool_plugin.upkeep.verify.pace import Pace

#: Threads, each with a connection's channels of its own where the place is on another host.
_THREADS = 4
#: The place can't be used at all.
_ENDS_ALL = (HostUnreachable, PoolSilent, LoginRefused)


class Reading:
    """
    Reads files of a place.

    :param site: the place, with a policy that says which of them have to be read
    :param pace: how fast
    :param journal: what was found out before, and is found out now
    """

    def __init__(self, site: Site, pace: Pace, journal: Journal) -> None:
        self.site = site
        self.pace = pace
        self.journal = journal
        self.files = 0
        self.before = 0
        self._lock = threading.Lock()

    def all(self, items: Sequence[Item]) -> list[Verdict]:
        """
        Read files, and return what that showed of those that are there.

        :param items: what is known of them; those that were read by an interrupted run are not
            read again
        :raises PoolUnreachable: the place can't be used any more
        """
        known = [verdict for item in items if (verdict := self._known(item))]
        self.before = len(known)
        done = {verdict.path for verdict in known}
        wanted = [item for item in items if item.path not in done]
        if wanted:
            known += list(self._read(wanted))
        return known

    def _known(self, item: Item) -> Verdict | None:
        verdict = self.journal.verdicts.get(item.path)
        same = verdict and verdict.stamp == item.entry.stamp
        return verdict if same and verdict and verdict.expected == _expected(item) else None

    def _read(self, items: Sequence[Item]) -> Iterator[Verdict]:
        total = sum(_size(item) for item in items)
        count = 0

        def told() -> str:
            return f"{count} of {len(items)} states"

        title = self.site.title(self.site.root)
        with (
            reported("verifying", title, lambda: total, told) as progress,
            self._running(progress, items) as futures,
        ):
            for future in futures:
                verdict = future.result()
                count += 1
                if verdict is not None:
                    yield verdict

    def _running(self, progress: Callable[[int], None], items: Iterable[Item]) -> "_Running":
        local = len(os.sched_getaffinity(0))
        threads = _THREADS if self.site.place.remote else min(_THREADS, local)
        return _Running(self.pace, threads, lambda item: self.one(item, progress), items)

    def one(self, item: Item, progress: Callable[[int], None] | None = None) -> Verdict | None:
        """
        Read a file.

        :param progress: told how many bytes more were read
        :returns: None if it is gone
        """
        meter = _Meter(item, self.pace, progress, self._lock)
        verdict = self._judged(item, meter)
        meter.end()
        self.pace.settle()
        if verdict is not None:
            with self._lock:
                self.files += 1
            self.journal.add(verdict)
        return verdict

    def _judged(self, item: Item, meter: "_Meter") -> Verdict | None:
        stamp = item.entry.stamp
        assert stamp is not None
        verdict = Verdict(item.path, stamp, _expected(item))
        try:
            info = self.site.store.info(item.path, meter)
        except FileCorrupt as error:
            return replace(verdict, corrupt=str(error), digest=error.found)
        except FileChanging as error:
            return replace(verdict, busy=str(error))
        except (StateMissing, ImageRefused):
            return None
        except _ENDS_ALL:
            raise
        except PoolUnreachable as error:
            return replace(verdict, unreadable=str(error))
        if info is None:
            return None
        if item.peek is not None and not item.peek.recorded:
            verdict = replace(verdict, adopted=True, expected=_told_by(info))
        return self._checked(item, replace(verdict, digest=info.digest or ""))

    def _checked(self, item: Item, verdict: Verdict) -> Verdict | None:
        """Have an image checked by QEMU as well, unless it is none; None if it is gone by then."""
        odd = item.problem and not item.problem.startswith("stands on ")
        if odd or not item.path.endswith(IMAGE_SUFFIX):
            return verdict
        damage = self.site.eyes.check_image(item.entry.link or item.path)
        if damage:
            now = self.site.eyes.stamps([item.path]).get(item.path)
            if now is None:
                return None
            if not now.same_file(verdict.stamp):
                damage = ""  # of another file, or of none for a moment
        return replace(verdict, damage=damage or "", unchecked=damage is None)


class _Meter:
    """Counts the bytes of one file; holes take no time, whatever a host says of them."""

    def __init__(
        self,
        item: Item,
        pace: Pace,
        progress: Callable[[int], None] | None,
        lock: threading.Lock,
    ) -> None:
        self._left = _size(item)
        self._pace = pace
        self._progress = progress
        self._lock = lock
        self._read = False

    def __call__(self, size: int) -> None:
        self._read = True
        size = min(size, self._left)
        self._left -= size
        self._tell(size)
        self._pace.count(size)

    def end(self) -> None:
        """The file is done; what was not read of it as that was not needed is done as well."""
        left, self._left = self._left, 0
        self._tell(left)
        if self._read:
            self._pace.count(left)

    def _tell(self, size: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress(size)


class _Running:
    """Work on files by some threads; what is not begun when the context ends never is."""

    def __init__(
        self,
        pace: Pace,
        threads: int,
        work: Callable[[Item], Verdict | None],
        items: Iterable[Item],
    ) -> None:
        self._pace = pace
        self._pool = ThreadPoolExecutor(threads)
        self._work = work
        self._items = items

    def __enter__(self) -> Iterator["Future[Verdict | None]"]:
        return as_completed([self._pool.submit(self._work, item) for item in self._items])

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._pace.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _size(item: Item) -> int:
    stamp = item.entry.stamp
    return min(item.entry.allocated, stamp.size) if stamp else 0


def _expected(item: Item) -> str:
    """Return what tells what a file should contain; another record, and it has to be read again."""
    return _told_by(item.peek.info) if item.peek and item.peek.recorded else ""


def _told_by(info: FileInfo) -> str:
    return " ".join([info.generation, *info.also])
