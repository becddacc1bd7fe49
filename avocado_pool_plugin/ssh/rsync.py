"""
Content to and from a host with rsync but without python3.

Of a new version only what differs travels, of a file with holes no hole.
"""

import contextlib
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence

from avocado_pool_plugin.core import copy, layout, resume
from avocado_pool_plugin.core.digest import (
    BLOCK,
    Progress,
    data_blocks,
    data_spans,
    read_block,
)
from avocado_pool_plugin.core.errors import FileChanging, PoolError, PoolSilent
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.content import Basis, Received, Sent
from avocado_pool_plugin.ssh.far_files import clear
from avocado_pool_plugin.ssh.pieces import length
from avocado_pool_plugin.ssh.plain import Plain, received
from avocado_pool_plugin.ssh.plain_flow import Content, Outgoing, filled
from avocado_pool_plugin.ssh.rsync_run import Outcome, quoted, run

LOG = logging.getLogger("avocado." + __name__)

#: Neither size and time nor a file's whole copy may stand in for a comparison of its content; names
#: are not for the far shell to read. What is there already is changed in place, for it is locked or
#: open, and never sparsely: that can leave wrong bytes.
_OPTIONS = (
    "--secluded-args",
    "--copy-links",
    "--ignore-times",
    "--no-human-readable",
    "--info=progress2",
    "--stats",
)
_CHANGED = (*_OPTIONS, "--inplace", "--no-whole-file")
#: For a new file: what is a hole over there travels as next to nothing, and is one here.
_SPARSE = (*_OPTIONS, "--sparse", "--compress", "--whole-file")
#: Such a file is worth this if so many bytes of it are holes.
_WORTH_HOLES = 16 << 20
#: How the names of directories begin that it is received in.
_SCRATCH = ".rsync-"


class Rsync(Plain):
    """
    Work on the content of a host's files, with rsync where there is an old version or many holes.

    Where rsync fails, not for lack of room or connection, the rest goes without it.

    :param command: ssh over an existing connection, to be followed by any host name
    """

    def __init__(self, channel: Channel, command: Sequence[str]) -> None:
        super().__init__(channel)
        self._command = tuple(command)
        self._works = True

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
        See ``content.Bulk``.

        :param basis: an old version; of use for a part that is absent or empty, or was made from it
        """
        if basis is not None and size and self._works:
            before = Stamp.of(os.fstat(source))
            have = self._open_part(part)
            if have or self._copied(part, basis.path):
                outgoing = Outgoing(self._far, source, size, progress)
                with self._whole():
                    if self._push(outgoing, part):
                        return self._finish(outgoing, part, fsync, before)
        return super().upload(source, size, part, fsync=fsync, progress=progress)

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

        :param target_path: the open file's name, asked of the system if it is not given
        """
        name = target_path or os.readlink(f"/proc/self/fd/{target}")
        old = basis and os.fstat(target).st_size
        if self._works and _is(target, name):
            stamp = self._open_source(path)
            with self._whole():
                pull = self._pull if old else self._pull_sparse
                moved = pull(target, name, stamp.size, progress)
                if moved is not None and _is(target, name):
                    self._require_unchanged(stamp)
                    content = Content(stamp.size, algorithms, whole=False)
                    _take_in(target, stamp.size, content)
                    return received(content, stamp, moved)
        return super().download(path, target, basis=basis, algorithms=algorithms, progress=progress)

    def _copied(self, part: str, old: str) -> bool:
        """Make a part a copy of an old version; return False if that can't be."""
        try:
            with self._whole():
                self._far.ask("pool_copy", part, old)
                self._far.answer("copied")
        except PoolError as error:
            if not self._far.refused:
                raise
            LOG.info("%s is made without its old version: %s", self._far.place, error)
            return False
        return True

    def _push(self, outgoing: Outgoing, part: str) -> bool:
        """Make a part equal to an open file; return False if it takes another way."""
        source, size = outgoing.source, outgoing.size
        data = length(list(data_spans(source, size)))
        tell = _Portion(outgoing.tell, data, size)
        command = [f"/proc/self/fd/{source}", f"pool:{literal(part)}"]
        outcome = self._run(_CHANGED, command, source, tell)
        if outcome is None:
            return False
        outgoing.moved = outcome.sent
        blocks = (os.fstat(source).st_blocks * 512 + BLOCK) // 512
        self._far.ask("pool_dig", part, blocks)
        self._far.answer("dug")
        return True

    def _pull(self, fd: int, name: str, size: int, progress: Progress | None) -> int | None:
        """Change an old version here to the open file over there; return how much travelled."""
        return self._receive(_CHANGED, name, size, progress)

    def _pull_sparse(self, fd: int, name: str, size: int, progress: Progress | None) -> int | None:
        """Make an empty file here equal to the open one over there, if that has many holes."""
        self._far.ask("pool_allocated")
        blocks, unit = self._far.numbers("allocated", 2)
        data, home = blocks * unit, os.path.dirname(name)
        if size - data < _WORTH_HOLES or copy.free_space(home) < 2 * data:
            return None
        # rsync can fill a file of its own only; beside ours, so that both may share the blocks
        _sweep(home)
        with tempfile.TemporaryDirectory(dir=home, prefix=_SCRATCH) as scratch:
            own = os.path.join(scratch, f"x{layout.PART}")
            moved = self._receive(_SPARSE, own, size, progress)
            if moved is not None:
                copy.fill(own, fd)
        return moved if os.fstat(fd).st_size == size else None

    def _receive(
        self, options: Sequence[str], target: str, size: int, progress: Progress | None
    ) -> int | None:
        """Have rsync write a file here; return how many bytes travelled, None if it can't."""
        tell = _Portion(progress or (lambda done: None), size, size)
        # no name of a user's is to be taken for a pattern or another host's
        command = [f"pool:/proc/{self._far.pid}/fd/8", os.path.abspath(target)]
        outcome = self._run(options, command, None, tell)
        return outcome.received if outcome else None

    def _run(
        self,
        options: Sequence[str],
        names: list[str],
        fd: int | None,
        tell: Callable[[int], None],
    ) -> Outcome | None:
        """
        Run rsync.

        :param fd: open file to hand on
        :returns: how it ended, None if it is of no use
        """
        channel = self._far.channel
        timeout = f"--timeout={math.ceil(channel.timeout)}"
        shell = " ".join(map(quoted, self._command))
        command = ["rsync", *options, timeout, "-e", shell, "--", *names]
        outcome = run(command, () if fd is None else (fd,), tell)
        if outcome.status == 0:
            return outcome
        if outcome.full and fd is None:
            raise OSError(outcome.full, os.strerror(outcome.full), names[1])
        if outcome.full:
            raise self._far.failed(outcome.cause)
        if outcome.silent:
            raise PoolSilent(
                f"{self._far.place} can't be {self._far.doing}: rsync moved nothing for "
                f"{channel.timeout:g} seconds ({outcome.cause}); check the host and the network "
                f"to it, or raise ssh_timeout"
            )
        # if the connection broke this says so
        self._far.ask("pool_say", "here")
        self._far.answer("here")
        LOG.warning(
            "rsync is not used with %s any more, content travels as a whole: %s",
            channel.title,
            outcome.cause,
        )
        self._works = False
        return None


