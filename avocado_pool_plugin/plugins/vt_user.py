"""
A user's own hooks around a test, which may deal with states themselves.

Suites of avocado-i2n do: their ``pre_test.control`` has the policies called by the four hooks. What
these did for an object, ours do not do once more, nor the other way round.
"""

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

from avocado_pool_plugin.states import report

#: Verbs that somebody did who has policies of his own, by what our backends say they did.
_VERBS = {"got": ("get",), "set": ("set", "push"), "unset": ("unset", "pop")}


def execute(path: str, test: Any, params: Any) -> None:
    """Execute a user's hook file with the names in reach that Avocado-VT would give it."""
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec")
    around = vars(sys.modules["avocado_vt.test"]) if "avocado_vt.test" in sys.modules else {}
    exec(code, {**around, "self": test, "params": params})


class Done:
    """
    Which verbs the user's hooks and ours did in a test, for which objects.

    :ivar begun: whether the user's hook that was called last had our policies do anything
    """

    def __init__(self) -> None:
        self.begun = False
        self._ours: dict[str, set[str]] = {}
        self._users: dict[str, set[str]] = {}

    @contextlib.contextmanager
    def by_us(self) -> Iterator[None]:
        """Leave out what the user's hooks did."""
        with report.listening(
            lambda verb, objects: _exchange(verb, objects, self._ours, self._users)
        ):
            yield

    @contextlib.contextmanager
    def by_user(self, before: Callable[[], None]) -> Iterator[set[str]]:
        """
        Leave out what our hooks did.

        :param before: called before our policies do anything
        :return: gets the verbs that were done by policies of others with our backends
        """
        elsewhere: set[str] = set()
        told, self.begun = len(report.events()), False

        def hear(verb: str, objects: Collection[str]) -> Collection[str]:
            self.begun = True
            before()
            return _exchange(verb, objects, self._users, self._ours)

        with report.listening(hear):
            yield elsewhere
        if not self.begun:
            for event in report.events()[told:]:
                elsewhere.update(_VERBS.get(event.verb, ()))


def _exchange(
    verb: str,
    objects: Collection[str],
    mine: dict[str, set[str]],
    others: dict[str, set[str]],
) -> Collection[str]:
    """Note that a verb is done for objects; return those for which the others did it."""
    done = others.get(verb, set()) & set(objects)
    mine.setdefault(verb, set()).update(set(objects) - done)
    return done
