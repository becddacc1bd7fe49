"""``avocado pool backends``: what can keep states."""

from collections.abc import Mapping
from typing import Any

from avocado_pool_plugin.plugins.commands.command import FINE, Command
from avocado_pool_plugin.plugins.text import print_table


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.states.backends import known_backends

    print_table(
        ("name", "from", "error"),
        [[known.name, known.origin, known.error] for known in known_backends()],
    )
    return FINE


BACKENDS = Command(
    name="backends",
    help="List what can keep states, and what can't be loaded",
    examples=("backends",),
    configure=lambda parser: None,
    run=_run,
    checked=False,
)
