"""``avocado pool`` in this process on a place of any kind: what it does after reading arguments."""

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.plugins import cmd
from tests.support.commands import do, section
from tests.support.images import chain
from tests.support.places import POLICY, Dir, put_image
from tests.support.remote import KINDS, server

#: Kinds of places; the last ones are pools on hosts of each kind.
PLACES = ("cache", "local", "link", *KINDS)


@dataclass
class Keeper:
    """
    The keeper of a cache or pool.

    :param kind: of ``PLACES``
    :param root: its directory
    :param cache: the keeper's cache, which may be the place itself
    """

    kind: str
    root: Path
    cache: Path
    caplog: pytest.LogCaptureFixture
    capsys: pytest.CaptureFixture[str]
    shared: list[str] = field(default_factory=list)

    @property
    def at(self) -> str:
        """The place as a location."""
        if self.kind in KINDS:
            return f"lab:{self.root}"
        return f":{self.root}{';' if self.kind == 'link' else ''}"

    def do(self, name: str, **more: Any) -> tuple[int, str]:
        """Do a sub-command at the place; return its status and all that users see."""
        self.caplog.clear()
        self.capsys.readouterr()
        options = {"swarm_pool": str(self.cache), "shared_pool": " ".join(self.shared)}
        if self.kind in KINDS:
            options["ssh_config"] = server(self.kind).lab("keepers")
        with (
            self.caplog.at_level(logging.INFO, logger="avocado.app"),
            pytest.MonkeyPatch.context() as patch,
        ):
            # what a program closes at its end is used by the next one here
            patch.setattr(cmd, "close_connections", lambda: None)
            status = do(name, {"pool_at": [self.at], **section(options), **more})
        told = [r.getMessage() for r in self.caplog.records if r.name == "avocado.app"]
        return status, "\n".join([self.capsys.readouterr().out, *told]).strip()

    def ask(self, name: str, **more: Any) -> Any:
        """Do a sub-command with ``--json``; return what it prints."""
        status, text = self.do(name, pool_json=True, **more)
        assert status == 0, text
        return json.loads(text)

    def trash(self, action: str, *thrown: str, **more: Any) -> tuple[int, str]:
        """Do ``avocado pool trash``."""
        return self.do("trash", pool_trash=action, pool_thrown=thrown, **more)

    def thrown(self, **more: Any) -> list[dict[str, Any]]:
        """Return what ``avocado pool trash list --json`` tells."""
        found: list[dict[str, Any]] = self.ask("trash", pool_trash="list", **more)
        return found

    def rm(self, *states: str, **more: Any) -> tuple[int, str]:
        """Do ``avocado pool rm``."""
        return self.do("rm", pool_states=list(states), **more)

    def states(self) -> list[str]:
        """Return the names of all image states of vm1/image1 that are whole, by their chains."""
        home = self.root / "vm1" / "image1"
        return sorted(path.stem for path in home.glob("*.qcow2"))


def keeper(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Any, hashed: bool = True
) -> Keeper:
    """Return the keeper of a place with states a, b on it and c on that, of vm1/image1."""
    root = tmp_path / "my place"
    cache = root if kind == "cache" else tmp_path / "cache"
    fill(root, tmp_path / "source", hashed)
    return Keeper(kind, root, cache, caplog, capsys)


def fill(root: Path, scratch: Path, hashed: bool = True, byte: int = 1) -> Dir:
    """Put states a, b on it and c on that of vm1/image1 into a place."""
    parent = None
    for made in chain(scratch, *"abc", byte=byte):
        path = Dir(root).state(made.stem)
        put_image(made, path, parent=parent, hashed=hashed)
        parent = path
    shutil.rmtree(scratch)
    return Dir(root)


def whole(path: Path) -> None:
    """Make sure that a state is true to its record, as those who use it see."""
    assert knowledge.identify(str(path), POLICY) is not None
    assert knowledge.peek(str(path)).recorded
