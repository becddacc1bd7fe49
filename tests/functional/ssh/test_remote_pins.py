"""Pins and last uses in pools on other hosts, and symlinks there that lead to their states."""

import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, pins, records, used, users
from avocado_pool_plugin.core.dependents import Guard
from avocado_pool_plugin.core.pins import Pin
from avocado_pool_plugin.ssh import pins as far_pins
from avocado_pool_plugin.ssh import session, store
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.talk import Talk
from avocado_pool_plugin.states import ops
from tests.support.mounts import read_only
from tests.support.places import POLICY, local_store, opened, put
from tests.support.processes import in_child
from tests.support.remote import remote_store, server
from tests.support.remote_labs import RemoteLab
from tests.support.shells import as_nobody, far, shell
from tests.support.states import doing, get, made, other
from tests.support.states import put as set_state
from tests.support.vms import write

__all__ = ["shell"]

A, B = "vm1/image1/a.qcow2", "vm1/image1/b.qcow2"
CHAIN = {f"vm1/image1/{name}.qcow2" for name in "abc"}


@pytest.fixture
def lab(tmp_path: Path) -> RemoteLab:
    return RemoteLab(tmp_path, server())


def pin_of(root: Path, token: str = "0123456789abcdef") -> str:
    return os.path.join(layout.pins_dir(str(root)), f"{token}.json")


def settled(one: Shell) -> None:
    """Wait until all is done that was posted."""
    one.names("/")


def old(*paths: Path) -> None:
    for path in paths:
        used.touch(str(path))
        os.utime(layout.used_path(str(path)), (1000, 1000))


def fresh(*paths: Path) -> bool:
    return all(used.last(str(path)) > 1000 for path in paths)


def wait_until(true) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- the shell over there ------------------------------------------------------------------------


def test_a_pin_is_what_it_is_here(shell, tmp_path):
    root, pin = tmp_path / "it's a pool", Pin.new([A, B], 10, "test 1")
    root.mkdir()
    root.chmod(0o775)
    shell.pin(pin_of(root), pin.encode())
    settled(shell)
    assert pins.live(str(root)) == [pin]
    home = Path(layout.pins_dir(str(root)))
    assert home.stat().st_mode & 0o777 == home.parent.stat().st_mode & 0o777 == 0o775
    shell.unpin(pin_of(root))
    settled(shell)
    assert os.listdir(home) == []


def test_a_beat_changes_the_time_and_nothing_else(shell, tmp_path):
    shell.pin(pin_of(tmp_path), Pin.new([A], 10).encode())
    settled(shell)
    path = Path(pin_of(tmp_path))
    before = path.read_bytes()
    os.utime(path, (path.stat().st_mtime - 11,) * 2)
    assert pins.live(str(tmp_path)) == []
    assert shell.beat(str(path))
    assert pins.pinned(str(tmp_path)) == {A} and path.read_bytes() == before
    path.unlink()
    assert not shell.beat(str(path)) and not path.exists()


def test_a_use_is_noted(shell, tmp_path):
    one, two = tmp_path / "vm1" / "a b.state", tmp_path / "vm1" / "image1" / "a.qcow2"
    two.parent.mkdir(parents=True)
    shell.used(str(one), str(two))
    settled(shell)
    for path in (one, two):
        note = Path(layout.used_path(str(path)))
        assert note.stat().st_size == 0 and note.stat().st_mode & 0o777 == 0o666
    old(one, two)
    shell.used(str(one), str(two), "/nowhere/x.state")
    settled(shell)
    assert fresh(one, two) and not Path("/nowhere").exists()
    put(one, b"state")
    old(one)
    shell.remove(str(one), "1-0123456789abcdef-a b.state", fsync=False)
    assert used.last(str(one)) == 0.0


