"""What keepers see and do is the same wherever a pool is."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, locks, records, seen, users
from avocado_pool_plugin.core.errors import PoolUnreachable, StateNeeded
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.ssh import survey
from avocado_pool_plugin.upkeep.gc import size
from avocado_pool_plugin.upkeep.holders import held_locks
from avocado_pool_plugin.upkeep.site import Item, Site
from tests.support.images import chain, held_open, image
from tests.support.places import Dir, digest_of, opened, put, put_image
from tests.support.shells import ODD, SHELLS, as_nobody, far
from tests.support.sites import HERE, SITES, site


@pytest.fixture(params=SITES)
def kind(request) -> str:
    return request.param


@pytest.fixture
def here(pool: Dir, kind: str) -> Site:
    return site(kind, pool.root)


@pytest.fixture
def filled(pool: Dir, tmp_path: Path) -> Dir:
    """A chain a, b, c; a vm state; a root image."""
    parent = None
    for path in chain(tmp_path / "scratch", *"abc"):
        put_image(path, pool.state(path.stem), parent=parent)
        parent = pool.state(path.stem)
    put(pool.ram("c"), b"ram")
    put_image(tmp_path / "scratch" / "a.qcow2", pool.root / "vm1" / "image1.qcow2")
    return pool


def titles(items: list[Item]) -> list[str]:
    return [item.title for item in items]


def test_states_and_root_images(filled, here):
    found = here.items()
    assert titles(found) == [
        "vm1/c", "vm1/image1.qcow2", "vm1/image1/a", "vm1/image1/b", "vm1/image1/c"
    ]  # fmt: skip
    assert [item.parent for item in found] == ["", "", "", "a", "b"]
    assert found[0].state == State("vm1", None, "c")
    assert found[1].state is None
    assert found[2].state == State("vm1", "image1", "a")
    for item in found:
        status = os.stat(item.path)
        assert (item.entry.allocated, item.entry.device) == (status.st_blocks * 512, status.st_dev)
        assert item.entry.stamp == records.Stamp.of(status)
        assert item.peek is None and item.problem == "" and item.entry.link == ""


def test_what_is_known_of_them(filled, here):
    for item in here.items(known=True):
        assert item.peek.info.digest == digest_of(Path(item.path)) and item.peek.fresh
        assert item.made == records.read_record(item.path).info.made


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ("vm1", 5),
        ("vm1/image1", 3),
        ("vm2", 0),
        ("vm1/image2", 0),
        ("vm", 0),
    ],
)
def test_only_a_part(filled, here, below, expected):
    found = here.items(below)
    assert len(found) == expected
    assert found == [item for item in here.items() if item.path.startswith(f"{here.root}/{below}/")]


def test_nothing_is_there(pool, here):
    assert here.items() == [] and here.notes() == []
    assert here.items("vm1", known=True) == []
    assert here.read([f"{here.root}/.pool/x"]) == {}


def test_all_kinds_of_trouble(filled, here, tmp_path):
    home = filled.image
    (home / "text.qcow2").write_bytes(b"no image")
    (home / "short.qcow2").write_bytes(b"QFI\xfb")
    (home / "gone.qcow2").symlink_to(tmp_path / "nothing.qcow2")
    (home / "linked.qcow2").symlink_to(home / "b.qcow2")
    (home / "directory.qcow2").mkdir()
    os.mkfifo(home / "pipe.qcow2")
    outside = image(tmp_path / "outside.qcow2")
    shutil.copy(image(tmp_path / "top.qcow2", backing=str(outside)), home / "out.qcow2")
    (home / ".hidden.qcow2").write_bytes(b"hidden")
    (home / "x.part").write_bytes(b"part")
    (home / "no state;.qcow2").write_bytes(b"name")
    (home / "note.txt").write_bytes(b"note")
    (filled.root / "loose.qcow2").write_bytes(b"")
    found = {item.state.name: item for item in here.items("vm1/image1", known=True)}
    assert set(found) == {*"abc", "text", "short", "gone", "linked", "out"}
    for name in ("text", "short"):
        assert f"{name}.qcow2" in found[name].problem
    assert found["gone"].problem == f"leads to {tmp_path}/nothing.qcow2, which does not exist"
    assert found["gone"].entry.stamp is None
    assert found["linked"].entry.link == str(home / "b.qcow2")
    assert found["linked"].entry.stamp == found["b"].entry.stamp
    assert found["linked"].peek.info == found["b"].peek.info
    assert found["out"].problem == f"stands on {outside}"
    assert not found["linked"].problem and not found["b"].problem


def test_links_that_can_t_lead_anywhere(filled):
    home, here = filled.image, site(HERE, filled.root)
    (home / "round.qcow2").symlink_to("round.qcow2")
    (home / "through.qcow2").symlink_to("a.qcow2/b")
    (home / "long.qcow2").symlink_to("x" * 300)
    (filled.root / "round").symlink_to("round")
    found = {item.state.name: item for item in here.items("vm1/image1", known=True)}
    assert set(found) == {*"abc", "round", "through", "long"}
    for name in ("round", "through", "long"):
        assert found[name].entry.stamp is None
        assert found[name].problem.endswith("which does not exist")
    assert size.measure(str(filled.root)) == sum(
        item.entry.allocated for item in here.items() if item.entry.stamp
    )


@pytest.mark.parametrize("name", [name for name in ODD if ";" not in name])
def test_odd_names(pool, here, name):
    put(pool.root / name / f"{name}.state", b"ram")
    put(pool.root / name / name / f"{name}.qcow2", b"no image")
    found = here.items(known=True)
    assert [item.path for item in found] == [
        str(pool.root / name / f"{name}.state"), str(pool.root / name / name / f"{name}.qcow2")
    ]  # fmt: skip
    assert all(item.peek.fresh for item in found)
    assert {Path(note.path).name for note in here.notes()} >= {f"{name}.state.json"}


@pytest.fixture
def nobody(filled: Dir, tmp_path: Path) -> Iterator[None]:
    """A user who may go to the pool, and not into the directory of its image."""
    opened(tmp_path)
    filled.image.chmod(0)
    yield
    filled.image.chmod(0o755)


def test_what_can_t_be_read_is_not_absent(filled, nobody):
    found = site(HERE, filled.root)
    os.setegid(65534)
    os.seteuid(65534)
    try:
        for look in (found.items, found.notes):
            with pytest.raises(PoolUnreachable, match=r"image1.*ermission denied"):
                look()
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_what_can_t_be_read_over_there_is_not_absent(filled, nobody):
    with far(as_nobody("sh")) as shell:
        for look in (
            lambda: survey.survey(shell, str(filled.root), "", "header"),
            lambda: survey.notes(shell, str(filled.root)),
        ):
            with pytest.raises(PoolUnreachable, match=r"image1.*Permission denied"):
                look()


# -- files of ours -------------------------------------------------------------------------------


def test_all_notes(filled, here):
    path = str(filled.state("a"))
    with locks.hold(path, 5):
        pass
    users.register(path, str(filled.root / "overlay.qcow2"), "generation")
    seen.write_seen(path, seen.Seen("b3t1m:00", "", None), None)
    here.write(f"{here.root}/.pool/pins/one.json", b"{}")
    here.store.remove(str(filled.ram("c")))
    every = [
        Path(directory, name)
        for directory, _, names in os.walk(filled.root)
        for name in names
        if ".pool" in Path(directory).relative_to(filled.root).parts
    ]
    found = here.notes()
    assert [entry.path for entry in found] == sorted(map(str, every))
    assert len(found) >= 8
    for entry in found:
        assert entry.stamp == records.Stamp.of(os.stat(entry.path))


def test_read_write_and_drop(filled, here):
    paths = [f"{here.root}/vm1/.pool/new/{name}" for name in ("one", "two words")]
    for number, path in enumerate(paths):
        here.write(path, b"old")
        here.write(path, b"new \x00\n%d" % number)
    gone = f"{here.root}/vm1/.pool/gone"
    assert here.read([*paths, gone]) == {path: b"new \x00\n%d" % n for n, path in enumerate(paths)}
    here.drop([*paths, gone])
    assert here.read(paths) == {} and not any(map(os.path.exists, paths))


def test_a_name_that_is_taken_is_not_given_twice(filled, here):
    old, new = str(filled.state("c")), str(filled.image / ".pool" / "moved")
    content = filled.state("c").read_bytes()
    assert not here.move_new(old, str(filled.state("a")))
    assert os.path.exists(old)
    assert here.move_new(old, new)
    assert not os.path.exists(old) and Path(new).read_bytes() == content
    filled.state("c").symlink_to("nothing")
    assert not here.move_new(new, old)
    assert Path(new).read_bytes() == content
    with pytest.raises(PoolUnreachable):
        here.move_new(old + "gone", old + "new")


def test_who_stands_on_a_state(filled, here, tmp_path):
    overlay = image(tmp_path / "overlay.qcow2", backing=str(filled.state("c")))
    users.register(str(filled.state("c")), str(overlay), "")
    shelf = here.shelf(str(filled.state("a")))
    assert list(shelf.children(str(filled.state("a")), "a")) == ["b"]
    (user,) = shelf.users(str(filled.state("c")), None)
    assert user.path == str(overlay) and not shelf.open_overlay(user)
    with held_open(overlay):
        assert here.shelf(str(filled.state("c"))).open_overlay(user)


def test_locks_of_the_kernel(filled, here):
    path = str(filled.state("a"))
    inode = None
    with locks.hold(path, 5):
        inode = os.stat(layout.lock_path(path)).st_ino
        assert inode in {lock.inode for lock in held_locks(here)}
    assert inode not in {lock.inode for lock in held_locks(here)}


def test_the_clock(filled, here):
    before = time.time() - 1
    assert before < here.clock() < time.time() + 1
    assert [name for name in os.listdir(filled.root / ".pool") if "clock" in name] == []


def test_who_looks_at_what_is_absent_makes_no_directory(tmp_path, kind, filled):
    absent = tmp_path / "none" / "pool"
    assert not site(kind, absent).exists() and site(kind, filled.root).exists()
    assert abs(site(kind, absent).clock() - time.time()) < 5
    assert not absent.parent.exists()
    (tmp_path / "file").touch()
    assert not site(kind, tmp_path / "file").exists()


def test_titles(filled, kind, here):
    path = str(filled.state("a"))
    assert here.title(path) == (path if kind == HERE else f"lab:{path}")


# what is evicted


def test_files_in_directories_of_ours(filled, here, kind):
    homes = [str(filled.image / ".pool"), layout.pins_dir(str(filled.root)), "/nowhere/.pool"]
    Path(homes[1]).mkdir(parents=True)
    assert {entry.path for entry in here.ours(*homes[1:])} == set()
    pin = Path(homes[1]) / "0123456789abcdef.json"
    pin.write_text("{}")
    found = {entry.path: entry for entry in here.ours(*homes)}
    assert str(pin) in found and layout.record_path(str(filled.state("a"))) in found
    assert found[str(pin)].stamp == records.Stamp.of(os.stat(pin))
    assert list(found) == sorted(found)


@pytest.mark.parametrize("shell", SHELLS)
def test_files_in_directories_of_ours_by_any_shell(tmp_path, shell):
    for name in ODD:
        (tmp_path / "home" / name / "pins").mkdir(parents=True)
        (tmp_path / "home" / name / "pins" / name).write_text("x")
    homes = [str(tmp_path / "home" / name / "pins") for name in ODD]
    with far(SHELLS[shell]) as there:
        found = survey.ours(there, str(tmp_path), [*homes, str(tmp_path / "none")])
    assert set(found) == {f"{home}/{name}" for home, name in zip(homes, ODD, strict=True)}


def test_an_evicted_state_is_in_the_trash_with_its_record(filled, here):
    path = filled.state("c")
    filled.ram("c").unlink()
    digest, record = digest_of(path), records.read_record(str(path))
    kept = here.evict(str(path))
    assert not path.exists() and digest_of(Path(kept)) == digest
    assert os.path.dirname(kept) == layout.trash_dir(str(path))
    assert records.decode(Path(f"{kept}.json").read_bytes()) == record
    assert here.evict(str(path)) == "", "it is gone already"


def test_what_others_stand_on_is_not_evicted(filled, here, tmp_path):
    path = filled.state("b")
    with pytest.raises(StateNeeded, match=r"c\.qcow2"):
        here.evict(str(path))
    with pytest.raises(StateNeeded, match=r"c\.state"):
        here.evict(str(filled.state("c")))
    filled.ram("c").unlink()
    overlay = image(tmp_path / "image.qcow2", backing=str(filled.state("c")))
    users.register(str(filled.state("c")), str(overlay), "")
    with pytest.raises(StateNeeded, match=r"in use by overlay"):
        here.evict(str(filled.state("c")))
    overlay.unlink()
    with held_open(filled.state("c"), "-r"), pytest.raises(StateNeeded, match="running QEMU"):
        here.evict(str(filled.state("c")))
    link = filled.state("link")
    link.symlink_to(filled.state("c"))
    with pytest.raises(StateNeeded, match="symlink"):
        here.evict(str(link))
    assert link.is_symlink() and filled.state("c").exists()
