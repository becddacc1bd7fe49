"""Changing a few bytes of a state on another host, for who takes pools over."""

import base64
import os
from collections.abc import Iterable

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.digest import SHA256
from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.qcow2 import Change
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh.looks import Status
from avocado_pool_plugin.ssh.reader import CANT_READ, CANT_WRITE
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.survey import batches

_SCRIPT = "far_adopt.sh"


def starts(shell: Shell, paths: Iterable[str], size: int) -> dict[str, bytes]:
    """Return how files begin, of those that can be read; ``size`` is in bytes."""
    found = {}
    for batch in batches(paths):
        found.update(shell.ask(_SCRIPT, "pool_begins", str(size), *batch).files.texts)
    return found


def others(shell: Shell, root: str) -> dict[str, Status]:
    """Return all files of a pool that are called like states or locks, wherever they are."""
    return shell.ask(_SCRIPT, "pool_others", root).files.statuses


def sum_changed(shell: Shell, path: str, change: Change) -> str:
    """
    Return the sha256 of a file as if some bytes of it were others.

    :raises PoolUnreachable: it can't be read
    """
    at, count = str(change.at), str(len(change.new))
    answer = shell.ask(_SCRIPT, "pool_sum_changed", path, at, count, _text(change.new))
    if answer.trouble or answer.absences or len(answer.one("sum")) != 64:
        raise shell.failure(answer, path, CANT_READ)
    return f"{SHA256}:{answer.one('sum')}"


def change(shell: Shell, path: str, what: Change, stamp: Stamp, fsync: bool) -> None:
    """
    Write some bytes of a file in one step; done already is fine.

    :param stamp: under which it was looked at
    :raises FileChanging: it is another file by now
    :raises PoolUnreachable: it can't be written
    """
    was = f"{stamp.inode} {stamp.size} {stamp.mtime_ns}"
    where = str(what.at), str(len(what.new))
    texts = _text(what.old), _text(what.new), "yes" if fsync else "no"
    answer = shell.ask(_SCRIPT, "pool_change", path, was, *where, *texts)
    if answer.has("changed"):
        raise FileChanging(f"{path} was written to by others meanwhile; try again")
    if answer.status:
        raise shell.failure(answer, path, CANT_WRITE)


def trusted(shell: Shell, path: str) -> Stamp | None:
    """
    Return a file's stamp once every later change will show in it, None if that takes long.

    :raises PoolUnreachable: nothing can be written beside it
    """
    probe = os.path.join(layout.meta_dir(path), f".clock-{durable.new_token()}.tmp")
    answer = shell.ask(_SCRIPT, "pool_trusted", path, probe)
    if answer.status:
        raise shell.failure(answer, path, CANT_WRITE)
    return answer.stamp("stamp")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
