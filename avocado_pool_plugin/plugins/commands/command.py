"""What a sub-command of ``avocado pool`` is."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import NameRefused
from avocado_pool_plugin.core.names import State

#: Exit statuses: all is fine; something was found or failed; the command was used wrongly.
FINE, FAILED, MISUSED = 0, 1, 2
#: Whose warnings are for users of commands; what others warn of is part of a result.
_WARNING = tuple(f"avocado.avocado_pool_plugin.{part}" for part in ("core", "ssh", "graph.exists"))


@dataclass(frozen=True)
class Command:
    """
    A sub-command.

    :param name: what users call it
    :param help: a line for users, short enough for one of 80 columns
    :param examples: command lines, without ``avocado pool``
    :param configure: adds its arguments to an argparse parser; their names begin with ``pool_``
    :param run: does it, with Avocado's configuration; returns an exit status
    :param checked: whether the options of ``[pool]`` have to make sense
    """

    name: str
    help: str
    examples: tuple[str, ...]
    configure: Callable[[Any], None]
    run: Callable[[Mapping[str, Any]], int]
    checked: bool = True


def add_json(parser: Any) -> None:
    """Add ``--json``: machines read the result."""
    parser.add_argument("--json", dest="pool_json", action="store_true", help="Print JSON")


def add_dry_run(parser: Any) -> None:
    """Add ``--dry-run``: nothing is done."""
    parser.add_argument(
        "--dry-run",
        dest="pool_dry_run",
        action="store_true",
        help="Print what would be done, and change nothing",
    )


def add_state(parser: Any) -> None:
    """Add ``OBJECT/STATE``, for :func:`read_state`."""
    parser.add_argument(
        "pool_state",
        metavar="OBJECT/STATE",
        help="The state, as OBJECT_ID/IMAGE/STATE; OBJECT_ID/STATE is one of a vm",
    )


def add_object(parser: Any) -> None:
    """Add ``OBJECT``, the part of caches and pools that a command is about."""
    parser.add_argument(
        "pool_object",
        metavar="OBJECT",
        nargs="?",
        default="",
        help="OBJECT_ID for a vm and its images, OBJECT_ID/IMAGE for one image (default: all)",
    )


class ToUser(logging.Handler):
    """Shows users what is logged for tests and jobs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show it."""
        LOG_UI.log(record.levelno, "%s", record.getMessage())


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """Show users what goes on below, such as a working image that is invalid now."""
    handler = ToUser(logging.WARNING)
    for name in _WARNING:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in _WARNING:
            logging.getLogger(name).removeHandler(handler)


def read_state(text: str) -> State:
    """
    Read a state as it is named on the command line.

    :param text: ``OBJECT_ID/IMAGE/STATE`` or, for a vm, ``OBJECT_ID/STATE``
    :raises NameRefused: it is neither
    """
    parts = text.split("/")
    if len(parts) not in (2, 3):
        raise NameRefused(
            f"{text!r} names no state; write OBJECT_ID/IMAGE/STATE for one of an image, "
            f"OBJECT_ID/STATE for one of a vm, as 'avocado pool list' shows them"
        )
    return State(parts[0], parts[1] if len(parts) == 3 else None, parts[-1])


def named(state: State | None, title: str = "") -> dict[str, str | None]:
    """
    Return what objects for programs say of which state it is; the same in all commands.

    :param state: None for what is no state, such as a root image
    :param title: what that is called
    """
    if state is None:
        return {"title": title, "object": None, "image": None, "state": None}
    return {
        "title": state.title,
        "object": state.object_id,
        "image": state.image,
        "state": state.name,
    }
