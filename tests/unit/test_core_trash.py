"""What is thrown away stays whole for a while, and never keeps anybody from working."""

import errno
import os
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, records, trash
from tests.support.places import put


@pytest.mark.parametrize("letter", ["n", "ä"])
def test_a_file_with_the_longest_name_keeps_its_record(pool, letter):
    path = pool.ram(letter * (200 // len(letter.encode())))
    info = put(path, b"content")
    thrown = Path(trash.throw(str(path)))
    assert thrown.read_bytes() == b"content"
    record = records.decode(Path(f"{thrown}.json").read_bytes())
    assert record and record.info == info


@pytest.mark.parametrize("name", ["1-directory", "²-something"])
def test_what_is_no_file_of_ours_does_no_harm(pool, name):
    path = pool.ram("s")
    put(path, b"content")
    odd = Path(layout.trash_dir(str(path))) / name
    odd.mkdir(parents=True)
    assert Path(trash.throw(str(path))).read_bytes() == b"content"
    assert odd.is_dir()


def test_a_rename_that_fails_once_leaves_no_second_name(tmp_path, monkeypatch):
    """The old file is in the trash by a hard link already, when both are exchanged instead."""
    path, part = tmp_path / "s.state", tmp_path / "s.part"
    path.write_bytes(b"old")
    part.write_bytes(b"new")
    rename, failures = os.rename, [OSError(errno.EIO, "broken")]

    def once(source, target):
        if failures and target == str(path):
            raise failures.pop()
        rename(source, target)

    monkeypatch.setattr(os, "rename", once)
    kept = trash.supersede(str(part), str(path))
    assert not failures and path.read_bytes() == b"new" and not part.exists()
    assert Path(kept).read_bytes() == b"old"
