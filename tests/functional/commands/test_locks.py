"""``avocado pool locks``: real holders, overlays and pins, looked at from here and from afar."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core import layout, locks, pins, users
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.upkeep import holders
from avocado_pool_plugin.upkeep.here import LocalSite
from tests.functional.commands.sites import WHERE, Run, here, run, runner, where, where_of
from tests.functional.commands.test_moves import own_lines
from tests.support.images import held_open, image
from tests.support.jobs import Worker
from tests.support.places import POLICY, local_store, put_image
from tests.support.processes import lock_holder, python
from tests.support.remote import remote_store, server
from tests.support.states import contents
from tests.support.terminals import on_terminal

__all__ = ["here", "run", "where"]

HOST = socket.gethostname()


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with a state."""
    put_image(image(tmp_path / "made.qcow2"), state(tmp_path / "pool"))
    return tmp_path / "pool"


def state(pool: Path, name: str = "a") -> Path:
    return pool / "vm1" / "image1" / f"{name}.qcow2"


def looked(run: Run, capsys: pytest.CaptureFixture[str], *at: str, status: int = 0) -> Any:
    """Return what the command prints for programs."""
    capsys.readouterr()
    assert run("locks", *at, json=True) == status
    return json.loads(capsys.readouterr().out)


# -- locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE, indirect=True)
def test_who_holds_a_lock_since_when(pool, where, run, capsys, caplog):
    place = where.at(pool)
    with lock_holder(state(pool)) as holder:
        before = contents(pool)
        [lock] = looked(run, capsys, place)["locks"]
        assert (lock["where"], lock["title"], lock["state"]) == (place, "vm1/image1/a", "a")
        assert (lock["status"], lock["host"], lock["pid"]) == ("held", HOST, holder.pid)
        assert "locks.hold" in lock["command"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", lock["since"])
        assert run("locks", place) == 0
        titles, row = capsys.readouterr().out.splitlines()[:2]
        assert re.split("  +", titles) == ["locked", "held by", "since", "command", "where"]
        assert row.startswith(f"vm1/image1/a  host {HOST}, process {holder.pid}  ")
        assert contents(pool) == before
        with pytest.raises(locks.LockTimeout), locks.hold(str(state(pool)), 0):
            pass
    assert Path(layout.lock_path(str(state(pool)))).exists(), "its file stays"
    assert looked(run, capsys, place) == {"locks": [], "overlays": [], "pins": []}
    with caplog.at_level("INFO", logger="avocado.app"):
        assert run("locks", place) == 0
    assert caplog.messages[-1] == f"nobody is at work in {place}"


_WITH_CHILD = """
import fcntl, os, sys, time
from avocado_pool_plugin.core import durable, layout, locks
durable.make_meta(sys.argv[1])
fd = os.open(layout.lock_path(sys.argv[1]), os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
locks._sign(fd)
if os.fork() == 0:
    for fd in range(3):
        os.close(fd)
    time.sleep(100)
    os._exit(0)
print(os.getpid(), flush=True)
time.sleep(100)
"""


@contextlib.contextmanager
def left_to_a_child(path: Path) -> Iterator[int]:
    """Give the process that took a lock and was killed; its child still has the file open."""
    with python(_WITH_CHILD, path) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        process.kill()
        process.wait(10)
        try:
            yield pid
        finally:
            for child in children:
                os.kill(int(child), signal.SIGKILL)


def test_a_holder_that_is_dead_is_told(pool, where, run, capsys):
    with left_to_a_child(state(pool)) as pid:
        [lock] = looked(run, capsys, where.at(pool), status=1)["locks"]
        assert (lock["status"], lock["pid"]) == ("dead", pid)
        assert run("locks", where.at(pool)) == 1
        assert f"process {pid}, which is dead" in capsys.readouterr().out


def test_a_killed_holder_holds_nothing(pool, here, capsys):
    with lock_holder(state(pool)) as holder:
        holder.kill()
        holder.wait()
        assert looked(here, capsys, str(pool))["locks"] == []


@contextlib.contextmanager
def held_over_ssh(kind: str, path: Path) -> Iterator[int]:
    """Another process holds a lock on a host; give its number."""
    server(kind)
    session.close_all()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with remote_store(POLICY, kind).lock(str(path), 5):
                os.write(tell, b"held")
                signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        assert os.read(told, 4) == b"held"
        yield pid
    finally:
        os.close(told)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("where", ["here", "python"], indirect=True)
@pytest.mark.parametrize("kind", ["python", "plain"])
def test_a_lock_that_is_held_over_ssh(kind, pool, where, run, capsys):
    """By a shell on the host of the pool, for a process of another one."""
    with held_over_ssh(kind, state(pool)) as pid:
        [lock] = looked(run, capsys, where.at(pool))["locks"]
        assert (lock["status"], lock["host"], lock["pid"]) == ("held", HOST, pid)
        assert "over ssh: shell " in lock["told"] and Path(sys.executable).name in lock["command"]


def test_a_lock_of_avocado_i2n(pool, where, run, capsys):
    lock = state(pool).with_name("a.qcow2.lock")
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.readline()"
    )
    with python(code, lock) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        [found] = looked(run, capsys, where.at(pool))["locks"]
        assert found["path"] == str(state(pool))
        assert (found["status"], found["pid"], found["since"]) == ("held", holder.pid, "")
        assert run("adopt", where.at(pool), clean=True) == 0
        assert "a lock of avocado-i2n, which is held" in capsys.readouterr().out
        assert lock.exists()
        holder.kill()
    assert run("adopt", where.at(pool), clean=True) == 0 and not lock.exists()


