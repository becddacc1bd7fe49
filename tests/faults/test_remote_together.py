"""Many processes at once on one directory: over two servers and as its own host's users."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, locks
from avocado_pool_plugin.core.chain import verify
from avocado_pool_plugin.core.errors import LockTimeout
from avocado_pool_plugin.core.records import read_record
from avocado_pool_plugin.ssh import session
from tests.faults.test_together import together
from tests.support import stubbed
from tests.support.agents import noise
from tests.support.images import MIB, chain, guest_bytes, image, qemu_io, write
from tests.support.places import POLICY, Dir, digest_of, local_store, ours, put, put_image
from tests.support.processes import lock_holder
from tests.support.remote import server
from tests.support.remote_faults import STRICT, Line, left

NAMES = ("base", "install", "customize")

_START = """
import json, sys
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import locks
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.store import RemoteStore
host, locking, rounds, *args = sys.argv[1:]
if locking == "none":
    locks.skip = lambda: True
store = LocalStore(Policy(timeout=120, fsync=False), qemu.rename_backing)
if host != "here":
    store = RemoteStore(session.of(Host(**json.loads(host))), store)
sys.stdin.readline()
"""

_WRITE = (
    _START
    + """
target, *sources = args
for turn in range(int(rounds)):
    for source in sources:
        store.publish(source, target)
    info = store.info(target)
    assert info is not None and (info.digest or info.also)
"""
)

_FETCH = (
    _START
    + """
pool, cache, *names = args
done = []
for _ in range(int(rounds)):
    for name in names:
        done.append(store.fetch(f"{pool}/{name}", f"{cache}/{name}").action)
print(json.dumps(done))
"""
)


def place(kind: str | None) -> str:
    """Return where a process works: on a server of a kind, or on the directory itself."""
    return json.dumps(vars(server(kind).host(timeout=60.0))) if kind else "here"


@pytest.mark.stress
@pytest.mark.parametrize("locking", ["locks", "none"])
def test_writers_of_several_hosts_leave_one_of_their_contents(pool, tmp_path, locking):
    """While others read: each gets one of them, whole."""
    sources = []
    for number in range(4):
        where = Dir(tmp_path / f"cache{number}")
        path = write(image(tmp_path / f"scratch{number}.qcow2"), 10 + number, length="3M")
        put_image(path, where.state("base"), hashed=number % 2 == 0)
        sources.append(str(where.state("base")))
    target = pool.state("base")
    local_store().publish(sources[0], str(target))
    writers: list[list[str]] = [
        [place(kind), locking, "3", str(target), *sources[turn:], *sources[:turn]]
        for turn, kind in enumerate(("python", "plain", None))
    ]
    readers = [Dir(tmp_path / f"reader{number}") for number in range(2)]
    reading = [[place("rsync"), locking, "8", str(pool.image), str(reader.image), "base.qcow2"]
               for reader in readers]  # fmt: skip
    codes = [_WRITE] * len(writers) + [_FETCH] * len(readers)
    run(codes, [*writers, *reading])
    known = {digest_of(Path(source)) for source in sources}
    for path in (target, *(reader.state("base") for reader in readers)):
        assert digest_of(path) in known
        assert local_store(STRICT).info(str(path)).digest == digest_of(path)
        assert left(path.parent) == []
    # the records converge: after one more write all of them speak of this file
    with Line(server()) as line:
        line.store().publish(sources[1], str(target))
    assert digest_of(target) == digest_of(Path(sources[1]))
    assert read_record(str(target)).info.digest == digest_of(target)


def run(codes: Sequence[str], commands: list[list[str]]) -> list[str]:
    """Run programs at once, each with its arguments."""
    choice = "import sys\nexec(sys.argv.pop(1))\n"
    return together(
        choice, [[code, *command] for code, command in zip(codes, commands, strict=True)]
    )


@pytest.fixture
def filled(pool: Dir, tmp_path: Path) -> Dir:
    """A pool of a chain with some MiB in it, no digest known, as a set leaves it."""
    parent = None
    for path in chain(tmp_path / "scratch", *NAMES):
        qemu_io(path, "write -q -P 7 8M 4M")
        put_image(path, pool.state(path.stem), parent=parent, hashed=False)
        parent = pool.state(path.stem)
    return pool


@pytest.mark.stress
@pytest.mark.parametrize("caches", [8, 1])
def test_eight_workers_read_one_chain_and_wait_for_no_lock(filled, tmp_path, caches):
    """One download serves all workers of a cache."""
    found = [Dir(tmp_path / f"cache {number}") for number in range(caches)]
    files = [f"{name}.qcow2" for name in NAMES]
    commands = [[place("python"), "locks", "2", str(filled.image), str(found[n % caches].image),
                 *files] for n in range(8)]  # fmt: skip
    with (
        lock_holder(filled.state("base")),
        lock_holder(filled.state("install")),
        lock_holder(filled.state("customize")),
    ):
        said = run([_FETCH] * 8, commands)
    actions = [action for out in said for action in json.loads(out)]
    assert not stubbed.exclude() or actions.count("copied") == len(NAMES) * caches
    for cache in found:
        assert verify(str(cache.image), "customize", POLICY) == ["customize", "install", "base"]
        for name in NAMES:
            assert digest_of(cache.state(name)) == digest_of(filled.state(name))
        assert guest_bytes(cache.state("customize"), 3) == [1, 2, 3]
        assert left(cache.root) == []
    assert [name for name in ours(filled.image) if name.endswith(".part")] == []


@pytest.mark.parametrize("kind", ["python", "plain"])
def test_locks_are_those_of_all_hosts(pool, tmp_path, kind):
    """Of a process here, of one over ssh, of another server's; the error says whose it is."""
    path, local = pool.ram("s"), tmp_path / "s.state"
    put(path, b"old")
    put(local, b"new")
    with Line(server(kind)) as line, Line(server("rsync")) as another:
        quick = line.store(policy=type(POLICY)(timeout=0.2, fsync=False))
        with (
            lock_holder(path) as holder,
            pytest.raises(LockTimeout, match=rf"lab.*process {holder.pid}, since .* waited 0\.2"),
        ):
            quick.publish(str(local), str(path))
        with another.store().lock(str(path), 5):
            with pytest.raises(LockTimeout, match=r"process \d+, since .*over ssh: shell \d+ on"):
                quick.publish(str(local), str(path))
            with pytest.raises(LockTimeout, match=r"over ssh: shell \d+ on"):
                local_store(quick.policy).publish(str(local), str(path))
            with pytest.raises(LockTimeout, match="over ssh"), locks.hold(str(path), 0):
                pass
        assert path.read_bytes() == b"old"
        assert quick.publish(str(local), str(path)).changed
    assert path.read_bytes() == b"new" and left(pool.root) == []


