"""When a state was used last, kept beside it as the time of an empty file."""

import logging
import os

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.errors import PoolError

LOG = logging.getLogger("avocado." + __name__)


def touch(path: str) -> None:
    """
    Note that a state's file is used now; where that can't be written nothing happens.

    :param path: the file; of a symlink what it leads to
    """
    note = layout.used_path(_real(path))
    try:
        os.utime(note)
    except FileNotFoundError:
        _create(note)
    except OSError as error:
        LOG.debug("the use of %s can't be noted: %s", path, error)


def last(path: str) -> float:
    """Return when a state's file was used last, in seconds since 1970; 0.0 if nobody noted it."""
    try:
        return os.stat(layout.used_path(_real(path))).st_mtime
    except OSError:
        return 0.0


def _real(path: str) -> str:
    return os.path.realpath(path) if os.path.islink(path) else path


def _create(note: str) -> None:
    meta = os.path.dirname(note)
    try:
        if not os.path.isdir(os.path.dirname(meta)):
            return
        durable.make_like_parent(meta, fsync=False)
        fd = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.fchmod(fd, 0o666)  # whoever uses the state notes it here
        finally:
            os.close(fd)
    except (OSError, PoolError) as error:
        LOG.debug("%s can't be made: %s", note, error)
