"""
``avocado pool get|set|unset|push|pop|check``: single steps of ``avocado pool run``.

What each of them does, and with which words, is that of the step of the same name.
"""

import argparse
import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import (
    LocationRefused,
    NameRefused,
    PoolError,
    SettingRefused,
)
from avocado_pool_plugin.plugins.commands.arguments import add_words
from avocado_pool_plugin.plugins.commands.command import FAILED, MISUSED, Command, add_json
from avocado_pool_plugin.plugins.selection import read_selection
from avocado_pool_plugin.plugins.text import print_json

if TYPE_CHECKING:
    from avocado_pool_plugin.plugins.steps.context import Context

#: Name, help and examples of each command; the name is that of its step as well.
_TABLE = (
    (
        "get",
        "Bring images into states, as a test that gets them finds them",
        ("get_state_images=customize only=vm1", "get_state=install vms=vm1 --dry-run"),
    ),
    (
        "set",
        "Save images as states, in the cache and in the pools",
        ("set_state_images=customize vms=vm1", "set_state=fixed set_mode=ff --json"),
    ),
    (
        "unset",
        "Remove states from the cache and from the pools",
        ("unset_state_images=customize vms=vm1", "unset_state=old pool_scope=own --dry-run"),
    ),
    (
        "push",
        "Save images as states that are not there yet",
        ("push_state_images=before vms=vm1", "push_state=before --json"),
    ),
    (
        "pop",
        "Bring images into states, and remove these",
        ("pop_state_images=before vms=vm1", "pop_state=before --json"),
    ),
    (
        "check",
        "Tell whether the states exist that tests get, and where",
        ("only=vm1", "check_state_images=customize vms=vm1 --json"),
    ),
)


def _configure(parser: Any, verb: str) -> None:
    # before the options of avocado run, some of which have the same names
    add_json(parser)
    if verb != "check":
        parser.add_argument(
            *("-d", "--dry-run"),
            dest="run.dry_run.enabled",
            action="store_true",
            default=argparse.SUPPRESS,
            help="Tell which images it is about, and change nothing",
        )
    add_words(parser, step=True)


def _run(config: Mapping[str, Any], verb: str) -> int:
    words = config["pool_words"]
    _require_no_setup(words, verb)
    from avocado_pool_plugin.plugins.steps.context import Context, run_chain

    machine = bool(config.get("pool_json"))
    claimed = {"stdout_claimed_by": "--json"} if machine else {}
    context = Context.of({**config, **claimed}, replace(read_selection(words), setup=(verb,)))
    if not machine:
        return run_chain(context)
    return _check(context) if verb == "check" else _done(context)


def _require_no_setup(words: Iterable[str], verb: str) -> None:
    """
    Make sure that no other steps are asked for.

    :raises SettingRefused: they are
    """
    for word in words:
        if word.partition("=")[0].strip() == "setup":
            raise SettingRefused(
                f"{word!r} can't be given here, 'avocado pool {verb}' does the step {verb!r} "
                f"alone; write 'avocado pool run {word}'"
            )


def _done(context: "Context") -> int:
    """Do a step, and print what it did with states, be it that it failed half way."""
    from avocado_pool_plugin.plugins.steps.context import run_chain
    from avocado_pool_plugin.states import report

    before = len(report.events())
    try:
        status = run_chain(context)
    except (NameRefused, LocationRefused, SettingRefused):
        raise
    except PoolError as error:
        LOG_UI.error("%s", error)
        status = FAILED
    done = [_named(event.as_dict()) for event in report.events()[before:]]
    if done or status != MISUSED:
        print_json(done)
    return status


def _check(context: "Context") -> int:
    from avocado_pool_plugin.plugins.steps import check

    found = check.look(context)
    print_json([_named(one.as_dict()) for one in found])
    return check.status(found)


def _named(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a state, with its names as all commands have them."""
    whose = found["object"]
    object_id, _, image = whose.partition("/")
    names = {"title": f"{whose}/{found['state']}", "object": object_id, "image": image or None}
    return {**names, **{key: value for key, value in found.items() if key != "object"}}


VERBS: tuple[Command, ...] = tuple(
    Command(
        name=name,
        help=text,
        examples=tuple(f"{name} --vt-config tests.cfg {words}" for words in examples),
        configure=functools.partial(_configure, verb=name),
        run=functools.partial(_run, verb=name),
    )
    for name, text, examples in _TABLE
)
