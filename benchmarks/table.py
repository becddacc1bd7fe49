"""Rows of figures, and the tables of them in docs/benchmarks.rst."""

import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.lab import CHAIN, CHECKOUT, MIB, tool
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
    """

    work: str
    aim: str
    ours: str
    other: str
    note: str
    far_off: bool = False

    def __str__(self) -> str:
        cells = (self.ours, self.other, self.note)
        return f"{self.work}: {' | '.join(filter(None, cells))} | aim {self.aim}"


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
) -> Row:
    """
    Return the row for two contenders, the first of which is ours.

    :param limit: what the ratio of ours to the other should not exceed
    :param note: further figures
    :param elsewhere: the work is done in processes that are there before and after, what they
        read is not known
    """
    (_, ours), (name, other) = found.items()
    times = ratio(ours, other)
    parts = [f"{times:.2f} x {name}", "" if elsewhere else effort(ours), note]
    told = "; ".join(filter(None, parts))
    return Row(work, aim, str(ours), f"{name} {other}", told, times > limit * SLACK)


def alone(work: str, aim: str, ours: Samples) -> Row:
    """Return the row for something without a counterpart."""
    return Row(work, aim, str(ours), "", effort(ours))


def machine() -> list[str]:
    """Describe where the figures come from."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line for line in file if line.startswith("model name")), ":unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    before = bytes_read()
    qemu = subprocess.run(["qemu-img", "--version"], capture_output=True, text=True, check=True)
    starting = (bytes_read() - before) / MIB
    return [
        f"{cpu.partition(':')[2].strip()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"{qemu.stdout.splitlines()[0]}",
        ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        f"starting qemu-img reads {starting:.2f} MiB (its libraries), and making an overlay on "
        f"{len(CHAIN)} images without any content {_blank_overlay() / MIB:.2f} MiB (with their "
        f"tables); counted in the rows that start it",
    ]


def _blank_overlay() -> int:
    """Return how many bytes qemu-img reads to put an overlay on a chain that holds nothing."""
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory) / "0.qcow2"
        tool("qemu-img", "create", "-q", "-f", "qcow2", image, "4G")
        for number in range(1, len(CHAIN) + 1):
            before, base, image = bytes_read(), image, image.with_name(f"{number}.qcow2")
            tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, image)
        return bytes_read() - before


def to_rst(table: Sequence[Row], about: Sequence[str]) -> str:
    """
    Return a table as a part of docs/benchmarks.rst.

    :param about: sentences on how its figures were found
    """
    head = ("work", "aim", "ours: median (min - max)", "beside", "more")
    lines = [*(f"* {line}" for line in about), ""]
    lines += [".. list-table::", "   :header-rows: 1", ""]
    for cells in [head, *((r.work, r.aim, r.ours, r.other, r.note) for r in table)]:
        lines += [
            f"   {'* -' if n == 0 else '  -'} {cell}".rstrip() for n, cell in enumerate(cells)
        ]
    return "\n".join(lines) + "\n"


def write_document(name: str, text: str) -> None:
    """
    Put a text between its two marks in docs/benchmarks.rst.

    :param name: of the program whose marks they are: ``.. table <name> begins`` and ``ends``
    """
    path = CHECKOUT / "docs" / "benchmarks.rst"
    whole = path.read_text(encoding="utf-8")
    start, end = f".. table {name} begins\n", f".. table {name} ends\n"
    before, after = whole.split(start)[0], whole.split(end)[1]
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")
