"""Rows of figures, tables of them, and the machine that they are from."""

import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.environment import PEER
from benchmarks.lab import CHAIN, MIB, tool
from benchmarks.measure import GIB, Samples, bytes_read, ratio

#: How far off a ratio may be in a quick check.
SLACK = 3.0
_PACKAGES = ("avocado-framework", "avocado-framework-plugin-vt", "blake3", "filelock")


@dataclass(frozen=True)
class Row:
    """
    A line of a table.

    :param aim: what was to be reached, in words
    :param ours: what we need
    :param other: what the other contender needs, if there is one
    :param note: further figures
    :param far_off: whether a quick check has to fail
    :param found: what was measured, by contender; ``ours`` is us
    :param short: what the work is called in the plot, empty if it is not drawn
    """

    work: str
    aim: str
    ours: str
    other: str
    note: str
    far_off: bool = False
    found: Mapping[str, Samples] = field(default_factory=dict)
    short: str = ""

    def __str__(self) -> str:
        cells = (self.ours, self.other, self.note)
        return f"{self.work}: {' | '.join(filter(None, cells))} | aim {self.aim}"

    def to_json(self) -> dict[str, Any]:
        """Return all of it in JSON's terms."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Row":
        """Return what became of it."""
        found = {name: Samples(**samples) for name, samples in told["found"].items()}
        return cls(**{**told, "found": found})


@dataclass(frozen=True)
class Table:
    """
    What a program found.

    :param notes: sentences on how
    """

    notes: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all of it in JSON's terms."""
        return {"notes": list(self.notes), "rows": [row.to_json() for row in self.rows]}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Table":
        """Return what became of it."""
        return cls(tuple(told["notes"]), tuple(map(Row.from_json, told["rows"])))


def effort(samples: Samples) -> str:
    """Return what the last run started and read, with all that it waited for."""
    started = samples.started[-1]
    plural = "" if started == 1 else "es"
    return f"{started} process{plural}, {samples.read[-1] / MIB:.2f} MiB read"


def versus(
    work: str,
    aim: str,
    found: dict[str, Samples],
    limit: float,
    *,
    note: str = "",
    elsewhere: bool = False,
    short: str = "",
) -> Row:
    """
    Return the row for two contenders, the first of which is ours.

    :param found: of these, and of any further ones, which the note should tell of
    :param limit: what the ratio of ours to the other should not exceed
    :param note: further figures
    :param elsewhere: the work is done in processes that are there before and after, what they
        read is not known
    """
    (_, ours), (name, other), *_ = found.items()
    times = ratio(ours, other)
    parts = [f"{times:.2f} x {name}", "" if elsewhere else effort(ours), note]
    told = "; ".join(filter(None, parts))
    far_off = times > limit * SLACK
    return Row(work, aim, str(ours), f"{name} {other}", told, far_off, found, short)


def alone(work: str, aim: str, ours: Samples) -> Row:
    """Return the row for something without a counterpart."""
    return Row(work, aim, str(ours), "", effort(ours), found={"ours": ours})


def machine() -> list[str]:
    """Describe where the figures come from."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line for line in file if line.startswith("model name")), ":unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    qemu = _told("qemu-img", "--version")
    return [
        f"{cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        f"Linux {platform.release()}, Python {platform.python_version()}, {qemu}",
        ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    ]


def others() -> str:
    """Describe what we are compared with."""
    cp = _told("cp", "--version")
    rsync = " ".join(_told("rsync", "--version").split()[:3]).replace("  ", " ")
    ssh = _told("ssh", "-V").partition(",")[0]
    return f"beside {PEER.replace('==', ' ')}; {cp}; {rsync}; scp of {ssh}"


def _told(*command: str) -> str:
    """Return the first line that a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def starting() -> str:
    """Return the note on what is read where qemu-img is started."""
    before = bytes_read()
    _told("qemu-img", "--version")
    started = (bytes_read() - before) / MIB
    return (
        f"starting qemu-img reads {started:.2f} MiB (its libraries), and making an overlay on "
        f"{len(CHAIN)} images without any content {_blank_overlay() / MIB:.2f} MiB (with their "
        f"tables); counted in the rows that start it"
    )


def _blank_overlay() -> int:
    """Return how many bytes qemu-img reads to put an overlay on a chain that holds nothing."""
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory) / "0.qcow2"
        tool("qemu-img", "create", "-q", "-f", "qcow2", image, "4G")
        for number in range(1, len(CHAIN) + 1):
            before, base, image = bytes_read(), image, image.with_name(f"{number}.qcow2")
            tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, image)
        return bytes_read() - before
