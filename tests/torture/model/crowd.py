"""Works in children of this process, all at once; one of them may be killed with all it started."""

import contextlib
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avocado.core.exceptions import TestAbortError

from avocado_pool_plugin.core.errors import PoolError
from tests.torture.faults import Faults

#: As in faults.py and faults.c.
_PAGE, _PRELOAD, _HOW_KILL = "POOL_FAULTS", "LD_PRELOAD", 1
#: What users are told instead of a traceback.
_OURS = (PoolError, TestAbortError)
DONE, REFUSED, KILLED, BROKE = "done", "refused", "killed", "broke"


@dataclass(frozen=True)
class Ended:
    """
    How a work ended.

    :param how: ``DONE``, ``REFUSED`` with an error that users are told, ``KILLED``, or ``BROKE``
    :param kinds: names of the error's classes, its own first
    :param said: its text, or the traceback
    """

    how: str
    kinds: tuple[str, ...] = ()
    said: str = ""

    @property
    def kind(self) -> str:
        """Its class."""
        return self.kinds[0] if self.kinds else ""


@dataclass(frozen=True)
class Kill:
    """
    When one is killed.

    :param at: whoever makes this write-side call of all, from 1; none if 0
    :param after: else the first one, after so many seconds; not at all if 0
    """

    at: int = 0
    after: float = 0.0


class Crowd(Faults):
    """Works at the same time."""

    def together(self, works: Sequence[Callable[[], object]], kill: Kill = Kill()) -> list[Ended]:
        """Do works, each in a child that is a group with all that it starts; say how each ended."""
        page = self._page
        page.armed, page.count, page.at, page.hit, page.how = 0, 0, kill.at, 0, _HOW_KILL
        go, start = os.pipe()
        children = [self._begun(work, go, start) for work in works]
        os.close(go)
        page.armed = 1
        os.close(start)  # they all read its end
        if kill.after:
            time.sleep(kill.after)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(children[0][0], signal.SIGKILL)
        ended = [_ended(pid, said) for pid, said in children]
        page.armed = 0
        return ended

    def _begun(self, work: Callable[[], object], go: int, start: int) -> tuple[int, int]:
        said, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(start)
            os.close(said)
            self._works(work, go, tell)
        os.close(tell)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # it may be killed before it comes to that itself
        return pid, said

    def _works(self, work: Callable[[], object], go: int, tell: int) -> None:
        ended = Ended(BROKE)
        try:
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            os.environ[_PAGE], os.environ[_PRELOAD] = self._path, self._library
            os.read(go, 1)
            work()
            ended = Ended(DONE)
        except _OURS as error:
            kinds = tuple(kind.__name__ for kind in type(error).__mro__)
            ended = Ended(REFUSED, kinds, str(error))
        except BaseException:
            ended = Ended(BROKE, (), traceback.format_exc())
        finally:
            with os.fdopen(tell, "w") as file:
                json.dump(vars(ended), file)
            os._exit(0)


def _ended(pid: int, said: int) -> Ended:
    with os.fdopen(said) as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if status == -signal.SIGKILL:
        return Ended(KILLED)
    told = json.loads(text)
    return Ended(told["how"], tuple(told["kinds"]), told["said"])
