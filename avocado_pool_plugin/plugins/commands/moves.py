"""``avocado pool fetch`` and ``avocado pool publish``: chains between the cache and the pools."""

import functools
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.cli import SSH, add_arguments
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_dry_run,
    add_json,
    add_state,
    named,
    read_state,
    warnings_shown,
)
from avocado_pool_plugin.plugins.text import human_size, print_json

if TYPE_CHECKING:
    from avocado_pool_plugin.states.exchange import Outcome

#: What is said of files by what became of them.
_WORDS = {"copied": "copied", "cloned": "cloned", "linked": "linked", "kept": "already there"}


def _configure(parser: Any) -> None:
    add_state(parser)
    add_arguments(parser, "shared_pool", "swarm_pool", "lock_timeout", *SSH)
    add_dry_run(parser)
    add_json(parser)


def _run(config: Mapping[str, Any], down: bool) -> int:
    wanted = read_state(config["pool_state"])
    dry, machine = bool(config.get("pool_dry_run")), bool(config.get("pool_json"))
    from avocado_pool_plugin.core.progress import reporting
    from avocado_pool_plugin.plugins import bars
    from avocado_pool_plugin.states import exchange

    do = exchange.fetch if down else exchange.publish
    with warnings_shown(), reporting(bars.reporter(None if machine else LOG_UI)):
        outcome = do(wanted, job_params(config), dry)
    for problem in outcome.problems:
        LOG_UI.log(logging.WARNING if down else logging.ERROR, "%s", problem)
    if machine:
        print_json({**named(wanted), **_as_dict(dry, outcome)})
    elif dry:
        sys.stdout.write(f"{outcome.plan}\n")
    elif outcome.steps:
        verb = "fetched" if down else "published"
        sys.stdout.write(f"{verb} {config['pool_state']}: {_summary(outcome)}\n")
    return FINE if down or not outcome.problems else FAILED


def _summary(outcome: "Outcome") -> str:
    counts = Counter(step.action for step in outcome.steps)
    told = [f"{counts[action]} {word}" for action, word in _WORDS.items() if counts[action]]
    files = "file" if len(outcome.steps) == 1 else "files"
    return (
        f"{len(outcome.steps)} {files} ({', '.join(told)}), {human_size(outcome.size)} in "
        f"{outcome.seconds:.2f} s"
    )


def _as_dict(dry: bool, outcome: "Outcome") -> dict[str, Any]:
    return {
        "dry_run": dry,
        "moved": len(outcome.steps) - outcome.kept,
        "kept": outcome.kept,
        "bytes": outcome.size,
        "seconds": outcome.seconds,
        "files": [
            {
                "source": step.source,
                "target": step.target,
                "action": step.action,
                "bytes": step.size,
            }
            for step in outcome.steps
        ],
        "problems": [str(problem) for problem in outcome.problems],
    }


FETCH = Command(
    name="fetch",
    help="Copy a state and what it stands on from a pool to the cache",
    examples=(
        "fetch vm1/image1/install --pool-location :/srv/pool",
        "fetch vm1/running --pool-location store:/srv/pool --dry-run",
    ),
    configure=_configure,
    run=functools.partial(_run, down=True),
)
PUBLISH = Command(
    name="publish",
    help="Copy a state and what it stands on from the cache to all pools",
    examples=(
        "publish vm1/image1/install --pool-location ':/srv/pool :/mnt/pool'",
        "publish vm1/image1/install --dry-run --json",
    ),
    configure=_configure,
    run=functools.partial(_run, down=False),
)
