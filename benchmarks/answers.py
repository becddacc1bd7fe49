"""The other end of :class:`benchmarks.environment.Answering`: one answer for each line of input."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def answer(works: Mapping[str, Callable[[dict[str, Any]], Any]], *, fragile: bool = True) -> None:
    """
    Do what each line asks for, until there are no more; what works print goes to standard error.

    An answer has ``seconds`` and ``result``, or ``error``: the names of its class and of those it
    is derived from, and its text.

    :param works: functions by the name that ``do`` gives; each gets the whole line
    :param fragile: whether an error ends the program instead
    """
    answers = sys.stdout
    for line in sys.stdin:
        what = json.loads(line)
        started = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = {"result": works[what["do"]](what)}
        except Exception as error:
            if fragile:
                raise
            found = {"error": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
        found["seconds"] = time.perf_counter() - started
        print(json.dumps(found), file=answers, flush=True)
