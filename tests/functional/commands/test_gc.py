"""``avocado pool gc`` at caches and pools of every kind."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core import layout, pins, records, users
from avocado_pool_plugin.core.errors import PoolUnreachable
from avocado_pool_plugin.plugins import cmd
from avocado_pool_plugin.plugins.commands import gc
from avocado_pool_plugin.upkeep.gc import act
from avocado_pool_plugin.upkeep.here import LocalSite
from avocado_pool_plugin.upkeep.there import FarSite
from tests.functional.commands.test_moves import own_lines
from tests.support.ages import aged
from tests.support.commands import do, section
from tests.support.images import chain, held_open, image, qemu_img
from tests.support.jobs import Worker
from tests.support.mounts import mounted
from tests.support.places import digest_of, local_store, put, put_image
from tests.support.processes import lock_holder
from tests.support.remote import KINDS, server, servers_stopped
from tests.support.states import contents, leftovers, trash
from tests.support.terminals import on_terminal

DAY = 86400
WAYS = ("cache", "local", "link", *KINDS)
#: The states, each with what it stands on, since how many days nobody used it, seconds to make it.
STATES = {
    "base": ("", 9, 600),
    "mid": ("base", 9, 60),
    "leaf": ("mid", 1, 60),
    "other": ("base", 3, 60),
    "new": ("base", 0, 1),
}
Run = Callable[..., int]


@dataclass(frozen=True)
class Place:
    """A cache or pool of some kind with states in it."""

    root: Path
    location: str
    options: dict[str, str]

    def state(self, name: str) -> Path:
        return self.root / "vm1" / "image1" / f"{name}.qcow2"

    @property
    def left(self) -> set[str]:
        return {path.stem for path in self.root.glob("*/*/*.qcow2")}

    @property
    def size(self) -> int:
        """What the states and the trash take."""
        endings = ("*.qcow2", "*.state", "trash/*")
        found = [path for ending in endings for path in self.root.rglob(ending)]
        return sum(path.stat().st_blocks * 512 for path in set(found))

    def limit(self, size: int) -> dict[str, str]:
        """Return the option that gives the place a limit."""
        option = "cache_limit" if "swarm_pool" in self.options else "pool_limit"
        return {option: f"{size}B"}

    def without(self, *names: str) -> int:
        """Return what all takes but these."""
        return self.size - sum(self.state(name).stat().st_blocks * 512 for name in names)


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    with servers_stopped():
        yield


def filled(root: Path) -> None:
    """Put states into a place."""
    scratch = {path.stem: path for path in chain(root.parent / "scratch", "base", "mid", "leaf")}
    for name in ("other", "new"):
        scratch[name] = image(root.parent / "scratch" / f"{name}.qcow2", backing="base.qcow2")
    home = root / "vm1" / "image1"
    for name, (parent, days, seconds) in STATES.items():
        path = home / f"{name}.qcow2"
        put_image(scratch[name], path, parent=home / f"{parent}.qcow2" if parent else None)
        local_store().used(str(path))
        aged(path, days * DAY, seconds)


#: Where one directory and one host are enough, as what decides is the same for all.
FEW = pytest.mark.parametrize("place", ["cache", "plain"], indirect=True)


@pytest.fixture(params=WAYS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A cache or pool of each kind."""
    return placed(request.param, tmp_path / "place", tmp_path)


def placed(way: str, root: Path, tmp_path: Path) -> Place:
    filled(root)
    options = {"swarm_pool": str(tmp_path / "cache")}
    if way == "cache":
        return Place(root, f":{root}", {"swarm_pool": str(root)})
    location = f":{root}" + (";" if way == "link" else "")
    if way in KINDS:
        location, options = f"lab:{root}", {"ssh_config": server(way).lab("gc")}
    else:
        options = {}
    return Place(root, location, {"shared_pool": location, **options})


