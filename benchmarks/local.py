#!/usr/bin/env python3
"""
The local speed of states beside what people would use instead; ``make bench``.

Each row times all its contenders in turn, in this very run. Nothing passes or fails here; with
``--check`` the exit status is 1 if a ratio is far off (three times its aim).
"""

import argparse
import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lab import BUILD, CHAIN, CHECKOUT, MIB, Lab, Peer, disk, fill, tool
from benchmarks.measure import (
    Contender,
    Samples,
    alternate,
    blocks,
    drop_caches,
    ratio,
    sync,
)

#: How far off a ratio may be in a quick check.
SLACK = 3.0


@dataclass(frozen=True)
class Row:
    """
    A line of the table.

    :param aim: what was to be reached, in words
    :param ours: what we need
    :param other: what the other contender needs, if there is one
    :param note: further figures
    :param far_off: whether a quick check has to fail
    """

    work: str
    aim: str
    ours: str
    other: str
    note: str
    far_off: bool = False


@dataclass(frozen=True)
class Bench:
    """What the rows share."""

    ext4: Path
    xfs: Path
    peer: Peer
    runs: int


def versus(work: str, aim: str, found: dict[str, Samples], limit: float, note: str = "") -> Row:
    """Return the row for two contenders, the first of which is ours."""
    (_, ours), (name, other) = found.items()
    times = ratio(ours, other)
    told = f"{times:.2f} x {name}"
    told += f"; {ours.started[-1]} processes, {ours.read[-1] / MIB:.2f} MiB read"
    return Row(work, aim, str(ours), f"{name} {other}", f"{told}{note}", times > limit * SLACK)


def alone(work: str, aim: str, ours: Samples, note: str = "") -> Row:
    """Return the row for something without a counterpart."""
    told = f"{ours.started[-1]} processes, {ours.read[-1] / MIB:.2f} MiB read{note}"
    return Row(work, aim, str(ours), "", told)


# -- warm ----------------------------------------------------------------------------------------


def warm(bench: Bench, lab: Lab) -> Iterator[Row]:
    """A get and a comparison where nothing changed."""
    from avocado_pool_plugin.states import pool, setup

    theirs = lab.copy_for_peer("peer")
    state = CHAIN[-1][0]
    params = lab.params(get_state_images=state)
    found = alternate(
        {
            "ours": Contender(lambda: setup.get_states(params)),
            "peer": Contender(lambda: bench.peer.ask("get", **theirs)),
        },
        bench.runs,
    )
    yield versus("get, nothing changed", "<= 0.2 x peer, 1 process, no content", found, 0.2)
    one = lab.params(object_id="vm1", object_type="vms/images")
    transport = pool.QCOW2ImageTransfer

    def compare() -> None:
        assert transport.compare_chain(state, str(lab.cache), f":{lab.pool}", one)

    found = alternate(
        {
            "ours": Contender(compare),
            "peer": Contender(lambda: bench.peer.ask("compare", **theirs)),
        },
        bench.runs,
    )
    yield versus("compare_chain, equal, unchanged", "<= 5 ms, no content", found, 0.2)


# -- cold ----------------------------------------------------------------------------------------


def _remove(*paths: Path) -> Callable[[], None]:
    def work() -> None:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
        sync()

    return work


def _cp(sources: list[Path], target: Path, sparse: str) -> Callable[[], None]:
    """Copy files as a careful person would: sparse, and on the disk when done."""

    def work() -> None:
        target.mkdir(parents=True)
        for source in sources:
            tool("cp", f"--sparse={sparse}", "--reflink=auto", source, target)
        for path in [*target.iterdir(), target]:
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    return work


