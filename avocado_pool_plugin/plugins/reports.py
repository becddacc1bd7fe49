"""What a graph run says about itself: lines for people, files in the job's directory."""

import json
import logging
import os
from dataclasses import asdict

from avocado_pool_plugin.core.errors import GraphRefused, PoolError
from avocado_pool_plugin.graph import picture
from avocado_pool_plugin.graph.plan import REUSE, RUN, SKIP, Found, Plan, Wish, make_plan
from avocado_pool_plugin.graph.run import Outcome
from avocado_pool_plugin.graph.suite import Prepared
from avocado_pool_plugin.plugins.text import PLAN_STEM

LOG = logging.getLogger("avocado." + __name__)

#: Larger plans are not drawn after each run: Graphviz needs minutes for them.
_DRAWN = 400


def plan_line(plan: Plan) -> str:
    """Return a plan in numbers."""
    run = [step for step in plan.steps if step.action == RUN]
    pulled = sum(not step.selected for step in run)
    parts = [f"{len(run)} to run" + (f" ({pulled} for others)" if pulled else "")]
    parts += [
        f"{number} {word}"
        for word, number in (
            ("reused", len(plan.named(REUSE))),
            ("passed before", len(plan.named(SKIP))),
        )
        if number
    ]
    return ", ".join(parts)


def notes(plan: Plan) -> list[str]:
    """Return what people have to know about states that are used nevertheless."""
    return [f"state {state} {found.note}" for state, found in plan.reused.items() if found.note]


def spared_seconds(prepared: Prepared) -> float:
    """Return how long the tests took that need not run because their states are there."""
    ran = set(prepared.plan.named(RUN))
    selected = tuple(step.test for step in prepared.plan.steps if step.selected)
    try:
        full = set(make_plan(prepared.graph, Wish(selected), lambda _: Found()).named(RUN))
    except GraphRefused:
        # some states can only be had: those that could be made count
        makers = prepared.graph.makers
        full = {name for state in prepared.plan.reused for name in makers.get(state, ())}
    return sum(prepared.seconds.get(name, 0.0) for name in full - ran)


def write(directory: str, suite: str, prepared: Prepared, outcome: Outcome) -> None:
    """
    Write plan, results and picture of a suite to a job's directory; failing is only logged.

    :param suite: its name; files of a suite with one have it in their names
    """
    stem = os.path.join(directory, f"{PLAN_STEM}-{suite}" if suite else PLAN_STEM)
    told = {
        "reused": len(prepared.plan.reused),
        "saved_seconds": round(spared_seconds(prepared), 3),
        "fetch": prepared.plan.fetch,
        "steps": [asdict(step) for step in prepared.plan.steps],
        "results": outcome.results,
        "seconds": outcome.seconds,
    }
    try:
        with open(f"{stem}.json", "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1, default=str)
        endings = ("dot", "svg") if len(prepared.plan.steps) <= _DRAWN else ("dot",)
        for ending in endings:
            picture.write(f"{stem}.{ending}", prepared.graph, prepared.plan, outcome.results)
    except (PoolError, OSError) as error:
        LOG.warning("the picture of the run is not complete: %s", error)
