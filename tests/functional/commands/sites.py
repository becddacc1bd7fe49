"""Places on this host and on others of every kind, for tests of commands in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import do, section
from tests.support.remote import KINDS, server
from tests.support.sshd import ADDRESS, free_port

#: Kinds of places: on this host, and on others by the programs that they have.
WHERE = ("here", *KINDS)


@dataclass(frozen=True)
class Where:
    """
    A kind of place.

    :param kind: one of ``WHERE``
    :param options: of ``[pool]``, as a configuration has them
    """

    kind: str
    options: dict[str, str]

    @property
    def remote(self) -> bool:
        return self.kind != "here"

    def at(self, path: Path) -> str:
        """Return a directory as a location."""
        return f"{'lab' if self.remote else ''}:{path}"


def where_of(kind: str) -> Where:
    """Return a kind of place; its ssh configuration knows another host that is off."""
    if kind == "here":
        return Where(kind, {})
    host = server(kind)
    off = f"Host gone\nHostName {ADDRESS}\nPort {free_port()}\n"
    return Where(kind, {"ssh_config": host.lab("sites", off)})


Run = Callable[..., int]


def runner(where: Where, cache: Path) -> Run:
    """Return what does a sub-command in this process."""

    def run(name: str, *at: str, pools: str = "", **more: object) -> int:
        options = {"swarm_pool": str(cache), "shared_pool": pools, **where.options}
        asked = {f"pool_{key}": value for key, value in more.items()}
        return do(name, {"pool_at": list(at) or None, **section(options), **asked})

    return run


@pytest.fixture(params=["here", "plain"])
def where(request: pytest.FixtureRequest) -> Where:
    return where_of(request.param)


@pytest.fixture
def run(where: Where, tmp_path: Path) -> Run:
    return runner(where, tmp_path / "cache")


@pytest.fixture
def here(tmp_path: Path) -> Run:
    return runner(where_of("here"), tmp_path / "cache")