def test_where_nothing_can_be_written_nothing_is_said(shell, tmp_path):
    (tmp_path / "pool").mkdir()
    path = tmp_path / "pool" / "a.state"
    with read_only(tmp_path / "pool"):
        shell.pin(pin_of(tmp_path / "pool"), Pin.new([A]).encode())
        shell.used(str(path))
        assert not shell.beat(pin_of(tmp_path / "pool"))
        assert shell.names(str(tmp_path / "pool")) == []


def test_other_users_note_their_use_as_well(tmp_path):
    tmp_path.chmod(0o777)
    opened(tmp_path.parent)
    with far(as_nobody("dash")) as one:
        one.pin(pin_of(tmp_path), Pin.new([A]).encode())
        one.used(str(tmp_path / "a.state"))
        assert one.beat(pin_of(tmp_path))
        assert pins.pinned(str(tmp_path)) == {A} and fresh(tmp_path / "a.state")
        # a note that somebody else made
        old(tmp_path / "a.state")
        os.chown(layout.used_path(str(tmp_path / "a.state")), 12345, 12345)
        one.used(str(tmp_path / "a.state"))
        settled(one)
        assert fresh(tmp_path / "a.state")


# -- pins that are held --------------------------------------------------------------------------


def connected() -> session.Session:
    return session.of(server().host())


def test_what_is_held_is_pinned_and_no_longer_than_that(tmp_path):
    host = connected()
    with far_pins.hold(host, str(tmp_path), [A], by="test 1") as held:
        wait_until(lambda: pins.pinned(str(tmp_path)) == {A})
        held.add([B])
        wait_until(lambda: pins.pinned(str(tmp_path)) == {A, B})
        (pin,) = pins.live(str(tmp_path))
        assert pin.by.endswith(f"process {os.getpid()}, test 1") and pin.lease == far_pins.LEASE
    wait_until(lambda: not pins.live(str(tmp_path)))
    assert os.listdir(layout.pins_dir(str(tmp_path))) == []


def test_a_heartbeat_keeps_it_alive_over_a_broken_connection(tmp_path):
    host, lease = connected(), 1.5
    with far_pins.hold(host, str(tmp_path), [A], lease=lease):
        wait_until(lambda: pins.live(str(tmp_path)))
        host.close()
        ends = time.monotonic() + 2 * lease
        while time.monotonic() < ends:
            assert pins.pinned(str(tmp_path)) == {A}
            time.sleep(0.05)
        # somebody took it for a dead one's
        os.unlink(os.path.join(layout.pins_dir(str(tmp_path)), os.listdir(layout.pins_dir(
            str(tmp_path)))[0]))  # fmt: skip
        wait_until(lambda: pins.pinned(str(tmp_path)) == {A})


def test_a_forked_child_leaves_it_alone(tmp_path):
    with far_pins.hold(connected(), str(tmp_path), [A]) as held:
        wait_until(lambda: pins.live(str(tmp_path)))

        def child() -> None:
            held.add([B])
            held.end()

        assert in_child(child) == 0
        assert pins.pinned(str(tmp_path)) == {A}


def test_a_host_that_can_not_be_reached_is_no_reason_to_fail(tmp_path, caplog):
    host = session.of(server().host(label="nowhere", port=1, timeout=2.0))
    with far_pins.hold(host, str(tmp_path), [A]):
        pass
    assert not [line for line in caplog.records if line.levelname not in ("DEBUG", "INFO")]


# -- transfers -----------------------------------------------------------------------------------


def test_transfers_pin_the_whole_chain_over_there(lab, monkeypatch):
    made(lab, "a", "b", "c")
    worker = other(lab)
    found = []
    for name in ("fetch", "publish"):
        plain = getattr(store.RemoteStore, name)

        def noting(*args, plain=plain, **kwargs):
            found.append((pins.pinned(str(worker.cache)), pins.pinned(str(worker.pool))))
            return plain(*args, **kwargs)

        monkeypatch.setattr(store.RemoteStore, name, noting)
    get(worker, "c")
    assert found == [(CHAIN, CHAIN)] * 3
    found.clear()
    write(worker.image(), 9, "4M")
    set_state(worker, "d")
    whole = CHAIN | {"vm1/image1/d.qcow2"}
    assert found == [(whole, whole)] * 4
    wait_until(lambda: not pins.live(str(worker.pool)))
    assert pins.live(str(worker.cache)) == []


