"""Files brought from this host to another: how they travel, are checked and become visible."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import (
    chain,
    copy,
    durable,
    knowledge,
    layout,
    locks,
    qcow2,
    records,
    trash,
    vmstate,
)
from avocado_pool_plugin.core.digest import ALGORITHM, LEAF, SHA256_TREE, Progress, Tree, count
from avocado_pool_plugin.core.errors import (
    FileChanging,
    LockTimeout,
    StateMissing,
)
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.local import LocalStore, made_alike
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.ssh import parts
from avocado_pool_plugin.ssh.content import Basis, Bulk, Sent
from avocado_pool_plugin.ssh.judge import Judge
from avocado_pool_plugin.ssh.looks import Look
from avocado_pool_plugin.ssh.parts import Part
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.view import View

LOG = logging.getLogger("avocado." + __name__)

#: Of smaller files the digests of blocks are not kept: all of it may travel again, in bytes.
WORTH_LEAVES = 8 << 20


@dataclass(frozen=True)
class Publish:
    """
    Brings files of this host into directories of another.

    :param view: of the other host
    :param here: this host's side
    """

    view: View
    judge: Judge
    here: LocalStore

    def run(self, local: str, path: str, progress: Progress | None) -> tuple[FileInfo, bool]:
        """
        Make a file over there equal to ``local``; errors of ``Store.publish``.

        :returns: what is there now, and whether it had to be put there
        """
        with self._ready(local, progress) as (source, info):
            known = self._known(source)
            self._placed(local, path, info or known.info)  # refused before anything travels
            session, content = self.view.session, info.digest if info else _content(known)
            target = parts.path_of(path, known.stamp, content)
            with contextlib.ExitStack() as stack:
                kept = stack.enter_context(parts.kept(session, path, target))
                parts.make_room(self.view, source, path, kept, self.here.policy.fsync)
                # the part stays locked as long as what filled it is ours
                bulk = stack.enter_context(session.bulk())
                sent, stamp = self._send(bulk, source, path, kept, progress)
                mine = self._verified(source, info, sent, stamp)
                mine = self._placed(local, path, mine)
                changed = self._commit(kept.path, path, mine, sent)
                if mine.size >= WORTH_LEAVES:
                    bulk.release()  # a file that is open there takes room even when it is gone
                return mine, changed

    # -- the source --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _ready(
        self, local: str, progress: Progress | None
    ) -> Iterator[tuple[str, FileInfo | None]]:
        """
        Give the file to send: the state itself, or a copy that names its parent without directory.

        :returns: its path, and what it is if it is such a copy
        """
        self._known(local)
        backing = chain.Backing()
        if local.endswith(IMAGE_SUFFIX):
            header = qcow2.read_header(local)
            qcow2.check_movable(local, header)
            backing = chain.named_backing(header, local, os.path.dirname(local))
        if backing.relative or not backing.state:
            yield local, None
            return
        with durable.new_part(local) as part:
            _, info = self.here.copy_whole(knowledge.resolve(local), part, progress)
            yield part, self.here.made_relative(local, part, info)

    def _known(self, local: str) -> Peek:
        known = knowledge.peek(local, self.here.seen_dir)
        if known is None:
            raise StateMissing(f"{local} does not exist; set the state first or look elsewhere")
        return known

    def _verified(self, source: str, info: FileInfo | None, sent: Sent, stamp: Stamp) -> FileInfo:
        """
        Return what was sent, after comparing it with what is recorded here.

        :raises FileCorrupt: it is not what was recorded
        """
        if info is None:
            real = knowledge.resolve(source)
            info = self.here.verified(real, copy.Copied(sent.digest, False, stamp))
        elif info.digest != sent.digest:
            raise FileChanging(f"{source} changed while it was sent; try again")
        if sent.far_digest in (None, sent.digest):
            return info
        return replace(info, also=tuple(sorted({*info.also, str(sent.far_digest)})))

    def _placed(self, local: str, path: str, info: FileInfo) -> FileInfo:
        """Return what a file is at its target, on the parent or the images that are there."""
        if info.passport:
            moved = vmstate.moved(local, path, info.passport, to_there=self.view.peek)
            return replace(info, passport=moved)
        if not path.endswith(IMAGE_SUFFIX):
            return info
        backing = chain.backing_of(local)
        if not backing.state:
            return info
        there, mine = self.judge.both(
            chain.state_file(os.path.dirname(path), backing.state),
            chain.state_file(os.path.dirname(local), backing.state),
            self.here,
        )
        info = replace(info, parent=backing.state)
        return chain.on_parent(local, self.view.title(path), info, mine, there)

    # -- on its way --------------------------------------------------------------------------

    def _send(
        self, bulk: Bulk, source: str, path: str, kept: Part, progress: Progress | None
    ) -> tuple[Sent, Stamp]:
        basis, fsync = self._basis(path), self.here.policy.fsync
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            stamp = Stamp.of(os.fstat(fd))
            size = stamp.size
            try:
                sent = bulk.upload(fd, size, kept.path, basis=basis, fsync=fsync, progress=progress)
            except LockTimeout as error:
                LOG.debug("somebody else sends the same: %s", error)
                kept.renew(layout.resumable_path(path, durable.new_token()))
                sent = bulk.upload(fd, size, kept.path, basis=basis, fsync=fsync, progress=progress)
            return sent, stamp
        finally:
            kept.ours = True
            os.close(fd)

    def _basis(self, path: str) -> Basis | None:
        """Return an old version over there, with its blocks' digests if it is true to them."""
        look = self.view.look(path)
        peek = self.view.weigh(look)
        if peek is None:
            return None
        if not (peek.fresh and peek.info.digest and self.here.policy.verify != "always"):
            return Basis(look.real)
        with self.view.session.shell() as shell:
            leaves = shell.look([path], leaves=True)[path].leaves
        mine, far = leaves_of(leaves or b"", peek)
        return Basis(look.real, peek.stamp, mine, far) if mine else Basis(look.real)

    # -- into its place ----------------------------------------------------------------------

    def _commit(self, part: str, path: str, info: FileInfo, sent: Sent) -> bool:
        """Make the file visible; return False if somebody else put the same there meanwhile."""
        timeout = self.here.policy.timeout
        with self.view.session.shell() as shell, held(shell, path, timeout, look=True):
            self.view.forget(path)
            look = shell.look([path])[path]
            peek = self.view.weigh(look)
            same = peek and self.judge.known(peek) and peek.info.same_content(info)
            if peek and same and made_alike(info, peek.info):
                shell.discard(part)
                return False
            if look.stamp is not None:
                self.view.forget(path, beside=True)
                self.view.make_way(shell, path, info, self.here.guard)
            self._place(shell, part, look, info, sent)
            return True

    def _place(self, shell: Shell, part: str, look: Look, info: FileInfo, sent: Sent) -> None:
        shell.commit(
            part,
            look.path,
            records.template(info),
            trash=trash.name_of(look.path),
            fsync=self.here.policy.fsync,
            made=sent.stamp,
            leaves=sent.leaves + (sent.far_leaves or b"") if info.size >= WORTH_LEAVES else None,
            loosened=_loosened(look),
        )
        self.view.keep(shell.look([look.path]))


