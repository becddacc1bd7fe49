"""
Taking over a place, as planned; killed at any moment, each file is true to a record or has none.

See docs/decisions/0015-adopting.rst for the order of what is written.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import durable, layout, records
from avocado_pool_plugin.core.digest import ALGORITHM
from avocado_pool_plugin.core.errors import (
    FileChanging,
    FileCorrupt,
    HostUnreachable,
    LoginRefused,
    PoolError,
    PoolSilent,
    StateMissing,
)
from avocado_pool_plugin.core.progress import reported
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.upkeep import holders
from avocado_pool_plugin.upkeep.adopt.plan import locks_of, refuse_used
from avocado_pool_plugin.upkeep.adopt.steps import BASE, KEEP, LEAVE, RENAME, Bases, Plan, Step
from avocado_pool_plugin.upkeep.site import Site

#: Errors after which nothing else can be done in a place.
_END = (HostUnreachable, PoolSilent, LoginRefused)
#: How the generation of a file begins that somebody else made.
_ADOPTED = "adopted-"


@dataclass(frozen=True)
class Outcome:
    """
    What became of a step.

    :param note: what users should know of it, empty for nothing
    :param problem: why it could not be done
    """

    step: Step
    note: str = ""
    problem: PoolError | None = None


class Adoption:
    """
    Takes over a place.

    :param force: record the content of a file that contradicts its record
    """

    def __init__(self, site: Site, plan: Plan, bases: Bases | None, force: bool) -> None:
        self._site = site
        self._plan = plan
        self._bases = bases
        self._force = force
        #: What files are, as far as that was found out now or is known.
        self._infos: dict[str, FileInfo] = {}

    def run(self) -> Iterator[Outcome]:
        """
        Do what is planned; yield what became of each file that is not ours already.

        :raises PoolUnreachable: the host can't be reached any more
        """
        for step in self._plan.steps:
            if step.action == KEEP and step.item and step.item.peek:
                self._infos[step.path] = step.item.peek.info
            if step.action in (KEEP, LEAVE):
                continue
            try:
                yield Outcome(step, self._do(step))
            except _END:
                raise
            except PoolError as error:
                yield Outcome(step, problem=error)

    def _do(self, step: Step) -> str:
        # who writes it now is waited for; and there is a directory of ours then
        with self._locked(step.path):
            self._site.drop(step.stale)
        try:
            self._work(step)
        except FileCorrupt as error:
            if not self._force:
                raise
            with self._locked(step.path):
                self._forget(step.path)
            self._work(step)
            return f"recorded anew: it was to be {error.expected or 'unchanged'}, and is not"
        return ""

    def _locked(self, path: str) -> AbstractContextManager[None]:
        """Hold the lock of a file; not while its content is read, which may take long."""
        return self._site.store.lock(path, self._site.policy.timeout)

    def _work(self, step: Step) -> None:
        if step.action == RENAME:
            self._rename(step)
        elif step.action == BASE and self._bases:
            assert step.header
            refuse_used(self._site, step.path, self._users(step.path))
            with reported("copying", step.path, lambda: step.size) as progress:
                format_ = step.header.backing_format
                self._infos[step.path] = self._bases.move(step.path, step.base, format_, progress)
        else:
            self._record(step)

    def _users(self, path: str) -> list[User]:
        notes = self._site.ours(layout.users_dir(path))
        return holders.registered(self._site, notes).get(path, [])

    # -- records -----------------------------------------------------------------------------

    def _record(self, step: Step) -> None:
        """Have the content of a file recorded, and what it stands on."""
        with reported("reading", step.path, lambda: step.size) as progress:
            info = self._site.store.info(step.path, progress)
        if info is None:
            raise StateMissing(f"{self._site.title(step.path)} is gone meanwhile; look again")
        with self._locked(step.path):
            committed = self._committed(step.path)
            if committed and committed.info.generation == info.generation:
                told = self._on_parent(committed.info, step)
                if told != committed.info and info.generation.startswith(_ADOPTED):
                    self._write(step.path, replace(committed, info=told))
            else:
                self._end(step.path, info)
        self._infos[step.path] = info

    def _end(self, path: str, info: FileInfo) -> None:
        """End an adoption that was cut off when all was done but the record."""
        again = self._site.store.info(path)
        if again is None or again.generation != info.generation:
            raise FileChanging(f"{self._site.title(path)} was replaced meanwhile; try again")
        self._commit(path, info)

    def _committed(self, path: str) -> Record | None:
        name = layout.record_path(path)
        text = self._site.read([name]).get(name)
        return records.decode(text) if text is not None else None

    def _write(self, path: str, record: Record) -> None:
        self._site.write(layout.record_path(path), records.encode(record))

    def _on_parent(self, info: FileInfo, step: Step) -> FileInfo:
        """Return an info that says which parent the file stands on."""
        below = self._infos.get(step.parent)
        if info.parent or below is None:
            return info
        return replace(
            info,
            parent=_name(step.parent),
            parent_digest=below.digest,
            parent_generation=below.generation,
        )

    def _forget(self, path: str) -> None:
        """Drop all that is recorded of a file: it is recorded as found next."""
        known = layout.seen_path(path), layout.leaves_path(path), *self._pending(path)
        # the record last: without it, what the others say would be believed
        self._site.drop([*known, layout.record_path(path)])

    def _pending(self, path: str) -> list[str]:
        prefix = layout.pending_prefix(path)
        ours = (entry.path for entry in self._site.ours(layout.meta_dir(path)))
        return [name for name in ours if durable.is_token(name.removeprefix(prefix))]

    # -- backing names -----------------------------------------------------------------------

    def _rename(self, step: Step) -> None:
        """
        Let an image name what it stands on without a directory.

        Before that changes its content there is a record of what it will be.
        """
        assert step.change
        hands, path = self._site.hands, step.path
        with reported("reading", path, lambda: step.size) as progress:
            found = hands.foresee(path, step.change, progress)
        info = self._on_parent(changed(found.info, found.digest), step)
        # no file is ever taken for this one by its stamp
        record = Record(info, replace(found.stamp, mtime_ns=0))
        pending = layout.pending_prefix(path) + durable.new_token()
        with self._locked(path):
            refuse_used(self._site, path, self._users(path))
            self._site.write(pending, records.encode(record))
            try:
                hands.change(path, step.change, found.stamp)
            except FileChanging:
                self._site.drop([pending])
                raise
            self._commit(path, info, found.stamp)
        self._infos[path] = info

    def _commit(self, path: str, info: FileInfo, was: Stamp | None = None) -> None:
        """
        Write the record of a file that is in place; what was known of the old one goes.

        :param was: the file's stamp before it was changed; of another file nothing is recorded
        """
        stamp = self._site.hands.trusted(path)
        if stamp and was and (stamp.inode, stamp.size) != (was.inode, was.size):
            return
        self._write(path, Record(info, stamp or _NO_STAMP, stamp))
        pending = self._site.read(self._pending(path))
        mine = [name for name, text in pending.items() if _is_of(text, info)]
        self._site.drop([*mine, layout.seen_path(path), layout.leaves_path(path)])


_NO_STAMP = Stamp(0, 0, 0, 0)


def _name(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".qcow2")


def changed(info: FileInfo, digest: str) -> FileInfo:
    """
    Return what a file is after its header was changed.

    Copies of it elsewhere have the old content, so that is named as its source. It is of another
    generation: readers keep what they know of contents by that.
    """
    ours = digest.startswith(ALGORITHM)
    return replace(
        info,
        digest=digest if ours else None,
        also=() if ours else (digest,),
        source_digest=info.digest or info.source_digest,
        generation=_ADOPTED + digest.partition(":")[2][:16],
    )


def _is_of(text: bytes, info: FileInfo) -> bool:
    record = records.decode(text)
    return record is not None and record.info.generation == info.generation


def clean(site: Site, plan: Plan) -> list[str]:
    """Remove the locks of avocado-i2n in a plan that nobody holds, then and now; return those."""
    free = {lock.path for lock in plan.locks if not lock.held}
    still = locks_of(site, (entry for entry in site.hands.others() if entry.path in free))
    idle = [lock.path for lock in still if not lock.held]
    site.drop(idle)
    return idle
