"""A local store where others get in its way, or the file system does."""

import os
from pathlib import Path

import pytest

from avocado_pool_plugin.core import copy, layout, local
from avocado_pool_plugin.core.errors import PoolUnreachable, StateMissing
from avocado_pool_plugin.core.plan import check_space, plan_transfer
from tests.support.mounts import read_only
from tests.support.needs import need_root
from tests.support.places import local_store, opened, put
from tests.support.processes import in_child


def test_what_can_not_be_reached_is_not_absent(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    store = local_store()
    with pytest.raises(PoolUnreachable, match="loop can't be read"):
        store.has(str(loop))
    assert not store.has(str(tmp_path / "none")) and store.has(str(tmp_path))


def test_a_state_that_goes_while_it_is_copied_is_missing(pool, tmp_path, monkeypatch):
    """Nobody takes that for a file system that fails."""
    path, target = pool.ram("s"), tmp_path / "cache" / "s.state"
    put(path, b"content")

    def gone(source, part, *more):
        Path(source).unlink()
        return copy.copy_file(source, part, *more)

    monkeypatch.setattr(local, "copy_file", gone)
    with pytest.raises(StateMissing, match=r"s\.state does not exist"):
        local_store().fetch(str(path), str(target))
    assert not target.exists() and os.listdir(target.parent / layout.META) == ["s.state.lock"]


def test_a_removal_that_fails_says_of_what(tmp_path):
    """In a directory like /tmp nobody may remove what is not his own."""
    need_root()
    opened(tmp_path)
    where = tmp_path / "pool"
    where.mkdir()
    where.chmod(0o1777)
    path = where / "s.state"
    put(path, b"content")

    def others():
        os.setgroups([])
        os.setuid(1001)
        with pytest.raises(PoolUnreachable, match=r"s\.state can't be used: Operation not perm"):
            local_store().remove(str(path))

    assert in_child(others) == 0
    assert path.read_bytes() == b"content"


def test_a_plan_for_a_directory_that_can_not_be_written_to_names_it(pool, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    put(pool.ram("s"), b"content")
    plan = plan_transfer([(str(pool.ram("s")), str(cache / "vm1" / "s.state"))])
    with read_only(cache), pytest.raises(PoolUnreachable, match=f"{cache} can't be used: Read-onl"):
        check_space(plan)
