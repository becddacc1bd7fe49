"""The trash and what killed operations left, on each kind of site."""

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import knowledge, layout, locks, records, resume
from avocado_pool_plugin.core.errors import (
    FileCorrupt,
    ImageRefused,
    StateMissing,
    StatePresent,
)
from avocado_pool_plugin.upkeep import trashcan
from avocado_pool_plugin.upkeep.emptying import Emptying
from avocado_pool_plugin.upkeep.leftovers import leftovers
from avocado_pool_plugin.upkeep.needs import Needs
from avocado_pool_plugin.upkeep.restoring import restore
from tests.support.images import edit
from tests.support.keepers import fill, whole
from tests.support.places import POLICY, Dir, put
from tests.support.sites import SITES, site

TOKEN = "0123456789abcdef"
LATER = resume.KEEP + 60


@pytest.fixture
def pool(tmp_path: Path) -> Dir:
    return fill(tmp_path / "pool", tmp_path / "scratch")


@pytest.mark.parametrize("kind", SITES)
def test_thrown_and_restored(kind, pool):
    at = site(kind, pool.root)
    before = knowledge.identify(str(pool.state("c")), POLICY)
    at.store.remove(str(pool.state("c")))
    [thrown] = trashcan.contents(at)
    assert (thrown.original, thrown.title) == (str(pool.state("c")), "vm1/image1/c")
    assert not pool.state("c").exists() and not thrown.quarantined
    assert thrown.size == os.stat(thrown.path).st_blocks * 512
    assert thrown.record and before and thrown.record.info.digest == before.digest
    backing = at.backing(thrown.path, str(pool.image))
    assert (backing.state, backing.relative) == ("b", True)
    restore(at, thrown)
    assert trashcan.contents(at) == [] and not os.path.exists(thrown.path + ".json")
    whole(pool.state("c"))
    after = knowledge.peek(str(pool.state("c")))
    assert after and after.info == before and not records.pending_names(str(pool.state("c")))
    assert after.fresh, "the content was read once, nobody needs to read it again"
    assert not (pool.image / ".pool" / "trash" / ".pool").exists(), "nothing is adopted there"


@pytest.mark.parametrize("kind", SITES)
def test_corrupt_taken_or_gone_is_not_restored(kind, pool):
    at = site(kind, pool.root)
    at.store.remove(str(pool.state("c")))
    [thrown] = trashcan.contents(at)
    data = Path(thrown.path).read_bytes()
    edit(Path(thrown.path), 70000, b"damage", keep_mtime=True)
    with pytest.raises(FileCorrupt, match=r"vm1/image1/c"):
        restore(at, thrown)
    assert Path(thrown.path).exists() and not pool.state("c").exists()
    edit(Path(thrown.path), 0, data)
    pool.state("c").symlink_to("nowhere")
    with pytest.raises(StatePresent, match=r"--replace"):
        restore(at, thrown)
    assert Path(thrown.path).exists() and pool.state("c").is_symlink()
    assert not records.pending_names(str(pool.state("c")))
    pool.state("c").unlink()
    restore(at, thrown)
    with pytest.raises(StatePresent, match=r"exists"):
        restore(at, thrown)
    at.store.remove(str(pool.state("c")))
    with pytest.raises(StateMissing, match=r"gone from the trash"):
        restore(at, thrown)


@pytest.mark.parametrize("kind", SITES)
def test_a_state_that_nobody_read_is_believed_as_it_was_made(kind, tmp_path):
    pool = fill(tmp_path / "pool", tmp_path / "scratch", hashed=False)
    at = site(kind, pool.root)
    for changed in (False, True):
        at.store.remove(str(pool.state("c")))
        [thrown] = trashcan.contents(at)
        if changed:
            edit(Path(thrown.path), 70000, b"damage")
            thrown = trashcan.contents(at)[0]
            with pytest.raises(FileCorrupt, match=r"changed since"):
                restore(at, thrown)
            break
        restore(at, thrown, check=False)
        peek = knowledge.peek(str(pool.state("c")))
        assert peek and peek.untouched and peek.info.digest is None
        whole(pool.state("c"))


