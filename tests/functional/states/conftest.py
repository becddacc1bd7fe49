import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.vms import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A cache, a pool and no images yet."""
    return Lab(tmp_path)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory where fsync costs nothing, for sweeps."""
    shared = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
