"""From the release of a lock until a waiting process has it."""

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import CHECKOUT
from benchmarks.measure import Contender, alternate
from benchmarks.rows.bench import Bench
from benchmarks.table import Row, versus

_WAITER = (
    "import sys, time; from avocado_pool_plugin.states.pool import image_lock\n"
    "for line in sys.stdin:\n"
    "    with image_lock(sys.argv[1], 20): print(time.time(), flush=True)\n"
)


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the row."""
    from avocado_pool_plugin.states.pool import image_lock

    path = str(bench.ext4 / "lock" / "file")
    waiter = subprocess.Popen(
        [sys.executable, "-c", _WAITER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )

    def ours() -> float:
        assert waiter.stdin is not None and waiter.stdout is not None
        with image_lock(path, 20):
            waiter.stdin.write("x\n")
            waiter.stdin.flush()
            time.sleep(0.3 + (time.time() % 0.1))
        released = time.time()
        return float(waiter.stdout.readline()) - released

    other = str(bench.ext4 / "lock2" / "file")

    def theirs() -> float:
        with Path(other + ".lock").open("wb") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            bench.peer.tell("hold", path=other)
            time.sleep(0.3 + (time.time() % 1.0))
            released = time.time()
            fcntl.lockf(file, fcntl.LOCK_UN)
            return float(bench.peer.answer()["result"]) - released

    Path(other).parent.mkdir(parents=True, exist_ok=True)
    found = alternate({"ours": Contender(ours), "avocado-i2n": Contender(theirs)}, bench.runs)
    waiter.communicate()
    work, aim, short = "lock hand-over after release", "median <= 50 ms", "lock hand-over"
    yield versus(work, aim, found, 0.1, elsewhere=True, short=short)
