"""What keepers put back among the states, whoever else is at work and whatever answer is lost."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core import durable, knowledge, layout, locks, pins, records, trash
from avocado_pool_plugin.core.errors import FileCorrupt, SpaceMissing
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import Record, Stamp
from avocado_pool_plugin.upkeep import trashcan
from avocado_pool_plugin.upkeep.emptying import Emptying
from avocado_pool_plugin.upkeep.eyes import LocalEyes
from avocado_pool_plugin.upkeep.gc import act, pinned, plan
from avocado_pool_plugin.upkeep.restoring import restore
from avocado_pool_plugin.upkeep.returning import put_back, write_record
from avocado_pool_plugin.upkeep.site import Entry, Site
from avocado_pool_plugin.upkeep.verify import findings as kinds
from avocado_pool_plugin.upkeep.verify.findings import Finding
from avocado_pool_plugin.upkeep.verify.journal import Journal
from avocado_pool_plugin.upkeep.verify.mirrors import Mirrors
from avocado_pool_plugin.upkeep.verify.pace import Pace
from avocado_pool_plugin.upkeep.verify.reading import Reading
from avocado_pool_plugin.upkeep.verify.repair import Repair
from avocado_pool_plugin.upkeep.verify.scene import look
from tests.support.ages import all_aged
from tests.support.images import chain
from tests.support.keepers import fill, whole
from tests.support.mounts import mounted
from tests.support.places import POLICY, Dir, local_store, put, put_image
from tests.support.remote import servers_stopped
from tests.support.sites import HERE, SITES, site

FEW = pytest.mark.parametrize("kind", [HERE, "plain"])


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    with servers_stopped():
        yield


@pytest.fixture
def pool(tmp_path: Path) -> Dir:
    return fill(tmp_path / "pool", tmp_path / "scratch")


class With:
    """A site of which some methods are others."""

    def __init__(self, at: Site, **methods: Callable[..., Any]) -> None:
        self._at, self._methods = at, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._at, name)


def deaf(at: Site) -> Any:
    """A site whose answer that a file was moved is lost, so that it is asked once more."""
    return With(at, move_new=lambda *names: at.move_new(*names) and at.move_new(*names))


def uncommitted(pool: Dir, tmp_path: Path) -> Record:
    """Replace c by a writer that is killed right before it commits; return its record."""
    path, mine = str(pool.state("c")), layout.record_path(str(pool.state("c")))
    old = Path(mine).read_bytes()
    put_image(chain(tmp_path / "others", *"abc", byte=5)[2], Path(path))
    new = records.read_record(path)
    assert new is not None
    records.write_pending(path, new, fsync=False)
    Path(mine).write_bytes(old)
    return new


# -- the right record ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SITES)
def test_a_file_whose_writer_was_killed_goes_with_its_own_record(kind, pool, tmp_path):
    wanted, at = uncommitted(pool, tmp_path), site(kind, pool.root)
    at.store.remove(str(pool.state("c")))
    newest = trashcan.contents(at)[-1]
    assert newest.record and newest.record.info.generation == wanted.info.generation
    restore(at, newest)
    whole(pool.state("c"))


@pytest.mark.parametrize("kind", SITES)
def test_a_file_whose_writer_was_killed_is_replaced_with_its_own_record(kind, pool, tmp_path):
    wanted, at = uncommitted(pool, tmp_path), site(kind, pool.root)
    source = tmp_path / "mine" / "vm1" / "image1" / "c.qcow2"
    put_image(chain(tmp_path / "third", *"abc", byte=9)[2], source)
    at.store.publish(str(source), str(pool.state("c")))
    found = [one.record.info.generation for one in trashcan.contents(at) if one.record]
    assert found[-1] == wanted.info.generation
    whole(pool.state("c"))


@FEW
def test_a_file_whose_writer_was_killed_comes_back_with_its_own_record(kind, pool, tmp_path):
    wanted, at = uncommitted(pool, tmp_path), site(kind, pool.root)
    all_aged(pool.root)
    with contextlib.ExitStack() as held:

        def evict(path: str) -> str:
            gone = at.evict(path)
            held.enter_context(pins.hold(str(pool.root), [os.path.relpath(path, pool.root)]))
            return gone

        first = act.decide(at, 1)
        assert first.steps[-1].paths[0].endswith("/a.qcow2")
        outcome = act.collect(With(at, evict=evict), first)  # type: ignore[arg-type]
    assert next(iter(outcome.refused)) == str(pool.state("c"))
    assert records.read_record(str(pool.state("c"))).info.generation == wanted.info.generation
    whole(pool.state("c"))


@FEW
@pytest.mark.parametrize("hashed", [True, False])
def test_a_lost_answer_loses_no_record(kind, hashed, tmp_path):
    pool = fill(tmp_path / "pool", tmp_path / "scratch", hashed)
    at = site(kind, pool.root)
    before = records.read_record(str(pool.state("c")))
    kept = at.evict(str(pool.state("c")))
    text = records.encode(Record(before.info, before.made_as))
    assert put_back(deaf(at), kept, str(pool.state("c")), text)
    assert records.read_record(str(pool.state("c"))).info == before.info
    assert records.pending_names(str(pool.state("c"))) == [] and trashcan.contents(at) == []
    whole(pool.state("c"))


@FEW
@pytest.mark.parametrize("hashed", [True, False])
def test_without_room_for_a_record_the_one_in_the_trash_is_moved(kind, hashed, tmp_path, caplog):
    pool = fill(tmp_path / "pool", tmp_path / "scratch", hashed)
    at, path = site(kind, pool.root), str(pool.state("c"))
    before = records.read_record(path)
    all_aged(pool.root)

    def full(name: str, data: bytes) -> None:
        raise SpaceMissing("no room")

    with contextlib.ExitStack() as held:

        def evict(name: str) -> str:
            gone = at.evict(name)
            held.enter_context(pins.hold(str(pool.root), [os.path.relpath(name, pool.root)]))
            return gone

        act.collect(With(at, evict=evict, write=full), act.decide(at, 1))  # type: ignore[arg-type]
    after = records.read_record(path)
    assert knowledge.identify(path, POLICY) is not None
    if hashed:
        assert after.info.generation == before.info.generation
    else:
        assert "is lost: the disk is full" in caplog.text


# -- with others at work ------------------------------------------------------------------------


@FEW
@pytest.mark.usefixtures("no_locks")
def test_who_replaces_what_comes_back_keeps_a_record_of_its_own(kind, pool, tmp_path):
    at, path = site(kind, pool.root), str(pool.state("c"))
    before = records.read_record(path)
    kept = at.evict(path)
    assert locks.skip()

    def write(name: str, data: bytes) -> None:
        if name == layout.record_path(path):
            put(pool.state("c"), b"another one")
        at.write(name, data)

    assert put_back(With(at, write=write), kept, path, records.encode(before))  # type: ignore[arg-type]
    assert knowledge.identify(path, POLICY).size == len(b"another one")


@FEW
def test_no_record_is_written_for_another_file(kind, pool):
    at, path = site(kind, pool.root), str(pool.state("c"))
    before = records.read_record(path)
    put(pool.state("c"), b"another one")
    write_record(at, path, before, before.made_as)
    assert records.read_record(path).info.generation != before.info.generation
    assert records.pending_names(path) == []


def test_a_second_one_at_work_does_not_drop_what_is_about_to_come_back(pool, monkeypatch):
    """No lock keeps them apart, as on a file system without."""
    monkeypatch.setattr(locks, "skip", lambda: True)
    at = site(HERE, pool.root)
    all_aged(pool.root)
    with contextlib.ExitStack() as held:

        def evict(path: str) -> str:
            gone = at.evict(path)
            name = os.path.relpath(path, pool.root)
            held.enter_context(pins.hold(str(pool.root), [name], by="a get"))
            other = act.collect(at, act.decide(at, 1))
            assert "is needed by" in {kept.path: kept.reason for kept in other.plan.kept}[gone]
            return gone

        act.collect(With(at, evict=evict), act.decide(at, 1))  # type: ignore[arg-type]
    for name in "abc":
        whole(pool.state(name))


def test_a_pin_that_was_touched_after_it_was_listed_is_live(pool):
    """A network file system may tell old times until a file is opened."""
    at = site(HERE, pool.root)

    def ours(*directories: str) -> list[Entry]:
        old = [vars(entry) for entry in at.ours(*directories)]
        return [Entry(**{**one, "stamp": Stamp(1, 1, 10**18, 10**18)}) for one in old]

    with pins.hold(str(pool.root), ["vm1/image1/c.qcow2"]):
        assert pinned.live(With(at, ours=ours))  # type: ignore[arg-type]
        for name in Path(layout.pins_dir(str(pool.root))).iterdir():
            os.utime(name, (1, 1))
        assert not pinned.live(at)


# -- full disks, clocks, power cuts -------------------------------------------------------------


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Path]:
    """A pool on a disk that has no room for another file."""
    with mounted("tmpfs", tmp_path, 8) as disk:
        subprocess.run(["mount", "-o", "remount,nr_inodes=40", disk], check=True)
        fill(disk / "pool", tmp_path / "scratch")
        (disk / "pool" / ".pool" / "pins").mkdir(parents=True)
        with contextlib.suppress(OSError):
            for number in range(40):
                (disk / f"filler-{number}").touch()
        yield disk


def test_a_full_disk_has_a_clock(crowded):
    """That of this host may differ, and pins would be taken for dead by it."""
    root = crowded / "pool"
    before = durable.clock(str(root / ".pool" / "pins"))
    other = site("plain", root).store.session
    with other.shell() as shell:
        there = shell.clock(str(root))
    assert before <= there <= durable.clock(str(root / ".pool" / "pins"))
    with pytest.raises(OSError, match="No space"):
        (crowded / "another").touch()


def test_what_could_not_be_pinned_on_a_full_disk_is_pinned_later(crowded):
    root = str(crowded / "pool")
    with pins.hold(root, ["x"]) as held:
        assert pins.live(root) == []
        for filler in crowded.glob("filler-*"):
            filler.unlink()
        held.beat()
        assert pins.pinned(root) == {"x"}
    held.beat()
    assert pins.live(root) == []


def test_whose_clock_is_ahead_does_not_empty_the_trash_of_others(pool, monkeypatch):
    kept = Path(trash.throw(str(pool.state("c"))))
    ahead = trash.KEEP * 2
    now = trash.time.time
    monkeypatch.setattr(trash.time, "time", lambda: now() + ahead)
    other = Path(trash.throw(str(pool.state("b"))))
    monkeypatch.undo()
    assert kept.exists() and abs(int(other.name.partition("-")[0]) - now()) < ahead / 2


def test_the_record_is_on_the_disk_before_its_other_copy_goes(pool, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(fd: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{fd}"), Path(record).exists()))
        fsync(fd)

    record = layout.record_path(str(pool.state("c")))
    monkeypatch.setattr(os, "fsync", noted)
    kept = trash.throw(str(pool.state("c")))
    assert any(name.startswith(f"{kept}.json") and there for name, there in synced)


@FEW
def test_a_record_whose_file_may_still_come_stays(kind, pool):
    at, home = site(kind, pool.root), Path(layout.quarantine_dir(str(pool.state("c"))))
    home.mkdir(parents=True)
    young, old = (home / f"1-{token * 16}-c.qcow2.json" for token in "ab")
    for path in (young, old):
        path.write_text("{}")
    os.utime(old, (1, 1))
    Emptying.of(at, 0).carry_out(at)
    assert young.exists() and not old.exists()


# -- checks -------------------------------------------------------------------------------------


class Vanishing(LocalEyes):
    """What is checked by QEMU is gone, or another file, by then."""

    then: Callable[[Path], object] = Path.unlink

    def check_image(self, path: str) -> str | None:
        self.then(Path(path))
        return "no such file"


def test_an_image_that_is_gone_or_another_when_qemu_looks_is_not_damaged(pool, tmp_path):
    at = site(HERE, pool.root)
    item = next(item for item in at.items(known=True) if item.path == str(pool.state("c")))
    eyes = Vanishing(str(pool.root), local_store())
    reading = Reading(With(at, eyes=eyes), Pace(0), Journal(str(tmp_path), "x"))  # type: ignore[arg-type]
    eyes.then = lambda path: None
    assert reading.one(item).damage == "no such file"
    eyes.then = lambda path: put(path, b"x")
    assert reading.one(item).damage == ""
    eyes.then = Path.unlink
    assert reading.one(item) is None


# -- speed --------------------------------------------------------------------------------------


def test_deciding_takes_no_more_for_each_state_of_many_on_one():
    import cProfile

    from tests.unit.test_upkeep_gc_plan import HOUR, facts, state

    def calls(number: int) -> int:
        tops = [state(f"s{one}", "base", age=(one + 1) * HOUR) for one in range(number)]
        profile = cProfile.Profile()
        found = profile.runcall(plan.plan, facts(state("base"), *tops), 0)
        assert len(found.steps) == number + 1
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(400) < 8 * calls(100)


def test_a_file_that_is_true_is_not_put_aside(pool, tmp_path):
    """What an interrupted check noted may not be so any more."""
    at = site(HERE, pool.root, Policy(timeout=20, verify="always"))
    path = str(pool.state("c"))
    known = knowledge.peek(path)
    finding = Finding(path, "c", kinds.CORRUPT, "x", wanted=(known.info,), found="b3t1m:0")
    repair = Repair(at, Mirrors([]), str(tmp_path / "cache"))
    assert "once more" in repair.do(look(at), finding).told and pool.state("c").exists()
    pool.state("c").chmod(0o644)
    with pool.state("c").open("r+b") as file:
        file.write(b"broken")
    with pytest.raises(FileCorrupt):
        at.store.info(path)
    assert repair.do(look(at), finding).done == kinds.QUARANTINED