@pytest.fixture
def cache(tmp_path: Path) -> Place:
    filled(tmp_path / "place")
    root = tmp_path / "place"
    return Place(root, f":{root}", {"swarm_pool": str(root)})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Do the sub-command in this process."""

    def done(place: Place, size: int | None, **more: Any) -> int:
        options = {"swarm_pool": str(tmp_path / "cache"), **place.options}
        options |= place.limit(size) if size is not None else {}
        return do("gc", {**section(options), **more})

    return done


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    [found] = json.loads(capsys.readouterr().out)
    return dict(found)


def whole(place: Place) -> None:
    """Make sure that all that is left is what was put there, with all that it stands on."""
    for name in place.left:
        record = records.read_record(str(place.state(name)))
        assert record is not None and record.info.digest == digest_of(place.state(name))
        assert STATES[name][0] in {"", *place.left}
        qemu_img("check", "-q", place.state(name))


# -- everywhere -------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_go_and_changes_nothing(place, run, capsys):
    size, before = place.without("other", "leaf"), contents(place.root)
    assert run(place, size, pool_dry_run=True) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith(f"{place.location} takes ")
    assert "vm1/image1/other" in lines[2] and "not used for 3.0 d, made in 1.0 min" in lines[2]
    assert "vm1/image1/leaf" in lines[3] and "not used for 1.0 d" in lines[3]
    assert "vm1/image1/mid" not in out and "new" not in out
    assert run(place, size, pool_dry_run=True, pool_json=True) == 0
    found = told(capsys)
    assert [step["title"] for step in found["removed"]] == ["vm1/image1/other", "vm1/image1/leaf"]
    assert (found["before"], found["after"], found["reached"]) == (place.size, size, True)
    assert contents(place.root) == before


def test_what_is_worth_least_goes_until_the_limit_is_kept(place, run, capsys):
    size = place.without("other", "leaf")
    assert run(place, size, pool_yes=True, pool_json=True) == 0
    found = told(capsys)
    assert place.left == {"base", "mid", "new"} and place.size == size == found["after"]
    assert trash(place.state("base").parent) == [], "what went is gone for good"
    whole(place)
    again = contents(place.root)
    assert run(place, size, pool_yes=True) == 0
    assert "nothing has to go" in capsys.readouterr().out
    assert contents(place.root) == again


@FEW
def test_a_limit_that_cant_be_kept_is_told_with_what_stays_and_why(place, run, capsys, caplog):
    pinned = pins.hold(str(place.root), ["vm1/image1/mid.qcow2"], by="test t")
    with pinned, held_open(place.state("other"), "-r"):
        assert run(place, 1, pool_yes=True, pool_json=True) == 1
        found = told(capsys)
    assert place.left == {"base", "mid", "other", "new"}
    kept = {one["title"].rpartition("/")[2]: one["why"] for one in found["kept"]}
    assert "test t" in kept["mid"] and "open in a running QEMU" in kept["other"]
    assert "QEMU" in kept["base"] and "ago" in kept["new"]
    assert not found["reached"] and found["after"] == place.size
    assert "more than its limit of 1 B" in caplog.text
    whole(place)


@FEW
def test_overlays_and_symlinks_that_stand_on_a_state_keep_it(place, run, tmp_path):
    overlay = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", place.state("mid"), "-F", "qcow2", overlay)
    link = tmp_path / "link.qcow2"
    link.symlink_to(place.state("other"))
    users.register(str(place.state("mid")), str(overlay), "")
    users.register(str(place.state("other")), str(link), "")
    assert run(place, 1, pool_yes=True) == 1
    assert place.left == {"base", "mid", "other", "new"}
    assert overlay.exists() and not overlay.is_symlink()
    overlay.unlink()
    link.unlink()
    assert run(place, 1, pool_yes=True) == 1
    assert place.left == {"base", "new"}


def between(monkeypatch: pytest.MonkeyPatch, what: Callable[[str], None]) -> None:
    """Do something whenever a state is out of its place, before it is looked who needs it."""
    for kind in (LocalSite, FarSite):
        evict = kind.evict

        def moved(site: Any, path: str, evict: Any = evict) -> str:
            kept = evict(site, path)
            assert not os.path.exists(path)
            what(path)
            return str(kept)

        monkeypatch.setattr(kind, "evict", moved)


@FEW
def test_a_state_that_is_pinned_at_the_last_moment_comes_back(place, run, capsys, monkeypatch):
    with contextlib.ExitStack() as held:

        def pin(path: str) -> None:
            if path.endswith("/other.qcow2"):
                name = os.path.relpath(path, place.root)
                held.enter_context(pins.hold(str(place.root), [name], by="a get"))

        between(monkeypatch, pin)
        size = place.without("leaf")
        before = records.read_record(str(place.state("other")))
        assert run(place, size, pool_yes=True, pool_json=True) == 0
        found = told(capsys)
    assert place.left == set(STATES) - {"leaf"}, "the next best went instead"
    assert "a get" in found["refused"][str(place.state("other"))]
    after = records.read_record(str(place.state("other")))
    assert before and after and after.info == before.info
    assert trash(place.state("base").parent) == []
    whole(place)


@FEW
def test_a_state_that_something_is_put_on_at_the_last_moment_comes_back(
    place, run, monkeypatch, tmp_path
):
    made = image(tmp_path / "scratch" / "late.qcow2", backing="leaf.qcow2")
    late: list[str] = []

    def put_late(path: str) -> None:
        if path.endswith("/leaf.qcow2") and not late:
            late.append(path)
            put_image(made, place.state("late"))

    between(monkeypatch, put_late)
    assert run(place, place.without("other", "leaf"), pool_yes=True) == 1
    assert late and place.left == {"base", "mid", "leaf", "new", "late"}
    qemu_img("check", "-q", place.state("late"))


@FEW
def test_a_state_of_which_it_cant_be_told_comes_back(place, run, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise PoolUnreachable("the pins can't be read")

    between(monkeypatch, lambda _: monkeypatch.setattr(act, "_needed", broken))
    assert run(place, 1, pool_yes=True) == 1
    assert "the pins can't be read" in caplog.text
    assert place.left == set(STATES)
    whole(place)


@FEW
def test_what_is_asked_for_at_the_very_end_stays_in_the_trash(place, run, monkeypatch, capsys):
    purge = act._Collector.purge
    size, other = place.size, place.state("other").stat().st_blocks * 512

    def late(collector: act._Collector) -> None:
        with pins.hold(str(place.root), ["vm1/image1/other.qcow2"]):
            purge(collector)

    monkeypatch.setattr(act._Collector, "purge", late)
    leaf = place.state("leaf").stat().st_blocks * 512
    assert run(place, size - other - leaf, pool_yes=True, pool_json=True) == 1
    assert told(capsys)["after"] == size - leaf
    assert trash(place.state("base").parent) == ["other.qcow2"]
    monkeypatch.undo()
    whole(place)


@FEW
def test_what_is_being_saved_nearby_keeps_all_of_the_image(place, run, monkeypatch):
    home = place.state("base").parent
    intents = Path(layout.intents_dir(str(home)))
    between(
        monkeypatch, lambda _: (intents.mkdir(exist_ok=True), (intents / "x.json").write_text("{}"))
    )
    assert run(place, 1, pool_yes=True) == 1, "noted at the last moment"
    assert place.left == set(STATES)
    monkeypatch.undo()
    monkeypatch.setattr(cmd, "check_files", lambda: None)
    assert run(place, 1, pool_yes=True) == 1, "noted before"
    assert place.left == set(STATES)
    whole(place)


@FEW
def test_the_trash_goes_first(place, run, capsys):
    local_store().remove(str(place.state("leaf")))
    size = place.size
    inside = sum(f.stat().st_blocks * 512 for f in place.root.rglob("trash/*"))
    assert inside and run(place, size - inside, pool_yes=True, pool_json=True) == 0
    found = told(capsys)
    assert [step["kind"] for step in found["removed"]] == ["trash"]
    assert place.left == set(STATES) - {"leaf"} and trash(place.state("base").parent) == []


@FEW
def test_one_at_a_time_and_the_second_says_who(place, run, caplog):
    before = contents(place.root)
    with lock_holder(place.root / "gc") as holder:
        assert run(place, 1, pool_yes=True) == 1
    assert f"process {holder.pid}" in caplog.text
    assert place.left == set(STATES)
    assert {p: s for p, s in contents(place.root).items() if p in before} == before


@FEW
def test_a_vm_state_goes_as_one(place, run, capsys):
    memory = place.root / "vm1" / "mid.state"
    put(memory, os.urandom(1 << 20))
    aged(memory, 20 * DAY, 1)
    size = place.without("leaf", "other", "mid") - (1 << 20)
    assert run(place, size, pool_yes=True, pool_json=True) == 0
    found = told(capsys)
    [vm] = [step for step in found["removed"] if step["title"] == "vm1/mid"]
    assert vm["paths"][0] == str(memory) and not memory.exists()
    whole(place)


@FEW
def test_what_was_used_since_it_was_shown_stays_though_the_user_agreed(place, run, monkeypatch):
    def agreed(*_: object) -> bool:
        local_store().used(str(place.state("other")))
        return True

    monkeypatch.setattr(gc, "require_answer", lambda _: None)
    monkeypatch.setattr(gc, "confirmed", agreed)
    assert run(place, place.without("other", "leaf")) == 1
    assert place.left == set(STATES) - {"leaf"}, "and nothing goes in its place"


@pytest.mark.parametrize("way", ["cache", "plain"])
def test_a_disk_without_any_room_gets_some(tmp_path, run, way):
    with mounted("ext4", tmp_path, 24) as disk:
        place = placed(way, disk / "place", tmp_path)
        shutil.rmtree(disk / "scratch")
        with pytest.raises(OSError, match="No space"), (disk / "hog").open("wb", 0) as hog:
            while True:
                hog.write(bytes(1024))
        with pytest.raises(OSError, match="No space"):
            for number in range(10**6):
                (disk / str(number)).mkdir()
        free = os.statvfs(disk).f_bfree
        assert run(place, 1, pool_yes=True) == 1
        assert place.left == {"base", "new"} and os.statvfs(disk).f_bfree > free
        whole(place)
        assert leftovers(place.root) == []


# -- asking for it ----------------------------------------------------------------------------


def test_wrong_use_is_one_sentence_and_status_2(cache, run, caplog, tmp_path):
    pool = f":{tmp_path / 'pool'}"
    for config, said in (
        ({}, "give --yes"),
        ({"pool_json": True}, "give --yes"),
        ({"pool_yes": True, "pool_at": ["nowhere"]}, "one of cache, pools, all"),
        ({"pool_yes": True, "pool_at": [f"{pool}/no"], "pool.pool_limit": "1 GiB"}, "no direc"),
        ({"pool_yes": True, "pool_at": [pool]}, "no limit; give --pool-limit"),
    ):
        caplog.clear()
        assert run(cache, 1, **config) == 2
        assert said in caplog.text and len(caplog.records) == 1
    caplog.clear()
    assert run(cache, None, pool_yes=True) == 2
    assert "--cache-limit" in caplog.text and "pool_limit" in caplog.text
    assert cache.left == set(STATES)
    for text in ("much", "-1", "0", "5 XiB", "iB"):
        config = {"pool.cache_limit": text, "pool_yes": True}
        assert run(cache, None, **config) == 2, text


def test_each_place_has_its_limit_and_one_that_fails_does_not_keep_others(
    cache, run, tmp_path, caplog
):
    pool = tmp_path / "other" / "pool"
    filled(pool)
    (tmp_path / "file").write_text("")
    options = {
        "pool.shared_pool": f":{tmp_path / 'file'} :{pool} :{tmp_path / 'none'}",
        "pool.pool_limit": "1GiB",
    }
    assert run(cache, cache.without("other"), pool_yes=True, **options) == 1
    assert str(tmp_path / "file") in caplog.text and len(caplog.records) == 1
    assert cache.left == set(STATES) - {"other"}
    assert not (tmp_path / "none").exists()
    caplog.clear()
    options["pool.shared_pool"] = f":{pool}"
    options["pool.pool_limit"] = "1KiB"
    assert run(cache, None, pool_yes=True, pool_at=["pools"], **options) == 1
    assert cache.left == set(STATES) - {"other"}
    assert {path.stem for path in pool.glob("*/*/*.qcow2")} == {"base", "new"}


def test_the_program_in_a_pipe(cache, tmp_path):
    worker = Worker(tmp_path / "worker", "")
    size = f"{cache.without('other')}"
    words = ("gc", "--pool-cache", str(cache.root), "--cache-limit", size)
    done = worker.avocado("pool", *words)
    assert done.returncode == 2 and "--dry-run" in own_lines(done.stderr)[0]
    done = worker.avocado("pool", *words, "--yes")
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[-1].startswith(f":{cache.root}: removed 1, ")
    assert "\x1b" not in done.stdout and cache.left == set(STATES) - {"other"}


@pytest.mark.parametrize(("typed", "status"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_on_a_terminal_it_is_asked_for(cache, tmp_path, typed, status):
    worker = Worker(tmp_path / "worker", "")
    words = ["pool", "gc", "--pool-cache", str(cache.root), "--cache-limit"]
    program = [str(worker.programs / "avocado"), *words, str(cache.without("other"))]
    shown = on_terminal(program, worker.env.variables(), typed, b"[y/N]")
    assert shown.status == status, shown.output
    assert "vm1/image1/other" in shown.output and "not used for" in shown.output
    assert cache.left == set(STATES) - ({"other"} if status == 0 else set())
