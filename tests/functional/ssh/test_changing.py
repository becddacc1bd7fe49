"""A few bytes of a state changed by a far shell, as they are changed here."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core.digest import SHA256
from avocado_pool_plugin.core.errors import FileChanging, PoolUnreachable
from avocado_pool_plugin.core.qcow2 import Change
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import changing
from avocado_pool_plugin.upkeep.hands import LocalHands
from tests.support.places import local_store, opened, settle
from tests.support.shells import ODD, as_nobody, far, shell

__all__ = ["shell"]

#: Bytes that mean something to a shell, or to printf, or end texts.
OLD, NEW = b"\0\0%s\n\\x'\"$\0\xff ", bytes([0, 0, 37, 115, 10, 92, 48, 39, 34, 36, 13, 0])


def made(directory: Path, name: str = "a.qcow2") -> tuple[str, Stamp, Change]:
    path = directory / name
    path.write_bytes(b"QFI\xfb1234" + OLD + os.urandom(100))
    path.chmod(0o644)
    return str(path), Stamp.of(path.stat()), Change(8, OLD[:12], NEW)


@pytest.mark.parametrize("name", ODD)
def test_bytes_are_changed_as_they_would_be_here(shell, name, tmp_path):
    path, stamp, change = made(tmp_path, name)
    before = Path(path).read_bytes()
    changing.change(shell, path, change, stamp, fsync=True)
    assert Path(path).read_bytes() == change.applied(before) != before
    assert Path(path).stat().st_ino == stamp.inode
    # it may be asked for once more after the connection broke
    changing.change(shell, path, change, stamp, fsync=False)
    assert Path(path).read_bytes() == change.applied(before)


def test_another_file_is_left_alone(shell, tmp_path):
    path, stamp, change = made(tmp_path)
    hands = LocalHands(str(tmp_path), local_store())
    with Path(path).open("ab") as file:
        file.write(b"more")
    before = Path(path).read_bytes()
    for do in (
        lambda: changing.change(shell, path, change, stamp, fsync=False),
        lambda: hands.change(path, change, stamp),
    ):
        with pytest.raises(FileChanging, match="written to by others"):
            do()
    assert Path(path).read_bytes() == before
    with pytest.raises(PoolUnreachable):
        changing.change(shell, f"{path}.no", change, stamp, fsync=False)


@contextlib.contextmanager
def change_here(directory: Path) -> Iterator[Callable[[str, Change, Stamp], None]]:
    hands = LocalHands(str(directory), local_store())

    def change(path: str, change: Change, stamp: Stamp) -> None:
        os.setegid(65534)
        os.seteuid(65534)
        try:
            hands.change(path, change, stamp)
        finally:
            os.seteuid(0)
            os.setegid(0)

    yield change


@contextlib.contextmanager
def change_there(directory: Path) -> Iterator[Callable[[str, Change, Stamp], None]]:
    with far(as_nobody("dash")) as one:
        yield functools.partial(changing.change, one, fsync=True)


@pytest.mark.parametrize("by", [change_here, change_there])
def test_the_owner_may_change_a_read_only_file(tmp_path, by):
    """And its mode is as before then, changed or not; root may do so anyway."""
    opened(tmp_path)
    path, _, change = made(tmp_path)
    os.chown(path, 65534, 65534)
    os.chmod(path, 0o444)
    stamp = Stamp.of(os.stat(path))
    with by(tmp_path) as do:
        with pytest.raises(FileChanging, match="written to by others"):
            do(path, Change(8, b"others", b"change"), stamp)
        assert Path(path).stat().st_mode & 0o777 == 0o444
        do(path, change, stamp)
    assert Path(path).read_bytes()[8:20] == NEW
    assert Path(path).stat().st_mode & 0o777 == 0o444


def test_what_it_would_contain(shell, tmp_path):
    path, stamp, change = made(tmp_path)
    foreseen = changing.sum_changed(shell, path, change)
    changing.change(shell, path, change, stamp, fsync=False)
    import hashlib

    assert foreseen == f"{SHA256}:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
    with pytest.raises(PoolUnreachable):
        changing.sum_changed(shell, f"{path}.no", change)


def test_a_stamp_to_be_trusted(shell, tmp_path):
    path, _, _ = made(tmp_path)
    settle(Path(path))
    assert changing.trusted(shell, path) == Stamp.of(os.stat(path))
    assert list((tmp_path / ".pool").iterdir()) == []
    with pytest.raises(PoolUnreachable):
        changing.trusted(shell, str(tmp_path / "no" / "a.qcow2"))


def test_files_by_their_endings_wherever_they_are(shell, tmp_path):
    for place in ("x.lock", "a/x.state", "a/b/x.qcow2", "a/b/c/x.lock", "a/b/c/d/x.qcow2"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"QFI")
    for place in ("a/.pool/x.qcow2", "a/notes.txt", "a/.x.qcow2", "a/b/c/d/e/x.qcow2"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    here = [entry.path for entry in LocalHands(str(tmp_path), local_store()).others()]
    assert sorted(changing.others(shell, str(tmp_path))) == here
    assert len(here) == 5
    starts = changing.starts(shell, here, 2)
    assert starts == dict.fromkeys(here, b"QF")
