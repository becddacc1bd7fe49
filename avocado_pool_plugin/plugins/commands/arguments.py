"""Arguments of the commands about graph runs: KEY=VALUE, and those that ``avocado run`` has."""

import argparse
import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Options of ``avocado run`` that choose tests or run them in ways that these commands have not.
_NOT_HERE = (
    "resolver.",
    "run.suite_runner",
    "run.test_parameters",
    "run.execution_order",
    "json.variants.",
)
#: Options that matter where nothing is run; the others are accepted and not shown.
_READING = ("vt.", "pool.", "filter.")
_CHOICE = (
    "only=VARIANTS and no=VARIANTS choose tests, as in a Cartesian config ('..' is and, ',' is "
    "or); vms=VM,VM sets the vms; "
)
_STEP_HELP = (
    f"{_CHOICE}any other key is a test param, such as get_state_images=STATE, which is for the "
    "images of all selected tests"
)
_READ_HELP = f"{_CHOICE}any other key is a test param"
_HELP = (
    f"{_CHOICE}rerun=TEST,TEST runs tests although their states exist; "
    "replay=JOB leaves out what passed in a job; any other key is a test param. setup=STEP,STEP "
    "does these steps (default: run): noop, list, check, create, clean, collect, get, set, unset, "
    "push, pop, update (from_state=STATE, to_state=STATE), run, and those of other packages"
)
#: What argparse calls groups that every parser has.
_COMMON = ("options", "optional arguments", "positional arguments")


def add_words(parser: Any, runs: bool = False, step: bool = False, looks: bool = False) -> None:
    """
    Add ``KEY=VALUE ...`` and the options of ``avocado run``.

    They are the same for all these commands, so that a command line for one fits the others.

    :param runs: whether the command runs tests
    :param step: whether it is a step of its own, which nothing else is chained to
    :param looks: whether it only looks at states, and plans no run
    """
    parser.add_argument(
        "pool_words",
        nargs="*",
        metavar="KEY=VALUE",
        help=_STEP_HELP if step else _READ_HELP if looks else _HELP,
    )
    parser.parse_known_args = functools.partial(
        _parse, parser, parser.parse_known_args, () if runs else _READING
    )


def _parse(
    parser: Any,
    parse: Callable[..., tuple[Any, list[str]]],
    shown: tuple[str, ...],
    args: Sequence[str] | None = None,
    namespace: Any = None,
) -> tuple[Any, list[str]]:
    """Parse with the options that ``avocado run`` has by now: other plugins add theirs late."""
    run = parser.commands.get("run")
    if run is not None:
        _inherit(parser, run, shown)
    found, rest = parse(args, namespace)
    # argparse leaves words between options alone
    found.pool_words += [word for word in rest if not word.startswith("-")]
    return found, [word for word in rest if word.startswith("-")]


def _inherit(parser: Any, run: Any, shown: tuple[str, ...]) -> None:
    """Give a parser the options of another one, once."""
    known: Mapping[str, Any] = parser._option_string_actions
    for group in run._action_groups:
        actions = [
            copy.copy(action)
            for action in group._group_actions
            if action.option_strings
            and not action.dest.startswith(_NOT_HERE)
            and not any(option in known for option in action.option_strings)
        ]
        for action in actions:
            if shown and not action.dest.startswith(shown):
                action.help = argparse.SUPPRESS
        if actions:
            common = group.title in _COMMON
            target = parser if common else parser.add_argument_group(group.title)
            for action in actions:
                target._add_action(action)
