"""Agents of ssh/bulk.py on this host, behind a shell as they are elsewhere, and files for them."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh.bulk import Agent
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.content import Basis, Received, Sent

MIB = 1 << 20


def without_blake3(directory: Path) -> str:
    """Return a python3 that finds nothing but its standard library."""
    return program(directory / "plain-python", f'exec "{sys.executable}" -S "$@"')


def traced(directory: Path, options: str) -> str:
    """Return a python3 without blake3 that is traced by strace, its log in ``trace``."""
    log = directory / "trace"
    line = f'exec strace -f -qq -o "{log}" {options} "{sys.executable}" -S "$@"'
    return program(directory / "traced-python", line)


def program(path: Path, line: str) -> str:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


@contextlib.contextmanager
def agent(
    python: str = sys.executable, *, shell: tuple[str, ...] = ("sh",), timeout: float = 20
) -> Iterator[Agent]:
    """An agent on this host; gone when the context ends."""
    channel = Channel(shell, "host lab", timeout)
    try:
        yield Agent(channel, python)
    finally:
        channel.close()


def made(path: Path, size: int, spots: dict[int, bytes]) -> Path:
    """Make a file of holes with some data in it."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in spots.items():
            file.seek(at)
            file.write(data[: max(0, size - at)])
    return path


def same(one: Path, other: Path) -> bool:
    """Tell whether two files are equal; they are too large for a test to show how they differ."""
    return one.read_bytes() == other.read_bytes()


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that look random and are always the same."""
    import random

    return random.Random(seed).randbytes(size)


def upload(agent: Agent, source: Path, part: Path, basis: Basis | None = None, **more) -> Sent:
    fd = os.open(source, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        return agent.upload(fd, size, str(part), basis=basis, **{"fsync": False, **more})
    finally:
        os.close(fd)


def download(agent: Agent, path: Path, target: Path, **more) -> Received:
    fd = os.open(target, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        return agent.download(str(path), fd, **more)
    finally:
        os.close(fd)


def stamp_of(path: Path) -> Stamp:
    return Stamp.of(path.stat())


def basis_of(path: Path, sent: Sent) -> Basis:
    """Return an old version of which all is known, as it was sent."""
    return Basis(str(path), stamp_of(path), sent.leaves, sent.far_leaves)