def cold(bench: Bench, lab: Lab, kind: str) -> Iterator[Row]:
    """A chain fetched to an empty cache, and published to an empty pool."""
    from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

    state = CHAIN[-1][0]
    cache, pool, target = lab.root / "cache2", lab.root / "pool2", lab.root / "cp"
    params = lab.params(object_type="vms/images", swarm_pool=str(cache), get_state=state)
    params["get_location"] = f":{lab.pool}"
    aim = "<= 1.2 x cp --sparse=always + fsync" if kind == "ext4" else "<= 0.1 s, no blocks"
    copy = _cp(lab.files(lab.pool), target, "always" if kind == "ext4" else "auto")
    contenders = {
        "ours": Contender(lambda: QCOW2ImageTransfer.get(params), _remove(cache, target)),
        "cp": Contender(copy, _remove(cache, target)),
    }
    if kind == "ext4":
        theirs = lab.plain("peer")
        contenders["peer"] = Contender(
            lambda: bench.peer.ask("fetch", **theirs), _remove(Path(theirs["cache"]))
        )
    free = shutil.disk_usage(lab.root).free
    found = alternate(contenders, max(3, bench.runs // 3))
    used = (free - shutil.disk_usage(lab.root).free) / MIB
    peer = found.pop("peer", None)
    note = f"; peer {peer}" if peer else f"; {used:.1f} MiB of blocks for all copies"
    yield versus(f"get, cold, {kind}, verified, fsync", aim, found, 1.2, note)
    up = lab.params(object_type="vms/images", set_state=state, set_location=f":{pool}")
    copy = _cp(lab.files(lab.cache), target, "always" if kind == "ext4" else "auto")
    found = alternate(
        {
            "ours": Contender(lambda: QCOW2ImageTransfer.set(up), _remove(pool, target)),
            "cp": Contender(copy, _remove(pool, target)),
        },
        max(3, bench.runs // 3),
    )
    yield versus(f"publish, cold, {kind}, verified, fsync", aim, found, 1.2)
    _remove(cache, pool, target)()


def sparse(bench: Bench) -> Iterator[Row]:
    """A file that is nearly all hole."""
    from avocado_pool_plugin.core.copy import copy_file

    source, copy, other = (bench.ext4 / name for name in ("sparse", "sparse.ours", "sparse.cp"))
    with source.open("wb") as file:
        file.truncate(20 << 30)
        for part in range(64):
            file.seek(part * 320 * MIB)
            file.write(os.urandom(MIB))

    def before() -> None:
        for path in (copy, other):
            path.unlink(missing_ok=True)
        sync()

    found = alternate(
        {
            "ours": Contender(lambda: copy_file(str(source), str(copy)) and None, before),
            "cp": Contender(lambda: tool("cp", "--sparse=auto", source, other), before),
        },
        bench.runs,
    )
    copy_file(str(source), str(copy))
    note = f"; blocks {blocks(copy) / blocks(source):.3f} x the source's"
    yield versus("copy + digest, 20 GiB with 64 MiB of data", "<= 3 x cp", found, 3, note)
    for path in (source, copy, other):
        path.unlink(missing_ok=True)


def digest(bench: Bench) -> Iterator[Row]:
    """A digest of what is in the page cache, beside blake3's own with both cores."""
    from blake3 import blake3

    from avocado_pool_plugin.core.digest import digest_fd

    path = bench.ext4 / "digest"
    with path.open("wb") as file:
        for _ in range(1536):
            file.write(os.urandom(MIB))

    def ours() -> None:
        fd = os.open(path, os.O_RDONLY)
        digest_fd(fd, path.stat().st_size)
        os.close(fd)

    def b3sum() -> None:
        blake3(max_threads=blake3.AUTO).update_mmap(path).digest()

    ours()
    found = alternate({"ours": Contender(ours), "b3sum": Contender(b3sum)}, bench.runs)
    yield versus("digest of 1.5 GiB in the page cache", "<= 1.3 x b3sum", found, 1.3)
    path.unlink()


# -- set -----------------------------------------------------------------------------------------


def sets(bench: Bench) -> Iterator[Row]:
    """A set on the same file system, of a small and of a large image."""
    from avocado_pool_plugin.states import setup

    found: dict[str, Samples] = {}
    for name, size in (("100 MiB", 100), ("10 GiB", 10240)):
        lab = Lab(bench.xfs / f"set{size}")
        lab.image.parent.mkdir(parents=True)

        def before(lab: Lab = lab, size: int = size) -> None:
            shutil.rmtree(lab.cache, ignore_errors=True)
            lab.image.unlink(missing_ok=True)
            template = lab.root / "template.qcow2"
            if not template.exists():
                tool("qemu-img", "create", "-q", "-f", "qcow2", template, "20G")
                fill(template, 0, 100)
                for at in range(100, size, 1014):  # QEMU takes less than 2 GiB at once
                    tool("qemu-io", "-f", "qcow2", "-c", f"write -q {at}M 1014M", template)
            tool("cp", "--reflink=always", template, lab.image)
            sync()

        params = lab.params(set_state_images="s", pool_scope="own")
        work = Contender(lambda params=params: setup.set_states(params), before)
        found[name] = alternate({name: work}, bench.runs)[name]
        shutil.rmtree(lab.root)
    small, large = found.values()
    yield Row(
        "set, same file system, 10 GiB beside 100 MiB",
        "equal within noise, <= 0.1 s",
        str(large),
        f"100 MiB {small}",
        f"{large.median / small.median:.2f} x; {large.started[-1]} processes",
        large.median > SLACK * small.median,
    )


# -- many at once --------------------------------------------------------------------------------


class Fetchers:
    """Processes with everything imported, each to fetch the chain into a cache when told to."""

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
    """Copy the chain to all caches at once, each by a cp of its own."""
    for cache in caches:
        cache.mkdir()
    files = list(map(str, lab.files(lab.pool)))
    works = [["cp", "--sparse=always", *files, str(cache)] for cache in caches]
    processes = [subprocess.Popen(work) for work in works]
    if any(process.wait() for process in processes):
        sys.exit("benchmark: a cp failed")


def many(bench: Bench, lab: Lab) -> Iterator[Row]:
    """Eight processes on one cache, and on eight caches."""
    runs = max(3, bench.runs // 3)
    caches = [lab.root / f"many{number}" for number in range(8)]
    before = _remove(*caches)
    with contextlib.ExitStack() as stack:

        def fetchers(where: list[Path]) -> Fetchers:
            made = Fetchers(lab, where)
            stack.callback(made.close)
            return made

        one, eight = fetchers(caches[:1]), fetchers(caches[:1] * 8)
        found = alternate(
            {"8": Contender(eight.fetch, before), "one process": Contender(one.fetch, before)},
            runs,
        )
        yield versus("8 processes, one chain, one cache", "<= 1.3 x one process", found, 1.3)
        apart = fetchers(caches)
        found = alternate(
            {
                "8": Contender(apart.fetch, before),
                "8 cp": Contender(lambda: _copies(lab, caches), before),
            },
            runs,
        )
        yield versus("8 caches, one pool (ext4)", "<= 1.1 x 8 plain cp", found, 1.1)
    before()


def hand_over(bench: Bench) -> Iterator[Row]:
    """From the release of a lock until a waiting process has it."""
    from avocado_pool_plugin.states.pool import image_lock

    script = (
        "import sys, time; from avocado_pool_plugin.states.pool import image_lock\n"
        "for line in sys.stdin:\n"
        "    with image_lock(sys.argv[1], 20): print(time.time(), flush=True)\n"
    )
    path = str(bench.ext4 / "lock" / "file")
    waiter = subprocess.Popen(
        [sys.executable, "-c", script, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    assert waiter.stdin is not None and waiter.stdout is not None

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
        import fcntl

        with Path(other + ".lock").open("wb") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            bench.peer.tell("hold", path=other)
            time.sleep(0.3 + (time.time() % 1.0))
            released = time.time()
            fcntl.lockf(file, fcntl.LOCK_UN)
            return float(bench.peer.answer()["result"]) - released

    Path(other).parent.mkdir(parents=True, exist_ok=True)
    found = alternate({"ours": Contender(ours), "peer": Contender(theirs)}, bench.runs)
    waiter.stdin.close()
    waiter.wait()
    yield versus("lock hand-over after release", "median <= 50 ms", found, 0.1)


# -- around a test -------------------------------------------------------------------------------


def hooks(bench: Bench, lab: Lab) -> Iterator[Row]:
    """The time inside our hooks around a test that gets a cached state."""
    from virttest import env_process

    from avocado_pool_plugin.plugins import vt

    class Env(dict[str, Any]):
        def get_vm(self, name: str) -> Any:
            return self.get(name)

    class Test:
        logdir = outputdir = debugdir = tempfile.mkdtemp(dir=bench.ext4)

    def around() -> None:
        params, env = lab.params(get_state_images=CHAIN[-1][0]), Env()
        params["remove_image"] = "no"
        vt.install(Test(), params)
        env_process.preprocess_vm_off_hook(Test(), params, env)
        env_process.preprocess_vm_on_hook(Test(), params, env)
        params["test_passed"] = "True"
        env_process.postprocess_vm_on_hook(Test(), params, env)
        env_process.postprocess_vm_off_hook(Test(), params, env)

    found = alternate({"ours": Contender(around)}, bench.runs)["ours"]
    yield alone("hooks around a test, warm get", "<= 0.1 s", found)


def imports(bench: Bench) -> Iterator[Row]:
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
    yield Row("import states.pool, beyond virttest's", "<= 60 ms", str(found), "", "")


def listing(bench: Bench) -> Iterator[Row]:
    """The command that lists a pool with many states."""
    pool = bench.ext4 / "listed"
    directory = pool / "vm1" / "image1"
    directory.mkdir(parents=True)
    first = directory / "s0.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", first, "1M")
    start = first.read_bytes()[:4096]
    for number in range(1, 20_000):
        (directory / f"s{number}.qcow2").write_bytes(start)
    program = Path(sys.executable).with_name("avocado")
    command = [str(program), "pool", "list", "--pool-location", f":{pool}"]
    command += ["--pool-cache", str(bench.ext4 / "no-cache")]
    # what every command of Avocado costs is no matter of ours, but it is part of the wait
    other = [str(program), "pool", "list", "--pool-location", f":{bench.ext4}/none"]
    other += ["--pool-cache", str(bench.ext4 / "no-cache")]

    def run(what: list[str]) -> None:
        subprocess.run(what, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    found = alternate(
        {
            "ours": Contender(lambda: run(command)),
            "an empty pool": Contender(lambda: run(other)),
        },
        max(3, bench.runs // 3),
    )
    ours, empty = found.values()
    yield Row("list a pool with 20,000 states", "<= 2 s", str(ours), f"an empty pool {empty}", "")
    shutil.rmtree(pool)


# -- the table -----------------------------------------------------------------------------------


def rows(bench: Bench) -> Iterator[Row]:
    """Yield all rows."""
    lab = Lab(bench.ext4 / "lab")
    lab.make_chain()
    yield from warm(bench, lab)
    yield from hooks(bench, lab)
    yield from cold(bench, lab, "ext4")
    yield from many(bench, lab)
    shutil.rmtree(lab.root)
    near = Lab(bench.xfs / "lab")
    near.make_chain()
    yield from cold(bench, near, "xfs")
    shutil.rmtree(near.root)
    yield from sparse(bench)
    yield from digest(bench)
    yield from sets(bench)
    yield from hand_over(bench)
    yield from imports(bench)
    yield from listing(bench)


def machine() -> list[str]:
    """Describe where the figures come from."""
    from importlib.metadata import version

    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line for line in file if line.startswith("model name")), ":unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    qemu = subprocess.run(["qemu-img", "--version"], capture_output=True, text=True, check=True)
    packages = ("avocado-framework", "avocado-framework-plugin-vt", "blake3", "filelock")
    return [
        f"{cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"{qemu.stdout.splitlines()[0]}",
        ", ".join(f"{name} {version(name)}" for name in packages)
        + "; peer: avocado-framework-plugin-i2n 103.0",
        "ext4 and XFS (reflink) on loop devices, on one ext4 disk",
    ]


def to_rst(table: list[Row]) -> str:
    """Return the table as a part of docs/benchmarks.rst."""
    head = ("work", "aim", "ours: median (min - max)", "beside", "more")
    lines = [*(f"* {line}" for line in machine()), ""]
    lines += [".. list-table::", "   :header-rows: 1", ""]
    for cells in [head, *((r.work, r.aim, r.ours, r.other, r.note) for r in table)]:
        lines += [
            f"   {'* -' if n == 0 else '  -'} {cell}".rstrip() for n, cell in enumerate(cells)
        ]
    return "\n".join(lines) + "\n"


def write_document(table: list[Row]) -> None:
    """Put the table between its two marks in docs/benchmarks.rst."""
    path = CHECKOUT / "docs" / "benchmarks.rst"
    text = path.read_text(encoding="utf-8")
    start, end = ".. table begins\n", ".. table ends\n"
    before, after = text.split(start)[0], text.split(end)[1]
    path.write_text(f"{before}{start}\n{to_rst(table)}\n{end}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--check", action="store_true", help="few runs, fail on ratios far off")
    parser.add_argument("--runs", type=int, default=9, help="counted runs of each contender")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("benchmark: needs root, for file systems of its own on loop devices")
    table: list[Row] = []
    with contextlib.ExitStack() as stack:
        ext4 = stack.enter_context(disk("ext4", 30))
        xfs = stack.enter_context(disk("xfs", 30))
        peer = Peer()
        stack.callback(peer.close)
        drop_caches()
        for row in rows(Bench(ext4, xfs, peer, 3 if options.check else options.runs)):
            table.append(row)
            print(f"{row.work}: {row.ours} | {row.other} | {row.note} | aim {row.aim}", flush=True)
    far = [row.work for row in table if row.far_off]
    if options.check:
        print(f"far off: {', '.join(far)}" if far else "no ratio is far off")
        return 1 if far else 0
    write_document(table)
    print(f"the table is in docs/benchmarks.rst; scratch: {os.path.relpath(BUILD)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
