"""Transfers are decided before they are done: a plan is a value that can be checked and printed."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.copy import allocated, can_clone, require_space
from avocado_pool_plugin.core.durable import typed_failures
from avocado_pool_plugin.core.errors import StateMissing
from avocado_pool_plugin.core.evidence import Peek


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


@dataclass(frozen=True)
class End:
    """
    One end of a transfer.

    :param known: tells of a file what is known without reading it, None if there is none
    :param allocated: tells how many bytes of disk an existing file takes
    """

    known: Callable[[str], Peek | None]
    allocated: Callable[[str], int]


def here(seen_dir: str | None) -> End:
    """Return the end that is any directory of this host."""
    return End(lambda path: knowledge.peek(path, seen_dir), allocated)


HERE = here(None)


def plan_transfer(pairs: list[tuple[str, str]], source: End = HERE, target: End = HERE) -> Plan:
    """
    Decide what a transfer has to do; reads no content.

    :param pairs: source and target of each file, parents first
    :raises StateMissing: a source is absent; the text names it
    """
    return Plan(tuple(_step(*pair, source, target) for pair in pairs))


def _step(path: str, copy: str, source: End, target: End) -> Step:
    there = source.known(path)
    size = _allocated(source, path) if there else None
    if there is None or size is None:
        raise StateMissing(
            f"{path} is missing, a state needs it; set it again or look in another pool"
        )
    mine = target.known(copy)
    if mine is None:
        return Step(path, copy, "copy", size)
    equal = mine.fresh and there.fresh and mine.info.same_content(there.info)
    return Step(path, copy, "keep" if equal else "replace", size)


def _allocated(end: End, path: str) -> int | None:
    """Return how many bytes of disk a file takes, None if it was removed meanwhile."""
    try:
        return end.allocated(path)
    except FileNotFoundError:
        return None


def check_space(plan: Plan) -> None:
    """
    Make sure that all of a plan fits on this host before any of it is done.

    :raises SpaceMissing: it does not; the text says how much is needed and free
    :raises PoolUnreachable: a target can't be written to
    """
    needed: dict[int, tuple[str, int]] = {}
    for step in plan.steps:
        if step.action != "keep":
            directory = _existing(os.path.dirname(step.target))
            with typed_failures(directory):
                device = os.stat(directory).st_dev
                if not _shares_blocks(step.source, device, directory):
                    # by file system: directories on one of them share its room
                    needed[device] = (directory, needed.get(device, ("", 0))[1] + step.size)
    for directory, size in needed.values():
        with typed_failures(directory):
            require_space(directory, size, f"a chain of {len(plan.steps)} states")


def _shares_blocks(source: str, device: int, directory: str) -> bool:
    """Tell whether a file's copy needs no room; one of another host is no file here."""
    try:
        near = os.stat(source).st_dev == device
    except OSError:
        return False
    try:
        return near and can_clone(source, os.path.join(directory, "x"))
    except FileNotFoundError:
        return False  # removed meanwhile, which is told when it is to be copied


def _existing(directory: str) -> str:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory
