"""Killed at each write-side call: with all that it started, before the call takes effect."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.support.memory import in_memory
from tests.torture.faults import KILL, faults, sorts
from tests.torture.row import Row, Wish
from tests.torture.scenes import SCENES
from tests.torture.sweep import Sweep

_RIGHT = (
    "each visible state whole and true to its digest, the old one or the new one; the working "
    "image sound and with all that was written; the next try heals"
)
#: Points of each scene in a short run.
_SHORT = 12


def rows(wish: Wish) -> Iterator[Row]:
    """Sweep all scenes."""
    yield from swept(wish, "killed at each call", _RIGHT, KILL)


def swept(wish: Wish, what: str, right: str, *hows: str) -> Iterator[Row]:
    """
    Hurt all scenes at each of their calls, as many at a time as there are cores.

    :param what: happens to them, for the table
    :param right: what has to be right
    :param hows: in which ways, see :meth:`Faults.run`; of several each call has its turn
    """
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as pool:
        found = []
        for scene in SCENES:
            row = Row(f"{scene.name}, {what}", right)
            found.append(pool.submit(_sweep, wish, scene.name, row, hows))
        for each in found:
            yield each.result()


def _sweep(wish: Wish, name: str, row: Row, hows: tuple[str, ...]) -> Row:
    scene = next(scene for scene in SCENES if scene.name == name)
    with in_memory("kills") as directory:
        sweep = Sweep(scene, faults(), directory)
        for at, how in wish.sample(sweep.points(hows, wish.seed), _SHORT, name):
            wish.progress(f"{name}: {how} at call {at} of {len(sweep.calls)}")
            with row.trying(f"{name}, {how} at call {at} ({sweep.calls[at - 1]})"):
                outcome = sweep.hurt(at, how)
                row.count(sorts(outcome))
                assert outcome.status in (0, -9) or outcome.ours, outcome.said
                sweep.check()
    return row
