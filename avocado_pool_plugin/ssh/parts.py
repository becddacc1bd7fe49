"""
Temporary files on another host that content of this host is brought to, on its way to its place.

An interrupted attempt leaves its part, and a later one goes on with it.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from avocado_pool_plugin.core import copy, durable, layout, resume
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


def path_of(path: str, stamp: Stamp, content: str | None) -> str:
    """
    Return the part for a file over there, the same in each attempt of this process to send it.

    :param path: what it is to become
    :param stamp: of the file here
    :param content: what tells its content from others, None if nothing is known of it
    """
    identity = content or f"{socket.gethostname()} {stamp}"
    return resume.part_for(path, resume.key_of(identity))


def make_room(view: View, source: str, path: str, part: Part, fsync: bool) -> None:
    """
    Make the directories of a file over there, and what nobody goes on with go away.

    What a process that is gone has sent of it becomes the part.

    :param source: the file here
    :param part: what it is brought to
    :raises SpaceMissing: there is less room over there than the file takes
    :raises PoolUnreachable: they can't be made, or read
    """
    directory = layout.meta_dir(path)
    with view.session.shell() as shell:
        free, begun = shell.make_room(path, part.path, fsync=fsync)
        left = _sweep(view, shell, os.path.dirname(path))
        if begun == 0 and part.resumable and _take_over(shell, part.path, left):
            begun = shell.look([part.path])[part.path].allocated
        if left:
            _, free = shell.space(directory)
    needed = max(0, copy.allocated(source) - begun)
    copy.require_room(view.title(directory), free, needed, f"a copy of {source}")


def _take_over(shell: Shell, part: str, left: list[str]) -> bool:
    """Let a part be what a process that is gone has left; return whether there was any."""
    return any(shell.take(other, part) for other in resume.abandoned(left, part))


def _sweep(view: View, shell: Shell, directory: str) -> list[str]:
    """
    Remove what no attempt went on with for long; return all that was left there.

    This is done once: what is left later is of processes at work.
    """
    swept = view.session.swept
    if directory in swept:
        return []
    swept.add(directory)
    found = shell.temporaries(directory)
    for old in shell.drop([path for path, since in found.items() if since > resume.KEEP]):
        LOG.info("removed %s, which a transfer left long ago", view.title(old))
    return [path for path in found if path.endswith(layout.RESUME)]


@contextlib.contextmanager
def kept(session: Session, path: str, part: str) -> Iterator[Part]:
    """
    Give a part; it stays for a later attempt if that can use it.

    :param path: what it is to become
    :param part: of :func:`path_of`
    """
    with resume.filling(part, str(session)) as sole:
        found = Part(part)
        if not sole:
            found.renew(layout.resumable_path(path, durable.new_token()))
        try:
            yield found
        except (HostUnreachable, PoolSilent):
            raise
        except PoolError as error:
            if found.ours and not (found.resumable and isinstance(error, LockTimeout)):
                with contextlib.suppress(PoolUnreachable), session.shell() as shell:
                    shell.discard(found.path)
            raise
