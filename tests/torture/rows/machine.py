"""Workers that get, set, remove and are killed, all at once, against a model of what may come."""

import traceback
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.memory import in_memory
from tests.torture.model.crowd import Crowd
from tests.torture.model.machine import Machine
from tests.torture.row import Row, Wish

_WORK = (
    "three workers with two caches, two vms with three images, two pools: get, set, unset and gc, "
    "alone and at once, killed at any call or moment, with images open and states pinned"
)
_RIGHT = (
    "visible states whole and true to their digests, with all they stand on; what is got is one of "
    "what was set; nothing is lost that nobody removed, nor what a guest wrote; refused only with "
    "a reason; the next operation heals"
)
#: Throws of the dice, lives of the machine with each, and steps of a life.
_SEEDS, _LIVES, _STEPS = 12, 6, 60


def rows(wish: Wish) -> Iterator[Row]:
    """Let the machine live some lives, each with dice of its own."""
    row, crowd = Row(_WORK, _RIGHT), Crowd()
    with in_memory("machine") as directory:
        for number in range(wish.few(_SEEDS, 1)):
            wish.progress(f"machine: {number} of {_SEEDS}, {row.tried} steps")
            _live(wish, row, crowd, directory, number)
    yield row


def _live(wish: Wish, row: Row, crowd: Crowd, root: Path, number: int) -> None:
    wrong: list[str] = []

    @seed(wish.dice("machine", number).randrange(1 << 32))
    def machine() -> Machine:
        return Machine(crowd, row, root, wrong)

    allowed = settings(
        max_examples=_LIVES,
        stateful_step_count=_STEPS,
        database=None,
        deadline=None,
        print_blob=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        run_state_machine_as_test(machine, settings=allowed)
    except Exception as error:
        told = wrong[0] if wrong else "".join(traceback.format_exception(error))
        row.wrong.append(f"seed {wish.seed}, dice {number}: {told}")
