"""What the keeper of a pool on another host looks at and does over there, beyond single files."""

from collections.abc import Iterable, Iterator

from avocado_pool_plugin.ssh.answers import Found
from avocado_pool_plugin.ssh.looks import Look, Status, reaches_further
from avocado_pool_plugin.ssh.reader import CANT_LIST, CANT_READ
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.talk import Answer

_SCRIPT = "far_upkeep.sh"
#: Files that are named in one call: arguments take time in a shell.
_AT_ONCE = 500


def batches(paths: Iterable[str]) -> Iterator[list[str]]:
    """Yield files, as many at a time as are named in one call."""
    wanted = list(paths)
    for start in range(0, len(wanted), _AT_ONCE):
        yield wanted[start : start + _AT_ONCE]


def survey(shell: Shell, root: str, below: str, what: str) -> tuple[dict[str, Look], list[str]]:
    """
    Look at all files of a pool that may be states by their names; none if it does not exist.

    :param below: an object id, or one with an image, to look at less
    :param what: besides the file: ``header`` of images, ``json`` for records, ``pending``, ``seen``
    :returns: by path what was found, with a short header, and the paths that have to be looked at
        once more: symlinks, and images whose parent is not named in the short header
    :raises PoolUnreachable: a part of it can't be listed or read
    """
    found, answer = _found(shell, "pool_survey", root, what, root, below)
    paths = [path for path in found.statuses if not path.endswith("/.")]
    looks = {path: found.look(path) for path in paths}
    cut = [path for path, look in looks.items() if reaches_further(look)]
    return looks, [*answer.all("symlink"), *cut]


def exists(shell: Shell, root: str) -> bool:
    """Tell whether there is such a directory."""
    return bool(shell.ask(_SCRIPT, "pool_exists", root).all("exists"))


def notes(shell: Shell, root: str, below: str = "") -> dict[str, Status]:
    """
    Return all files in the directories of ours in a pool, by path.

    :param below: an object id, or one with an image, to look at less
    :raises PoolUnreachable: a part of it can't be listed
    """
    return _found(shell, "pool_notes", root, root, below)[0].statuses


def ours(shell: Shell, root: str, directories: Iterable[str]) -> dict[str, Status]:
    """
    Return the files in directories of ours, by path; those of one that is absent are none.

    :raises PoolUnreachable: one can't be listed
    """
    return _found(shell, "pool_ours", root, *directories)[0].statuses


def read(shell: Shell, paths: Iterable[str]) -> dict[str, bytes]:
    """Return what is in small files, of those that can be read."""
    texts = {}
    for batch in batches(paths):
        texts.update(shell.ask(_SCRIPT, "pool_read", *batch).files.texts)
    return texts


def forget(shell: Shell, paths: Iterable[str]) -> None:
    """
    Remove files of ours; those that are gone are fine.

    :raises PoolUnreachable: one can't be removed
    """
    for batch in batches(paths):
        answer = shell.ask(_SCRIPT, "pool_forget", *batch)
        if answer.status:
            raise shell.failure(answer, batch[0], "can't be removed")


def drop_idle(shell: Shell, paths: Iterable[str]) -> list[str]:
    """Remove temporary files unless somebody holds their lock; return the removed ones."""
    return [path for batch in batches(paths) for path in shell.drop(batch)]


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


def strays(shell: Shell, root: str, below: str) -> list[str]:
    """
    Return what is where a state would be by its name and is no file, sorted.

    :raises PoolUnreachable: a part of the pool can't be listed
    """
    return sorted(_found(shell, "pool_strays", root, root, below)[1].all("stray"))


def check_image(shell: Shell, image: str) -> tuple[int, str] | None:
    """
    Have an image checked by qemu-img; None if there is none.

    :param image: as QEMU is told of it
    :returns: exit status, and what it said
    """
    answer = shell.ask(_SCRIPT, "pool_check_image", image)
    return None if answer.has("lacks") else (answer.status, "\n".join(answer.said))


def _found(shell: Shell, function: str, root: str, *args: str) -> tuple[Found, Answer]:
    answer = shell.ask(_SCRIPT, function, *args)
    found = answer.files
    if answer.trouble or found.unread > answer.absences:
        raise shell.failure(answer, root, CANT_READ)
    if answer.status and not answer.absent:
        raise shell.failure(answer, root, CANT_LIST)
    return found, answer