def _sweep(directory: str) -> None:
    """Remove what processes left that were killed while rsync filled a file of its own."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(_SCRATCH):
                files = (os.path.join(entry.path, name) for name in os.listdir(entry.path))
                written = max(os.lstat(path).st_mtime for path in (entry.path, *files))
                if time.time() - written > resume.KEEP:
                    LOG.info("removing %s, which a transfer left long ago", entry.path)
                    shutil.rmtree(entry.path, ignore_errors=True)


class _Portion:
    """Tells a progress that counts data what is done of a file with holes."""

    def __init__(self, tell: Progress, data: int, size: int) -> None:
        self._tell, self._data, self._size = tell, data, max(1, size)
        self._told = 0

    def __call__(self, done: int) -> None:
        """Tell that so many bytes of the file are done by now."""
        now = min(done, self._size) * self._data // self._size
        if now > self._told:
            self._tell(now - self._told)
            self._told = now


def literal(path: str) -> str:
    """Return what rsync takes for the name of one existing file, whatever is in it."""
    return "".join({"\\": "[\\\\]"}.get(c, f"[{c}]") if c in "*?[\\" else c for c in path)


def _is(fd: int, name: str) -> bool:
    """Tell whether an open file has that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(name))
    except OSError:
        return False


def _take_in(fd: int, size: int, content: Content) -> None:
    """
    Read a file that rsync changed in place, and make holes where it wrote zeros.

    :raises FileChanging: it is not of the size that it should have
    """
    buffer = bytearray(BLOCK)
    for number, _ in data_blocks(fd, size):
        data = read_block(fd, number, size, buffer)
        content.add(number, data)
        base = at = number * BLOCK
        for start, end in (*filled(data), (len(data), len(data))):
            clear(fd, at, base + start)
            at = base + end
    if os.fstat(fd).st_size != size:
        raise FileChanging(f"a file of {size} bytes was written to while it was received")
