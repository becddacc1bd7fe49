"""A directory for probes in a cache or pool, gone when they are done."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator

from avocado_pool_plugin.core import durable

#: How its name begins: hidden, so that nothing takes it for an object.
PREFIX = ".doctor-"
#: Seconds after which one that was left by a killed process is removed.
OLD = 24 * 3600.0
#: How often one is removed that does not go, and seconds between.
_TRIES, _PAUSE = 3, 0.05


def new(root: str) -> str:
    """
    Return the path of a new one in a directory, to be made.

    It is like the directories of states: what stands for a state is right in it, what is ours in
    ``.pool`` there.
    """
    return os.path.join(root, PREFIX + durable.new_token())


def clear(path: str) -> None:
    """Remove one with all that is in it, as far as that can be done; it may be gone."""
    for _ in range(_TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return
        time.sleep(_PAUSE)  # a probe that was left behind may still write


@contextlib.contextmanager
def workplace(root: str) -> Iterator[str]:
    """Give one that is gone with the context."""
    path = new(root)
    os.mkdir(path)
    try:
        yield path
    finally:
        clear(path)


def sweep(root: str) -> None:
    """Remove what killed processes left long ago."""
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            token = entry.name.removeprefix(PREFIX)
            if token != entry.name and durable.is_token(token):
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD:
                        shutil.rmtree(entry.path, ignore_errors=True)
