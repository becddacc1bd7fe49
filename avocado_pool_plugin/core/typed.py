"""
Notes of ours read back: JSON that may be damaged, or written by somebody who means no good.

What is read has the types that it is declared with, so that nobody who works with it has to look.
"""

import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
#: No inode, size in bytes or time in nanoseconds is beyond this, in either direction.
_LARGEST = 1 << 64
#: Nor is any time in seconds, as no calendar goes that far.
_LATEST = 1e16
_Read = Callable[[Any], Any]


def mapping(text: bytes | str) -> dict[str, Any]:
    """
    Return the JSON object that a text is.

    :raises ValueError: it is something else
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"it is a {type(found).__name__} where an object was expected")
    return found


def fill(kind: Callable[..., T], data: Any) -> T:
    """
    Return a dataclass with the fields that were stored; dataclasses in it are read alike.

    :param data: a mapping, as JSON has it
    :raises ValueError: a field is missing, unknown, or of another type than it is declared with
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{data!r:.60} where an object was expected")
    readers, needed = _fields(kind)
    if not needed <= data.keys() <= readers.keys():
        raise ValueError(f"{', '.join(data):.60} where {', '.join(readers)} were expected")
    return kind(**{name: readers[name](value) for name, value in data.items()})


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, _Read], set[str]]:
    """Return how to read each field of a dataclass, and which can't be left out."""
    hints = typing.get_type_hints(kind)
    needed = {
        field.name
        for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    }
    return {field.name: _reader(hints[field.name]) for field in fields(kind)}, needed


def _reader(hint: Any) -> _Read:
    """Return what makes a declared type of a JSON value, or raises ValueError."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        [other] = (one for one in inner if one is not types.NoneType)
        return functools.partial(_optional, _reader(other))
    if origin is frozenset or (origin is tuple and inner[1:] == (Ellipsis,)):
        return functools.partial(_list, origin, _reader(inner[0]))
    if origin is tuple:
        return functools.partial(_tuple, [_reader(one) for one in inner])
    if origin is Mapping:
        return functools.partial(_texts, _reader(inner[1]))
    if is_dataclass(hint):
        return functools.partial(fill, typing.cast(Callable[..., Any], hint))
    return _PLAIN[hint]


def text(value: Any) -> str:
    """Return a text that can be part of a path; whatever else is a ValueError."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{value!r:.60} where a text was expected")
    if not value.isascii():
        value.encode("utf-8", "surrogateescape")
    return value


def whole(value: Any) -> int:
    """Return a whole number that a file system or process can have; else ValueError."""
    if type(value) is not int or not -_LARGEST < value < _LARGEST:
        raise ValueError(f"{value!r:.60} where a whole number was expected")
    return value


def number(value: Any) -> float:
    """Return a number of seconds, or a time in seconds since 1970; else ValueError."""
    if type(value) is int:
        value = float(whole(value))
    if type(value) is not float or not abs(value) < _LATEST:  # NaN is not less either
        raise ValueError(f"{value!r:.60} where a number was expected")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.60} where true or false was expected")
    return value


def _optional(read: _Read, value: Any) -> Any:
    return None if value is None else read(value)


def _list(kind: Callable[[Any], Any], read: _Read, value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r:.60} where a list was expected")
    return kind(map(read, value))


def _tuple(reads: list[_Read], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or len(value) != len(reads):
        raise ValueError(f"{value!r:.60} where {len(reads)} values were expected")
    return tuple(read(one) for read, one in zip(reads, value, strict=True))


def _texts(read: _Read, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.60} where an object was expected")
    return {name: read(one) for name, one in value.items()}


_PLAIN: dict[Any, _Read] = {str: text, int: whole, float: number, bool: _flag}
