"""Real things with something wrong about them."""

import copy
import json
import random
import struct
from typing import Any

#: Texts that lead somewhere else, end something, or are too long.
WORDS = (
    "", ".", "..", "../../outside/secret", "/outside/secret", "a/b", "-rf", "--", "$(touch owned)",
    "`touch owned`", ";touch owned;", "|touch owned", "a\nb", "a\0b", "\x1b[2J", "\ud800", "%s%n",
    "x" * 300, "x" * 70_000, "é" * 150, "b3t1m:", "b3t1m:" + "0" * 64, ":", "host:/dir", ":/", "~",
    "json:{}", "nbd://host/x", "null", "NaN", "1e999", "-1", "9" * 30, "9" * 5000, "\u202etxt",
)  # fmt: skip
#: Numbers at the ends of what counts them.
NUMBERS = (
    0, -1, 1, 127, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**60, 2**63 - 1,
    2**63, 2**64 - 1, 2**64, -(2**63), 10**400,
)  # fmt: skip
_ODD = (None, True, False, 1e308, -0.5, float("inf"), float("-inf"), float("nan"), [], {}, [[]])
#: So deep nothing of ours is.
_DEEP = 100_000


def bytes_of(data: bytes, dice: random.Random, times: int = 4) -> bytes:
    """Return bytes with up to so many things wrong."""
    found = bytearray(data)
    for _ in range(dice.randint(1, times)):
        found = _hurt(found, dice)
    return bytes(found)


def _hurt(data: bytearray, dice: random.Random) -> bytearray:
    at = dice.randrange(len(data) + 1)
    end = min(len(data), at + dice.choice((1, 2, 4, 8, 30, 300)))
    how = dice.randrange(8)
    if how == 0 and data:
        data[at % len(data)] ^= 1 << dice.randrange(8)
    elif how == 1:
        del data[at:end]
    elif how == 2:
        data[at:at] = data[at:end] * dice.choice((1, 2, 50))
    elif how == 3:
        data[at:end] = dice.randbytes(end - at)
    elif how == 4:
        data[at:at] = dice.choice(WORDS).encode("utf-8", "surrogatepass")
    elif how == 5:
        data[at : at + 8] = _packed(dice)
    elif how == 6:
        other = dice.randrange(len(data) + 1)
        data[at:at] = data[other : other + end - at]
    else:
        del data[at:]
    return data


def _packed(dice: random.Random) -> bytes:
    form = dice.choice((">Q", ">I", ">H", "<Q", "<I"))
    return struct.pack(form, dice.choice(NUMBERS) % (1 << 8 * struct.calcsize(form)))


def tree_of(value: Any, dice: random.Random) -> Any:
    """Return what a JSON text holds with one or two values, or keys, replaced."""
    found = copy.deepcopy(value)
    for _ in range(dice.randint(1, 2)):
        spots = list(_spots(found))
        if not spots:
            break
        holder, key = dice.choice(spots)
        how = dice.randrange(6)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[dice.choice(WORDS)] = holder[key]
        else:
            holder[key] = _odd(dice)
    return found


def _odd(dice: random.Random) -> Any:
    kind = dice.randrange(4)
    if kind == 0:
        return dice.choice(_ODD)
    return dice.choice(NUMBERS) if kind == 1 else dice.choice(WORDS)


def _spots(value: Any) -> list[tuple[Any, Any]]:
    """Return all places in a JSON value: what they are in, and by which key."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for inner in list(value.values() if isinstance(value, dict) else value):
        if isinstance(inner, dict | list):
            found += _spots(inner)
    return found


def json_of(text: bytes, dice: random.Random) -> bytes:
    """Return a JSON text, of a mapping, that is wrong in its bytes or in what it holds."""
    how = dice.randrange(10)
    if how < 3:
        return bytes_of(text, dice)
    if how == 3:
        opening = dice.choice((b"[", b'{"a":'))
        return dice.choice((opening * _DEEP, b'{"format": 1, "x": ' + opening * _DEEP))
    if how == 4:
        return json.dumps(_odd(dice)).encode()
    return json.dumps(tree_of(json.loads(text), dice)).encode()
