"""
How long keepers of pools wait: 20,000 states listed, drawn as trees, with all notes about them.

The remote pool is the same directory by a real sshd on loopback.
"""

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from avocado_pool_plugin.core import records
from avocado_pool_plugin.core.place import new_info
from avocado_pool_plugin.core.records import Record, Stamp
from avocado_pool_plugin.upkeep.inventory import Inventory
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.stock import take
from benchmarks.lab import tool
from benchmarks.measure import Contender, Samples, alternate
from benchmarks.program import Options, Program
from benchmarks.table import SLACK, Row
from tests.support.remote import servers_stopped
from tests.support.sites import HERE, site

#: Objects, images of each, states of each image: chains of ten.
_OBJECTS, _IMAGES, _STATES, _CHAIN = 20, 10, 100, 10
_BYTES = 70000


@dataclass(frozen=True)
class Bench:
    """
    A pool of many states, and how often to run.

    :param pool: its directory
    :param here: the pool as a local one
    :param there: the pool as a remote one
    """

    pool: Path
    here: Site
    there: Site
    runs: int

    @property
    def both(self) -> tuple[tuple[str, Site], ...]:
        """The pool twice, with the words for it."""
        return (("", self.here), (", remote", self.there))


def _make(pool: Path) -> None:
    base, over = (pool.with_name(name) for name in ("base.qcow2", "over.qcow2"))
    create = ("qemu-img", "create", "-q", "-f", "qcow2")
    tool(*create, base, "16M")
    tool(*create, "-u", "-F", "qcow2", "-b", "s000.qcow2", over, "16M")
    start, top = base.read_bytes()[:1024], over.read_bytes()[:1024]
    (at,) = struct.unpack(">Q", top[8:16])
    for number in range(_OBJECTS * _IMAGES):
        home = pool / f"vm{number // _IMAGES:02}" / f"image{number % _IMAGES}"
        (home / ".pool").mkdir(parents=True)
        for state in range(_STATES):
            parent = f"s{state - 1:03}" if state % _CHAIN else ""
            name = f"{parent}.qcow2".encode()
            _state(home / f"s{state:03}.qcow2", parent, top[:at] + name if parent else start)


def _state(path: Path, parent: str, start: bytes) -> None:
    with path.open("wb") as file:
        file.write(start.ljust(1024, b"\0"))
        file.truncate(_BYTES)
    stamp = Stamp.of(path.stat())
    info = replace(new_info(_BYTES, parent=parent, test="boot"), digest="b3t1m:" + "ab" * 32)
    note = path.parent / ".pool" / path.name
    note.with_name(f"{path.name}.json").write_bytes(records.encode(Record(info, stamp, stamp)))
    note.with_name(f"{path.name}.used").touch()


def _row(work: str, aim: float, found: dict[str, Samples]) -> Row:
    ours = found["ours"]
    others = ", ".join(f"{name} {samples}" for name, samples in found.items() if name != "ours")
    far_off = ours.median > aim * SLACK
    return Row(work, f"<= {aim:g} s", str(ours), others, "", far_off, found)


def listing(bench: Bench) -> Iterator[Row]:
    """Yield the rows for the listing as such, and for the command as a whole."""
    for where, place in bench.both:
        contenders = {"ours": Contender(lambda place=place: _drop(place.items()))}
        if not where:
            contenders["os.walk and stat"] = Contender(lambda: _walk(bench.pool))
        found = alternate(contenders, bench.runs)
        yield _row(f"list 20,000 states{where}", 3 if where else 0.6, found)

    def program(pool: Path) -> None:
        command = [str(Path(sys.executable).with_name("avocado")), "pool", "list"]
        command += ["--pool-cache", str(pool)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    found = alternate(
        {
            "ours": Contender(lambda: program(bench.pool)),
            "an empty cache": Contender(lambda: program(bench.pool.with_name("none"))),
        },
        bench.runs,
    )
    yield _row("avocado pool list, 20,000 states", 2, found)


def tree(bench: Bench) -> Iterator[Row]:
    """Yield the rows for trees: records are read as well."""
    for where, place in bench.both:
        drawn = Contender(lambda place=place: _drop(list(Inventory([take(place)]).lines())))
        found = alternate({"ours": drawn}, bench.runs)
        yield _row(f"tree of 20,000 states{where}", 6 if where else 3, found)


def notes(bench: Bench) -> Iterator[Row]:
    """Yield the rows for all files of ours."""
    for where, place in bench.both:
        found = alternate({"ours": Contender(lambda place=place: _drop(place.notes()))}, bench.runs)
        yield _row(f"40,000 notes on 20,000 states{where}", 2 if where else 0.6, found)


def _walk(pool: Path) -> None:
    for home, _, files in os.walk(pool):
        if not home.endswith(".pool"):
            for file in files:
                os.stat(os.path.join(home, file))


def _drop(_: object) -> None:
    """Have what was found go within the time that is measured."""


GROUPS = {"listing": listing, "tree": tree, "notes": notes}


@contextlib.contextmanager
def place(options: Options) -> Iterator[Bench]:
    """Give the pool."""
    options.build.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="upkeep-", dir=options.build))
    try:
        with servers_stopped():
            pool = root / "pool"
            _make(pool)
            yield Bench(pool, site(HERE, pool), site("python", pool), options.runs)
    finally:
        shutil.rmtree(root)


def _notes() -> tuple[str, ...]:
    return ("20 objects with 10 images of 100 states, in chains of ten; what is read is in memory",)


PROGRAM = Program(GROUPS, place, _notes)
