"""
Content to and from a host without python3: its shell and GNU coreutils do what ssh/agent.py would.

Holes stay holes on both sides, but travel as zeros on the way here. An interrupted transfer goes on
where it was; an old version is of no use, see ssh/rsync.py for that.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

from avocado_pool_plugin.core.digest import SHA256, Progress
from avocado_pool_plugin.core.errors import PoolUnreachable
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import failures
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.content import Basis, Digested, Received, Sent
from avocado_pool_plugin.ssh.plain_far import Far
from avocado_pool_plugin.ssh.plain_flow import Content, Incoming, Outgoing


class Plain:
    """
    Work on the content of a host's files, by the shell at the other end of a channel.

    See ``content.Bulk``.

    :param channel: with a POSIX shell at its other end that waits for commands
    :raises PoolUnreachable: there are no GNU coreutils
    :raises HostUnreachable: the connection broke
    :raises PoolSilent: no answer came in time
    """

    #: See ``content.Bulk``.
    algorithm = SHA256

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        #: See ``content.Bulk``.
        self.usable = True
        with channel.whole():
            self._far = Far(channel)

    def upload(
        self,
        source: int,
        size: int,
        part: str,
        *,
        basis: Basis | None = None,
        fsync: bool = True,
        progress: Progress | None = None,
    ) -> Sent:
        """
        See ``content.Bulk``; what the part has already is of use if it is the file's begin.

        :param basis: of no use
        """
        before = Stamp.of(os.fstat(source))
        have = self._open_part(part)
        outgoing = Outgoing(self._far, source, size, progress)
        with self._whole():
            outgoing.run(part, have)
            return self._finish(outgoing, part, fsync, before)

    def download(
        self,
        path: str,
        target: int,
        *,
        basis: bool = False,
        target_path: str = "",
        algorithms: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Received:
        """
        See ``content.Bulk``.

        :param basis: whether what the open file contains may be the begin of what is there
        :param target_path: of no use
        """
        stamp = self._open_source(path)
        incoming = Incoming(self._far, target, stamp.size, algorithms, progress)
        with self._whole():
            incoming.run(basis)
            self._require_unchanged(stamp)
        return received(incoming.content, stamp, incoming.moved)

    def digest(
        self, path: str, progress: Progress | None = None, algorithm: str | None = None
    ) -> Digested:
        """
        See ``content.Bulk``.

        :param algorithm: ``sha256``, others are not to be had
        """
        if algorithm not in (None, SHA256):
            raise ValueError(f"there are no {algorithm} digests without python3")
        stamp = self._open_source(path)
        with self._whole():
            self._far.ask("pool_hash")
            found = self._far.sha256()
            self._require_unchanged(stamp)
        if progress is not None:
            progress(stamp.size)
        return Digested(f"{SHA256}:{found}", b"", stamp)

    def release(self) -> None:
        """See ``content.Bulk``."""
        self._work_on(self._far.path, self._far.doing)
        with self._whole():
            self._far.ask("pool_close")
            self._far.answer("closed")

    def close(self) -> None:
        """See ``content.Bulk``."""
        self.usable = False
        self._channel.close()

    # -- steps -------------------------------------------------------------------------------

    def _open_part(self, part: str) -> int:
        """Open and lock a part over there; return how many bytes it has."""
        self._work_on(part, "written")
        with self._whole():
            self._far.ask("pool_open", part)
            return self._far.numbers("part", 1)[0]

    def _open_source(self, path: str) -> Stamp:
        """Open a file over there to read it."""
        self._work_on(path, "read")
        with self._whole():
            self._far.ask("pool_source", path)
            return self._far.stamp()

    def _finish(self, outgoing: Outgoing, part: str, fsync: bool, before: Stamp) -> Sent:
        """Have a part brought to its size and compared with what was sent."""
        far = self._far
        far.ask("pool_finish", part, outgoing.size, "yes" if fsync else "no")
        outgoing.complete()
        mine = outgoing.content.sha256(outgoing.size)
        found = far.sha256()
        stamp = far.stamp()
        if Stamp.of(os.fstat(outgoing.source)) != before:
            raise failures.changed_here(far.place)
        if found != mine or stamp.size != outgoing.size:
            raise PoolUnreachable(
                f"{far.place} does not hold what was sent: {stamp.size} bytes with the sha256 "
                f"{found}, expected {outgoing.size} with {mine}; check the disk and the memory of "
                f"that host, remove the file and try again"
            )
        tree = outgoing.content.tree
        digest = f"{SHA256}:{found}"
        return Sent(tree.digest(), digest, tree.leaves(), None, stamp, outgoing.moved)

    def _require_unchanged(self, before: Stamp) -> None:
        self._far.ask("pool_stamp")
        if self._far.stamp() != before:
            raise failures.changed_there(self._far.place)

    def _work_on(self, path: str, doing: str) -> None:
        if not self.usable:
            raise failures.closed(self._channel.title)
        self._far.path, self._far.doing = path, doing

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Close the channel unless the body gets to its end or to a refusal."""
        self._far.refused = False
        try:
            yield
        except BaseException:
            if not self._far.refused:
                self.close()
            raise


def received(content: Content, stamp: Stamp, moved: int) -> Received:
    """Return what came here."""
    return Received(content.digests(), content.tree.leaves(), stamp, moved)
