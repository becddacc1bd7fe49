"""What a plan to take over a place consists of."""

from dataclasses import dataclass
from typing import Protocol

from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.qcow2 import Change, Header
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Item

#: What is done to a file: nothing, for it is ours already; it gets a record; it is compared with
#: the one it has; its backing file gets a relative name; that is brought into the chain; nothing,
#: for a reason.
KEEP, RECORD, CHECK, RENAME, BASE, LEAVE = "keep", "record", "check", "rename", "base", "leave"


class Bases(Protocol):
    """Brings backing files that are no states into chains, where that can be done."""

    def size(self, path: str) -> int | None:
        """Return how many bytes on disk a file has, None if there is no such file."""

    def move(
        self, path: str, outside: str, image_format: str, progress: Progress | None = None
    ) -> FileInfo:
        """
        Bring a backing file into the chain of a state, and have the state stand on that.

        :param path: of the state, which is replaced by a copy
        :param image_format: of the backing file as the state has it, empty if it does not say
        :returns: what the state is then
        """


@dataclass(frozen=True)
class Step:
    """
    What is to be done to a file.

    :param path: the file
    :param title: what users call it
    :param action: one of the words above
    :param what: that in words, or the reason why the file is left
    :param size: bytes on disk that are read or copied for it
    :param item: the file, None if it is no state
    :param parent: the file of the state it stands on, empty for none
    :param base: backing file that is no state and is to become one
    :param change: of its header
    :param header: of an image
    :param stale: files of ours beside it that are damaged, to be removed first
    """

    path: str
    title: str
    action: str
    what: str = ""
    size: int = 0
    item: Item | None = None
    parent: str = ""
    base: str = ""
    change: Change | None = None
    header: Header | None = None
    stale: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lock:
    """
    A lock's file of avocado-i2n.

    :param held: whether somebody holds it, or nobody can tell
    """

    path: str
    held: bool


@dataclass(frozen=True)
class Plan:
    """
    What is to be done in a place, parents first.

    :param steps: for each file; those that are kept as well
    :param locks: what avocado-i2n left
    """

    steps: tuple[Step, ...]
    locks: tuple[Lock, ...]

    @property
    def size(self) -> int:
        """Bytes that have to be read or copied."""
        return sum(step.size for step in self.steps)

    def of(self, *actions: str) -> list[Step]:
        """Return the steps of some kinds."""
        return [step for step in self.steps if step.action in actions]
