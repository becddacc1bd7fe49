"""What the rows of the table work on: chains of states on real file systems, and the peer."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import CHECKOUT, Answering

BUILD = CHECKOUT / ".build" / "bench"
MIB = 1 << 20
#: The chain of most rows, base first: names of states, MiB of data in each.
CHAIN = (("base", 768), ("install", 512), ("customize", 256))


def tool(*command: object) -> None:
    """Run a program that has to succeed."""
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def disk(kind: str, gib: int, build: Path = BUILD) -> Iterator[Path]:
    """
    Give the mount point of a fresh file system on a file, so that all contenders share one.

    The loop device goes past the page cache of the disk below, where that can be done. Through it,
    all that is written would be in memory twice, and whoever is the first to write to a part of the
    file would pay for its pages: the same 1.5 GiB took from 1 to 6 s.

    :param gib: its size in GiB; it takes what is written to it
    :param build: directory for both
    """
    if os.geteuid() != 0:
        sys.exit("benchmark: needs root, for file systems of its own on loop devices")
    point, image = build / f"mnt-{kind}", build / f"disk-{kind}"
    point.mkdir(parents=True, exist_ok=True)
    if point.is_mount():
        sys.exit(f"benchmark: another run uses {point}; wait, or unmount what a killed one left")
    with image.open("wb") as file:
        file.truncate(gib << 30)
    make = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1")}
    tool(*make[kind], image)
    find = ["losetup", "--find", "--show", str(image)]
    found = subprocess.run(find, check=True, capture_output=True, text=True)
    device = found.stdout.strip()
    try:
        subprocess.run(["losetup", "--direct-io=on", device], check=False)
        tool("mount", device, point)
    finally:
        # as long as it is mounted, it stays
        tool("losetup", "--detach", device)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=False)
        image.unlink(missing_ok=True)


@dataclass(frozen=True)
class Lab:
    """A cache, a pool and a working image below one directory."""

    root: Path

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def pool(self) -> Path:
        return self.root / "pool"

    @property
    def image(self) -> Path:
        return self.root / "run" / "image1.qcow2"

    def params(self, **more: str) -> Any:
        """Return test params as a plain suite has them."""
        from virttest.utils_params import Params

        return Params(
            {
                "vms": "vm1",
                "images": "image1",
                "skip_types": "vms",
                "image_name": str(self.image.with_suffix("")),
                "swarm_pool": str(self.cache),
                "shared_pool": str(self.pool),
                **more,
            }
        )

    def files(self, root: Path) -> list[Path]:
        """Return the files of the chain in a cache or pool, base first."""
        return [root / "vm1" / "image1" / f"{name}.qcow2" for name, _ in CHAIN]

    def make_chain(self) -> None:
        """Make the chain through our own sets: in the cache and published."""
        from avocado_pool_plugin.states import setup

        self.image.parent.mkdir(parents=True)
        tool("qemu-img", "create", "-q", "-f", "qcow2", self.image, "4G")
        at = 0
        for name, size in CHAIN:
            fill(self.image, at, size)
            at += size
            setup.set_states(self.params(set_state_images=name))

    def plain(self, name: str) -> dict[str, str]:
        """Return what the peer has to know, with a cache and pool of its own."""
        return {
            "root": str(self.root),
            "cache": str(self.root / f"{name}-cache"),
            "pool": str(self.root / f"{name}-pool"),
            "image": str(self.root / "run" / f"{name}.qcow2"),
            "state": CHAIN[-1][0],
        }

    def copy_for_peer(self, name: str) -> dict[str, str]:
        """Copy the chain as files to a cache and a pool of the peer's, where they are not yet."""
        where = self.plain(name)
        for root in (where["cache"], where["pool"]):
            directory = Path(root) / "vm1" / "image1"
            if not directory.exists():
                directory.mkdir(parents=True)
                tool("cp", "--sparse=always", *self.files(self.pool), directory)
        return where


def fill(image: Path, at: int, size: int) -> None:
    """Write random data into a QCOW2 image, ``size`` MiB from ``at`` MiB on."""
    data = image.with_suffix(".data")
    with data.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    command = f"write -q -s {data} {at}M {size}M"
    tool("qemu-io", "-f", "qcow2", "-c", command, image)
    data.unlink()


class Peer(Answering):
    """The peer at work in a process of its own environment."""

    def __init__(self) -> None:
        super().__init__("benchmarks.peer")
        self.ask("load")

    def ask(self, do: str, **what: str) -> float:
        """Have work done and return its seconds."""
        self.tell(do, **what)
        return float(self.answer()["seconds"])