class OnNetwork(LocalSite):
    """A directory whose file system looks like one of a network, on which others hold locks."""

    def read(self, paths: Any) -> Mapping[str, bytes]:
        found = dict(super().read(paths))
        if "/proc/self/mountinfo" in found:
            found["/proc/self/mountinfo"] = re.sub(
                rb" - \S+", b" - nfs4", found["/proc/self/mountinfo"]
            )
        return found


@pytest.mark.parametrize("host, shown", [("elsewhere", True), (HOST, False)])
def test_holders_on_other_hosts_of_a_network_file_system(host, shown, pool):
    """No NFS can be had here: its kernel does not know who elsewhere holds a lock."""
    lock = Path(layout.lock_path(str(state(pool))))
    lock.write_text(f"host {host}, process 17, since 2026-01-02 03:04:05\n")
    site = OnNetwork(Location(str(pool)), local_store())
    found = holders.look(site)
    told = [(one.status, one.host, one.pid, one.since) for one in found.locks]
    assert told == ([("unknown", host, 17, "2026-01-02 03:04:05")] if shown else [])
    assert found.fine is not shown
    assert holders.look(LocalSite(site.place, site.store)).locks == ()


# -- overlays ---------------------------------------------------------------------------------


def test_which_overlays_stand_on_states(pool, where, run, tmp_path, capsys):
    place, found = where.at(pool), {}
    for name in ("open", "closed", "stale", "gone"):
        overlay = image(tmp_path / f"{name}.qcow2", backing=str(state(pool)))
        users.register(str(state(pool)), str(overlay), "")
        found[str(overlay)] = name
    image(tmp_path / "stale.qcow2")
    (tmp_path / "gone.qcow2").unlink()
    with held_open(tmp_path / "open.qcow2"):
        told = looked(run, capsys, place)["overlays"]
        assert run("locks", place) == 0
    rows = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    assert {found[one["overlay"]]: one["status"] for one in told} == {
        "open": "open",
        "closed": "closed",
        "stale": "stale",
        "gone": "stale",
    }
    assert {(one["where"], one["title"], one["host"], one["pid"]) for one in told} == {
        (place, "vm1/image1/a", HOST, os.getpid())
    }
    assert rows[0] == ["state", "overlay", "made by", "since", "now", "where"]
    assert {found[row[1]]: row[4] for row in rows[1:]} == {
        "open": "open in a QEMU",
        "closed": "not open",
        "stale": "no longer on it",
        "gone": "no longer on it",
    }
    assert len(list(Path(layout.users_dir(str(state(pool)))).iterdir())) == 4, "nothing changed"


def test_an_overlay_of_another_host(pool, here, tmp_path, capsys):
    users.register(str(state(pool)), str(tmp_path / "no.qcow2"), "")
    [note] = Path(layout.users_dir(str(state(pool)))).iterdir()
    note.write_text(note.read_text().replace(f'"{HOST}"', '"elsewhere"'))
    [told] = looked(here, capsys, str(pool))["overlays"]
    assert (told["host"], told["status"]) == ("elsewhere", "elsewhere")


# -- pins -------------------------------------------------------------------------------------


def test_who_pins_what(pool, where, run, capsys):
    files = [f"vm1/image1/{name}.qcow2" for name in "abcde"]
    with pins.hold(str(pool), files, by="test install"):
        [pin] = looked(run, capsys, where.at(pool))["pins"]
        assert (pin["files"], pin["live"], pin["lease"]) == (files, True, pins.LEASE)
        assert pin["by"] == f"host {HOST}, process {os.getpid()}, test install"
        assert run("locks", where.at(pool)) == 0
        named = "vm1/image1/a, vm1/image1/b, vm1/image1/c and 2 more"
        assert f"{named}  host {HOST}, " in capsys.readouterr().out
        [path] = Path(layout.pins_dir(str(pool))).iterdir()
        os.utime(path, (path.stat().st_mtime - 100,) * 2)
        [pin] = looked(run, capsys, where.at(pool), status=1)["pins"]
        assert not pin["live"] and pin["heartbeat"] > 90
        assert run("locks", where.at(pool)) == 1
        assert "1 min ago, ended: its holder is dead" in capsys.readouterr().out


# -- places and the program -------------------------------------------------------------------


def test_a_place_that_can_not_be_reached(pool, tmp_path, capsys, caplog):
    run = runner(where_of("plain"), tmp_path / "cache")
    with lock_holder(state(pool)) as holder:
        [lock] = looked(run, capsys, "gone:/x", str(pool), status=1)["locks"]
    assert lock["pid"] == holder.pid
    [told] = [text for text in caplog.messages if "gone" in text]
    assert told.startswith("listing gone:/x failed: ")


def test_nothing_is_made_to_look(here, tmp_path, capsys):
    assert looked(here, capsys, "cache")["locks"] == []
    assert not (tmp_path / "cache").exists()
    assert here("locks", str(tmp_path / "no"), json=True) == 2
    assert not (tmp_path / "no").exists()


def test_the_program(pool, tmp_path):
    worker = Worker(tmp_path / "worker", pool)
    avocado = str(shutil.which("avocado", path=worker.env.variables()["PATH"]))
    overlay = image(tmp_path / "work.qcow2", backing=str(state(pool)))
    users.register(str(state(pool)), str(overlay), "")
    with lock_holder(state(pool)) as holder:
        done: subprocess.CompletedProcess[str] = worker.avocado("pool", "locks")
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
        first, second = done.stdout.split("\n\n")
        assert f"process {holder.pid}" in first and str(overlay) in second
        shown = on_terminal([avocado, "pool", "locks"], worker.env.variables(), columns=200)
    assert shown.status == 0 and "─" in shown.output and str(holder.pid) in shown.output
    assert worker.avocado("pool", "locks", "--at", "nowhere").returncode == 2
