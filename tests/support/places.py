"""Directories of states, and stores over them."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import digest, durable, layout, records
from avocado_pool_plugin.core.dependents import Guard
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.place import new_info, place
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo

POLICY = Policy(timeout=20, fsync=True)


def local_store(policy: Policy = POLICY, **options: object) -> LocalStore:
    return LocalStore(policy, qemu.rename_backing, **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Dir:
    """A cache or pool with the directory of one image's states in it."""

    root: Path

    @property
    def image(self) -> Path:
        return self.root / "vm1" / "image1"

    def state(self, name: str) -> Path:
        return self.image / f"{name}.qcow2"

    def ram(self, name: str) -> Path:
        return self.root / "vm1" / f"{name}.state"


def settle(path: Path) -> None:
    """Wait until the file system's clock is past the last change of a file."""
    durable.make_meta(str(path))
    while durable.clock(layout.meta_dir(str(path))) <= path.stat().st_ctime_ns:
        time.sleep(0.001)


def put(path: Path, content: bytes, *, hashed: bool = True, store: Policy = POLICY) -> FileInfo:
    """Set a state of plain bytes as a writer does; ``hashed`` false leaves its digest unknown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(content)
        info = new_info(len(content))
        if hashed:
            info = FileInfo(**{**vars(info), "digest": digest_of(Path(part))})
        return place(part, str(path), info, store)


def put_image(source: Path, path: Path, *, parent: Path | None = None, hashed: bool = True) -> None:
    """Set a QCOW2 file as a state, as a writer does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = records.read_record(str(parent)) if parent else None
    info = new_info(
        source.stat().st_size,
        parent=parent.stem if parent else "",
        parent_info=record.info if record else None,
    )
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(source.read_bytes())
        if hashed:
            info = FileInfo(**{**vars(info), "digest": digest_of(Path(part))})
        place(part, str(path), info, POLICY)


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return digest.digest_fd(file.fileno(), os.fstat(file.fileno()).st_size)


def guarded(**options: object) -> LocalStore:
    return local_store(guard=Guard(**options))  # type: ignore[arg-type]


def opened(path: Path) -> None:
    """Let other users come to a directory of a test, through all that it is in."""
    for directory in (path, *path.parents):
        mode = directory.stat().st_mode
        if mode & 0o055 != 0o055:
            directory.chmod(mode | 0o055)


def remove_tree(root: Path) -> None:
    """Remove a directory into which a host may still write what nobody waits for."""
    while root.exists():
        shutil.rmtree(root, ignore_errors=True)


def ours(directory: Path) -> list[str]:
    """Return all that we left in the ``.pool`` directory, trash aside."""
    meta = directory / layout.META
    return sorted(entry.name for entry in meta.iterdir() if entry.name != "trash")
