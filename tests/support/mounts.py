"""Small file systems of several kinds; gone when the context ends, come what may."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.needs import need_programs, need_root

#: Kind of file system -> how to make it on a file.
MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@contextlib.contextmanager
def mounted(kind: str, directory: Path, size: int) -> Iterator[Path]:
    """
    Give the mount point of a new file system, below ``directory``.

    :param kind: a key of MKFS, or ``tmpfs``
    :param size: MiB; XFS needs at least 300
    """
    need_root()
    point = directory / f"mnt-{kind}"
    point.mkdir(parents=True)
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", f"size={size}m,mode=755", "none", point)
    else:
        need_programs(MKFS[kind][0])
        disk = directory / f"disk-{kind}"
        with disk.open("wb") as file:
            file.truncate(size << 20)
        _run(*MKFS[kind], disk)
        # the loop device detaches itself at the umount
        _run("mount", "-o", "loop", disk, point)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=False)
        (directory / f"disk-{kind}").unlink(missing_ok=True)


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Make a directory read-only, for root as well, while the context lasts."""
    need_root()
    _run("mount", "--bind", directory, directory)
    try:
        _run("mount", "-o", "remount,ro,bind", directory)
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=False)


def fill(directory: Path, leave: int) -> Path:
    """Fill a file system up to ``leave`` bytes and return the file that takes the room."""
    hog = directory / "hog"
    with hog.open("wb") as file:
        left = os.statvfs(directory)
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize - leave)
    return hog


def fresh(mount: Path, tmp_path: Path) -> Iterator[Path]:
    """Give an empty directory of a test on a file system; for fixtures."""
    directory = mount / tmp_path.name
    directory.mkdir()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