@pytest.mark.parametrize("kind", SITES)
def test_files_without_a_record(kind, pool):
    """One whose record a killed remove did not copy finds it; one without any is as it was."""
    at = site(kind, pool.root)
    record = Path(layout.record_path(str(pool.state("c"))))
    text = record.read_bytes()
    at.store.remove(str(pool.state("c")))
    [thrown] = trashcan.contents(at)
    Path(thrown.path + ".json").rename(record)
    [thrown] = trashcan.contents(at)
    assert thrown.record == records.decode(text)
    restore(at, thrown)
    whole(pool.state("c"))
    record.unlink()
    at.store.remove(str(pool.state("c")))
    [thrown] = trashcan.contents(at)
    assert thrown.record is None
    restore(at, thrown)
    assert pool.state("c").exists() and not record.exists()


@pytest.mark.parametrize("kind", SITES)
def test_digests_and_what_images_stand_on(kind, pool):
    at = site(kind, pool.root)
    info = knowledge.identify(str(pool.state("b")), POLICY)
    assert info
    digest, stamp = at.digest(str(pool.state("b")), info)
    assert (digest, stamp) == (info.digest, records.Stamp.of(pool.state("b").stat()))
    assert at.backing(str(pool.state("a")), str(pool.image)).state == ""
    with pytest.raises(StateMissing):
        at.digest(str(pool.state("x")), info)
    with pytest.raises(StateMissing):
        at.backing(str(pool.state("x")), str(pool.image))
    pool.state("x").write_bytes(b"none")
    with pytest.raises(ImageRefused):
        at.backing(str(pool.state("x")), str(pool.image))


def test_a_second_name_frees_nothing(tmp_path):
    for kind in SITES:
        pool = fill(tmp_path / kind, tmp_path / "scratch")
        at = site(kind, pool.root)
        at.store.remove(str(pool.state("c")))
        [thrown] = trashcan.contents(at)
        assert Emptying.of(at, 0).frees == thrown.size > 0
        os.link(thrown.path, tmp_path / f"other {kind}")
        [thrown] = trashcan.contents(at)
        assert thrown.entry.links == 2
        assert Emptying.of(at, 0).frees == 0
        assert trashcan.freed([thrown.entry, thrown.entry]) == thrown.size


# -- temporary files ---------------------------------------------------------------------------


def temporary(directory: Path, name: str) -> Path:
    path = directory / layout.META / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10_000)
    return path


@pytest.mark.parametrize("kind", SITES)
def test_leftovers(kind, pool, tmp_path):
    at, vm = site(kind, pool.root), pool.root / "vm1"
    other = "fedcba9876543210"
    left = {
        temporary(pool.image, f"x y.qcow2.{TOKEN}.part"),
        temporary(pool.image, f"x.qcow2.{TOKEN}.resume.part"),
        temporary(pool.image, f"x.qcow2.json.{TOKEN}.tmp"),
        temporary(pool.image, f"x.qcow2.next-{TOKEN}.tmp"),
        temporary(pool.image, f".clock-{TOKEN}.tmp"),
        temporary(pool.image, f".clock-{TOKEN}12.tmp"),
        temporary(vm, f"x.state.{TOKEN}.part"),
        temporary(vm, f"intents/x.json.{TOKEN}.tmp"),
        temporary(vm, f"image1.qcow2.{TOKEN}.resume.part"),
    }
    named = temporary(pool.image, f"ü.qcow2.{other}.part")
    kept = [
        named,
        temporary(pool.image, "x.qcow2.part"),
        temporary(pool.image, f"x.qcow2.next-{TOKEN}"),
        temporary(pool.image, "x.qcow2.tmp"),
        # it may have been an image that vms run on
        temporary(vm, f"image1.qcow2.{TOKEN}.part"),
        temporary(pool.image, f"trash/1-{TOKEN}-x.{TOKEN}.part"),
    ]
    (pool.image / layout.META / f"link.{TOKEN}.part").symlink_to(named)
    # a note of a version to come, of a path as another host sees it
    note = {"format": 99, "what": [{"files": {f"/mnt/ü.qcow2.{other}.part": 1}}]}
    temporary(vm, "intents/note.json").write_text(json.dumps(note))
    assert leftovers(at, at.notes(), at.clock()) == [], "all of it is young"
    found = leftovers(at, at.notes(), at.clock() + LATER)
    assert {Path(entry.path) for entry in found} == left
    # a transfer goes on with one
    held = next(path for path in left if path.name.endswith(f"x.qcow2.{TOKEN}.resume.part"))
    with held.open() as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        dropped = at.drop_idle([entry.path for entry in found])
    assert {Path(path) for path in dropped} == left - {held}
    assert {path for path in left if path.exists()} == {held}
    assert all(path.exists() for path in kept)
    assert at.drop_idle([str(pool.image / "gone")]) in ([], [str(pool.image / "gone")])
    assert not (pool.image / "gone").exists()


