"""What a run found out about content so far, so that one that is interrupted can be continued."""

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from avocado_pool_plugin.core import durable, layout, typed
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.records import Stamp

#: Seconds after which what was found out does not count any more.
_KEEP = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Verdict:
    """
    What reading a file showed.

    :param stamp: of the file that was read
    :param expected: tells which record it was held against
    :param digest: of the content, as far as it is known
    :param corrupt: why it is not what was recorded, empty if it is
    :param unreadable: why it can't be read
    :param busy: who writes to it, so that nothing can be told
    :param damage: what is wrong with the image as QEMU has it, empty for nothing
    :param adopted: whether it had no record before
    :param unchecked: whether there was no qemu-img to look at the image
    """

    path: str
    stamp: Stamp
    expected: str = ""
    digest: str = ""
    corrupt: str = ""
    unreadable: str = ""
    busy: str = ""
    damage: str = ""
    adopted: bool = False
    unchecked: bool = False

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` reads."""
        bad = self.corrupt or self.damage or self.unreadable
        return {**asdict(self), "verdict": "bad" if bad else "fine"}

    @classmethod
    def load(cls, data: dict[str, Any]) -> "Verdict":
        """Read a line of a journal; whatever is wrong with it is a ValueError."""
        data.pop("verdict", None)
        return typed.fill(cls, data)


def directory(cache: str) -> str:
    """Return where a cache has the journals, and temporary files, of its owner's runs."""
    return os.path.join(cache, layout.META, "verify")


class Journal:
    """
    A file with a line for each file that was read.

    It is to spare work: where it can't be written there is none.

    :param cache: of who runs it
    :param identity: what tells this run from all others: place, mode, object
    """

    def __init__(self, cache: str, *identity: str) -> None:
        key = hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape"))
        self.path = os.path.join(directory(cache), f"{key.hexdigest()[:32]}.jsonl")
        self.verdicts: dict[str, Verdict] = {}
        self._lock = threading.Lock()
        self._file: Any = None

    def read(self) -> None:
        """Learn what an interrupted run found out; nothing if that is long ago."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if time.time() - os.stat(self.path).st_mtime > _KEEP:
                os.unlink(self.path)
                return
            with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
                for line in file:
                    self._learn(line)

    def _learn(self, line: str) -> None:
        # the last line may be cut off
        with contextlib.suppress(ValueError):
            verdict = Verdict.load(typed.mapping(line))
            self.verdicts[verdict.path] = verdict

    def add(self, verdict: Verdict) -> None:
        """Write down what was found out about a file, if anything was."""
        if verdict.busy or verdict.unreadable:
            return
        line = json.dumps(verdict.dump()) + "\n"
        with self._lock, contextlib.suppress(OSError, PoolError):
            if self._file is None:
                durable.make_dirs(os.path.dirname(self.path), fsync=False)
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
            # one write a line: two runs at once do no harm
            self._file.write(line)
            self._file.flush()

    def close(self, complete: bool) -> None:
        """End it; nothing is left of it if the run is complete."""
        with self._lock, contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
                self._file = None
            if complete:
                os.unlink(self.path)

    def restart(self) -> None:
        """Forget what there is."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)


class Damaged:
    """
    The images of a place that QEMU found damaged, although they are what was recorded.

    Their content is known then and not read again; without this they would look fine later.

    :param cache: of who looks
    :param place: the location
    """

    def __init__(self, cache: str, place: str) -> None:
        key = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._path = os.path.join(directory(cache), f"{key}.damaged")

    def paths(self) -> set[str]:
        """Return their files."""
        try:
            with open(self._path, encoding="utf-8") as file:
                return set(map(typed.text, json.load(file)))
        except (OSError, ValueError, TypeError, RecursionError):
            return set()

    def learn(self, checked: Iterable[str], damaged: Iterable[str]) -> None:
        """Keep which of the files that were checked are damaged."""
        known = self.paths()
        now = known - set(checked) | set(damaged)
        if now == known:
            return
        with contextlib.suppress(OSError, PoolError):
            durable.make_dirs(os.path.dirname(self._path), fsync=False)
            durable.write_whole(self._path, json.dumps(sorted(now)).encode(), fsync=False)
