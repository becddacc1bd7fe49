"""What the text of an option or test param means; what it can't mean is a ValueError."""

import os
import re
from collections.abc import Callable
from fractions import Fraction

from avocado_pool_plugin.core.errors import LocationRefused
from avocado_pool_plugin.core.location import Location, split_locations

#: What ``pool_scope`` may name, nearest first.
SCOPES = ("own", "shared", "swarm", "cluster")

#: The longest wait in seconds, some 11 days: calls of the system count milliseconds in 32 bits.
LONGEST = 1e6

_YES = ("yes", "on", "true", "1")
_NO = ("no", "off", "false", "0")


def yes_no(text: str) -> bool:
    """
    Read a yes or no.

    :raises ValueError: it is neither; the text says what is expected
    """
    if text.strip().lower() in _YES:
        return True
    if text.strip().lower() in _NO:
        return False
    raise ValueError("yes or no")


def seconds(text: str) -> float:
    """
    Read a number of seconds, 0 or more; more than the system can wait for is as long as it can.

    :raises ValueError: it is none; the text says what is expected
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError("a number of seconds, 0 or more")
    return min(value, LONGEST)


def size(text: str) -> int:
    """
    Read a number of bytes such as ``500GiB``, ``200 GB`` or ``1.5TiB``; empty is 0, for none.

    :raises ValueError: it is none; the text says what is expected
    """
    if not text.strip():
        return 0
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]?)(I?)B?", text.strip().upper())
    if found:
        number, prefix, binary = found.groups()
        if prefix or not binary:
            power = "KMGTP".find(prefix) + 1 if prefix else 0
            value = int(Fraction(number) * (1024 if binary else 1000) ** power)
            if value:
                return value
    raise ValueError("a size such as 500GiB, 200 GB or 1.5TiB")


def scope_list(text: str) -> tuple[str, ...]:
    """
    Read ``pool_scope``.

    :raises ValueError: it is empty or names another scope; the text says what is expected
    """
    scopes = tuple(text.split())
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"one or more of {', '.join(SCOPES)}, separated by blanks")
    return scopes


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a function that reads one of some words, else raises ValueError with them."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return read


def location_list(text: str) -> tuple[Location, ...]:
    """
    Read one location or several; a bare absolute path is a local directory.

    :raises ValueError: one is none; the text says what is expected
    """
    try:
        return tuple(Location.from_setting(part) for part in split_locations(text))
    except LocationRefused as error:
        raise ValueError(
            f"':/dir', ':/dir;' or 'label:/dir', several separated by blanks ({error})"
        ) from error


def directory(text: str) -> str:
    """
    Read an absolute path of a local directory; empty means the default.

    :raises ValueError: it is none; the text says what is expected
    """
    path = os.path.expanduser(text.strip().lstrip(":"))
    if path and not os.path.isabs(path):
        raise ValueError("an absolute path of a local directory")
    return path


def file(text: str) -> str:
    """
    Read the absolute path of a local file; empty means the default.

    :raises ValueError: there is none; the text says what is expected
    """
    path = os.path.expanduser(text.strip())
    if path and not (os.path.isabs(path) and os.path.isfile(path)):
        raise ValueError("the absolute path of a file on this host")
    return path
