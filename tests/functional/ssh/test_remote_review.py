"""What may lose or corrupt a state of a pool on another host, or keep somebody from a good one."""

import errno
import os
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import durable, layout, resume
from avocado_pool_plugin.core.errors import FileChanging, PoolError
from avocado_pool_plugin.core.evidence import adopted
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import Record, Stamp, encode, template
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.judge import Judge
from tests.support.agents import MIB, agent, noise
from tests.support.forked import in_child
from tests.support.places import digest_of, put
from tests.support.remote import remote_store, server

POLICY = Policy(timeout=10, fsync=False)
OLD = 3 * 24 * 3600


def aged(path: Path, seconds: float = OLD) -> Path:
    """Make a file one that was last written to long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"precious")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_what_is_no_transfers_in_a_directory_is_left_alone(tmp_path):
    """Who sets a state in a cache that is a pool to others has an old image as a part there."""
    source, target = tmp_path / "here" / "a.state", tmp_path / "vm1" / "a.state"
    put(source, noise(MIB))
    image = aged(Path(layout.part_path(str(target), durable.new_token())))
    left = aged(Path(layout.resumable_path(str(target), resume.key_of("x"))))
    remote = remote_store(POLICY)
    remote.session.swept.clear()
    remote.publish(str(source), str(target))
    assert image.read_bytes() == b"precious"
    assert not left.exists()


def test_what_one_of_two_equal_uploads_leaves_is_found_by_its_name(tmp_path):
    source, target = tmp_path / "here" / "a.state", tmp_path / "vm1" / "a.state"
    put(source, noise(MIB))


@pytest.mark.parametrize("kind", ["python", "plain"])
def test_link_in_a_pool_to_another_file_system_gives_way_to_a_whole_file(tmp_path, on_tmpfs, kind):
    """The part is on the file system of the name that it gets, so that the rename is one."""
    source, target = tmp_path / "here" / "a.state", tmp_path / "vm1" / "a.state"
    put(source, noise(MIB))
    real = on_tmpfs / "a.state"
    put(real, noise(MIB, seed=1))
    target.parent.mkdir()
    target.symlink_to(real)
    remote_store(POLICY, kind).publish(str(source), str(target))
    assert not target.is_symlink()
    assert target.read_bytes() == source.read_bytes()
    assert real.read_bytes() == noise(MIB, seed=1)
    assert not (on_tmpfs / ".pool").joinpath("trash").exists()
