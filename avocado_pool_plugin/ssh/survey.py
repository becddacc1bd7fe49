"""What the keeper of a pool on another host looks at and does over there, beyond single files."""

from collections.abc import Iterable

from avocado_pool_plugin.ssh.answers import Found
from avocado_pool_plugin.ssh.looks import Look, Status
from avocado_pool_plugin.ssh.reader import CANT_LIST, CANT_READ
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.talk import Answer

_SCRIPT = "far_upkeep.sh"
#: Files that are named in one call: arguments take time in a shell.
_AT_ONCE = 500


def survey(shell: Shell, root: str, below: str, what: str) -> tuple[dict[str, Look], list[str]]:
    """
    Look at all files of a pool that may be states by their names; none if it does not exist.

    :param below: an object id, or one with an image, to look at less
    :param what: besides the file: ``header`` of images, ``json`` for records, ``pending``, ``seen``
    :returns: by path what was found, and the paths of symlinks
    :raises PoolUnreachable: a part of it can't be listed or read
    """
    found, answer = _found(shell, "pool_survey", root, what, root, below)
    paths = [path for path in found.statuses if not path.endswith("/.")]
    return {path: found.look(path) for path in paths}, answer.all("symlink")


def notes(shell: Shell, root: str) -> dict[str, Status]:
    """
    Return all files in the directories of ours in a pool, by path.

    :raises PoolUnreachable: a part of it can't be listed
    """
    return _found(shell, "pool_notes", root, root)[0].statuses


def read(shell: Shell, paths: Iterable[str]) -> dict[str, bytes]:
    """Return what is in small files, of those that can be read."""
    wanted, texts = list(paths), {}
    for start in range(0, len(wanted), _AT_ONCE):
        answer = shell.ask(_SCRIPT, "pool_read", *wanted[start : start + _AT_ONCE])
        texts.update(Found(answer.fields).texts)
    return texts


def forget(shell: Shell, paths: Iterable[str]) -> None:
    """
    Remove files of ours; those that are gone are fine.

    :raises PoolUnreachable: one can't be removed
    """
    wanted = list(paths)
    for start in range(0, len(wanted), _AT_ONCE):
        batch = wanted[start : start + _AT_ONCE]
        answer = shell.ask(_SCRIPT, "pool_forget", *batch)
        if answer.status:
            raise shell.failure(answer, batch[0], "can't be removed")


def move_new(shell: Shell, old: str, new: str, fsync: bool) -> bool:
    """
    Rename a file to a name that is not taken.

    :returns: False if it is taken
    :raises PoolUnreachable: it can't be renamed
    """
    answer = shell.ask(_SCRIPT, "pool_move_new", old, new, "yes" if fsync else "no")
    if answer.status and not answer.has("taken"):
        raise shell.failure(answer, old, f"can't become {new}")
    return not answer.has("taken")


def _found(shell: Shell, function: str, root: str, *args: str) -> tuple[Found, Answer]:
    answer = shell.ask(_SCRIPT, function, *args)
    found = Found(answer.fields)
    if answer.trouble or found.unread > answer.absences:
        raise shell.failure(answer, root, CANT_READ)
    if answer.status and not answer.absent:
        raise shell.failure(answer, root, CANT_LIST)
    return found, answer
