"""
Where hostile input is read: in a child that may take no more than some memory and time.

What it says of each input it writes down at once, so that a child which dies tells of what.
"""

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

from avocado_pool_plugin.core.errors import PoolError
from tests.torture.row import Row

T = TypeVar("T")
#: Bytes that reading may take beyond what the process has, and seconds: of work, and of waiting.
MEMORY, SECONDS, WAITING = 768 << 20, 20, 120
#: What came of an input that was refused by an error of ours.
REFUSED = "refused"


class HangError(BaseException):
    """Reading took too long; nobody is to catch it by accident."""


def judge(row: Row, work: Callable[[T], str | None], inputs: Sequence[tuple[str, T]]) -> Row:
    """
    Have inputs read, each a try of a row.

    :param work: reads one; returns what came of it, ``read`` by default. An error that is no
        ``PoolError`` is wrong
    :param inputs: how to make each again, and what it is
    """
    for (title, _), (came, wrong) in zip(inputs, verdicts(work, inputs), strict=True):
        with row.trying(title):
            row.count(came)
            if wrong:
                raise AssertionError(wrong)
    return row


def verdicts(
    work: Callable[[T], str | None], inputs: Sequence[tuple[str, T]]
) -> Iterator[tuple[str, str]]:
    """Yield what came of each input, and what was wrong about that."""
    start = 0
    while start < len(inputs):
        found, died = _round(work, inputs[start:])
        yield from found
        start += len(found)
        if start < len(inputs):
            yield "died", f"the process that read it died: {died}"
            start += 1


def _round(
    work: Callable[[T], str | None], inputs: Sequence[tuple[str, T]]
) -> tuple[list[tuple[str, str]], str]:
    """Read inputs in one child; return what it said, and how it ended."""
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(here)
            os.setpgid(0, 0)
            _read_all(work, inputs, there)
        finally:
            os._exit(0)
    os.close(there)
    with open(here, "rb") as pipe:
        said = pipe.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return [tuple(json.loads(line)) for line in said], f"status {status}"


def _read_all(work: Callable[[T], str | None], inputs: Sequence[tuple[str, T]], pipe: int) -> None:
    # what is said on the way is no matter, what leaks a descriptor is
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    _limit()
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGPROF, _too_long)
    for _, value in inputs:
        verdict = _read(work, value)
        os.write(pipe, json.dumps(verdict).encode() + b"\n")


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # a file that grows without end is found as soon as one without memory
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(work: Callable[[T], str | None], value: T) -> tuple[str, str]:
    try:
        _clocks(SECONDS, WAITING)
        try:
            came = work(value) or "read"
        finally:
            _clocks(0, 0)
    except PoolError:
        return REFUSED, ""
    except HangError:
        return "hung", f"took {SECONDS} s of work, or {WAITING} s\n{_end(traceback.format_exc())}"
    except BaseException:
        return "broke", _end(traceback.format_exc())
    return came, ""


def _clocks(work: float, waiting: float) -> None:
    """Set the clocks, which are those of this process: a busy machine is no matter."""
    signal.setitimer(signal.ITIMER_PROF, work)
    signal.setitimer(signal.ITIMER_REAL, waiting)


def _end(text: str) -> str:
    return text if len(text) < 6000 else f"{text[:2000]}\n...\n{text[-3000:]}"


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise HangError
