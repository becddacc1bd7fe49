"""Copies of a cold chain, of a file that is nearly all hole, and the digest alone."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.lab import CHAIN, MIB, Lab, tool
from benchmarks.measure import Contender, alternate, blocks, settle, start_over, sync
from benchmarks.rows.bench import Bench
from benchmarks.table import Row, versus

#: GiB of memory that a copy of the chain takes, and some more.
_ROOM = 3
_NAMES = {"ext4": "ext4", "xfs": "XFS"}


def rows(bench: Bench) -> Iterator[Row]:
    """Yield all rows."""
    yield from _cold(bench, bench.chain(bench.ext4), "ext4")
    yield from _cold(bench, bench.chain(bench.xfs), "xfs")
    yield from _sparse(bench)
    yield from _digest(bench)


def _programs(sources: list[Path], target: Path, sparse: str) -> dict[str, Callable[[], None]]:
    """Return who copies files as a careful person would: sparse, and on the disk when done."""
    commands = {
        "cp": ["cp", f"--sparse={sparse}", "--reflink=auto"],
        "rsync": ["rsync", "-a", "--sparse", "--whole-file"],
    }

    def work(command: list[str]) -> None:
        target.mkdir(parents=True)
        tool(*command, *sources, target)
        sync(*target.iterdir(), target)

    return {name: partial(work, command) for name, command in commands.items()}


def _cold(bench: Bench, lab: Lab, kind: str) -> Iterator[Row]:
    """A chain fetched to an empty cache, and published to an empty pool."""
    from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

    state = CHAIN[-1][0]
    cache, pool, target = lab.root / "cache2", lab.root / "pool2", lab.root / "copy"
    theirs = lab.copy_for_peer("peer")
    new = lab.root / "peer-new"

    def before() -> None:
        start_over(_ROOM, cache, pool, target, new)

    shares = kind == "xfs"
    aim = "<= 0.1 s, no blocks" if shares else "<= 1.2 x cp --sparse=always + fsync"

    def row(done: str, ours: Callable[[], object], files: Path, **peer: str) -> Row:
        programs = _programs(lab.files(files), target, "auto" if shares else "always")
        found = alternate(
            {
                "ours": Contender(ours, before),
                **{name: Contender(work, before) for name, work in programs.items()},
                "avocado-i2n": Contender(lambda: bench.peer.ask(**{**theirs, **peer}), before),
            },
            bench.runs,
        )
        parts = [
            f"rsync {found['rsync']}",
            f"avocado-i2n, neither verified nor fsync, {found['avocado-i2n']}",
        ]
        if shares:
            used = max(_blocks_used(ours, before, lab.root), 0)
            parts.insert(0, f"{used / MIB:.1f} MiB of blocks")
        work, short = f"{done}, cold, {kind}, verified, fsync", f"{done}, cold, {_NAMES[kind]}"
        return versus(work, aim, found, 1.2, note="; ".join(parts), short=short)

    down = lab.params(object_type="vms/images", swarm_pool=str(cache), get_state=state)
    down["get_location"] = f":{lab.pool}"
    yield row("get", lambda: QCOW2ImageTransfer.get(down), lab.pool, do="fetch", cache=str(new))
    up = lab.params(object_type="vms/images", set_state=state, set_location=f":{pool}")
    yield row("publish", lambda: QCOW2ImageTransfer.set(up), lab.cache, do="publish", pool=str(new))
    before()


def _blocks_used(work: Callable[[], object], before: Callable[[], None], disk: Path) -> int:
    """Return how many bytes of a file system a work takes for good."""
    before()
    free = shutil.disk_usage(disk).free
    work()
    settle(0)
    return free - shutil.disk_usage(disk).free


def _sparse(bench: Bench) -> Iterator[Row]:
    """A file that is nearly all hole."""
    from avocado_pool_plugin.core.copy import copy_file

    source, copy, other = (bench.ext4 / name for name in ("sparse", "sparse.ours", "sparse.cp"))
    with source.open("wb") as file:
        file.truncate(20 << 30)
        for part in range(64):
            file.seek(part * 320 * MIB)
            file.write(os.urandom(MIB))

    def before() -> None:
        start_over(1, copy, other)

    def ours() -> None:
        copy_file(str(source), str(copy))

    found = alternate(
        {
            "ours": Contender(ours, before),
            "cp": Contender(lambda: tool("cp", "--sparse=auto", source, other), before),
        },
        bench.runs,
    )
    before()
    ours()
    note = f"blocks {blocks(copy) / blocks(source):.3f} x the source's"
    work, short = "copy + digest, 20 GiB with 64 MiB of data", "copy of 20 GiB of holes, ext4"
    yield versus(work, "<= 3 x cp", found, 3, note=note, short=short)
    start_over(0, source, copy, other)


def _digest(bench: Bench) -> Iterator[Row]:
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
