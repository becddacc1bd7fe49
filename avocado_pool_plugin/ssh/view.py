"""What a host's directories show of its files, and what is known of each without reading it."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from avocado_pool_plugin.core import evidence, records, seen
from avocado_pool_plugin.core.dependents import Guard, check_replace
from avocado_pool_plugin.core.errors import ChainBroken, ImageRefused, StateMissing, StateNeeded
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.records import FileInfo, Record
from avocado_pool_plugin.core.seen import Seen
from avocado_pool_plugin.ssh import glance
from avocado_pool_plugin.ssh.looks import Look, backing_of
from avocado_pool_plugin.ssh.session import Session
from avocado_pool_plugin.ssh.shelf import FarShelf
from avocado_pool_plugin.ssh.shell import Shell

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Written:
    """What is written about a file, over there and on this host; see ``evidence.Evidence``."""

    look: Look
    away: Seen | None = None

    def record(self) -> Record | None:
        """Return the committed record."""
        return records.decode(self.look.record) if self.look.record else None

    def candidates(self) -> list[Record]:
        """Return all records that the file may be true to, the committed one first."""
        pending = (records.decode(text) for _, text in self.look.pending)
        return [record for record in (self.record(), *pending) if record]

    def seen(self) -> list[Seen]:
        """Return what readers know."""
        beside = seen.decode_seen(self.look.seen) if self.look.seen else None
        return [noted for noted in (beside, self.away) if noted]


class View:
    """
    What a host's directories show.

    :param session: with the host
    :param seen_dir: where this host keeps what it knows of files that it can't write beside
    """

    def __init__(self, session: Session, seen_dir: str | None) -> None:
        self.session = session
        self.seen_dir = seen_dir

    def title(self, path: str) -> str:
        """Return a path with the host it is on, as a location."""
        return f"{self.session.host.label}:{path}"

    def away(self, path: str) -> str:
        """Return what stands for a path of the host among those of this one."""
        host = self.session.host
        return f"/{host.user}@{host.address}:{host.port}/{path}"

    def ask(
        self, doing: str, what: str | Sequence[str], work: Callable[[Shell], _Result]
    ) -> _Result:
        """
        Do something over there that can be done anew from its start, see ``Session.again``.

        :param doing: such as ``looking at``
        :param what: the path that it is done to, or several
        """
        paths = [what] if isinstance(what, str) else what
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""

        def attempt() -> _Result:
            with self.session.shell() as shell:
                return work(shell)

        return self.session.again(f"{doing} {self.title(paths[0])}{more}", attempt)

    def names(self, directory: str) -> list[str]:
        """Return the names in a directory, without those of ours; none if it does not exist."""
        return self.ask("listing", directory, lambda shell: shell.names(directory))

    def look(self, path: str) -> Look:
        """Return what lies over there about a file; that of its chain is looked at along."""
        memory = glance.remembered()
        known: Look | None = memory.get((self.session, path)) if memory is not None else None
        if known is not None:
            return known

        chain = path.endswith(IMAGE_SUFFIX)
        found = self.ask("looking at", path, lambda shell: shell.look([path], chain=chain))
        self.keep(found)
        return found[path]

    def look_at_all(self, paths: Iterable[str]) -> None:
        """Look at many files at once, for what is asked for next."""
        wanted = list(dict.fromkeys(paths))
        if wanted and glance.remembered() is not None:
            self.keep(self.ask("looking at", wanted, lambda shell: shell.look(wanted)))

    def keep(self, looks: dict[str, Look]) -> None:
        """Remember looks for this glance."""
        memory = glance.remembered()
        if memory is not None:
            memory.update({(self.session, path): look for path, look in looks.items()})

    def forget(self, path: str, beside: bool = False) -> None:
        """
        Look at a file anew when it is asked for next.

        :param beside: also at all that is in its directory
        """
        memory = glance.remembered() or {}
        near = os.path.dirname(path)
        for session, other in list(memory):
            near_by = beside and os.path.dirname(other) == near
            if session is self.session and (other == path or near_by):
                del memory[session, other]

    def written(self, look: Look) -> Written:
        """Return all that is written about a file."""
        return Written(look, seen.read_seen_away(self.away(look.real), self.seen_dir))

    def peek(self, path: str) -> Peek | None:
        """
        Return what is known about a file, None if there is none.

        :raises ImageRefused: it is a directory or device
        """
        return self.weigh(self.look(path))

    def weigh(self, look: Look) -> Peek | None:
        """Return what is known about a file that was looked at."""
        if look.stamp is None:
            return None
        if not look.regular:
            raise ImageRefused(f"{self.title(look.path)} is no regular file; a state must be one")
        return evidence.weigh(look.stamp, self.written(look))

    def has(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return self.look(path).stamp is not None

    def must(self, path: str) -> Peek:
        """
        Return what is known about a file.

        :raises StateMissing: there is none
        """
        return self._must(self.look(path))

    def _must(self, look: Look) -> Peek:
        known = self.weigh(look)
        if known is None:
            raise StateMissing(
                f"{self.title(look.path)} does not exist; set the state first or look elsewhere"
            )
        return known

    def make_way(self, shell: Shell, path: str, new: FileInfo | None, guard: Guard) -> None:
        """Make way for a replacement or removal over there, or refuse it; see ``check_replace``."""
        try:
            check_replace(path, new, guard, FarShelf(shell, path))
        except StateNeeded as error:
            # its text begins with the file
            raise StateNeeded(self.title(str(error))) from error

    def parent(self, path: str) -> str:
        """
        Return the state that an image state stands on, empty for none.

        :raises StateMissing: there is no such file
        :raises ChainBroken: it stands on something that is no state
        """
        look = self.look(path)
        self._must(look)
        backing = backing_of(look, self.title(path))
        if backing.outside:
            raise ChainBroken(
                f"{self.title(path)} stands on {backing.outside}, which is no state of the same "
                f"image; set the state again, so that its base is brought into the chain"
            )
        return backing.state
