"""
Small things done to the files of a pool on another host, which needs a POSIX shell, GNU coreutils
and util-linux. The far side of it is far.sh and its likes.
"""

import base64
import logging
import os
import time
from collections.abc import Sequence

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.errors import FileChanging, LockTimeout
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.core.trash import KEEP
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.reader import CANT_WRITE, Reader
from avocado_pool_plugin.ssh.talk import Abilities, Answer

LOG = logging.getLogger("avocado." + __name__)

#: A record but for its stamps: before ``made_as``, between that and ``stamp``, after that.
Template = tuple[bytes, bytes, bytes]


class Shell(Reader):
    """
    A shell on another host that does our small things; not for several threads at once.

    Paths are absolute and of that host. Most methods are one round trip; each raises
    ``HostUnreachable`` or ``PoolSilent`` if the connection breaks or nothing is heard over it, and
    the shell is of no more use then.

    :param channel: to a shell that reads commands
    :param known: what was found out about the host before; it takes a moment
    :raises PoolUnreachable: the host lacks what is needed
    """

    def __init__(self, channel: Channel, known: Abilities | None = None) -> None:
        super().__init__(channel, known)
        self._locked = ""

    # -- locks -------------------------------------------------------------------------------

    def lock(self, path: str, timeout: float, holder: str, look: bool = False) -> None:
        """
        Take the lock of a file, the one of core/locks.py; without flock over there do nothing.

        It ends with :meth:`unlock` or the shell. A shell holds one at a time.

        :param timeout: seconds to wait, 0 tries once
        :param holder: who waits: host, process and since when
        :param look: have what lies about the file looked at, to be told by the next call
        :raises LockTimeout: someone else held it all the time; the text says who
        :raises PoolUnreachable: it can't be locked
        """
        assert not self._locked, f"{self._locked} is locked, {path} can't be as well"
        lock = layout.lock_path(path)
        holder = f"{holder}, over ssh: shell {self.pid} on {self._talk.host}"
        args = f"{timeout:.3f}", holder
        self._talk.post("pool_lock", lock, *args)
        if look:
            self.look_ahead(path)
        answer = self._must("pool_lock", lock, "can't be locked", *args)
        if answer.has("holder"):
            other = answer.one("holder") or "an unknown process"
            error = LockTimeout(
                f"{self._talk.where(path)} is locked by {other}; waited {timeout:g} seconds - "
                f"wait for it to finish, or raise the lock timeout (update_pool_timeout)"
            )
            error.path = path
            raise error
        self._locked = path

    def unlock(self) -> None:
        """Let the lock go; that it went is not waited for."""
        self._locked = ""
        self._talk.post("pool_unlock")

    def end_of(self, pid: int, token: str) -> None:
        """End another shell over there that may still hold a lock, if it is that one."""
        self._talk.call("pool_end_of", pid, token)

    # -- changes -----------------------------------------------------------------------------

    def prepare(self, path: str, fsync: bool = True) -> None:
        """
        Make the directory of a file, and ours in it for the same group and modes.

        :raises SpaceMissing: the disk is full
        :raises PoolUnreachable: it can't be made
        """
        self._must("pool_like_parent", layout.meta_dir(path), "can't be made", _flag(fsync))

    def make_room(self, path: str, part: str, fsync: bool = True) -> tuple[int, int]:
        """
        Make the directories of a file, and return how many bytes are free there.

        :param part: a temporary file for it
        :returns: that, and the bytes that the temporary file takes already
        :raises SpaceMissing: the disk is full
        :raises PoolUnreachable: they can't be made, or read
        """
        meta = layout.meta_dir(path)
        self._talk.post("pool_like_parent", meta, _flag(fsync))
        self._talk.post("pool_space", meta)
        self.look_ahead(part)
        self.prepare(path, fsync)
        _, free = self.space(meta)
        return free, self.look([part])[part].allocated

    def commit(
        self,
        part: str,
        path: str,
        record: Template,
        *,
        trash: str,
        fsync: bool = True,
        made: Stamp | None = None,
        leaves: bytes | None = None,
        loosened: bytes | None = None,
    ) -> Stamp | None:
        """
        Make a finished temporary file the visible one, see ``core.place.place``.

        What lies about it then is looked at, to be told by the next call.

        :param part: the file, in the ``.pool`` directory beside ``path``
        :param trash: what a file that is replaced is called in the trash
        :param made: its stamp when its content was checked
        :param leaves: digests of its blocks, to be kept beside it
        :param loosened: record for the file that is replaced while that has two names, if nobody
            knows its digest
        :returns: its stamp if that is to be trusted
        :raises FileChanging: it was written to since ``made``; nothing changed
        :raises SpaceMissing: the disk is full; the old file is there, or the new one
        :raises PoolUnreachable: the same, for another reason
        """
        kept = os.path.join(layout.trash_dir(path), trash)
        mine = durable.new_token()
        loose = layout.pending_prefix(path) + durable.new_token()
        sent = self._receive(f"{layout.leaves_path(path)}.{mine}.tmp", leaves) if leaves else ""
        wanted = f"{made.inode} {made.size} {made.mtime_ns}" if made else ""
        args = (path, kept, _oldest(), mine, loose, _flag(fsync), wanted, loosened or b"", sent)
        self._talk.post("pool_commit", part, *args, *record)
        self.look_ahead(path)
        answer = self._talk.call("pool_commit", part, *args, *record)
        self._tell(answer, part, path)
        return answer.stamp("stamp")

    def _tell(self, answer: Answer, part: str, path: str) -> None:
        """Tell what went wrong with a file that was to become visible; raises as ``commit``."""
        where = self._talk.where(path)
        if answer.has("changed"):
            raise FileChanging(f"what was to become {where} was written to by others; try again")
        if answer.status:
            raise self._talk.failure(answer, part, f"can't become {path}")
        if answer.has("unkept"):
            LOG.warning("%s is replaced and can't be kept in the trash: %s", where, answer.cause)
        if answer.has("pending"):
            LOG.warning("the record of %s stays a pending one: %s", where, answer.cause)
        if answer.has("leafless"):
            LOG.debug("the digests of the blocks of %s can't be kept: %s", where, answer.cause)

    def _receive(self, path: str, data: bytes) -> str:
        """Write a temporary file that things do not depend on; return its path if it was."""
        text = base64.b64encode(data)
        answer = self._talk.call("pool_receive", path, len(text), data=text)
        if answer.status:
            LOG.debug("%s can't be written: %s", self._talk.where(path), answer.cause)
        return "" if answer.status else path

    def remove(self, path: str, trash: str, fsync: bool = True) -> bool:
        """
        Move a file with its record into the trash, or remove a link; return whether it was there.

        :param trash: what it is called in the trash
        :raises SpaceMissing: the disk is full
        :raises PoolUnreachable: it can't be moved
        """
        kept = os.path.join(layout.trash_dir(path), trash)
        answer = self._talk.call("pool_remove", path, kept, _oldest(), _flag(fsync))
        if answer.status and not (answer.absent and answer.has("absent")):
            raise self._talk.failure(answer, path, "can't be removed")
        return answer.has("removed")

    def write(self, path: str, data: bytes, fsync: bool = True) -> None:
        """
        Write a small file of ours so that readers see the old or the new content.

        :raises SpaceMissing: the disk is full
        :raises PoolUnreachable: it can't be written
        """
        text = base64.b64encode(data)
        self._must("pool_write", path, CANT_WRITE, text, durable.new_token(), _flag(fsync))

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file of ours unless there is one; return whether it was; same errors."""
        text = base64.b64encode(data)
        answer = self._must("pool_create", path, CANT_WRITE, text, durable.new_token())
        return answer.has("created")

    def discard(self, part: str) -> None:
        """
        Remove a temporary file that may be gone already.

        :raises PoolUnreachable: it can't be removed
        """
        self._must("pool_discard", part, "can't be removed")

    def pin(self, path: str, data: bytes) -> None:
        """
        Make a pin; that it was made is not waited for.

        :param path: of the pin, see core/pins.py
        """
        self._talk.post("pool_pin", path, base64.b64encode(data), durable.new_token())

    def unpin(self, path: str) -> None:
        """Remove a pin; that it went is not waited for."""
        self._talk.post("pool_discard", path)

    def beat(self, path: str) -> bool:
        """Keep a pin live; return False if it is gone or can't be kept."""
        return not self._talk.call("pool_beat", path).status

    def used(self, *paths: str) -> None:
        """Note that states are used now, as far as they can be reached; it is not waited for."""
        self._talk.post("pool_used", *map(layout.used_path, paths))

    def sweep(self, directory: str, age: float) -> list[str]:
        """
        Remove temporary files of ours that nobody writes to any more; return their paths.

        :param age: seconds since they were last written to
        """
        found = self.temporaries(directory)
        return self.drop([path for path, since in found.items() if since > age])

    def temporaries(self, directory: str) -> dict[str, float]:
        """Return the temporary files of ours, and how many seconds ago each was written to."""
        answer = self._talk.call("pool_temporaries", directory)
        statuses = answer.files.statuses
        probes = [path for path in statuses if os.path.basename(path).startswith(".clock-")]
        if not probes:
            return {}
        now = statuses.pop(probes[0]).stamp.ctime_ns
        return {path: (now - one.stamp.mtime_ns) / 1e9 for path, one in statuses.items()}

    def drop(self, paths: Sequence[str]) -> list[str]:
        """Remove temporary files unless somebody writes to them; return which are gone."""
        return self._talk.call("pool_drop", *paths).all("dropped") if paths else []

    def take(self, part: str, other: str) -> bool:
        """Give a temporary file another name; return False if somebody else was quicker."""
        return self._talk.call("pool_take", part, other).status == 0


def _flag(on: bool) -> str:
    return "yes" if on else "no"


def _oldest() -> int:
    """Return from when on what is in the trash is kept, in seconds since 1970."""
    return int(time.time() - KEEP)
