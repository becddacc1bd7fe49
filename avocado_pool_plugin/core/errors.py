"""
Every error this package raises on purpose.

One class for each case that a caller can act on. The text names the thing, what was found, what was
expected and what to do. All of them are ``RuntimeError``; where the documented interface promises
more (``ValueError``, ``TimeoutError``, ``FileNotFoundError``) the class is that as well.
"""

import errno
from collections.abc import Sequence


class PoolError(RuntimeError):
    """
    Base of all errors of this package.

    ``problems`` holds the error of each mirror where the text is about several of them.
    """

    problems: tuple["PoolError", ...] = ()

    def __str__(self) -> str:
        # OSError, a base of some of these, would otherwise print only its errno fields
        return " ".join(str(part) for part in self.args)


class NameRefused(PoolError, ValueError):
    """A state, object or image name that could not be a file name everywhere."""


class LocationRefused(PoolError, ValueError):
    """Text that is no location, or a location of a kind that can't be used here."""


class SettingRefused(PoolError, ValueError):
    """An option or test param with a value that makes no sense."""


class StateMissing(PoolError, FileNotFoundError):
    """A state, or a file of its chain, that is nowhere to be found."""


class PoolUnreachable(PoolError):
    """A directory that can't be listed or written; not the same as an empty one."""


class PoolSilent(PoolUnreachable, TimeoutError):
    """A pool that gave no answer in time."""


class HostUnreachable(PoolUnreachable):
    """A host that can't be connected to, or a connection that broke; trying again may help."""


class LoginRefused(PoolUnreachable):
    """A host that lets nobody in with what is known: password, key or host key are wrong."""


class MirrorsFailed(PoolError):
    """Mirrors that failed, each for a reason of its own kind; ``problems`` holds the reasons."""


def unreachable(path: str, error: OSError) -> PoolUnreachable:
    """Return the error for a file that is neither there nor absent."""
    return no_use(error)(
        f"{path} can't be read: {error.strerror}; check that its file system is mounted and sound"
    )


def no_use(error: OSError) -> type[PoolUnreachable]:
    """Return the class of the error for a place that can't be used because of another one."""
    return PoolSilent if isinstance(error, TimeoutError) else PoolUnreachable


def combined(text: str, problems: Sequence[PoolError]) -> PoolError:
    """
    Return one error for several, to be caught as what they have in common.

    :param text: says which there are
    :param problems: one or more; with nothing in common the error is a ``MirrorsFailed``
    """
    first = problems[0]
    # classes of other packages may want other arguments than a text
    shared = (kind for kind in type(first).__mro__ if kind.__module__ == __name__)
    kind: type[PoolError] = next(k for k in shared if all(isinstance(p, k) for p in problems))
    error = MirrorsFailed(text) if kind is PoolError else kind(text)
    if type(error) is type(first):
        vars(error).update(vars(first))
    error.problems = tuple(problems)
    return error


class FileCorrupt(PoolError):
    """
    Content that differs from what was recorded when it was made.

    ``path`` is the file, ``expected`` the recorded digest, None if nobody has read the content
    since it was made, ``found`` the digest that it has.
    """

    expected: str | None = None
    found: str = ""
    path: str = ""


class FileChanging(PoolError):
    """A file that was written to while it was read."""


class ImageRefused(PoolError, ValueError):
    """An image of a kind that can't be a state (encrypted, external data, not QCOW2...)."""


class ImageInUse(PoolError):
    """An image that a running QEMU has open."""


class ChainBroken(PoolError):
    """A chain of backing files with a cycle, or a parent that is not the one it was made on."""


class ParentChanged(ChainBroken):
    """A state whose parent was replaced since; in a pool that may just have happened."""


class StateNeeded(PoolError):
    """A state that can't go or change because others stand on it."""


class StatePresent(PoolError):
    """A state that is in the place where another one was to be put back."""


class SpaceMissing(PoolError):
    """Too little room for what is about to be written."""


def is_of_space(error: BaseException | None) -> bool:
    """Tell whether an error came of a full file system, or of a used-up quota."""
    while error is not None and not isinstance(error, SpaceMissing):
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return error is not None


class LockTimeout(PoolError, TimeoutError):
    """A lock that was not released in time; the text names who holds it, ``path`` is its file."""

    path: str = ""


class LinkRefused(PoolError, ValueError):
    """Something at a link location that must not be replaced or sent."""


class BackendUnknown(PoolError, ValueError):
    """A state backend that no installed package registers."""


class ToolFailed(PoolError):
    """A qemu-img call that failed, with what it said."""


class VmNotRunning(PoolError):
    """A vm that does not run, or can't be started, while something is asked of it that needs it."""


class MonitorRefused(PoolError):
    """Something that a running QEMU was asked for and did not do, with what it said."""


class NotBegun(MonitorRefused):
    """The same, known to have changed nothing."""


class VmStateRefused(PoolError):
    """A vm state that can't be resumed on a machine, or not over the images that are there."""


class GraphRefused(PoolError, ValueError):
    """Tests that can't be put in an order, or that need what nobody makes and nobody has."""
