"""Fixtures for all tests: file systems, directories of states, locks on and off."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from avocado_pool_plugin.core import locks
from tests.support.mounts import fresh, mounted
from tests.support.places import Dir
from tests.support.remote import servers_stopped

settings.register_profile(
    "pool",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    # what lands is judged by the same examples as what landed before
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("pool")

#: Size of a file system in MiB.
SIZES = {"ext4": 256, "xfs": 320, "tmpfs": 256, "btrfs": 256}


@pytest.fixture(scope="session", autouse=True)
def servers() -> Iterator[None]:
    """Stop what ``support.remote`` started."""
    with servers_stopped():
        yield


@pytest.fixture(scope="session")
def file_systems(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Mounted file systems by kind, each made when first asked for."""
    with contextlib.ExitStack() as stack:

        class Mounts(dict[str, Path]):
            def __missing__(self, kind: str) -> Path:
                directory = tmp_path_factory.mktemp("disks")
                self[kind] = stack.enter_context(mounted(kind, directory, SIZES[kind]))
                return self[kind]

        yield Mounts()


@pytest.fixture(params=["ext4", "xfs", "tmpfs"])
def on_disk(
    request: pytest.FixtureRequest, file_systems: dict[str, Path], tmp_path: Path
) -> Iterator[Path]:
    """An empty directory on each kind of file system in turn."""
    yield from fresh(file_systems[request.param], tmp_path)


@pytest.fixture
def on_xfs(file_systems: dict[str, Path], tmp_path: Path) -> Iterator[Path]:
    """An empty directory on XFS with reflinks."""
    yield from fresh(file_systems["xfs"], tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Dir:
    return Dir(tmp_path / "cache")


@pytest.fixture
def pool(tmp_path: Path) -> Dir:
    return Dir(tmp_path / "pool")


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lock is a no-op."""
    monkeypatch.setattr(locks, "skip", lambda: True)


@pytest.fixture(params=["locks", "no locks"])
def locks_on_and_off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with working locks and once more with all of them stubbed."""
    if request.param == "no locks":
        monkeypatch.setattr(locks, "skip", lambda: True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Virtual machines come first: a worker that began with one at the end would be waited for."""
    items.sort(key=lambda item: "/functional/guests/" not in str(item.path))
