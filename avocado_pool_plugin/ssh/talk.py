"""Talking to a POSIX shell on another host: calls there, answers and complaints back."""

import contextlib
import functools
import logging
import os
import secrets
import shlex
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    NameRefused,
    PoolError,
    PoolUnreachable,
)
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.core.trash import KEEP
from avocado_pool_plugin.ssh import answers, failures
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.looks import is_speakable

LOG = logging.getLogger("avocado." + __name__)

_SCRIPTS = ("far.sh", "far_looks.sh", "far_trash.sh", "far_changes.sh")
#: Seconds between two signs of life of something long, and for how long a disk may take.
_BEAT, _PATIENCE = 3.0, 3600.0
#: How many lines of what is said besides answers are kept.
_SAID = 10000
#: More than the lines and bytes of any answer, signs of life included.
_LINES, _BYTES = 2_000_000, 1 << 29
#: The oldest Python that our program over there runs on.
_PYTHON = (3, 6)
#: What the lack of a program costs.
_LOSSES = {
    "python3": (logging.INFO, "files travel as a whole or by rsync"),
    "rsync": (logging.INFO, "without python3 files travel as a whole"),
    "flock": (logging.WARNING, "writers of several hosts are not kept from doing work twice"),
}
#: Hosts, by title, and programs whose lack was told.
_told: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Abilities:
    """
    What a host has besides what has to be there; paths are empty for what it lacks.

    :param name: what the host calls itself
    :param python: path of a python3 that runs and is new enough
    :param version: of that
    :param rsync: path
    :param flock: path
    """

    name: str
    python: str = ""
    version: tuple[int, int] = (0, 0)
    rsync: str = ""
    flock: str = ""


@dataclass(frozen=True)
class Answer:
    """
    What came back.

    :param status: 0 for a command that did what it should
    :param fields: keys and texts, in order
    :param said: all other lines
    :param title: of whose it is
    """

    status: int
    fields: tuple[tuple[str, bytes], ...]
    said: tuple[str, ...]
    title: str = ""

    @contextlib.contextmanager
    def making_sense(self) -> Iterator[None]:
        """
        Take it apart in the body.

        :raises PoolUnreachable: that failed by a ``ValueError``, so it can't be one of ours
        """
        try:
            yield
        except ValueError as error:
            raise failures.nonsense(self.title, "used", "the shell") from error

    @property
    def files(self) -> answers.Found:
        """
        The files that it tells of.

        :raises PoolUnreachable: it makes no sense
        """
        with self.making_sense():
            return answers.Found(self.fields)

    def stamp(self, key: str) -> Stamp | None:
        """Return the stamp that a key has, None if it has none; errors of :attr:`files`."""
        with self.making_sense():
            return answers.parse_stamp(self.one(key)) if self.one(key) else None

    def all(self, key: str) -> list[str]:
        """Return the texts of a key."""
        return [os.fsdecode(text) for name, text in self.fields if name == key]

    def one(self, key: str) -> str:
        """Return the first text of a key, empty if there is none."""
        return next(iter(self.all(key)), "")

    def has(self, key: str) -> bool:
        """Tell whether there is a key."""
        return any(name == key for name, _ in self.fields)

    @property
    def absent(self) -> bool:
        """Whether tools complained, and about nothing else than that something is not there."""
        lines = answers.complaints(self.said)
        return bool(lines) and all(map(answers.is_of_absence, lines))

    @property
    def absences(self) -> int:
        """How often tools complained that something is not there."""
        return sum(map(answers.is_of_absence, answers.complaints(self.said)))

    @property
    def trouble(self) -> str:
        """What tools complained about besides files that are not there, empty for nothing."""
        lines = answers.complaints(self.said)
        return next((line for line in reversed(lines) if not answers.is_of_absence(line)), "")

    @property
    def cause(self) -> str:
        """Why the command failed, as far as it said so."""
        lines = answers.complaints(self.said) or [line for line in self.said if line.strip()]
        return self.trouble or (lines[-1] if lines else f"exit status {self.status}")


@dataclass(frozen=True)
class _Posted:
    """A call on its way."""

    token: bytes
    asks: tuple[str, tuple[str | bytes | int, ...]]


