"""Which of several tests that could run is the most urgent: the one with the longest way to go."""

import math
from collections.abc import Mapping

from avocado_pool_plugin.graph.plan import RUN, Plan


def remaining(plan: Plan, seconds: Mapping[str, float]) -> dict[str, float]:
    """
    Return how long it takes from the start of each test to the end of all that waits for it.

    :param seconds: how long tests took in earlier runs; an unknown one takes their mean, so that
        without any knowledge the depth alone counts
    :returns: seconds by test, of those that run
    """
    running = [step for step in plan.steps if step.action == RUN]
    known = [seconds[step.test] for step in running if step.test in seconds]
    usual = math.fsum(known) / len(known) if known else 1.0
    left = {step.test: 0.0 for step in running}
    for step in reversed(running):
        left[step.test] += seconds.get(step.test, usual)
        for before in (*step.needs, *step.after):
            left[before] = max(left[before], left[step.test])
    return left
