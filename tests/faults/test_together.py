"""Many processes at once on one chain; with locks, and with every lock a no-op."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avocado_pool_plugin.core.chain import verify
from avocado_pool_plugin.core.records import read_record
from tests.support import stubbed
from tests.support.images import chain, described, guest_bytes, image, qemu_img, qemu_io, write
from tests.support.places import POLICY, Dir, digest_of, local_store, ours, put_image
from tests.support.processes import environment

pytestmark = pytest.mark.stress
NAMES = ("base", "install", "customize")

_FETCH = """
import json, sys
from pathlib import Path
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import locks
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.local import LocalStore
pool, cache, locking, rounds, *names = sys.argv[1:]
if locking == "none":
    locks.skip = lambda: True
store = LocalStore(Policy(timeout=120), qemu.rename_backing)
sys.stdin.readline()
done = []
for _ in range(int(rounds)):
    for name in names:
        moved = store.fetch(f"{pool}/{name}.qcow2", f"{cache}/{name}.qcow2")
        done.append(moved.action)
print(json.dumps(done))
"""

_WRITE = """
import sys
from pathlib import Path
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import locks
from avocado_pool_plugin.core.errors import FileChanging, StateMissing
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.local import LocalStore
locking, rounds, target, *sources = sys.argv[1:]
if locking == "none":
    locks.skip = lambda: True
store = LocalStore(Policy(timeout=120), qemu.rename_backing)
sys.stdin.readline()
for turn in range(int(rounds)):
    for source in sources:
        store.publish(source, target)
    info = store.info(target)
    assert info is not None and info.digest
"""


def together(code: str, commands: list[list[str]]) -> list[str]:
    """Start processes that wait for each other, and return what they print."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *command], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        )
        for command in commands
    ]  # fmt: skip
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate() for process in started]
    failures = [error for (_, error), process in zip(ends, started, strict=True)
                if process.returncode]  # fmt: skip
    assert failures == []
    return [out for out, _ in ends]


@pytest.fixture
def filled(pool: Dir, tmp_path: Path) -> Dir:
    """A pool of a chain with some MiB in it, no digest known, as a set leaves it."""
    parent = None
    for path in chain(tmp_path / "scratch", *NAMES):
        qemu_io(path, "write -q -P 7 8M 6M")
        put_image(path, pool.state(path.stem), parent=parent, hashed=False)
        parent = pool.state(path.stem)
    return pool


def good(cache: Dir, filled: Dir) -> None:
    assert verify(str(cache.image), "customize", POLICY) == ["customize", "install", "base"]
    for name in NAMES:
        assert digest_of(cache.state(name)) == digest_of(filled.state(name))
    assert guest_bytes(cache.state("customize"), 3) == [1, 2, 3]
    assert local_store().names(str(cache.image)) == sorted(f"{name}.qcow2" for name in NAMES)
    assert [name for name in ours(cache.image) if name.endswith((".part", ".tmp"))] == []


@pytest.mark.parametrize("locking", ["locks", "none"])
def test_eight_processes_fetch_one_chain_into_one_cache(filled, cache, locking):
    command = [str(filled.image), str(cache.image), locking, "3", *NAMES]
    said = together(_FETCH, [command] * 8)
    good(cache, filled)
    actions = [action for out in said for action in json.loads(out)]
    if locking == "locks" and stubbed.exclude():
        # one download serves all who wait for it
        assert sorted(set(actions)) in (["copied", "kept"], ["cloned", "kept"])
        assert len(actions) - actions.count("kept") == len(NAMES)


@pytest.mark.parametrize("locking", ["locks", "none"])
def test_eight_processes_fetch_one_chain_into_eight_caches(filled, tmp_path, locking):
    caches = [Dir(tmp_path / f"cache {number}") for number in range(8)]
    together(_FETCH, [[str(filled.image), str(cache.image), locking, "2", *NAMES]
                      for cache in caches])  # fmt: skip
    for cache in caches:
        good(cache, filled)


@pytest.mark.parametrize("locking", ["locks", "none"])
def test_several_writers_of_unlike_content_leave_one_of_them(pool, tmp_path, locking):
    sources = []
    for number in range(5):
        where = Dir(tmp_path / f"cache{number}")
        path = image(tmp_path / f"scratch{number}.qcow2")
        put_image(write(path, 10 + number, length="3M"), where.state("base"))
        sources.append(str(where.state("base")))
    target = pool.state("base")
    commands = [[locking, "4", str(target), *sources[turn:], *sources[:turn]] for turn in range(4)]
    together(_WRITE, commands)
    assert digest_of(target) in {digest_of(Path(source)) for source in sources}
    store = local_store()
    assert store.info(str(target)).digest == digest_of(target)
    assert described(target)["format"] == "qcow2"
    # the records converge: after one more write all of them speak of this file
    store.publish(sources[0], str(target))
    assert store.info(str(target)).digest == digest_of(Path(sources[0]))
    assert read_record(str(target)).info.digest == digest_of(Path(sources[0]))


@pytest.mark.parametrize("locking", ["locks", "none"])
def test_readers_while_writers_replace_get_one_or_the_other(pool, tmp_path, locking):
    """Fetches into many caches while the pool's file is replaced again and again."""
    sources = []
    for number in range(2):
        where = Dir(tmp_path / f"cache{number}")
        path = write(image(tmp_path / f"scratch{number}.qcow2"), 10 + number, length="5M")
        put_image(path, where.state("base"))
        sources.append(str(where.state("base")))
    target = pool.state("base")
    local_store().publish(sources[0], str(target))
    readers = [Dir(tmp_path / f"reader{number}") for number in range(3)]
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITE, locking, "12", str(target), *sources],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    writer.stdin.write("\n")
    writer.stdin.flush()
    together(_FETCH, [[str(pool.image), str(reader.image), locking, "12", "base"]
                      for reader in readers])  # fmt: skip
    assert writer.communicate()[1] == "" and writer.returncode == 0
    known = {digest_of(Path(source)) for source in sources}
    for reader in readers:
        assert digest_of(reader.state("base")) in known
        assert local_store().info(str(reader.state("base"))).digest in known


def test_a_killed_download_frees_the_cache_for_the_next(filled, cache):
    command = [sys.executable, "-c", _FETCH, str(filled.image), str(cache.image), "locks", "400",
               *NAMES]  # fmt: skip
    for _ in range(3):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   env=environment())  # fmt: skip
        process.stdin.write(b"\n")
        process.stdin.flush()
        while not cache.image.exists() and process.poll() is None:
            os.sched_yield()
        process.kill()
        process.wait()
        for name in local_store().names(str(cache.image)):
            assert digest_of(cache.image / name) == digest_of(filled.image / name)
        for name in NAMES:
            local_store().fetch(str(filled.state(name)), str(cache.state(name)))
        assert verify(str(cache.image), "customize", POLICY)
        qemu_img("check", cache.state("customize"))
        shutil.rmtree(cache.root)
