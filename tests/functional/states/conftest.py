import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bare import BareVm, bare_vm
from tests.support.states import other
from tests.support.vms import Lab
from tests.support.vmstates import TWO, params


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


@pytest.fixture
def bare(lab: Lab) -> Iterator[BareVm]:
    """A running vm without a guest, with one image."""
    lab.make_image()
    with bare_vm(params(lab)) as vm:
        yield vm


@pytest.fixture
def twin(lab: Lab) -> Iterator[BareVm]:
    """The same with two images."""
    for image in TWO["images"].split():
        lab.make_image(image=image)
    with bare_vm(params(lab, **TWO)) as vm:
        yield vm


@pytest.fixture
def far(lab: Lab) -> Iterator[Lab]:
    """Another worker: a cache, images and a vm of its own that is off, the same pool."""
    found = other(lab)
    found.vm = BareVm(params(found, **TWO).object_params("vm1"))
    yield found
    found.vm.stop()
