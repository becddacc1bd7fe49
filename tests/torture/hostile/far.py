"""Hosts that lie: what real ones said, with something wrong about it, and what none would say."""

import contextlib
import os
import random
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from avocado_pool_plugin.core import layout, seen, users
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.seen import Seen
from avocado_pool_plugin.ssh import bulk, changing, plain_far, survey, talk
from avocado_pool_plugin.ssh.bulk import Agent
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.plain import Plain
from avocado_pool_plugin.ssh.shell import Shell
from tests.support import checking
from tests.support.places import put
from tests.torture.hostile import mutate
from tests.torture.hostile.cage import judge
from tests.torture.row import Row, Wish

_TITLE = "host far (root@10.0.0.2)"
#: Seconds to wait for what does not come.
_TIMEOUT = 1.0
#: What is said without an end.
_ENDLESS = {
    "a line": "yes | tr -d '\\n'",
    "lines": "yes junk",
    "signs of life": "yes .",
    "fields": "yes '+s 1 2 3'",
    "calls for data": "yes '+go'",
    "greetings": "yes '+begin abab1'",
    "null bytes": "cat /dev/zero",
    "noise": "cat /dev/urandom",
    "nothing": "sleep 5",
    # what the loader of an agent says first, then its empty frames
    "frames of life": f"""printf '\\n{"ab" * 16}\\n'; exec {sys.executable} -c '
import sys
while True: sys.stdout.buffer.write((b"b" + bytes(12)) * 4096)'""",
}


@dataclass(frozen=True)
class Play:
    """
    A conversation with a real program.

    :param name: what is asked
    :param start: makes the near side of it, over a channel
    :param work: what that asks
    :param said: all that the program said
    :param skip: bytes of that before what ``work`` asks
    """

    name: str
    start: Callable[[Channel], Any]
    work: Callable[[Any], object]
    said: bytes
    skip: int


