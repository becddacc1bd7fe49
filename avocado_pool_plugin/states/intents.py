"""
Notes of what a set or unset is about to do to an image, so that a cut in the middle is completed.

Between the moment when the VM's image was moved away and the moment when a fresh overlay is in its
place there is no image. Whoever comes next finds the note and finishes the work.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from avocado_pool_plugin.core import durable, layout, locks, process, typed

LOG = logging.getLogger("avocado." + __name__)

#: Intents that this very process is working on.
_ACTIVE: set[str] = set()
#: Without locks, after this many seconds an intent from elsewhere is nobody's.
_ABANDONED = 3600.0
#: Fields of an owner.
_OWNER = ("machine", "pid", "started", "since")
#: What an intent may be of.
_VERBS = ("set", "unset")


@dataclass(frozen=True)
class Owner:
    """
    The process that works on what was noted.

    :param machine: where it runs, see :func:`process.machine`
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
        return cls(process.machine(), os.getpid(), process.started(os.getpid()), time.time())

    @property
    def same_boot(self) -> bool:
        """Whether what it wrote can't have been lost in a power cut since."""
        return self.machine == process.machine()

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
        return self.started != "" and process.started(self.pid) == self.started


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
    :param parent_digest: of the state that the image was made on, if known (set only)
    :param parent_generation: the same (set only)
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
    parent_digest: str | None = None
    parent_generation: str = ""

    @property
    def path(self) -> str:
        """Where the intent is noted."""
        return note_path(self.state, self.part)


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
    parent_digest: str | None = None,
    parent_generation: str = "",
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
        parent_digest=parent_digest,
        parent_generation=parent_generation,
    )


def note_path(path: str, part: str) -> str:
    """
    Return where a note is.

    :param path: what is made or removed
    :param part: where that is on its way
    """
    directory = layout.intents_dir(os.path.dirname(path))
    return os.path.join(directory, f"{os.path.basename(part)}.json")


def inode(path: str) -> int | None:
    """Return by what a file is known again under another name, None if there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def note(path: str, intent: Any, fsync: bool) -> None:
    """
    Write an intent down before anything is moved, or how far it got.

    :param path: where
    :param intent: a frozen dataclass
    """
    durable.make_dirs(os.path.dirname(path), fsync)
    _ACTIVE.add(path)
    durable.write_whole(path, _encode(intent), fsync)


def prepare(path: str, intent: Any, fsync: bool) -> None:
    """Write down how far it will have got soon, for :func:`reach`."""
    durable.write_whole(_ahead(path), _encode(intent), fsync)


def reach(path: str) -> None:
    """Let what was prepared take a note's place, at once: a cut leaves one of the two, whole."""
    os.replace(_ahead(path), path)


def _ahead(path: str) -> str:
    return f"{path}.next"


def _encode(intent: Any) -> bytes:
    return json.dumps(asdict(intent)).encode()


def drop(path: str) -> None:
    """Forget an intent whose work is done or undone."""
    durable.unlink(_ahead(path))
    durable.unlink(path)
    _ACTIVE.discard(path)


def leave(path: str) -> None:
    """Leave an intent for the next operation to complete."""
    _ACTIVE.discard(path)


def found(directory: str) -> list[Intent]:
    """Return the intents in a directory of states that nobody is working on any more."""
    intents = []
    for data in noted(directory):
        with contextlib.suppress(ValueError):
            intent = typed.fill(Intent, data)
            if intent.verb in _VERBS and _is_of(intent, directory):
                intents.append(intent)
            else:
                tell_of_stranger(intent.state, directory)
    return [intent for intent in intents if not intent.by.works_on(intent.path)]


def _is_of(intent: Intent, directory: str) -> bool:
    """Tell whether all that an intent names is where our processes have it."""
    ours = layout.meta_dir(intent.state), layout.meta_dir(intent.image)
    return (
        is_in(intent.state, directory)
        and os.path.isabs(intent.image)
        and os.path.dirname(intent.part) in ours
        and os.path.dirname(intent.overlay) in ("", ours[1])
    )


def tell_of_stranger(path: str, directory: str) -> None:
    """Warn of a note that names files which are not where our processes have them."""
    LOG.warning(
        "%s has a note of unfinished work on %r, which it can't be of, and nothing is done; if the "
        "cache was moved, move it back once",
        layout.intents_dir(directory),
        path,
    )


def is_in(path: str, directory: str) -> bool:
    """Tell whether a file is, or would be, right in a directory, whatever that is called."""
    with contextlib.suppress(OSError):
        return os.path.isabs(path) and os.path.samefile(os.path.dirname(path), directory)
    return False


def noted(directory: str) -> Iterator[dict[str, Any]]:
    """Yield the fields of what is noted in a directory of states."""
    home = layout.intents_dir(directory)
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = sorted(name for name in os.listdir(home) if name.endswith(".json"))
    for name in names:
        # what was never written completely: nothing was moved yet
        with contextlib.suppress(OSError, ValueError, KeyError):
            with open(os.path.join(home, name), "rb") as file:
                data = typed.mapping(file.read())
            # earlier versions wrote the owner's fields among the others
            by = data.pop("by", None) or {field: data.pop(field) for field in _OWNER}
            yield {**data, "by": by}
