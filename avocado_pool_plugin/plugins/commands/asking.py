"""What a command asks its user before it does something that can't be undone."""

import sys
from collections.abc import Mapping
from typing import Any

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.plugins.commands.command import add_dry_run
from avocado_pool_plugin.plugins.text import is_terminal


def add_yes(parser: Any) -> None:
    """Add ``--yes`` and ``--dry-run``."""
    parser.add_argument(
        "--yes", dest="pool_yes", action="store_true", help="Do it without a question"
    )
    add_dry_run(parser)


def require_answer(config: Mapping[str, Any]) -> None:
    """
    Make sure that somebody can be asked, or need not be.

    :raises SettingRefused: neither
    """
    if config.get("pool_yes") or config.get("pool_dry_run"):
        return
    if config.get("pool_json") or not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise SettingRefused("nobody can be asked here; give --yes to do it, or --dry-run")


def confirmed(config: Mapping[str, Any], question: str) -> bool:
    """Ask the user whether to go on; anything but ``y`` or ``yes`` is a no."""
    if config.get("pool_yes"):
        return True
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")
