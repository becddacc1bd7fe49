"""Eight processes at once, on one cache and on eight caches."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.lab import CHECKOUT, Lab
from benchmarks.measure import Contender, alternate, start_over
from benchmarks.rows.bench import Bench
from benchmarks.table import Row, versus

#: GiB of memory that one and eight copies of the chain take, and some more.
_ROOM_ONE, _ROOM_EIGHT = 3, 14


class Fetchers:
    """
    Processes with everything imported, each to fetch the chain into a cache when told to.

    They do so with ``pool_fsync = no``, because the cp beside them does not wait for the disk
    either.
    """

    _SCRIPT = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from benchmarks.lab import Lab, CHAIN\n"
        "from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer as T\n"
        "p = Lab(Path(sys.argv[2])).params(object_type='vms/images', swarm_pool=sys.argv[3],"
        " get_state=CHAIN[-1][0], pool_fsync='no')\n"
        "p['get_location'] = ':' + p['shared_pool']\n"
        "import blake3, filelock, concurrent.futures.thread; print('ready', flush=True)\n"
        "for line in sys.stdin: T.get(p); print('done', flush=True)\n"
    )

    def __init__(self, lab: Lab, caches: list[Path]) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", self._SCRIPT, str(CHECKOUT), str(lab.root), str(cache)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for cache in caches
        ]
        self._answers()

    def fetch(self) -> None:
        """Let all of them fetch at once, and wait for the last."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        self._answers()

    def _answers(self) -> None:
        for process in self._processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                sys.exit("benchmark: a process that fetches died")

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _copies(lab: Lab, caches: list[Path]) -> None:
    """Copy the chain to all caches at once, each by a cp of its own; nothing waits for the disk."""
    for cache in caches:
        cache.mkdir()
    files = list(map(str, lab.files(lab.pool)))
    works = [["cp", "--sparse=always", *files, str(cache)] for cache in caches]
    processes = [subprocess.Popen(work) for work in works]
    if any(process.wait() for process in processes):
        sys.exit("benchmark: a cp failed")


def rows(bench: Bench) -> Iterator[Row]:
    """Yield both rows; in neither of them anybody waits for the disk (see Fetchers)."""
    lab = bench.chain(bench.ext4)
    caches = [lab.root / f"many{number}" for number in range(8)]

    def one_free() -> None:
        start_over(_ROOM_ONE, *caches)

    def eight_free() -> None:
        start_over(_ROOM_EIGHT, *caches)

    with contextlib.ExitStack() as stack:

        def fetchers(where: list[Path]) -> Fetchers:
            made = Fetchers(lab, where)
            stack.callback(made.close)
            return made

        one, eight = fetchers(caches[:1]), fetchers(caches[:1] * 8)
        found = alternate(
            {
                "8": Contender(eight.fetch, one_free),
                "one process": Contender(one.fetch, one_free),
            },
            bench.runs,
        )
        work, aim = "8 processes, one chain, one cache", "<= 1.3 x one process"
        yield versus(work, aim, found, 1.3, note="no fsync", elsewhere=True)
        apart = fetchers(caches)
        found = alternate(
            {
                "8": Contender(apart.fetch, eight_free),
                "8 cp": Contender(lambda: _copies(lab, caches), eight_free),
            },
            bench.few,
        )
        work, aim = "8 caches, one pool (ext4)", "<= 1.1 x 8 plain cp"
        row = versus(work, aim, found, 1.1, note="no fsync by either", elsewhere=True)
        drawn = {"ours": found["8"], "cp": found["8 cp"]}
        yield replace(row, found=drawn, short="get by 8 at once, ext4")
    start_over(0, *caches)
