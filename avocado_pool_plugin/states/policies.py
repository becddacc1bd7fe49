"""What the two letters of a mode mean: the first if the state exists, the second if not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avocado.core import exceptions

#: What to do with an object.
ABORT, DO, SKIP = "abort", "do", "skip"
_WORDS = {"a": "abort", "r": "reuse", "f": "force", "i": "ignore"}


@dataclass(frozen=True)
class Verb:
    """
    What the letters of a verb's mode mean.

    :param mode: the default mode
    :param exists: what to do for each first letter
    :param missing: what to do for each second letter
    """

    mode: str
    exists: Mapping[str, str]
    missing: Mapping[str, str]


VERBS = {
    "get": Verb("ra", {"a": ABORT, "r": DO, "i": SKIP}, {"a": ABORT, "i": SKIP}),
    "set": Verb("ff", {"a": ABORT, "r": SKIP, "f": DO}, {"a": ABORT, "f": DO}),
    "unset": Verb("fi", {"r": SKIP, "f": DO}, {"a": ABORT, "i": SKIP}),
    "check": Verb("rf", {"r": DO, "f": DO}, {"r": SKIP, "f": DO}),
}


def letters(verb: str, params: Any) -> tuple[str, str]:
    """Return what the mode of a verb says to do if the state exists, and if it does not."""
    table, mode = VERBS[verb], params.get(f"{verb}_mode") or VERBS[verb].mode
    if len(mode) != 2 or mode[0] not in table.exists or mode[1] not in table.missing:
        raise exceptions.TestError(
            f"Invalid policy {verb}_mode = {mode!r} for {params['object_name']}: the first letter "
            f"(state exists) can be {_choices(table.exists)}, the second (it does not) "
            f"{_choices(table.missing)}"
        )
    return table.exists[mode[0]], table.missing[mode[1]]


def _choices(letters: Mapping[str, str]) -> str:
    return " or ".join(f"'{letter}' ({_WORDS[letter]})" for letter in letters)
