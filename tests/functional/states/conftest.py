from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bare import BareVm, bare_vm
from tests.support.remote import server
from tests.support.remote_labs import RemoteLab
from tests.support.vms import Lab
from tests.support.vmstates import HERE, far, params, twin

__all__ = ["far", "twin"]


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """A cache, a pool and no images yet; the pool may be on a host of some kind."""
    kind = getattr(request, "param", HERE)
    return Lab(tmp_path) if kind == HERE else RemoteLab(tmp_path, server(kind))


@pytest.fixture
def bare(lab: Lab) -> Iterator[BareVm]:
    """A running vm without a guest, with one image."""
    lab.make_image()
    with bare_vm(params(lab)) as vm:
        yield vm
