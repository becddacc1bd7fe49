"""How a state was made: everything that matters, in named parts, and a key over them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Kinds of parts. A part is called ``<kind> <name>``, such as ``param mem``.
PARAM, CODE, PARENT, BASE = "param", "code", "parent", "base"


@dataclass(frozen=True)
class Recipe:
    """
    How a state was made.

    :param key: digest over all parts; what was made by the same recipe has the same key
    :param parts: name and value of each part, sorted by name
    """

    key: str
    parts: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, parts: Mapping[str, str]) -> "Recipe":
        """Return the recipe of some parts."""
        ordered = tuple(sorted(parts.items()))
        return cls(text_digest(json.dumps(ordered)), ordered)

    @classmethod
    def load(cls, data: Any) -> "Recipe | None":
        """Return the recipe of a record; None for one of a kind that is not known here."""
        if not isinstance(data, dict) or not isinstance(data.get("key"), str):
            return None
        parts = data.get("parts")
        if not isinstance(parts, dict) or not set(map(type, parts.values())) <= {str}:
            return None
        return cls(data["key"], tuple(parts.items()))  # sorted when it was written

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` reads."""
        return {"key": self.key, "parts": dict(self.parts)}


@dataclass(frozen=True)
class Change:
    """
    A part of a recipe that is not what it was.

    :param part: its name
    :param before: what it was when the state was made, None if there was none
    :param now: what it is now, None if there is none
    """

    part: str
    before: str | None
    now: str | None

    def __str__(self) -> str:
        kind, _, name = self.part.partition(" ")
        if kind == CODE:
            return f"code of test type {name} changed"
        if kind == PARENT:
            return f"parent {name} was made anew"
        if kind == BASE:
            return "the base image changed"
        before, now = (repr(text) if text == "" else text for text in (self.before, self.now))
        return f"{self.part}: {before or 'unset'} -> {now or 'unset'}"


def changes(
    made: Recipe, now: Mapping[str, str], matters: Callable[[str], bool]
) -> tuple[Change, ...]:
    """
    Return what is different now from when a state was made.

    Only params can come and go: of other parts, one that is unknown on either side says nothing.

    :param matters: tells whether a part counts by the rules of now; those of then may be others
    """
    before = dict(made.parts)
    return tuple(
        Change(part, before.get(part), now.get(part))
        for part in sorted({*before, *now})
        if matters(part) and _differ(part, before.get(part), now.get(part))
    )


def _differ(part: str, before: str | None, now: str | None) -> bool:
    kind = part.partition(" ")[0]
    if kind == PARAM:
        return before != now
    if before is None or now is None:
        return False
    # a parent is told by its key, generation or digest; different ways to tell can't be compared
    comparable = kind != PARENT or before.partition(" ")[0] == now.partition(" ")[0]
    return comparable and before != now


def text_digest(text: str | bytes) -> str:
    """Return the digest of a text, 32 hexadecimal digits."""
    from blake3 import blake3

    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return blake3(data).hexdigest(16)
