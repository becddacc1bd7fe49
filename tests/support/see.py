"""``avocado pool`` in this process, at caches and pools of each kind, and things found in these."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from avocado_pool_plugin.core import durable, records
from avocado_pool_plugin.core.passport import Mark, Passport
from avocado_pool_plugin.core.place import new_info, place
from avocado_pool_plugin.core.recipe import Recipe
from avocado_pool_plugin.core.records import FileInfo
from tests.support.commands import do
from tests.support.images import image, write
from tests.support.places import POLICY, digest_of, put_image
from tests.support.remote import KINDS, server

#: Kinds of places.
CACHE, LOCAL, LINK = "cache", "local", "link"
EVERYWHERE = (CACHE, LOCAL, LINK, *KINDS)
#: Runs a sub-command; returns its exit status.
Run = Callable[..., int]


def location(kind: str, root: Path) -> str:
    """Return the location of a directory as one of a kind of places."""
    return f"{'lab' if kind in KINDS else ''}:{root}{';' if kind == LINK else ''}"


def options(kind: str, root: Path, nowhere: Path) -> dict[str, str]:
    """Return the options with which a directory is the one place that commands are about."""
    if kind == CACHE:
        return {"pool.swarm_pool": str(root), "pool.shared_pool": ""}
    found = {"pool.swarm_pool": str(nowhere), "pool.shared_pool": location(kind, root)}
    if kind in KINDS:
        found["pool.ssh_config"] = server(kind).lab("see")
    return found


def run(name: str, given: dict[str, str], **words: Any) -> int:
    """Do a sub-command at what is given by :func:`options`."""
    return do(name, {**given, **{f"pool_{key}": value for key, value in words.items()}})


def told(capsys: Any) -> Any:
    """Return what was printed for programs."""
    return json.loads(capsys.readouterr().out)


def odd_pool(root: Path) -> Path:
    """Make a pool with all kinds of things that were found in one."""
    home = root / "vm1" / "image1"
    base = write(image(home / "install.qcow2"), 1)
    image(home / "on top.qcow2", backing=base.name)
    image(home / "gone.qcow2")
    image(home / "orphan.qcow2", backing="gone.qcow2")
    (home / "gone.qcow2").unlink()
    golden = image(root.parent / "golden.qcow2")
    image(home / "outside.qcow2", backing=str(golden))
    (home / "none.qcow2").write_bytes(b"no image")
    (home / "dead.qcow2").symlink_to("nowhere.qcow2")
    (home / "directory.qcow2").mkdir()
    (home / "a.qcow2.part").write_text("")
    odd = root / "my vm's" / "Größe [bold]"
    write(image(odd / "läuft.qcow2"), 1)
    (root / "vm1" / "running.state").write_bytes(b"memory" * 1000)
    image(root / "vm1" / "image1.qcow2")
    return root


def by_i2n(root: Path, uploader: Path) -> Path:
    """Make a pool as avocado-i2n fills it: backing names absolute, in the uploader's cache."""
    home, below = uploader / "vm1" / "image1", None
    for name in "abc":
        path = image(home / f"{name}.qcow2", backing=below)
        below = str(write(path, 1))
    (root / "vm1").mkdir(parents=True)
    os.rename(home, root / "vm1" / "image1")
    (root / "vm1" / "image1" / "a.qcow2.lock").touch()
    return root


def set_chain(root: Path, *names: str, byte: int = 1) -> list[Path]:
    """Set states of ``vm1/image1`` on top of each other, with records."""
    home, made = root / "vm1" / "image1", list[Path]()
    for number, name in enumerate(names):
        below = made[-1] if made else None
        draft = root.parent / "drafts" / f"{name}.qcow2"
        draft.unlink(missing_ok=True)
        image(draft, backing=str(below) if below else None)
        write(draft, byte + number, f"{number}M")
        if below:
            from avocado_pool_plugin import qemu

            qemu.rename_backing(str(draft), below.name)
        put_image(draft, home / f"{name}.qcow2", parent=below)
        made.append(home / f"{name}.qcow2")
    return made


def set_ram(root: Path, name: str, images: dict[str, Path]) -> Path:
    """Set the RAM file of a vm state that needs states of some images."""
    path = root / "vm1" / f"{name}.state"
    marks = {}
    for own, file in images.items():
        record = records.read_record(str(file))
        assert record is not None
        marks[own] = Mark(record.info.generation, record.info.digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(b"memory" * 1000)
        info = new_info(6000, test="boot.guest", seconds=12.5)
        passport = Passport.of({"memory": "1024"}, marks)
        place(
            part, str(path), replace(info, passport=passport, digest=digest_of(Path(part))), POLICY
        )
    return path


def note(path: Path, **changes: Any) -> FileInfo:
    """Change what is recorded of a state."""
    record = records.read_record(str(path))
    assert record is not None
    info = replace(record.info, **changes)
    records.write_record(str(path), replace(record, info=info), fsync=False)
    return info


RECIPE = Recipe.of({"param mem": "1024", "code boot": "12ab"})
