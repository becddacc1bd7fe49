"""Directories in memory, where fsync costs nothing and a disk's speed is no part of anything."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where they are; None, for the usual place, if the system has none.
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


@contextmanager
def in_memory(name: str) -> Iterator[Path]:
    """Give an empty directory, which is removed afterwards."""
    with tempfile.TemporaryDirectory(
        prefix=f"torture-{name}-", dir=MEMORY, ignore_cleanup_errors=True
    ) as directory:
        yield Path(directory)
