"""Test params and images of vms as the states code gets them from Avocado-VT, without any guest."""

import copy
import subprocess
from pathlib import Path
from typing import Any, Self

from virttest.utils_params import Params


class Lab:
    """A data directory with a cache, a pool and the working images of some vms."""

    def __init__(self, root: Path, cache: str = "cache", pool: str = "pool") -> None:
        self.root = root
        self.cache = root / cache
        self.pool = root / pool
        self.images = root / "images"
        self.images.mkdir(parents=True, exist_ok=True)

    @property
    def location(self) -> str:
        """The pool, as params name it."""
        return str(self.pool)

    def elsewhere(self, cache: str = "cache2") -> Self:
        """Return another worker: a cache and images of its own, the same pool."""
        found = copy.copy(self)
        Lab.__init__(found, self.root / cache, "states")
        found.pool = self.pool
        return found

    def params(self, vms: str = "vm1", images: str = "image1", **more: str) -> Any:
        """Return params as a plain suite has them: defaults, plus what is given."""
        found = {
            "vms": vms,
            "images": images,
            "swarm_pool": str(self.cache),
            "shared_pool": self.location,
            "skip_types": "vms",
            "update_pool_timeout": "20",
        }
        for vm in vms.split():
            for image in images.split():
                found[f"image_name_{image}_{vm}"] = str(self.images / f"{vm}-{image}")
        return Params({**found, **more})

    def image(self, vm: str = "vm1", image: str = "image1") -> Path:
        """Return the working image of a vm."""
        return self.images / f"{vm}-{image}.qcow2"

    def state(self, name: str, vm: str = "vm1", image: str = "image1") -> Path:
        """Return the file of a state in the cache."""
        return self.cache / vm / image / f"{name}.qcow2"

    def shared(self, name: str, vm: str = "vm1", image: str = "image1") -> Path:
        """Return the file of a state in the pool."""
        return self.pool / vm / image / f"{name}.qcow2"

    def make_image(self, vm: str = "vm1", image: str = "image1", size: str = "16M") -> Path:
        """Make a blank working image."""
        path = self.image(vm, image)
        tool("qemu-img", "create", "-q", "-f", "qcow2", path, size)
        return path


def tool(*args: object) -> str:
    """Run a program that has to succeed and return what it prints."""
    done = subprocess.run(list(map(str, args)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
    return done.stdout


def write(image: Path, pattern: int, at: str = "0", length: str = "64k") -> None:
    """Write a pattern into an image as a guest would."""
    tool("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern} {at} {length}", image)


def holds(image: Path, pattern: int, at: str = "0", length: str = "64k") -> bool:
    """Tell whether a guest would read a pattern at a place of an image."""
    command = ["qemu-io", "-r", "-f", "qcow2", "-c", f"read -P {pattern} {at} {length}", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    differs = "Pattern verification failed" in done.stdout
    assert differs or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return not differs


def backing(image: Path) -> str:
    """Return the backing name that an image's header holds."""
    from avocado_pool_plugin.core.qcow2 import read_header

    return read_header(str(image)).backing


def sound(image: Path) -> None:
    """Make sure that qemu-img finds nothing wrong with an image."""
    tool("qemu-img", "check", "-q", image)
