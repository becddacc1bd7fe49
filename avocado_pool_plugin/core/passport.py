"""
What a vm state can only be resumed on: the machine it was saved from, and its own images.

A RAM file holds what devices, memory and CPU looked like; another machine would refuse it or,
worse, go on with a damaged guest. And it holds what the guest remembers of its disks: over other
images it would write old knowledge onto them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from avocado_pool_plugin.core import typed

#: Entries of a machine that are compared in a way of their own.
QEMU, CPU, ACCELERATOR = "QEMU version", "CPU model", "accelerator"
#: How entries of devices begin.
DEVICE = "device "
#: CPU models that mean what a QEMU or a host happens to offer.
_OPEN_MODELS = ("host", "max")


@dataclass(frozen=True)
class Mark:
    """
    Which image state belongs to a RAM file.

    :param generation: of the image state, empty if it has none
    :param digest: of its content, None while nobody has read it
    :param stamp: inode, size in bytes, mtime and ctime in nanoseconds when the RAM file was saved;
        says something on the same file system only
    """

    generation: str
    digest: str | None = None
    stamp: tuple[int, ...] = ()

    def is_of(self, generation: str, digests: set[str | None]) -> bool:
        """
        Tell whether an image state is the one that is meant.

        :param generation: its generation
        :param digests: of its content, and of the content it is a copy of
        """
        same = bool(self.generation) and self.generation == generation
        return same or (self.digest is not None and self.digest in digests)


@dataclass(frozen=True)
class Passport:
    """
    What is recorded of a vm state.

    :param machine: name and value of each entry, such as ``memory``; sorted by name
    :param images: the images of the vm, and which state of each belongs to it
    """

    machine: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, Mark], ...]

    @classmethod
    def of(cls, machine: Mapping[str, str], images: Mapping[str, Mark]) -> "Passport":
        """Return the passport with some entries and images."""
        return cls(tuple(sorted(machine.items())), tuple(sorted(images.items())))

    @classmethod
    def load(cls, data: Any) -> "Passport | None":
        """Return the passport of a record; None for one of a kind that is not known here."""
        try:
            images = {name: typed.fill(Mark, mark) for name, mark in data["images"].items()}
            return cls.of({str(k): str(v) for k, v in data["machine"].items()}, images)
        except (TypeError, KeyError, AttributeError, ValueError):
            return None

    def dump(self) -> dict[str, Any]:
        """Return what :meth:`load` reads."""
        images = {name: asdict(mark) for name, mark in self.images}
        return {"machine": dict(self.machine), "images": images}

    def mismatches(self, machine: Mapping[str, str]) -> list[str]:
        """
        Return what keeps the state from being resumed on a machine, one sentence for each entry.

        :param machine: the entries of the machine; without any device it is not known completely,
            and only what it has is compared
        """
        mine = dict(self.machine)
        whole = any(name.startswith(DEVICE) for name in machine)
        return [
            f"{name} was {mine.get(name, 'not there')}, now it is {machine.get(name, 'not there')}"
            for name in sorted({*mine, *machine} if whole else machine)
            if not _fits(name, mine.get(name), machine.get(name), mine)
        ]


def _fits(name: str, then: str | None, now: str | None, mine: Mapping[str, str]) -> bool:
    """Tell whether an entry of a machine is good enough for a state."""
    if then == now:
        return True
    if name != QEMU or then is None or now is None:
        return False
    before, after = _version(then), _version(now)
    open_model = mine.get(CPU, "").partition(",")[0] in _OPEN_MODELS
    if mine.get(ACCELERATOR) == "tcg" and open_model:
        return before == after  # another version emulates another processor
    return before <= after  # a versioned machine type stays the same in all later versions


def _version(text: str) -> tuple[int, ...]:
    """Return major and minor of a version."""
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def device_entries(devices: Iterator[tuple[str, str]]) -> dict[str, str]:
    """
    Return the entries for devices.

    :param devices: where each is, and what it is; several may be at no certain place
    """
    found: dict[str, str] = {}
    for place, kind in devices:
        name, number = f"{DEVICE}{place}", 2
        while name in found:
            name, number = f"{DEVICE}{place} ({number})", number + 1
        found[name] = kind
    return found