def test_an_image_that_is_on_its_way_stays_whoever_noted_it(tmp_path):
    """What a set leaves that is killed between its renames is never a leftover."""
    from avocado_pool_plugin.states import moves
    from tests.support.processes import in_child
    from tests.support.states import OWN, made
    from tests.support.states import put as set_state
    from tests.support.vms import Lab, write

    lab = made(Lab(tmp_path), "a", **OWN)
    write(lab.image(), 9)

    def child() -> None:
        moves.place = lambda *_, **__: os.kill(os.getpid(), 9)  # type: ignore[attr-defined]
        set_state(lab, "b", **OWN)

    assert in_child(child) == -9 and not lab.image().exists()
    at = site("here", lab.cache)
    [part] = (lab.cache / "vm1" / "image1" / ".pool").glob("b.qcow2.*.part")
    assert leftovers(at, at.notes(), time.time() + LATER) == []
    for note in (lab.cache / "vm1" / "image1" / ".pool" / "intents").iterdir():
        note.unlink()
    assert [e.path for e in leftovers(at, at.notes(), time.time() + LATER)] == [str(part)]


# -- what comes back along ---------------------------------------------------------------------


def test_the_parent_that_it_was_made_on_comes_along(pool, tmp_path):
    at = site("here", pool.root)
    for name in "cba":
        at.store.remove(str(pool.state(name)))
    # others of the same names, made later
    fill(pool.root, tmp_path / "again", byte=7)
    for name in "cba":
        at.store.remove(str(pool.state(name)))
    trash = tuple(trashcan.contents(at))
    assert len(trash) == 6
    first = next(thrown for thrown in trash if thrown.title == "vm1/image1/c")
    order = Needs(at, trash).with_needed([first])
    assert [thrown.title[-1] for thrown in order] == ["a", "b", "c"]
    assert set(order) == set(trash[:3]), "the ones of the time, not the newest"


def test_no_parent_no_restore(pool):
    at = site("here", pool.root)
    for name in "cb":
        at.store.remove(str(pool.state(name)))
    trash = tuple(trashcan.contents(at))
    top = next(thrown for thrown in trash if thrown.title.endswith("/c"))
    with pytest.raises(StateMissing, match=r"c needs .*b\.qcow2, which is neither"):
        Needs(at, (top,)).with_needed([top])
    put(pool.state("b"), b"no image")
    with pytest.raises(Exception, match=r"was made on another 'b'"):
        Needs(at, trash).with_needed([top])


@pytest.mark.usefixtures("no_locks")
def test_two_at_once_without_locks(pool):
    """Whoever comes first moves it; both see it whole, with its record."""
    from tests.support.processes import in_child

    at = site("here", pool.root)
    at.store.remove(str(pool.state("c")))
    [thrown] = trashcan.contents(at)
    assert locks.skip()

    def meanwhile(*_: object) -> None:
        assert in_child(lambda: restore(site("here", pool.root), thrown)) == 0

    class Slow(type(at)):  # type: ignore[misc]
        def write(self, path: str, data: bytes) -> None:
            super().write(path, data)
            if ".next-" in path:
                meanwhile()

    restore(Slow(at.place, at.store), thrown)
    whole(pool.state("c"))
    assert trashcan.contents(at) == []
    assert records.read_pending(str(pool.state("c"))) == []
    assert records.read_record(str(pool.state("c"))).info == thrown.record.info
    with pytest.raises(StatePresent):
        restore(at, thrown)