class Talk:
    """
    Calls functions of our scripts in a shell over there; not for several threads at once.

    :param channel: to a shell that reads commands; what it says before the first one is skipped
    :raises PoolUnreachable: the host lacks what is needed
    :raises HostUnreachable: the connection broke
    :raises PoolSilent: no answer came in time
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.title = channel.title
        self.usable = False
        self._token = secrets.token_hex(8)
        self._count = 0
        #: Calls that were posted, and whose answers did not come yet.
        self._posted: deque[_Posted] = deque()
        self._taught: set[str] = set()
        every = max(0.05, min(_BEAT, channel.timeout / 4))
        for script in _SCRIPTS:
            channel.send(_program(script))
        self.usable = True
        hello = self.call("pool_start", f"{every:g}", int(_PATIENCE / every), int(KEEP))
        self._check(hello)
        with hello.making_sense():
            self.pid, self.session = int(hello.one("pid")), hello.one("session")
        self.host, self._flock = hello.one("host"), hello.one("flock")

    def teach(self, script: str) -> None:
        """
        Tell the shell another script of ours, once.

        :param script: its file name, beside this module
        """
        if script not in self._taught:
            self.usable = False
            self.channel.send(_program(script))
            self.usable = True
            self._taught.add(script)

    def abilities(self) -> Abilities:
        """Find out what the host has; what it lacks goes to the log, once for each host."""
        found = self.call("pool_programs")
        with found.making_sense():
            major, minor, python = (found.one("python") or "0 0 ").split(" ", 2)
            version = (int(major), int(minor))
        able = Abilities(
            self.host,
            python=python if version >= _PYTHON else "",
            version=version,
            rsync=found.one("rsync"),
            flock=self._flock,
        )
        for program in _LOSSES:
            if not getattr(able, program.removesuffix("3")):
                self._tell(program)
        return able

    def call(self, function: str, *args: str | bytes | int, data: bytes = b"") -> Answer:
        """
        Call a function of ours over there.

        If just this was posted, that is answered, and what was posted before it is forgotten.

        :param args: bytes may hold anything but null bytes, text no control characters
        :param data: what to send when it is ready for that; shells are slow with long arguments
        """
        while self._posted:
            posted = self._posted.popleft()
            answer = self._answer(posted.token)
            if posted.asks == (function, args):
                return answer
        return self._answer(self._send(function, args), data)

    def post(self, function: str, *args: str | bytes | int) -> None:
        """
        Call a function of ours over there without waiting for its answer.

        It is for the next calls to ask for, in this order, or for none of them.
        """
        self._posted.append(_Posted(self._send(function, args), (function, args)))

    def _send(self, function: str, args: tuple[str | bytes | int, ...]) -> bytes:
        if not self.usable:
            raise HostUnreachable(
                f"the shell on {self.title} is of no more use, something broke its conversation"
            )
        self._count += 1
        token = f"{self._token}{self._count}".encode()
        words = [b"pool_call", token, function.encode(), *map(_quoted, args)]
        self.usable = False
        self.channel.send(b" ".join(words) + b"\n")
        self.usable = True
        return token

    def _answer(self, token: bytes, data: bytes = b"") -> Answer:
        self.usable = False
        answer = self._receive(token, data)
        self.usable = True
        return answer

    def where(self, path: str) -> str:
        """Return how a path over there is called in messages."""
        return f"{self.title}:{path}"

    def failure(self, answer: Answer, path: str, problem: str) -> PoolError:
        """
        Return the error for a call that failed.

        :param problem: such as ``can't be read``
        """
        full = failures.tells_of_full("\n".join(answer.said))
        return failures.failure(self.where(path), problem, answer.cause, full=full)

    def _receive(self, token: bytes, data: bytes) -> Answer:
        fields: list[tuple[str, bytes]] = []
        said: deque[str] = deque(maxlen=_SAID)
        left = _BYTES
        for _ in range(_LINES):
            line = self.channel.receive_line()
            left -= len(line)
            if left < 0:
                break
            if line.startswith(b"+"):
                key, _, text = line[1:].partition(b" ")
                if key == b"end" and text.startswith(token + b" "):
                    answer = Answer(0, tuple(fields), tuple(said), self.title)
                    with answer.making_sense():
                        return replace(answer, status=int(text.removeprefix(token)))
                if key == b"begin" and text == token:
                    fields.clear()  # a greeting
                elif key == b"go":
                    self.channel.send(data)
                else:
                    fields.append((key.decode("ascii", "replace"), text))
            elif line not in (b"", b"."):
                said.append(line.decode("utf-8", "replace"))
        raise failures.nonsense(self.title, "used", "the shell")

    def _check(self, hello: Answer) -> None:
        lacks = hello.all("lacks")
        if lacks:
            raise PoolUnreachable(
                f"{self.title} can't keep states, its shell finds no {', '.join(lacks)}; install "
                f"the GNU coreutils there, and have them on the PATH of its logins"
            )

    def _tell(self, program: str) -> None:
        if (self.title, program) not in _told:
            _told.add((self.title, program))
            level, loss = _LOSSES[program]
            LOG.log(level, "%s has no working %s: %s", self.title, program, loss)


def _quoted(arg: str | bytes | int) -> bytes:
    """Return an argument as one word of a shell."""
    if isinstance(arg, bytes):
        return b"'" + arg.replace(b"'", b"'\"'\"'") + b"'"
    if isinstance(arg, int):
        return b"%d" % arg
    if not is_speakable(arg):
        raise NameRefused(f"{arg!r} holds control characters and can't be told to another host")
    return os.fsencode(shlex.quote(arg))


@functools.cache
def _program(script: str) -> bytes:
    """Return a script of ours without what only people read."""
    text = Path(__file__).with_name(script).read_text(encoding="utf-8")
    lines = (line.strip(" ") for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#")).encode()