class Stage:
    """A pool that is looked at, and conversations about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        pool = root / "pool"
        checking.make_pool(pool, "base", "install")
        checking.put_ram(pool / "vm1" / "install.state", b"memory" * 500, "image1")
        self.pool, self.home = str(pool), str(pool / "vm1" / "image1")
        self.path = f"{self.home}/install.qcow2"
        put(pool / "vm1" / "image1" / "odd name.qcow2", b"content")
        seen.write_seen(self.path, Seen("b3t1m:00", "generation", None), None)
        users.register(self.path, str(root / "overlay.qcow2"), "generation")
        self.small = root / "small"
        self.small.write_bytes(b"content" * 1000 + bytes(1 << 20) + b"end" * 40000)
        self.target = root / "target"
        _same_tokens()
        self.plays = [*self._shell(), *self._agent(), *self._plain()]

    def _shell(self) -> Iterator[Play]:
        path, home, pool = self.path, self.home, self.pool
        works: dict[str, Callable[[Shell], object]] = {
            "names": lambda shell: _names(shell.names(home)),
            "look": lambda shell: _looks(shell.look([path], chain=True, leaves=True), home),
            "shelf": lambda shell: _shelf(shell.shelf(path)),
            "clock": lambda shell: _whole(shell.clock(home)),
            "space": lambda shell: _whole(shell.space(home)[1]),
            "abilities": lambda shell: shell.abilities,
            "linked": lambda shell: shell.linked(path),
            "sweep": lambda shell: shell.sweep(home, 1e6),
            "lock": lambda shell: shell.lock(path, 1, "me"),
            "survey": lambda shell: survey.survey(shell, pool, "", "pending json seen header"),
            "notes": lambda shell: survey.notes(shell, pool),
            "read": lambda shell: survey.read(shell, [layout.record_path(path)]),
            "strays": lambda shell: survey.strays(shell, pool, ""),
            "starts": lambda shell: changing.starts(shell, [path], 4096),
            "others": lambda shell: changing.others(shell, pool),
            "trusted": lambda shell: changing.trusted(shell, path),
        }
        for name, work in works.items():
            yield self._played(f"shell: {name}", Shell, work)

    def _agent(self) -> Iterator[Play]:
        def start(channel: Channel) -> Agent:
            return Agent(channel, sys.executable)

        yield self._played("agent: hello", start, lambda agent: _whole(agent.pid))
        yield self._played("agent: download", start, self._download)
        yield self._played("agent: update", start, self._update)
        yield self._played("agent: digest", start, lambda agent: agent.digest(str(self.small)))
        yield self._played("agent: upload", start, self._upload)

    def _plain(self) -> Iterator[Play]:
        yield self._played("plain shell: hello", Plain, lambda plain: None)
        yield self._played("plain shell: download", Plain, self._download)
        yield self._played("plain shell: digest", Plain, lambda one: one.digest(str(self.small)))
        yield self._played("plain shell: upload", Plain, self._upload)

    def _download(self, tool: Any, basis: bool = False) -> None:
        with open(self.target, "r+b" if basis else "w+b") as file:
            found = tool.download(str(self.small), file.fileno(), basis=basis)
        _whole(found.stamp.size)

    def _update(self, tool: Any) -> None:
        self.target.write_bytes(self.small.read_bytes()[::-1])
        self._download(tool, basis=True)

    def _upload(self, tool: Any) -> None:
        # the far side is as if it had not been there before
        part = self.root / "part"
        part.unlink(missing_ok=True)
        fd = os.open(self.small, os.O_RDONLY)
        try:
            tool.upload(fd, os.fstat(fd).st_size, str(part), fsync=False)
        finally:
            os.close(fd)

    def _played(
        self, name: str, start: Callable[[Channel], Any], work: Callable[[Any], object]
    ) -> Play:
        """Have a conversation with a real program, and keep what that says."""
        said = self.root / "said"
        lengths = []
        for do in (lambda _: None, work):
            # tee ends after the shell does, and has written all by then
            command = ["sh", "-c", f"sh | tee {shlex.quote(str(said))}"]
            channel = Channel(command, _TITLE, 20)
            try:
                do(start(channel))
            finally:
                channel._process.stdin.close()  # type: ignore[union-attr]
                with contextlib.suppress(subprocess.TimeoutExpired):
                    channel._process.wait(5)
                channel.close()
            lengths.append(said.stat().st_size)
        return Play(name, start, work, said.read_bytes(), min(lengths))


@contextlib.contextmanager
def _tokens_restored() -> Iterator[None]:
    try:
        yield
    finally:
        talk.secrets = bulk.secrets = plain_far.secrets = secrets


def _same_tokens() -> None:
    """Have what tells one conversation from another be the same in all."""
    fixed: Any = SimpleNamespace(token_hex=lambda size: "ab" * size)
    talk.secrets = bulk.secrets = plain_far.secrets = fixed


def rows(wish: Wish) -> Iterator[Row]:
    """Real answers with something wrong, then answers without an end."""
    with wish.directory("hostile-far") as directory, _tokens_restored():
        stage = Stage(directory / "stage")
        dice = wish.dice("far")
        some = []
        for number in range(wish.few(2500, 150)):
            play = stage.plays[number % len(stage.plays)]
            some.append((f"{play.name} {number}", (stage, play, _wrong(play, dice))))
        row = Row(
            "answers of a far shell, of the agent and of a shell without it",
            "errors of ours; no number, name or path that could not be one, no memory for what "
            "is only claimed, no waiting beyond the timeout",
        )
        yield judge(row, _hear, some)
        endless = [
            (f"{what} without an end to {name}", (name, command))
            for what, command in wish.sample(_ENDLESS.items(), 3, "endless")
            for name in ("shell", "agent", "plain")
        ]
        row = Row(
            "a host that says something without an end",
            "an error of ours after a bounded time and amount",
        )
        yield judge(row, _hear_endless, endless)


def _wrong(play: Play, dice: random.Random) -> bytes:
    """Return what a program said with something wrong, mostly in the answer at stake."""
    start = play.skip if dice.randrange(8) and play.skip < len(play.said) else 0
    head, tail = play.said[:start], play.said[start:]
    if dice.randrange(3) == 0 and tail:
        return head + _fields(tail, dice)
    return head + mutate.bytes_of(tail, dice, 2)


def _fields(text: bytes, dice: random.Random) -> bytes:
    """Return lines of which one has another word."""
    lines = text.split(b"\n")
    number = dice.randrange(len(lines))
    words = lines[number].split(b" ")
    odd = (*mutate.WORDS[:-6], *map(str, mutate.NUMBERS[:-1]))
    words[dice.randrange(len(words))] = dice.choice(odd).encode("utf-8", "surrogatepass")
    lines[number] = b" ".join(words)
    return b"\n".join(lines)


def _hear(given: tuple[Stage, Play, bytes]) -> str:
    stage, play, said = given
    _same_tokens()
    # a real program at the other end, which does not listen to what it is asked
    lie = stage.root / "lie"
    lie.write_bytes(said)
    os.chdir(stage.root / "pool")
    before = sorted(os.listdir())
    channel = Channel(["cat", str(lie)], _TITLE, _TIMEOUT)
    try:
        play.work(play.start(channel))
    finally:
        channel.close()
        assert not stage.target.exists() or stage.target.stat().st_blocks < 1 << 16
        stage.target.unlink(missing_ok=True)
        assert sorted(os.listdir()) == before
    return "taken"


def _hear_endless(given: tuple[str, str]) -> str:
    name, command = given
    channel = Channel(["sh", "-c", command], _TITLE, _TIMEOUT)
    start: dict[str, Callable[[Channel], Any]] = {"shell": Shell, "agent": Agent, "plain": Plain}
    try:
        with contextlib.suppress(PoolError):
            start[name](channel)
            raise AssertionError("it was taken for an answer")
    finally:
        channel.close()
    return "refused"


def _names(found: list[str]) -> None:
    for name in found:
        assert "/" not in name and name not in ("", ".", ".."), name


def _looks(found: dict[str, Any], home: str) -> None:
    for path, look in found.items():
        assert os.path.dirname(path) == home and ".." not in path.split("/"), path
        assert look.allocated >= 0 and look.mode < 1 << 16


def _shelf(found: Any) -> None:
    for look in (*found.states.values(), *found.rams.values()):
        found.is_open(look)


def _whole(number: int) -> None:
    assert type(number) is int and 0 <= number < 1 << 64, number
