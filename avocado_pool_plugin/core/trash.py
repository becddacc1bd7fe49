"""What is removed or replaced goes here first, and from here after a week."""

import contextlib
import logging
import os
import shutil
import time

from avocado_pool_plugin.core import durable, layout, records, users
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.records import Stamp

LOG = logging.getLogger("avocado." + __name__)

#: How long removed files are kept, in seconds.
KEEP = 7 * 24 * 3600.0


def supersede(part: str, path: str) -> str | None:
    """
    Rename a file over another one that goes to the trash, without a moment with no file.

    :returns: its name in the trash, None if it could not be kept
    """
    target = _target(path)
    try:
        os.link(path, target)
        os.rename(part, path)
    except FileNotFoundError:
        os.rename(part, path)  # gone meanwhile
        return None
    except OSError as error:
        # no hard links here, or none to files of other users
        if not durable.exchange(part, path):
            LOG.warning("%s is replaced and can't be kept in the trash: %s", path, error.strerror)
            os.rename(part, path)
            return None
        os.rename(part, target)
        durable.unlink(part)  # where both were names of one file, it is still there
    _keep_record(path, target)
    return target


def throw(path: str, fsync: bool = True) -> str:
    """
    Move a file with its record into the trash and return where it is now.

    :raises FileNotFoundError: there is no such file
    """
    if os.path.islink(path):
        os.unlink(path)
        return path
    target = _target(path)
    os.rename(path, target)
    # nothing else tells what it contains once the record beside its place is gone
    _keep_record(path, target, fsync)
    forget(path)
    if fsync:
        durable.sync_dir(os.path.dirname(path))
    return target


def forget(path: str) -> None:
    """
    Drop all that is known about a file that is gone from its place.

    Overlays that stand on it stay noted: on another file in its place they would hold nonsense.
    """
    records.drop_records(path)
    durable.unlink(layout.used_path(path))
    with contextlib.suppress(OSError, PoolError):
        if not users.users_of(path):
            shutil.rmtree(layout.users_dir(path), ignore_errors=True)


def _target(path: str) -> str:
    durable.make_meta(path, fsync=False)
    directory = durable.make_like_parent(layout.trash_dir(path), fsync=False)
    now = durable.seconds(os.path.dirname(directory))
    _empty(directory, now)
    return os.path.join(directory, name_of(path, now))


def name_of(path: str, now: float | None = None) -> str:
    """
    Return what a file is called in the trash: when it was thrown away comes first.

    :param now: in seconds since 1970; default: by this host's clock
    """
    seconds = int(time.time() if now is None else now)
    return f"{seconds}-{durable.new_token()}-{os.path.basename(path)}"


def _keep_record(path: str, target: str, fsync: bool = False) -> None:
    """Copy the record of a file, be it one whose writer was killed before it committed."""
    with contextlib.suppress(OSError, PoolError):
        stamp, committed = Stamp.of(os.stat(target)), records.read_record(path)
        if committed is None or not committed.made_as.same_file(stamp):
            for record in records.read_pending(path):
                if record.made_as.same_file(stamp):
                    durable.write_whole(target + ".json", records.encode(record), fsync)
                    return
        text = records.read_small(layout.record_path(path))
        if text is not None:
            durable.write_whole(target + ".json", text, fsync)


def _empty(directory: str, now: float) -> None:
    """Remove what has been in the trash for long enough; entries begin with their time."""
    for name in os.listdir(directory):
        thrown = name.partition("-")[0]
        if thrown.isdecimal() and now - int(thrown) > KEEP:
            LOG.info("removing %s from the trash in %s for good", name, directory)
            try:
                durable.unlink(os.path.join(directory, name))
            except OSError as error:
                # of another user, or no file: that it stays is no reason not to throw away more
                LOG.debug("%s stays in the trash in %s: %s", name, directory, error)
