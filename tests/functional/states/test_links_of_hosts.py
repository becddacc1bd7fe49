"""Hosts that share a pool by links: what the one uses is not forgotten by the other."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, users
from avocado_pool_plugin.core.link import LinkStore
from tests.support.needs import need_programs
from tests.support.places import POLICY, Dir, local_store, put
from tests.support.processes import environment
from tests.support.sites import SITES, site

_FETCH = """
import sys
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.link import LinkStore
from tests.support.places import POLICY
LinkStore(POLICY, qemu.rename_backing).fetch(*sys.argv[1:])
"""


def fetch(path: Path, local: Path) -> None:
    LinkStore(POLICY, lambda *_: None).fetch(str(path), str(local))


def fetch_elsewhere(path: Path, local: Path, host: str = "another-host") -> None:
    """Fetch on a host of another name, which has the same directories."""
    need_programs("unshare", "hostname")
    command = 'hostname "$0" && exec "$@"'
    subprocess.run(
        ["unshare", "--uts", "sh", "-c", command, host, sys.executable, "-c", _FETCH, path, local],
        env=environment(),
        cwd=Path(__file__).parents[3],
        check=True,
    )


@pytest.fixture
def state(pool: Dir) -> Path:
    path = pool.ram("s")
    put(path, b"content")
    return path


def noted(state: Path) -> list[Path]:
    return sorted(Path(layout.users_dir(str(state))).iterdir())


@pytest.mark.parametrize("kind", SITES)
def test_a_link_of_another_host_is_counted_and_not_forgotten(pool, state, cache, kind):
    link = cache.ram("s")
    fetch_elsewhere(state, link)
    link.unlink()  # that host has it still: this is another one
    shelf = site(kind, pool.root).shelf(str(state))
    for _ in range(2):
        (user,) = shelf.users(str(state), None)
        assert (user.path, user.host, user.link) == (str(link), "another-host", True)
        assert str(user).startswith(f"symlink {link} (host another-host")
    assert len(noted(state)) == 1


def test_caches_of_the_same_path_are_told_apart(state, cache):
    link = cache.ram("s")
    fetch_elsewhere(state, link)
    fetch(state, link)
    assert {user.host for user in users.users_of(str(state))} == {
        "another-host",
        os.uname().nodename,
    }
    link.unlink()
    assert [user.host for user in users.users_of(str(state))] == ["another-host"]
    assert len(noted(state)) == 1, "one's own that is gone is forgotten"


@pytest.mark.parametrize(("days", "counts"), [(29, True), (31, False)])
def test_a_host_that_is_gone_for_good_is_forgotten(state, cache, days, counts):
    fetch_elsewhere(state, cache.ram("s"))
    (entry,) = noted(state)
    told = json.loads(entry.read_text())
    entry.write_text(json.dumps({**told, "since": time.time() - days * 24 * 3600}))
    assert bool(users.users_of(str(state))) == counts
    assert bool(noted(state)) == counts


def test_a_link_that_is_used_is_noted_anew(state, cache):
    link = cache.ram("s")
    fetch(state, link)
    (entry,) = noted(state)
    before = entry.stat().st_mtime_ns
    fetch(state, link)
    assert entry.stat().st_mtime_ns == before, "not each time"
    told = json.loads(entry.read_text())
    entry.write_text(json.dumps({**told, "since": time.time() - 2 * 24 * 3600}))
    fetch(state, link)
    (user,) = users.users_of(str(state))
    assert time.time() - user.since < 3600


def test_who_removes_the_state_is_told_of_all(state, cache, caplog):
    fetch_elsewhere(state, cache.ram("s"))
    local_store().remove(str(state))
    assert "another-host" in caplog.text and "is invalid now" in caplog.text