def _content(known: Peek) -> str | None:
    """Return what tells a file's content from others, the same before and after it was read."""
    return known.info.generation or known.info.digest


def _loosened(look: Look) -> bytes | None:
    """Return the record that lets a file stay good whose stamp alone is known; see ``place``."""
    record = records.decode(look.record) if look.record else None
    if record is None or record.info.digest or record.stamp != look.stamp:
        return None
    return records.encode(replace(record, stamp=None))


@contextlib.contextmanager
def held(shell: Shell, path: str, timeout: float, look: bool = False) -> Iterator[None]:
    """
    Hold the lock of a file over there.

    :param look: have what lies about it looked at, to be told by the shell's next call
    :raises LockTimeout: someone else held it all the time; the text says who
    """
    if locks.skip():
        yield
        return
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    holder = f"host {socket.gethostname()}, process {os.getpid()}, since {since}"
    shell.lock(path, timeout, holder, look)
    try:
        yield
    finally:
        if shell.usable:
            shell.unlock()


def leaves_of(kept: bytes, peek: Peek) -> tuple[bytes | None, bytes | None]:
    """
    Return the digests of a file's blocks, ours and those of the host, each None if not known.

    :param kept: what is kept of both beside the file, ours first
    :param peek: what is known of the file, whose digest tells whether they are of its content
    """
    length = LEAF * count(peek.stamp.size)
    found = []
    for algorithm, leaves in ((ALGORITHM, kept[:length]), (SHA256_TREE, kept[length:])):
        tree = Tree(peek.stamp.size, (algorithm,))
        tree.put(0, leaves, algorithm)
        whole = len(leaves) == length and tree.digest(algorithm) == peek.info.by(algorithm)
        found.append(leaves if whole else None)
    return found[0], found[1]
