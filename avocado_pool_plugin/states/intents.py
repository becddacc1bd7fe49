"""
Notes of what a set or unset is about to do to an image, so that a cut in the middle is completed.

Between the moment when the VM's image was moved away and the moment when a fresh overlay is in its
place there is no image. Whoever comes next finds the note and finishes the work.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from avocado_pool_plugin.core import durable, layout, locks

#: Intents that this very process is working on.
_ACTIVE: set[str] = set()
#: Without locks, after this many seconds an intent from elsewhere is nobody's.
_ABANDONED = 3600.0
#: Fields of an owner.
_OWNER = ("machine", "pid", "started", "since")


@dataclass(frozen=True)
class Owner:
    """
    The process that works on what was noted.

    :param machine: where it runs, see :func:`_machine`
    :param pid: the process
    :param started: when it was started, in clock ticks since boot
    :param since: when the note was made, in seconds since 1970
    """

    machine: str
    pid: int
    started: str
    since: float

    @classmethod
    def here(cls) -> "Owner":
        """Return this process, now."""
        return cls(_machine(), os.getpid(), _started(os.getpid()), time.time())

    @property
    def same_boot(self) -> bool:
        """Whether what it wrote can't have been lost in a power cut since."""
        return self.machine == _machine()

    def works_on(self, path: str) -> bool:
        """
        Tell whether the process is known to be still at work.

        Of a process elsewhere nothing is known here. It holds the state's lock while it works, and
        who completes its work waits for that; only without locks is it given some time instead.

        :param path: where the note is
        """
        if not self.same_boot:
            return locks.skip() and time.time() - self.since < _ABANDONED
        if self.pid == os.getpid():
            return path in _ACTIVE
        return self.started != "" and _started(self.pid) == self.started


@dataclass(frozen=True)
class Intent:
    """
    What is being done.

    :param verb: ``set`` (the image becomes the state) or ``unset`` (the state becomes the image)
    :param state: file of the state
    :param image: the VM's working image
    :param part: where the moved file is meanwhile
    :param backing: backing name that the moved file is to have, empty for none
    :param undo_backing: backing name that it had
    :param undo_format: format of that backing file
    :param inode: of the file that is moved
    :param mode: permission bits that it had
    :param overlay: the prepared fresh overlay (set only)
    :param by: the process that does it
    :param test: test on whose behalf, empty for none (set only)
    :param parts: what it knows of the state's recipe (set only)
    :param seconds: for how long it had been at work (set only)
    """

    verb: str
    state: str
    image: str
    part: str
    backing: str
    undo_backing: str
    undo_format: str
    inode: int
    mode: int
    overlay: str
    by: Owner
    test: str = ""
    parts: Mapping[str, str] | None = None
    seconds: float = 0.0

    @property
    def path(self) -> str:
        """Where the intent is noted."""
        directory = layout.intents_dir(os.path.dirname(self.state))
        return os.path.join(directory, f"{os.path.basename(self.part)}.json")


def new_intent(
    *,
    verb: str,
    state: str,
    image: str,
    part: str,
    backing: str,
    undo_backing: str,
    undo_format: str = "",
    overlay: str = "",
    test: str = "",
    parts: Mapping[str, str] | None = None,
    seconds: float = 0.0,
) -> Intent:
    """Return an intent of this process about the file that is to be moved."""
    moved = os.stat(image if verb == "set" else state)
    return Intent(
        verb=verb,
        state=state,
        image=image,
        part=part,
        backing=backing,
        undo_backing=undo_backing,
        undo_format=undo_format,
        inode=moved.st_ino,
        mode=moved.st_mode & 0o7777,
        overlay=overlay,
        by=Owner.here(),
        test=test,
        parts=parts,
        seconds=seconds,
    )


def _machine() -> str:
    """
    Return what tells apart where process ids mean the same: the boot and the pid namespace.

    A host's name would not do: a container that is started again has another one.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        # killed but not yet waited for by its parent, a process does nothing any more
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""


def note(path: str, intent: Any, fsync: bool) -> None:
    """
    Write an intent down before anything is moved, or how far it got.

    :param path: where
    :param intent: a frozen dataclass
    """
    durable.make_dirs(os.path.dirname(path), fsync)
    _ACTIVE.add(path)
    durable.write_whole(path, json.dumps(asdict(intent)).encode(), fsync)


def drop(path: str) -> None:
    """Forget an intent whose work is done or undone."""
    durable.unlink(path)
    _ACTIVE.discard(path)


def leave(path: str) -> None:
    """Leave an intent for the next operation to complete."""
    _ACTIVE.discard(path)


def found(directory: str) -> list[Intent]:
    """Return the intents in a directory of states that nobody is working on any more."""
    intents = []
    for data in noted(directory):
        with contextlib.suppress(TypeError):
            intents.append(Intent(**data))
    return [intent for intent in intents if not intent.by.works_on(intent.path)]


def noted(directory: str) -> Iterator[dict[str, Any]]:
    """Yield the fields of what is noted in a directory of states, ``by`` as an owner."""
    home = layout.intents_dir(directory)
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(name for name in os.listdir(home) if name.endswith(".json"))
    for name in names:
        # what was never written completely: nothing was moved yet
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            with open(os.path.join(home, name), encoding="utf-8") as file:
                data = json.load(file)
            # earlier versions wrote the owner's fields among the others
            by = data.pop("by", None) or {field: data.pop(field) for field in _OWNER}
            yield {**data, "by": Owner(**by)}
