"""Transfers are decided before they are done: a plan is a value that can be checked and printed."""

import os
from dataclasses import dataclass

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.copy import allocated, can_clone, require_space
from avocado_pool_plugin.core.errors import StateMissing


@dataclass(frozen=True)
class Step:
    """
    One file of a transfer.

    :param source: file to read
    :param target: file to make
    :param action: ``keep`` (equal as far as known), ``copy`` (absent) or ``replace`` (differs)
    :param size: bytes on disk to copy
    """

    source: str
    target: str
    action: str
    size: int


@dataclass(frozen=True)
class Plan:
    """A transfer's files, in the order of the transfer: parents first."""

    steps: tuple[Step, ...]

    @property
    def size(self) -> int:
        """Bytes on disk that have to be copied."""
        return sum(step.size for step in self.steps if step.action != "keep")

    def __str__(self) -> str:
        lines = [f"{step.action:8}{step.source} -> {step.target}" for step in self.steps]
        return "\n".join([*lines, f"{self.size / 2**20:.1f} MiB to copy"])


def plan_transfer(pairs: list[tuple[str, str]], seen_dir: str | None = None) -> Plan:
    """
    Decide what a transfer has to do; reads no content.

    :param pairs: source and target of each file, parents first
    :raises StateMissing: a source is absent; the text names it
    """
    return Plan(tuple(_step(source, target, seen_dir) for source, target in pairs))


def _step(source: str, target: str, seen_dir: str | None) -> Step:
    there = knowledge.peek(source, seen_dir)
    if there is None:
        raise StateMissing(
            f"{source} is missing, a state needs it; set it again or look in another pool"
        )
    here = knowledge.peek(target, seen_dir)
    size = allocated(source)
    if here is None:
        return Step(source, target, "copy", size)
    equal = here.fresh and there.fresh and here.info.same_content(there.info)
    return Step(source, target, "keep" if equal else "replace", size)


def check_space(plan: Plan) -> None:
    """
    Make sure that all of a plan fits before any of it is done.

    :raises SpaceMissing: it does not; the text says how much is needed and free
    """
    needed: dict[int, tuple[str, int]] = {}
    for step in plan.steps:
        if step.action != "keep":
            directory = _existing(os.path.dirname(step.target))
            device = os.stat(directory).st_dev
            same_device = device == os.stat(step.source).st_dev
            if not (same_device and can_clone(step.source, os.path.join(directory, "x"))):
                # by file system: directories on one of them share its room
                needed[device] = (directory, needed.get(device, ("", 0))[1] + step.size)
    for directory, size in needed.values():
        require_space(directory, size, f"a chain of {len(plan.steps)} states")


def _existing(directory: str) -> str:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory
