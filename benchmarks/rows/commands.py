"""What a person waits for: an import, and the command that lists a pool."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import tool
from benchmarks.measure import Contender, alternate
from benchmarks.rows.bench import Bench
from benchmarks.table import Row


def rows(bench: Bench) -> Iterator[Row]:
    """Yield both rows."""
    yield from _imports(bench)
    yield from _listing(bench)


def _imports(bench: Bench) -> Iterator[Row]:
    """What the documented module costs beyond Avocado-VT's own import."""
    script = (
        "import time; import virttest.utils_params, virttest.storage, virttest.data_dir\n"
        "started = time.perf_counter(); import avocado_pool_plugin.states.pool\n"
        "print(time.perf_counter() - started)"
    )
    run = subprocess.run

    def ours() -> float:
        done = run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    found = alternate({"ours": Contender(ours)}, bench.runs)["ours"]
    yield Row(
        "import states.pool, beyond virttest's",
        "<= 60 ms",
        str(found),
        "",
        "",
        found={"ours": found},
    )


def _listing(bench: Bench) -> Iterator[Row]:
    """The command that lists a pool with many states."""
    pool = bench.ext4 / "listed"
    directory = pool / "vm1" / "image1"
    directory.mkdir(parents=True)
    first = directory / "s0.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", first, "1M")
    start = first.read_bytes()[:4096]
    for number in range(1, 20_000):
        (directory / f"s{number}.qcow2").write_bytes(start)

    def listed(what: Path) -> None:
        program = Path(sys.executable).with_name("avocado")
        command = [str(program), "pool", "list", "--pool-location", f":{what}"]
        command += ["--pool-cache", str(bench.ext4 / "no-cache")]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    found = alternate(
        {
            "ours": Contender(lambda: listed(pool)),
            # what every command of Avocado costs is no matter of ours, but it is part of the wait
            "an empty pool": Contender(lambda: listed(bench.ext4 / "none")),
        },
        bench.runs,
    )
    ours, empty = found.values()
    work, other = "list a pool with 20,000 states", f"an empty pool {empty}"
    yield Row(work, "<= 2 s", str(ours), other, "", found=found)
    shutil.rmtree(pool)
