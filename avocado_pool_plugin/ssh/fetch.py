"""Files brought from a host to this one: what travels, and how it is checked on arrival."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import chain, copy, durable, evidence, knowledge, resume, vmstate
from avocado_pool_plugin.core.digest import ALGORITHM, Progress
from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.layout import meta_dir
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.ssh.content import Received
from avocado_pool_plugin.ssh.judge import Judge
from avocado_pool_plugin.ssh.looks import Look
from avocado_pool_plugin.ssh.view import View


@dataclass(frozen=True)
class Fetch:
    """
    Brings files of a host into directories of this one.

    :param view: of the host
    :param here: this host's side
    """

    view: View
    judge: Judge
    here: LocalStore

    def run(self, path: str, local: str, progress: Progress | None) -> FileInfo:
        """
        Make ``local`` equal to a file over there; errors of ``Store.fetch``.

        :returns: what is here now
        """
        look = self.view.look(path)
        peek = self.view.must(path)
        fsync = self.here.policy.fsync
        durable.make_dirs(os.path.dirname(local), fsync)
        durable.make_meta(local, fsync)
        with self._part(look, peek, local) as (part, fd):
            received = self._receive(path, look, fd, progress)
            info = self._verified(path, received)
            if path.endswith(IMAGE_SUFFIX):
                info = self._at_home(path, part, local, info)
            elif info.passport:
                moved = vmstate.moved(path, local, info.passport, from_there=self.view.peek)
                info = replace(info, passport=moved)
            self.here.put(part, local, info, replace(self.here.guard, elsewhere=self._in(path)))
        return info

    @contextlib.contextmanager
    def _part(self, look: Look, peek: Peek, local: str) -> Iterator[tuple[str, int]]:
        """Give a file for the content, filled with what is here already of it or is like it."""
        identity = peek.info.digest or f"{peek.info.generation} {peek.stamp}"
        with resume.resumable(local, resume.key_of(identity), self.here.policy.fsync) as found:
            begun = os.fstat(found[1])
            needed = max(0, look.allocated - begun.st_blocks * 512)
            what = f"a copy of {self.view.title(look.path)}"
            copy.require_space(meta_dir(local), needed, what)
            if not begun.st_size and os.path.isfile(local) and not os.path.islink(local):
                copy.fill(local, found[1])
            yield found

    def _receive(self, path: str, look: Look, fd: int, progress: Progress | None) -> Received:
        algorithms = {digest.partition(":")[0] for digest in self._also(look)}
        basis = os.fstat(fd).st_size > 0
        with self.view.session.bulk() as bulk:
            return bulk.download(
                path,
                fd,
                basis=basis,
                algorithms=tuple(algorithms),
                progress=progress,
            )

    def _also(self, look: Look) -> list[str]:
        """Return the digests that have to be made on arrival, as records lack ours."""
        candidates = self.view.written(look).candidates()
        return [one for record in candidates if not record.info.digest for one in record.info.also]

    def _verified(self, path: str, received: Received) -> FileInfo:
        """
        Return what arrived, after comparing it with its record over there.

        :raises FileCorrupt: it is true to no record
        :raises FileChanging: it was replaced meanwhile
        """
        look = self.view.look(path)
        if look.stamp != received.stamp:
            self.view.forget(path)
            look = self.view.look(path)
        if look.stamp != received.stamp:
            raise FileChanging(f"{self.view.title(path)} was replaced while it was read")
        peek = self.view.weigh(look)
        if peek and peek.fresh and peek.info.digest == received.digest:
            return peek.info
        also = [one for name, one in received.digests.items() if name != ALGORITHM]
        for digest in also:
            found, _ = evidence.match(digest, received.stamp, self.view.written(look))
            if found and not found.info.digest and found.info.by(digest.partition(":")[0]):
                return replace(found.info, digest=received.digest)
        ours = [record.info.digest for record in self.view.written(look).candidates()]
        if self._also(look) and received.digest not in ours and not self._true_as_made(look):
            raise knowledge.corrupt(
                self.view.title(path), " ".join(self._also(look)), " ".join(also)
            )
        return self.judge.judge(look, received.digest, received.stamp)

    def _true_as_made(self, look: Look) -> bool:
        peek = self.view.weigh(look)
        return bool(peek and peek.untouched)

    def _at_home(self, path: str, part: str, local: str, info: FileInfo) -> FileInfo:
        """Fit a copy to where it will be, see ``LocalStore``."""
        info = self.here.made_relative(path, part, info)
        if not info.parent:
            return info
        there, mine = self.judge.both(
            chain.state_file(os.path.dirname(path), info.parent),
            chain.state_file(os.path.dirname(local), info.parent),
            self.here,
        )
        return chain.on_parent(self.view.title(path), local, info, there, mine)

    def _in(self, path: str) -> "_Elsewhere":
        return _Elsewhere(self.view, os.path.dirname(path))


@dataclass(frozen=True)
class _Elsewhere:
    """Tells whether a host has a state as well that has to go from here."""

    view: View
    directory: str

    def __call__(self, top: str) -> bool:
        above = os.path.dirname(self.directory) if top.endswith(VM_SUFFIX) else self.directory
        return self.view.peek(os.path.join(above, os.path.basename(top))) is not None
