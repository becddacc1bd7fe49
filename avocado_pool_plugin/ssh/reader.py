"""What a shell on another host finds out about the files of a pool, each in one round trip."""

import contextlib
import functools
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping

from avocado_pool_plugin.core import layout, typed
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.ssh import answers
from avocado_pool_plugin.ssh.answers import Found
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.looks import (
    Look,
    ShelfLook,
    backing_name,
    backing_path,
    is_speakable,
)
from avocado_pool_plugin.ssh.talk import Abilities, Answer, Talk

#: How many images below those asked for are looked at.
_DEPTH = 200
#: What is looked at of a file.
_ALL = "pending json seen header"
CANT_LIST, CANT_READ, CANT_WRITE = "can't be listed", "can't be read", "can't be written"
#: By state the registrations of working overlays on it: path and content of each.
_Users = Mapping[str, tuple[tuple[str, bytes], ...]]


class Reader:
    """
    The part of :class:`~avocado_pool_plugin.ssh.shell.Shell` that changes nothing.

    :param channel: to a shell that reads commands
    :param known: what was found out about the host before; it takes a moment
    :raises PoolUnreachable: the host lacks what is needed
    """

    def __init__(self, channel: Channel, known: Abilities | None = None) -> None:
        self._channel = channel
        self._talk = Talk(channel)
        self._known = known

    @functools.cached_property
    def abilities(self) -> Abilities:
        """What the host has; what it lacks goes to the log, once for each host."""
        return self._known or self._talk.abilities()

    @property
    def usable(self) -> bool:
        """Whether it can be used: it can't after an error of the connection."""
        return self._talk.usable

    @property
    def host(self) -> str:
        """What the host calls itself."""
        return self._talk.host

    @property
    def pid(self) -> int:
        """The shell's process over there."""
        return self._talk.pid

    @property
    def token(self) -> str:
        """What tells that process from all others there ever were over there."""
        return self._talk.session

    def close(self) -> None:
        """End the shell; a lock that it holds is let go."""
        self._talk.usable = False
        self._channel.close()

    def ask(self, script: str, function: str, *args: str) -> Answer:
        """Call a function over there of a script that not every shell needs."""
        self._talk.teach(script)
        return self._talk.call(function, *args)

    def failure(self, answer: Answer, path: str, problem: str) -> PoolError:
        """Return the error for a call that failed; see :meth:`Talk.failure`."""
        return self._talk.failure(answer, path, problem)

    def names(self, directory: str) -> list[str]:
        """
        Return the names in a directory, sorted, without ours; none if it does not exist.

        :raises PoolUnreachable: it can't be listed
        """
        answer = self._talk.call("pool_names", directory)
        with answer.making_sense():
            names = answers.parse_names(os.fsencode(answer.one("names")))
        if not names and answer.absent:
            return []
        if names[-1:] != [""]:
            raise self._talk.failure(answer, directory, CANT_LIST)
        return sorted(name for name in names[:-1] if not layout.is_ours(name))

    def look(
        self, paths: Iterable[str], *, chain: bool = False, leaves: bool = False
    ) -> dict[str, Look]:
        """
        Return what lies over there about files.

        :param chain: images that they stand on, in the same directory, are looked at as well
        :param leaves: the digests of their blocks, which may be MiBs, are wanted as well
        :raises PoolUnreachable: something is there and can't be read
        """
        what = _ALL + " leaves" * leaves
        found: dict[str, Look] = {}
        asked = list(dict.fromkeys(paths))
        wanted = asked
        while wanted:
            found |= self._look(wanted, "yes" if chain else "no", what)
            reached = _reached(asked, found) if chain else asked
            # what was guessed over there may be wrong
            wanted = [path for path in reached if path not in found]
        return {path: found[path] for path in reached} if asked else {}

    def look_ahead(self, path: str) -> None:
        """Ask what lies over there about a file, for :meth:`look` to tell as the next call."""
        self._talk.post("pool_look", "no", _ALL, path)

    def linked(self, path: str) -> bool:
        """Tell whether there is a link, to whatever or nothing."""
        return self._talk.call("pool_linked", path).has("linked")

    def shelf(self, path: str) -> ShelfLook:
        """
        Return all that stands, or may stand, on the states in the directory of a file.

        :raises PoolUnreachable: it can't be listed, or something in it can't be read
        """
        found = self._listed(os.path.dirname(path))
        files = [found.look(path) for path in found.statuses if _is_file(path)]
        states = {look.path: look for look in files if look.path.endswith(IMAGE_SUFFIX)}
        rams = {look.path: look for look in files if look.path not in states}
        users = _users(found.texts)
        overlays = self._glance(_overlays(users))
        return ShelfLook(
            states,
            rams,
            users,
            overlays,
            self._below(states, overlays),
            answers.parse_locks(found.texts.get("/proc/locks", b"")),
        )

    def clock(self, directory: str) -> int:
        """
        Return what time the file system of a directory stamps on changes now, in nanoseconds.

        :raises PoolUnreachable: nothing can be written there
        """
        answer = self._must("pool_clock", directory, CANT_WRITE)
        with answer.making_sense():
            ((_, status),) = answer.files.statuses.items()
        return status.stamp.ctime_ns

    def space(self, directory: str) -> tuple[str, int]:
        """
        Return which device a directory is on, and how many bytes are free there for its users.

        :param directory: need not exist, then the next one above that does counts
        :raises PoolUnreachable: it can't be read
        """
        answer = self._must("pool_space", directory, CANT_READ)
        with answer.making_sense():
            device, blocks, unit = answer.one("space").split()
            return device, answers.counted(answers.counted(blocks) * answers.counted(unit))

    # -- for the above -----------------------------------------------------------------------

    def _must(self, function: str, path: str, problem: str, *args: str | bytes | int) -> Answer:
        """
        Call a function of ours over there that does something to a file.

        :param problem: what to say if it fails, such as ``can't be read``
        :raises SpaceMissing: the disk is full
        :raises PoolUnreachable: it failed for another reason
        """
        answer = self._talk.call(function, path, *args)
        if answer.status:
            raise self._talk.failure(answer, path, problem)
        return answer

    def _listed(self, directory: str) -> Found:
        answer = self._talk.call("pool_shelf", directory)
        found = answer.files
        if answer.trouble or found.unread > answer.absences:
            raise self._talk.failure(answer, directory, CANT_READ)
        if answer.status and not answer.absent:
            raise self._talk.failure(answer, directory, CANT_LIST)
        return found

    def _look(self, paths: list[str], chain: str, what: str) -> dict[str, Look]:
        answer = self._talk.call("pool_look", chain, what, *paths)
        found = answer.files
        # absent is only what is said to be
        if answer.trouble or found.missing > answer.absences:
            raise self._talk.failure(answer, paths[0], CANT_READ)
        return {path: found.look(path) for path in found.asked}

    def _glance(self, paths: Iterable[str]) -> dict[str, Look]:
        """Look at the starts of files; what can't be reached is as good as absent."""
        wanted = [path for path in dict.fromkeys(paths) if _is_sound(path)]
        if not wanted:
            return {}
        found = self._talk.call("pool_look", "no", "start", *wanted).files
        return {path: found.look(path) for path in wanted}

    def _below(self, states: dict[str, Look], overlays: dict[str, Look]) -> dict[str, Look]:
        """Return what overlays stand on."""
        named = {
            path: os.path.normpath(os.path.join(os.path.dirname(path), name))
            for path, look in overlays.items()
            if (name := backing_name(look.header))
        }
        others = self._glance(name for name in named.values() if name not in states)
        every = others | states
        return {path: every[name] for path, name in named.items() if name in every}