@pytest.mark.stress
@pytest.mark.parametrize("how", ["cut", "programs killed"])
def test_threads_of_one_session_survive_its_connection(pool, tmp_path, how, monkeypatch):
    """They share a login, which breaks again and again while all of them move files."""
    monkeypatch.setattr(session, "_PAUSES", (0.05, 0.1, 0.2, 0.3, 0.5, 0.5))
    session.close_all()
    contents = [noise(2 * MIB, seed=number) for number in range(6)]
    with Line(server()) as line:
        store = line.store()
        assert store.session.abilities
        steps, failures = threading.Semaphore(0), []

        def work(number: int) -> None:
            try:
                for turn in range(3):
                    name, local = f"{number}-{turn}", tmp_path / f"{number}-{turn}.state"
                    put(local, contents[number])
                    store.publish(str(local), str(pool.ram(name)), lambda _: steps.release())
                    store.fetch(str(pool.ram(name)), f"{local}.back", lambda _: steps.release())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            for _ in range(12):
                assert steps.acquire(timeout=20)
            line.proxy.cut() if how == "cut" else line.kill_programs()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(line.programs()) <= 10
        with store.session.shell() as one, store.session.bulk():
            assert one.usable
    for number, content in enumerate(contents):
        for turn in range(3):
            for path in (pool.ram(f"{number}-{turn}"), tmp_path / f"{number}-{turn}.state.back"):
                assert path.read_bytes() == content
    assert left(pool.root, layout.PART) == left(tmp_path, layout.PART) == []


@pytest.mark.stress
def test_who_sends_the_same_at_once_does_not_spoil_it(pool, tmp_path):
    """Several workers publish one new state: each is served, and one file is there in the end."""
    content = noise(6 * MIB)
    sources = [tmp_path / f"cache{number}" / "s.state" for number in range(4)]
    for source in sources:
        put(source, content)
    kinds = ("python", "python", "plain", "rsync")
    commands = [[place(kind), "locks", "1", str(pool.ram("s")), str(source)]
                for kind, source in zip(kinds, sources, strict=True)]  # fmt: skip
    run([_WRITE] * 4, commands)
    assert pool.ram("s").read_bytes() == content
    assert local_store(STRICT).info(str(pool.ram("s"))).digest == digest_of(sources[0])
    assert left(pool.root) == [] and local_store().names(str(pool.root / "vm1")) == ["s.state"]
