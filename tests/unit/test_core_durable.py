"""Small files of ours appear whole or not at all, and leave nothing behind."""

import os

import pytest

from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.errors import PoolUnreachable


@pytest.mark.parametrize("name", ["x", "n" * 250, "ä" * 125, "n" * 255])
def test_a_name_as_long_as_the_file_system_takes_it(tmp_path, name):
    path = tmp_path / name
    durable.write_whole(str(path), b"one")
    durable.write_whole(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert not durable.create_whole(str(path), b"three")
    assert os.listdir(tmp_path) == [name]


def test_what_can_not_be_put_in_place_is_gone(tmp_path):
    (tmp_path / "taken" / "inner").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        durable.write_whole(str(tmp_path / "taken"), b"content")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_directory_that_can_not_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PoolUnreachable, match="file/inner can't be made: Not a directory"):
        durable.make_like_parent(str(tmp_path / "file" / "inner"))
