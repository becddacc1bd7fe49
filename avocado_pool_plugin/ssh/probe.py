"""Finding out what the file system of a pool on another host can do, by the shell over there."""

from dataclasses import dataclass

from avocado_pool_plugin.core.errors import SpaceMissing
from avocado_pool_plugin.ssh.reader import CANT_READ, CANT_WRITE
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.talk import Answer

_SCRIPT = "far_doctor.sh"
#: How often a file is replaced, and times asked for at once.
_ROUNDS, _TIMES = 40, 60


@dataclass(frozen=True)
class Place:
    """
    A directory over there.

    :param there: whether there is something, which need not be a directory
    :param directory: whether it is one
    :param mode: permission bits
    :param group: name of the group it belongs to
    :param umask: of the user over there
    :param kind: of file system
    :param room: free bytes, bytes, free inodes and inodes of that
    :param empty: whether nothing is in it, not even ours
    :param above: the nearest directory that exists, if there is nothing
    :param above_writable: whether that can be written
    """

    there: bool = False
    directory: bool = False
    mode: int = 0
    group: str = ""
    umask: int = 0
    kind: str = ""
    room: tuple[int, int, int, int] = (0, 0, 0, 0)
    empty: bool = False
    above: str = ""
    above_writable: bool = False


@dataclass(frozen=True)
class Files:
    """
    What can be done with files.

    :param reflink: they can share blocks
    :param links: they can have two names
    :param sparse: bytes on disk and size of one that is nearly all hole, None if none was made
    """

    reflink: bool
    links: bool
    sparse: tuple[int, int] | None


class Probe:
    """
    Probes, each a round trip or two; raises as :class:`Shell` does.

    :param shell: over there
    :param work: a directory for all that is tried, see :meth:`make`
    """

    def __init__(self, shell: Shell, work: str) -> None:
        self._shell = shell
        self.work = work

    def place(self, directory: str) -> Place:
        """
        Return what a directory is, or what is above it.

        :raises PoolUnreachable: it can't be looked at
        """
        answer = self._ask("place", directory)
        if answer.status and not answer.absent:
            raise self._shell.failure(answer, directory, CANT_READ)
        if not answer.has("room"):  # or it went meanwhile
            return Place(above=answer.one("above"), above_writable=answer.has("writable"))
        mode, _, group = answer.one("mode").partition(" ")
        with answer.making_sense():
            # free and all blocks come in units, inodes do not
            unit, *figures, kind = answer.one("room").split(" ", 5)
            free, total, inodes_free, inodes = map(int, figures)
            return Place(
                True,
                answer.one("type") == "directory",
                int(mode or "0", 8),
                group,
                int(answer.one("umask"), 8),
                kind,
                (free * int(unit), total * int(unit), inodes_free, inodes),
                answer.has("empty"),
            )

    def make(self) -> str:
        """
        Make the working directory; return why that can't be, empty if it was.

        :raises SpaceMissing: no room is left
        """
        answer = self._ask("make", self.work)
        if not answer.status:
            return ""
        error = self._shell.failure(answer, self.work, CANT_WRITE)
        if isinstance(error, SpaceMissing):
            raise error
        return answer.cause.rpartition(": ")[2]

    def drop(self) -> None:
        """Remove the working directory."""
        self._ask("drop", self.work)

    def rename(self) -> tuple[int, str]:
        """Return how often a file was replaced, and what a reader found that is no file."""
        answer = self._must("rename", str(_ROUNDS))
        return _ROUNDS, answer.one("torn")

    def files(self) -> Files:
        """Return what can be done with files."""
        answer = self._must("files")
        sparse = None
        if answer.one("sparse"):
            with answer.making_sense():
                blocks, unit, size = map(int, answer.one("sparse").split())
                sparse = blocks * unit, size
        return Files(answer.has("reflink"), answer.has("links"), sparse)

    def times(self) -> list[int]:
        """Return some times that the file system stamped on changes, one after the other, in ns."""
        answer = self._must("times", str(_TIMES))
        with answer.making_sense():
            return [_ns(text) for text in answer.all("at")]

    def stamps(self, wait: float) -> tuple[bool, bool]:
        """
        Return whether a hidden change shows, and whether a stamp stays if nothing changes.

        :param wait: seconds that the file system needs to tell two times apart
        """
        answer = self._must("stamps", f"{wait:.3f}")
        was, stayed, now = (answer.one(key) for key in ("was", "stayed", "is"))
        return now != stayed, was == stayed

    def nothing(self) -> None:
        """Go there and back."""
        self._ask("nothing")

    def _ask(self, function: str, *args: str) -> Answer:
        return self._shell.ask(_SCRIPT, f"pool_probe_{function}", *args)

    def _must(self, function: str, *args: str) -> Answer:
        answer = self._ask(function, self.work, *args)
        if answer.status:
            raise self._shell.failure(answer, self.work, CANT_WRITE)
        return answer


def _ns(seconds: str) -> int:
    return int(seconds.replace(".", ""))
