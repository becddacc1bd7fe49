"""A running vm is saved, QEMU without a guest, and its save is hurt at write-side calls."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.faults.vm_cases import Case, Copied, Merged, New, Replaced, Sweep, settled
from tests.support.memory import in_memory
from tests.support.vmstates import show
from tests.torture.faults import KILL, SHORT, Outcome, faults, sorts
from tests.torture.row import Row, Wish

_RIGHT = (
    "the state old or new as a whole, RAM file and all images of one moment; the vm goes on, and "
    "its images have all that it wrote, before and since"
)
_KINDS: dict[str, type[Case]] = {
    "set of a vm state": New,
    "set of a vm state, replacing one": Replaced,
    "set of a vm state that the vm stands on": Merged,
    "set of a vm state whose image can't be moved": Copied,
}
#: Kills and errors are tried at every so many calls: each try starts a QEMU.
_KILLS, _ERRORS = 2, 8
#: Points of each kind in a short run.
_SHORT = 2


def rows(wish: Wish) -> Iterator[Row]:
    """Sweep all kinds of saves, as many at a time as there are cores."""
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as pool:
        found = []
        for name in _KINDS:
            row = Row(f"{name}, killed at its calls, or ENOSPC, EIO, EINTR, half a write", _RIGHT)
            found.append(pool.submit(_sweep, wish, name, row))
        for each in found:
            yield each.result()


def _sweep(wish: Wish, name: str, row: Row) -> Row:
    with in_memory("live") as root:
        sweep = Sweep(_KINDS[name], root)
        calls = _hurt(sweep, root).calls
        for at, how in wish.sample(_points(len(calls)), _SHORT, name):
            wish.progress(f"{name}: {how} at call {at} of {len(calls)}")
            with row.trying(f"{name}, {how} at call {at} ({calls[at - 1]})"):
                outcome = _hurt(sweep, root, at, how)
                row.count(sorts(outcome))
                assert outcome.status in (0, -9) or outcome.ours, outcome.said
                sweep.after(show)
    return row


def _points(calls: int) -> list[tuple[int, str]]:
    found = [(at, KILL) for at in range(1, calls + 1, _KILLS)]
    for number, how in enumerate(("ENOSPC", "EIO", "EINTR", SHORT)):
        found += [(at, how) for at in range(1 + 2 * number, calls + 1, _ERRORS)]
    return found


def _hurt(sweep: Sweep, root: Path, at: int = 0, how: str = KILL) -> Outcome:
    """Save a fresh vm; it goes on, also where nobody is left to tell it so."""
    with sweep.fresh() as vm:
        outcome = faults().run(lambda: sweep.case.save(vm), root, at, how)
        vm.connect()
        settled(vm)
        sweep.case.goes_on(vm)
    return outcome
