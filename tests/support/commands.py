"""``avocado pool`` in this process: what the program does after it read its arguments."""

from collections.abc import Mapping
from typing import Any

import pytest

from avocado_pool_plugin.plugins import cmd


def do(name: str, config: Mapping[str, Any]) -> int:
    """
    Do a sub-command, whatever the configuration files of this machine say; return its exit status.

    :param config: its arguments, and options as of :func:`section`
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cmd, "check_files", lambda: None)
        return cmd.Pool().run({"pool_subcommand": name, **config})


def section(options: Mapping[str, str]) -> dict[str, str]:
    """Return options of section ``[pool]`` as Avocado's configuration has them."""
    return {f"pool.{option}": value for option, value in options.items()}
