"""Errors about files over there, said the same by all that works on them."""

import re

from avocado_pool_plugin.core.errors import (
    FileChanging,
    HostUnreachable,
    LockTimeout,
    LoginRefused,
    PoolError,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
)

#: Lines that a login may print before anything of ours.
CHATTER = 10_000
#: Characters of a line of theirs that are shown.
_SHOWN = 80
_FULL = re.compile("No space left on device|Disk quota exceeded")


def tells_of_full(text: str) -> bool:
    """Tell whether a program complains that no room is left."""
    return _FULL.search(text) is not None


def failure(place: str, problem: str, cause: str, *, full: bool, absent: bool = False) -> PoolError:
    """
    Return the error for something that could not be done to a file.

    :param place: the file, with its host
    :param problem: such as ``can't be read``
    :param cause: what the far side says
    :param full: whether the cause is that no room is left
    :param absent: whether the cause is that there is no such file, where that may be
    """
    if full:
        return SpaceMissing(
            f"no room left for {place} ({cause}); free space on its file system and try again, "
            f"what is there is whole"
        )
    if absent:
        return StateMissing(f"{place} is not there ({cause}); it may just have gone")
    return PoolUnreachable(
        f"{place} {problem}: {cause}; check that its file system is mounted and sound over there, "
        f"and that the user may do this"
    )


def busy(place: str, path: str) -> LockTimeout:
    """
    Return the error for a part that somebody else fills.

    :param place: the part, with its host
    :param path: the same without
    """
    error = LockTimeout(
        f"{place} is being written by another process; wait until it is done, or end the process "
        f"on that host that has it open"
    )
    error.path = path
    return error


def nonsense(place: str, doing: str, who: str) -> PoolUnreachable:
    """
    Return the error for an answer that can't be one.

    :param place: the file that it is about, with its host
    :param doing: what is done to it, such as ``read``
    :param who: gave it over there
    """
    return PoolUnreachable(
        f"{place} can't be {doing}: {who} there gave an answer that makes no sense; check that no "
        f"other program writes to the connection"
    )


def chatter(title: str, last: bytes) -> LoginRefused:
    """
    Return the error for a login that says too much before anything of ours.

    :param title: of the channel
    :param last: line that it printed
    """
    said = last.decode("utf-8", "replace")[:_SHOWN]
    return LoginRefused(
        f"{title} printed {CHATTER} lines where an answer was expected, {said!r} the last; make "
        f"its login shell print nothing without a terminal"
    )


def closed(title: str) -> HostUnreachable:
    """Return the error for using what an error before closed, named by its channel."""
    return HostUnreachable(f"the connection to {title} was closed after an error; connect again")


def changed_here(place: str) -> FileChanging:
    """Return the error for a file of this host that did not stay as it was while it was sent."""
    return FileChanging(f"the file to be sent to {place} was written to meanwhile; try again")


def changed_there(place: str) -> FileChanging:
    """Return the error for a file over there that did not stay as it was while it was read."""
    return FileChanging(f"{place} was written to while it was read; try again")
