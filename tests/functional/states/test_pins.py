"""What is pinned, used and registered while states are got, set and moved; real processes."""

import os
import signal
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, locks, pins, records, since, trash, used, users
from avocado_pool_plugin.core.dependents import Guard, check_replace
from avocado_pool_plugin.core.errors import StateMissing
from avocado_pool_plugin.states import imagecache, ops
from avocado_pool_plugin.states.images import image_cache
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer
from tests.support.processes import python
from tests.support.states import OWN, get, made, other, put, unset
from tests.support.vms import holds, write

_HOLDER = """
import select, sys
from avocado_pool_plugin.core import pins
with pins.hold(sys.argv[1], ["vm1/image1/a.qcow2"], lease=float(sys.argv[2]), by="test long"):
    print("held", flush=True)
    while sys.argv[3] == "busy" and not select.select([sys.stdin], [], [], 0)[0]:
        sum(range(1000))
    sys.stdin.readline()
"""

CHAIN = {f"vm1/image1/{name}.qcow2" for name in "abc"}


def holder(root: Path, lease: float, how: str = "idle"):
    process = python(_HOLDER, root, str(lease), how)
    assert process.stdout.readline() == "held\n", process.communicate()[1]
    return process


def wait_until(true) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def old(*paths: Path) -> None:
    """Let states have been used long ago."""
    for path in paths:
        used.touch(str(path))
        os.utime(layout.used_path(str(path)), (1000, 1000))


def fresh(*paths: Path) -> bool:
    return all(used.last(str(path)) > 1000 for path in paths)


# -- processes -----------------------------------------------------------------------------------


def test_a_killed_holders_pin_ends_with_its_lease(tmp_path):
    with holder(tmp_path, 1.0) as process:
        (pin,) = pins.live(str(tmp_path))
        assert pin.by.endswith("test long") and str(process.pid) in pin.by
        process.kill()
        process.communicate()
        wait_until(lambda: not pins.live(str(tmp_path)))
        assert len(os.listdir(layout.pins_dir(str(tmp_path)))) == 1


def test_a_stopped_holder_has_its_pin_again_when_it_goes_on(tmp_path):
    with holder(tmp_path, 0.5) as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: not pins.live(str(tmp_path)))
        for name in os.listdir(layout.pins_dir(str(tmp_path))):
            os.unlink(os.path.join(layout.pins_dir(str(tmp_path)), name))
        os.kill(process.pid, signal.SIGCONT)
        wait_until(lambda: pins.live(str(tmp_path)))
        process.communicate("\n")
    assert os.listdir(layout.pins_dir(str(tmp_path))) == []


def test_a_busy_holder_keeps_its_pin(tmp_path):
    lease = 0.6
    with holder(tmp_path, lease, "busy") as process:
        ends = time.monotonic() + 3 * lease
        while time.monotonic() < ends:
            assert pins.live(str(tmp_path))
            time.sleep(0.05)
        process.communicate("\n")


# -- get, set and transfers ----------------------------------------------------------------------


@pytest.fixture
def pool(lab):
    """A worker whose pool and cache hold a, b on it and c on that."""
    return made(lab, "a", "b", "c")


def seen_in(monkeypatch, owner, name, *roots):
    """Note what is pinned in each root whenever a method is called."""
    found, plain = [], getattr(owner, name)

    def noting(*args, **kwargs):
        found.append(tuple(pins.pinned(str(root)) for root in roots))
        return plain(*args, **kwargs)

    monkeypatch.setattr(owner, name, noting)
    return found


def test_a_get_pins_its_chain_until_the_overlay_is_registered(pool, monkeypatch):
    found = seen_in(monkeypatch, imagecache.chain, "verify", pool.cache)
    found_late = seen_in(monkeypatch, users, "register", pool.cache)
    get(pool, "c", **OWN)
    assert found == found_late == [(CHAIN,)]
    assert pins.live(str(pool.cache)) == []


def test_transfers_pin_the_whole_chain_on_both_sides(pool, monkeypatch):
    worker = other(pool)
    plans = seen_in(monkeypatch, ops.plan, "plan_transfer", worker.cache, worker.pool)
    moves = seen_in(monkeypatch, ops.LocalStore, "fetch", worker.cache, worker.pool)
    get(worker, "c")
    assert plans == [(CHAIN, CHAIN)] and moves == [(CHAIN, CHAIN)] * 3
    moves = seen_in(monkeypatch, ops.LocalStore, "publish", worker.cache, worker.pool)
    write(worker.image(), 9, "4M")
    put(worker, "d")
    whole = CHAIN | {"vm1/image1/d.qcow2"}
    assert moves == [(whole, whole)] * 4
    assert pins.live(str(worker.cache)) == pins.live(str(worker.pool)) == []


def test_between_fetch_and_use_the_state_is_pinned(pool, monkeypatch):
    worker = other(pool)
    found = seen_in(monkeypatch, imagecache.ImageCache, "get", worker.cache)
    get(worker, "c")
    assert found == [({"vm1/image1/c.qcow2"},)]