def _reached(paths: list[str], found: Mapping[str, Look]) -> list[str]:
    """Return the files and all that they stand on, as far as it was looked at, and one further."""
    reached = list(paths)
    for path in reached:
        below = backing_path(found[path]) if path in found else ""
        if below and below not in reached and len(reached) < len(paths) + _DEPTH:
            reached.append(below)
    return reached


def _is_file(path: str) -> bool:
    return not path.endswith("/.")


def _is_sound(path: str) -> bool:
    return path.startswith("/") and is_speakable(path)


def _users(texts: Mapping[str, bytes]) -> _Users:
    """Pick the registrations of overlays out of the texts of a directory."""
    ending = ".users"
    users: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for path, text in sorted(texts.items()):
        meta, directory = os.path.split(os.path.dirname(path))
        if directory.endswith(ending) and os.path.basename(meta) == layout.META:
            state = os.path.join(os.path.dirname(meta), directory.removesuffix(ending))
            users[state].append((path, text))
    return {state: tuple(found) for state, found in users.items()}


def _overlays(users: _Users) -> list[str]:
    """Return the paths of the overlays that registrations name."""
    found = []
    for _, text in (one for entries in users.values() for one in entries):
        with contextlib.suppress(ValueError, KeyError):
            found.append(typed.text(typed.mapping(text)["path"]))
    return found
