"""What is in directories of this host, as their keepers see it."""

import errno
import os
import stat as statmod
from collections.abc import Iterator

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.errors import no_use, unreachable
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.upkeep.site import Entry

_BLOCK = 512
#: Errors of following a link to a file that is not there and can't be.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def listed(directory: str) -> list[os.DirEntry[str]]:
    """
    Return what is in a directory, nothing if there is none.

    :raises PoolUnreachable: it can't be listed
    """
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise no_use(error)(
            f"{directory} can't be listed: {error.strerror}; check that it is mounted and readable"
        ) from error


def files_below(root: str, endings: tuple[str, ...], depth: int) -> Iterator[Entry]:
    """Yield the files with some endings in a directory, and so many directories below it."""
    homes = [root]
    for _ in range(depth + 1):
        inner = []
        for file in (file for home in homes for file in listed(home)):
            if is_home(file):
                inner.append(file.path)
            elif file.name.endswith(endings) and not file.name.startswith("."):
                entry = entry_of(file)
                if entry is not None:
                    yield entry
        homes = inner


def is_home(entry: os.DirEntry[str]) -> bool:
    """Tell whether something in a directory is a directory that states may be in."""
    return not layout.is_ours(entry.name) and leads_to_directory(entry)


def leads_to_directory(entry: os.DirEntry[str]) -> bool:
    """Tell whether something in a directory is a directory, or a link to one."""
    return is_directory(entry, follow=True)


def is_directory(entry: os.DirEntry[str], *, follow: bool = False) -> bool:
    """
    Tell whether something in a directory is a directory; a link that leads nowhere is a file.

    :param follow: or a link to one
    :raises PoolUnreachable: that can't be told
    """
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError as error:
        if error.errno in (*_NOWHERE, errno.EACCES):
            return False
        raise unreachable(entry.path, error) from error


def entry_of(file: os.DirEntry[str]) -> Entry | None:
    """Return what a listing shows of a file, None if it is gone or none."""
    link = os.path.realpath(file.path) if file.is_symlink() else ""
    try:
        found = file.stat()
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise unreachable(file.path, error) from error
        return Entry(file.path, None, link=link) if link else None
    if not statmod.S_ISREG(found.st_mode):
        return None
    return Entry(
        file.path,
        Stamp.of(found),
        found.st_blocks * _BLOCK,
        found.st_dev,
        statmod.S_IMODE(found.st_mode),
        link,
        found.st_nlink,
    )
