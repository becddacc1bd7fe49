#!/usr/bin/env python3
"""
Run the example suite as a graph: tests that make states first, all others as soon as they can.

Tests whose states are in the pool already are not run again. Then a second worker, with an empty
cache of its own, starts from states in the pool: one of an image, one of a running machine. Empty
the cache (``.build/cache``) and run again to see that nothing is rebuilt; empty the pool
(``.build/pool``), too, to begin anew.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from configure import BUILD, Environment, configure, default_environment, kvm_works, stop_machines

#: how many tests run at once, each with a working image of its own
SLOTS = 2
#: what the second worker runs
ELSEWHERE = "only=consumer_a,resumed"
#: where states are below a cache or a pool: the RAM of running machines, and images
STATES = ("*/*.state", "*/[!.]*/*.qcow2")
#: seconds Avocado has to end its tests after Ctrl-C
GRACE = 10
#: what Avocado-VT says on each start about programs this suite has no use for
NOISE = ("No python imaging library", "Virsh executable not set")


def states(root: Path) -> Iterator[str]:
    """Yield a line for each object that has states below a cache or pool, with their disk usage."""
    files = [file for pattern in STATES for file in root.glob(pattern)]
    for directory in sorted({file.parent for file in files}):
        own = sorted(
            (file for file in files if file.parent == directory),
            key=lambda file: file.stat().st_mtime,
        )
        sizes = (f"{file.stem} {file.stat().st_blocks / 2048:.1f} MiB" for file in own)
        yield f"{directory.relative_to(root)}: {', '.join(sizes)}"


@contextlib.contextmanager
def patience(process: "subprocess.Popen[str]") -> Iterator[None]:
    """After Ctrl-C, which Avocado got as well, let it end its tests."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        raise


def pool_run(env: Environment, *arguments: str, config: Path | None = None) -> bool:
    """
    Run tests, and those that make what they need.

    :param arguments: further ones of ``avocado pool run``
    :param config: the Cartesian config, the suite's own by default
    :return: whether all of them passed or were spared; Avocado's exit status alone is 0 for tests
        that were left out
    """
    command = ["avocado", "pool", "run", "--vt-config", str(config or env.vt_config), *arguments]
    variables = env.variables()
    print(f"$ {shlex.join(command)}", flush=True)
    latest = env.results / "latest"
    before = latest.resolve()
    # Popen looks for the program in this process's PATH, not in the one it hands over
    command[0] = shutil.which("avocado", path=variables["PATH"]) or "avocado"
    try:
        with (
            subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process,
            patience(process),
        ):
            assert process.stderr is not None
            for line in process.stderr:
                if not line.startswith(NOISE):
                    print(line, end="", file=sys.stderr, flush=True)
    finally:
        stop_machines(env)
    if process.returncode != 0 or latest.resolve() == before:
        return False
    results = json.loads((latest / "results.json").read_text(encoding="utf-8"))
    return all(
        test["status"] == "PASS" or str(test["fail_reason"]).startswith("reused: ")
        for test in results["tests"]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument(
        "--build", type=Path, default=BUILD, metavar="DIR", help="where pool, cache and results are"
    )
    build = parser.parse_args().build
    try:
        env = configure(default_environment(build))
    except ValueError as error:
        sys.exit(f"run: {error}")
    print(f"accelerator: {'KVM' if kvm_works() else 'TCG, KVM does not work here'}")

    started = time.monotonic()
    parallel = ("--max-parallel-tasks", str(SLOTS))
    if not pool_run(env, *parallel):
        return 1
    picture = (env.results / "latest").resolve() / "pool-graph.svg"
    print(f"picture: {os.path.relpath(picture)}")

    print("\na worker with an empty cache of its own, and the same pool:")
    cache = env.cache.with_name("cache-of-another-worker")
    shutil.rmtree(cache, ignore_errors=True)
    if not pool_run(env, *parallel, "--pool-cache", str(cache), ELSEWHERE):
        return 1

    print(f"\n{time.monotonic() - started:.0f} s in all. States:")
    for root in (Path(env.pool), env.cache, cache):
        print(f"{os.path.relpath(root)}:")
        for line in states(root):
            print(f"    {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