def test_a_get_notes_the_use_in_the_pool(lab):
    made(lab, "a", "b", "c")
    states = [lab.shared(name) for name in "abc"]
    old(*states)
    with doing() as done:
        get(lab, "b")
    assert done == ["got b"]
    wait_until(lambda: fresh(*states[:2]))
    assert not fresh(states[2])
    old(*states)
    get(other(lab), "c")
    wait_until(lambda: fresh(*states))


def test_a_state_made_long_ago_is_used_when_it_is_published(tmp_path):
    host = remote_store(POLICY)
    for name, made_at in (("new", time.time()), ("old", 1000.0)):
        local, path = tmp_path / f"{name}.state", tmp_path / "pool" / f"{name}.state"
        info = put(local, b"state")
        record = records.read_record(str(local))
        assert record is not None
        record = replace(record, info=replace(info, made=made_at))
        records.write_record(str(local), record, fsync=False)
        host.publish(str(local), str(path))
    wait_until(lambda: fresh(tmp_path / "pool" / "old.state"))
    assert used.last(str(tmp_path / "pool" / "new.state")) == 0.0


def test_neither_takes_a_round_trip(lab, monkeypatch):
    """All of it is posted: no answer is waited for."""
    made(lab, "a")
    calls, posts = [], []
    plain_call, plain_post = Talk.call, Talk.post
    monkeypatch.setattr(
        Talk,
        "call",
        lambda self, name, *a, **k: calls.append(name) or plain_call(self, name, *a, **k),
    )
    monkeypatch.setattr(
        Talk, "post", lambda self, name, *a: posts.append(name) or plain_post(self, name, *a)
    )
    get(other(lab), "a")
    assert not {"pool_pin", "pool_used", "pool_beat"} & set(calls)
    assert {"pool_pin", "pool_used", "pool_discard"} <= set(posts)


def test_a_fetch_waits_for_who_took_a_state_away(lab, monkeypatch):
    """As who makes room does: away under the lock, then a look at the pins, then back."""
    made(lab, "a", "b", "c")
    worker, path = other(lab), lab.shared("c")
    taken, plain = threading.Event(), ops.TransferOps.plan

    def judge() -> None:
        with local_store().lock(str(path), 20):
            path.rename(f"{path}.away")
            taken.set()
            wait_until(lambda: "vm1/image1/c.qcow2" in pins.pinned(str(lab.pool)))
            time.sleep(0.2)
            Path(f"{path}.away").rename(path)

    thread = threading.Thread(target=judge)

    def plan(*args):
        thread.start()
        assert taken.wait(20)
        return plain(*args)

    monkeypatch.setattr(ops.TransferOps, "plan", plan)
    get(worker, "c")
    thread.join()
    assert worker.state("c").exists()


# -- links ---------------------------------------------------------------------------------------


def test_a_symlink_over_there_stands_on_the_state(tmp_path, caplog):
    """A cache of that host has it; who removes the state from here is told."""
    path, link = tmp_path / "pool" / "vm1" / "image1" / "a.qcow2", tmp_path / "cache" / "a.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "image", "1M"], check=True
    )
    put(path, (tmp_path / "image").read_bytes())
    link.parent.mkdir()
    link.symlink_to(path)
    users.register(str(path), str(link), "")
    gone = tmp_path / "cache" / "gone.qcow2"
    users.register(str(path), str(gone), "")
    remote_store(POLICY, guard=Guard(cascade=True)).remove(str(path))
    assert str(link) in caplog.text and str(gone) not in caplog.text
    assert os.listdir(path.parent) == [".pool"]
