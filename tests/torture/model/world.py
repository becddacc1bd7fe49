"""Caches, pools and workers on disk, and all that is to be seen there."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avocado_pool_plugin.core.layout import META
from tests.support.states import OWN
from tests.support.vms import Lab, tool
from tests.torture.model.disk import CLUSTER, SLOTS, Content, Unreadable, backing, content, halves

#: Images by vm.
VMS = {"vm1": ("image1",), "vm2": ("image1", "image2")}
NAMES = ("a", "b", "c")
#: The cache of each worker.
WORKERS = ("cache1", "cache1", "cache2")
CACHES, POOLS = ("cache1", "cache2"), ("pool1", "pool2")
PLACES = (*CACHES, *POOLS)
_SUFFIX = ".qcow2"


@dataclass(frozen=True)
class Image:
    """An image of a vm."""

    vm: str
    name: str


@dataclass(frozen=True)
class Key:
    """A state of an image in a cache or pool."""

    place: str
    image: Image
    state: str

    def __str__(self) -> str:
        return f"{self.place}/{self.image.vm}/{self.image.name}/{self.state}"


@dataclass(frozen=True)
class File:
    """
    A visible file.

    :param content: what a guest reads, None if it could not start
    :param parent: state that it stands on, empty for none
    :param problem: why a guest could not start
    :param inode: another one is another file
    """

    content: Content | None
    parent: str
    problem: str
    inode: int


@dataclass(frozen=True)
class Intent:
    """A note of what was begun with a worker's image and a state, and is not done."""

    key: Key
    image: str
    verb: str


@dataclass(frozen=True)
class View:
    """
    All that is to be seen.

    :param states: in all places
    :param images: the working image of each worker, of those that are there
    :param intents: of what was begun
    """

    states: dict[Key, File]
    images: dict[tuple[int, Image], File]
    intents: tuple[Intent, ...]

    def at(self, place: str, image: Image, state: str) -> File | None:
        """Return a state's file."""
        return self.states.get(Key(place, image, state))

    def chain(self, place: str, image: Image, state: str) -> list[str]:
        """Return a state and what it stands on, as far as that is there."""
        names: list[str] = []
        while state and state not in names:
            names.append(state)
            file = self.at(place, image, state)
            state = file.parent if file else ""
        return names

    def below(self, worker: int, image: Image) -> list[str]:
        """Return the states that a working image stands on."""
        file = self.images.get((worker, image))
        return self.chain(WORKERS[worker], image, file.parent) if file else []

    def files_below(self, worker: int, image: Image) -> tuple[int, ...]:
        """Return what tells whether a working image stands on the same files still."""
        found = (self.at(WORKERS[worker], image, name) for name in self.below(worker, image))
        return tuple(file.inode if file else 0 for file in found)

    def children(self, place: str, image: Image, state: str) -> list[str]:
        """Return the states that stand directly on a state."""
        keys = self.states.items()
        return [k.state for k, file in keys
                if (k.place, k.image, file.parent) == (place, image, state)]  # fmt: skip

    def pending(self, worker_image: Path) -> bool:
        """Tell whether something was begun with a working image."""
        return any(intent.image == str(worker_image) for intent in self.intents)


class World:
    """Everything below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.labs = [self._lab(n, cache) for n, cache in enumerate(WORKERS)]
        blank = root / "blank.qcow2"
        tool("qemu-img", "create", "-q", "-f", "qcow2", blank, SLOTS * CLUSTER)
        for lab in self.labs:
            for image in every_image():
                shutil.copy(blank, lab.image(image.vm, image.name))

    def _lab(self, number: int, cache: str) -> Lab:
        lab = Lab(self.root, cache)
        lab.images = self.root / f"images{number}"
        lab.images.mkdir()
        return lab

    def fresh_worker(self) -> Lab:
        """Return one more worker with an empty cache."""
        return self._lab(len(self.labs), "fresh")

    def options(self, vm: str, *pools: str, own: bool = False) -> dict[str, str]:
        """Return the params of a worker's operation on a vm."""
        shared = " ".join(f":{self.root / pool}" for pool in pools or POOLS)
        scope = OWN if own else {}
        return {"vms": vm, "images": " ".join(VMS[vm]), "shared_pool": shared, **scope}

    def image(self, worker: int, image: Image) -> Path:
        """Return the file of a working image."""
        return self.labs[worker].image(image.vm, image.name)

    def file(self, key: Key) -> Path:
        """Return the file of a state."""
        home = self.root / key.place / key.image.vm / key.image.name
        return home / f"{key.state}{_SUFFIX}"

    def same_file(self, *keys: Key) -> bool:
        """Tell whether states are equal, byte for byte."""
        paths = [self.file(key) for key in keys]
        return all(path.exists() for path in paths) and len({p.read_bytes() for p in paths}) == 1

    def write(self, worker: int, image: Image, slot: int, number: int) -> None:
        """Write as a guest."""
        at, half = slot * CLUSTER, CLUSTER // 2
        high, low = halves(number)
        commands = (f"write -q -P {high} {at} {half}", f"write -q -P {low} {at + half} {half}")
        words = [word for command in commands for word in ("-c", command)]
        tool("qemu-io", "-f", "qcow2", *words, self.image(worker, image))

    def look(self) -> View:
        """
        Look at all.

        :raises AssertionError: something is visible that has no business there
        """
        states = {key: self.look_at(path) for key, path in self._states()}
        images = {
            (worker, image): self.look_at(path)
            for worker in range(len(WORKERS))
            for image in every_image()
            if (path := self.image(worker, image)).exists()
        }
        return View(states, images, tuple(self._intents()))

    def _states(self) -> Iterator[tuple[Key, Path]]:
        for place in PLACES:
            for image in every_image():
                home = self.root / place / image.vm / image.name
                for path in sorted(home.iterdir()) if home.is_dir() else []:
                    if path.name != META:
                        assert path.suffix == _SUFFIX and path.stem in NAMES, f"{path} is visible"
                        yield Key(place, image, path.stem), path

    def look_at(self, path: Path) -> File:
        """Look at a state's file or a working image."""
        try:
            below = Path(backing(path)).name.removesuffix(_SUFFIX)
            inode = path.stat().st_ino
        except (Unreadable, OSError) as error:
            return File(None, "", str(error), 0)
        try:
            return File(content(path), below, "", inode)
        except Unreadable as error:
            return File(None, below, str(error), inode)

    def _intents(self) -> Iterator[Intent]:
        for place in CACHES:
            for image in every_image():
                home = self.root / place / image.vm / image.name / META / "intents"
                for path in sorted(home.glob("*.json")):
                    with contextlib.suppress(ValueError):
                        note = json.loads(path.read_text())
                        key = Key(place, image, Path(note["state"]).stem)
                        yield Intent(key, note["image"], note["verb"])

    def forget_pins(self) -> None:
        """Let the leases of pins run out whose holders were killed; there must be no others."""
        for path in self.root.glob(f"*/{META}/pins/*.json"):
            os.utime(path, (1, 1))


def every_image() -> list[Image]:
    """Return all images."""
    return [Image(vm, name) for vm, names in VMS.items() for name in names]


def images_of(vm: str) -> list[Image]:
    """Return the images of a vm."""
    return [image for image in every_image() if image.vm == vm]
