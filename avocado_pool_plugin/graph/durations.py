"""How long tests took, remembered from run to run in a file."""

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from avocado_pool_plugin.core import durable

LOG = logging.getLogger("avocado." + __name__)

#: How many tests are remembered: those that ran last.
MOST = 20_000
#: Seconds that no test takes, and that are not over since the epoch.
_TOO_MANY = 1e12


def load(path: str) -> dict[str, float]:
    """Return the seconds that each test usually takes; nothing if there is no sound file."""
    return {test: seconds for test, (seconds, _) in _read(path).items()}


def remember(path: str, seconds: Mapping[str, float]) -> None:
    """
    Put how long tests took into a file.

    A test's earlier durations count less with each new one: half of the sum of both is kept. Of two
    processes that do this at once, one may not be noticed; the file is whole at any time.

    :raises PoolError: it can't be written
    """
    known = _read(path)
    now = time.time()
    for test, took in seconds.items():
        if _sound(took):
            before, _ = known.pop(test, (took, now))
            known[test] = (before + took) / 2, now
    latest = sorted(known.items(), key=lambda item: item[1][1])[-MOST:]
    path = os.path.abspath(path)
    with durable.typed_failures(path):
        durable.make_like_parent(os.path.dirname(path))
        durable.write_whole(path, json.dumps(dict(latest)).encode("ascii"))


def _read(path: str) -> dict[str, tuple[float, float]]:
    """Return seconds and time of the last run, in seconds since the epoch, by test."""
    try:
        with open(path, "rb") as file:
            found = json.load(file)
        if not isinstance(found, dict):
            raise ValueError(f"holds {type(found).__name__} where tests were expected")
        return {test: _entry(test, value) for test, value in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        LOG.warning("%s can't be used, durations of tests begin anew: %s", path, error)
        return {}


def _entry(test: str, value: Any) -> tuple[float, float]:
    if isinstance(value, list) and len(value) == 2 and all(map(_sound, value)):
        return float(value[0]), float(value[1])
    raise ValueError(f"holds {str(value)[:60]!r} for {test!r}")


def _sound(number: Any) -> bool:
    """Tell whether something is a number of seconds."""
    return isinstance(number, int | float) and 0 <= number < _TOO_MANY