def test_a_get_waits_for_who_took_a_state_away_and_puts_it_back(pool):
    """As who makes room does: away under the lock, then a look at the pins, then back."""
    path = pool.state("c")
    code = """
import os, sys, time
from avocado_pool_plugin.core import locks, pins
path, root = sys.argv[1:]
with locks.hold(path, 20):
    os.rename(path, path + ".away")
    print("taken", flush=True)
    while "vm1/image1/c.qcow2" not in pins.pinned(root):
        time.sleep(0.01)
    os.rename(path + ".away", path)
"""
    with python(code, path, pool.cache) as process:
        assert process.stdout.readline() == "taken\n", process.communicate()[1]
        imagecache_of(pool).get("c")
        assert process.wait() == 0
    assert holds(pool.image(), 3, "2M")


def params_of(lab, **more):
    about = {"object_id": "vm1", "object_name": "vm1/image1", "object_type": "vms/images"}
    return lab.params(**about, **more).object_params("vm1").object_params("image1")


def imagecache_of(lab):
    return image_cache(params_of(lab), "get")


def test_a_fetch_waits_for_who_took_a_state_of_the_pool_away(pool, monkeypatch):
    worker = other(pool)
    code = """
import os, sys, time
from avocado_pool_plugin.core import locks, pins
path, root = sys.argv[1:]
with locks.hold(path, 20):
    print("locked", flush=True)
    while not pins.live(root):
        time.sleep(0.002)
    os.rename(path, path + ".away")
    assert "vm1/image1/a.qcow2" in pins.pinned(root)
    time.sleep(0.2)
    os.rename(path + ".away", path)
"""
    plain = ops.TransferOps.plan

    def plan(*args):
        wait_until(lambda: not worker.shared("a").exists())
        return plain(*args)

    monkeypatch.setattr(ops.TransferOps, "plan", plan)
    with python(code, worker.shared("a"), worker.pool) as process:
        assert process.stdout.readline() == "locked\n", process.communicate()[1]
        params = params_of(worker, get_location=f":{worker.pool}", get_state="c")
        QCOW2ImageTransfer.get(params)
        assert process.wait() == 0, process.communicate()[1]
    assert worker.state("c").exists()


def test_what_is_absent_is_absent(pool):
    with pytest.raises(StateMissing, match="'nothing'"):
        imagecache_of(pool).get("nothing")
    worker = other(pool)
    with pytest.raises(StateMissing):
        imagecache_of(worker).get("a")
    assert not (worker.cache / "vm1").exists()


def test_a_get_notes_the_use_of_all_it_stands_on_here_and_in_the_pool(pool):
    states = [where(name) for where in (pool.state, pool.shared) for name in "abc"]
    old(*states)
    get(pool, "c")
    assert fresh(*states)
    old(*states)
    get(pool, "b", **OWN)
    assert fresh(pool.state("a"), pool.state("b")) and not fresh(pool.state("c"))
    assert not any(fresh(pool.shared(name)) for name in "abc")
    worker = other(pool)
    get(worker, "b")
    assert fresh(pool.shared("a"), pool.shared("b"), worker.state("a"), worker.state("b"))


def test_a_state_says_how_long_its_test_was_at_work(pool, monkeypatch):
    monkeypatch.setattr(since, "_watch", since._Watch())
    since.begin()
    get(pool, "c")
    spared = since._watch.spared
    assert spared > 0
    time.sleep(0.1)
    write(pool.image(), 9, "4M")
    put(pool, "d")
    for path in (pool.state("d"), pool.shared("d")):
        record = records.read_record(str(path))
        assert 0.1 <= record.info.seconds <= since.seconds()
    record = records.read_record(str(pool.state("c")))
    assert record.info.seconds == 0.0


# -- links ---------------------------------------------------------------------------------------


@pytest.fixture
def linked(pool):
    worker = other(pool)
    get(worker, "c", shared_pool=f":{pool.pool};")
    assert worker.state("c").is_symlink()
    return worker


def test_a_link_in_a_cache_is_a_user_of_the_pools_state(linked, caplog):
    for name in "abc":
        (user,) = users.users_of(str(linked.shared(name)))
        assert user.path == str(linked.state(name)) and not user.open
        assert str(user).startswith(f"symlink {linked.state(name)}")
    caplog.clear()
    with locks.hold(str(linked.shared("c")), 20):
        check_replace(str(linked.shared("c")), None, Guard(cascade=True))
        trash.throw(str(linked.shared("c")))
    assert f"symlink {linked.state('c')}" in caplog.text


def test_a_link_that_is_gone_is_none(linked):
    unset(linked, "c", **OWN)
    linked.state("a").unlink()
    linked.state("a").symlink_to(linked.shared("b"))
    assert users.users_of(str(linked.shared("c"))) == []
    assert users.users_of(str(linked.shared("a"))) == []
    assert len(users.users_of(str(linked.shared("b")))) == 1
    assert os.listdir(layout.users_dir(str(linked.shared("c")))) == []


def test_a_link_that_was_never_noted_is_noted_by_the_next_get(linked):
    path = str(linked.shared("c"))
    users.unregister(path, str(linked.state("c")))
    old(linked.shared("c"))
    get(linked, "c", shared_pool=f":{linked.pool};")
    assert len(users.users_of(path)) == 1 and fresh(linked.shared("c"))
    (entry,) = Path(layout.users_dir(path)).iterdir()
    before = entry.stat()
    get(linked, "c", shared_pool=f":{linked.pool};")
    assert entry.stat() == before
