"""Errors about files over there, said the same by all that works on them."""

import re

from avocado_pool_plugin.core.errors import (
    LockTimeout,
    PoolError,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
)

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


def chatter(title: str, lines: int) -> PoolUnreachable:
    """
    Return the error for a login that says too much before anything of ours.

    :param title: of the channel
    :param lines: how many it printed
    """
    return PoolUnreachable(
        f"{title} printed {lines} lines where an answer was expected; make its login shell print "
        f"nothing without a terminal"
    )
