"""``avocado pool backends``: what can keep states."""

from collections.abc import Mapping
from typing import Any

from avocado_pool_plugin.plugins.commands.command import FINE, Command, add_json
from avocado_pool_plugin.plugins.text import print_json, print_table

_COLUMNS = ("name", "from", "error")


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.states.backends import known_backends

    found = known_backends()
    if config.get("pool_json"):
        print_json([{"name": one.name, "from": one.origin, "error": one.error} for one in found])
    else:
        print_table(_COLUMNS, [[one.name, one.origin, one.error] for one in found])
    return FINE


BACKENDS = Command(
    name="backends",
    help="List what can keep states, and what can't be loaded",
    examples=("backends", "backends --json"),
    configure=add_json,
    run=_run,
    checked=False,
)
