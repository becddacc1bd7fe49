"""
Temporary files on another host that content of this host is brought to, on its way to its place.

An interrupted attempt leaves its part, and a later one goes on with it.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from avocado_pool_plugin.core import copy, layout, resume
from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    LockTimeout,
    PoolError,
    PoolSilent,
    PoolUnreachable,
)
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh.session import Session
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.view import View

LOG = logging.getLogger("avocado." + __name__)


@dataclass
class Part:
    """
    A temporary file over there.

    :param ours: whether nobody else fills it
    :param resumable: whether a later attempt finds it
    """

    path: str
    ours: bool = False
    resumable: bool = True

    def renew(self, path: str) -> None:
        """Be another one, of ours alone."""
        self.path, self.ours, self.resumable = path, True, False


def path_of(session: Session, path: str, stamp: Stamp, content: str | None) -> str:
    """
    Return the part for a file over there, the same in each attempt to send this content.

    :param path: what it is to become
    :param stamp: of the file here
    :param content: what tells its content from others, None if nothing is known of it
    """
    identity = [content or f"{socket.gethostname()} {stamp}"]
    if not session.abilities.flock:
        # nothing would keep two from filling one part
        identity += [socket.gethostname(), str(os.getpid()), str(threading.get_ident())]
    return layout.resumable_path(path, resume.key_of(*identity))


def make_room(view: View, source: str, path: str, part: str, fsync: bool) -> None:
    """
    Make the directories of a file over there, and what nobody goes on with go away.

    :param source: the file here
    :param part: what it is brought to
    :raises SpaceMissing: there is less room over there than the file takes
    :raises PoolUnreachable: they can't be made, or read
    """
    directory = layout.meta_dir(path)
    with view.session.shell() as shell:
        free, begun = shell.make_room(path, part, fsync=fsync)
        if _sweep(view, shell, os.path.dirname(path)):
            _, free = shell.space(directory)
    needed = max(0, copy.allocated(source) - begun)
    copy.require_room(view.title(directory), free, needed, f"a copy of {source}")


def _sweep(view: View, shell: Shell, directory: str) -> bool:
    """Remove what no attempt went on with for long; return whether there was any."""
    swept = view.session.swept
    if directory in swept:
        return False
    swept.add(directory)
    removed = shell.sweep(directory, resume.KEEP)
    for old in removed:
        LOG.info("removed %s, which a transfer left long ago", view.title(old))
    return bool(removed)


@contextlib.contextmanager
def kept(session: Session, path: str) -> Iterator[Part]:
    """Give a part; it stays for a later attempt if that can use it."""
    part = Part(path)
    try:
        yield part
    except (HostUnreachable, PoolSilent):
        raise
    except PoolError as error:
        if part.ours and not (part.resumable and isinstance(error, LockTimeout)):
            with contextlib.suppress(PoolUnreachable), session.shell() as shell:
                shell.discard(part.path)
        raise
