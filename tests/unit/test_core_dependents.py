import ctypes
import os
import socket
import time
from pathlib import Path

import filelock
import pytest

from avocado_pool_plugin.core import layout, trash, users
from avocado_pool_plugin.core.dependents import Guard, check_replace, refuse_used, states_on
from avocado_pool_plugin.core.errors import PoolUnreachable, StateNeeded
from avocado_pool_plugin.core.records import read_record
from tests.support.images import chain, held_open, image
from tests.support.needs import need_root
from tests.support.places import POLICY, Dir, guarded, local_store, opened, put, put_image
from tests.support.processes import in_child
from tests.support.together import together

#: A child that became another user may not be allowed to import what it needs.
LOADED = (ctypes, filelock)


@pytest.fixture
def made(pool: Dir, tmp_path: Path) -> Dir:
    """A pool with base <- install <- customize."""
    fill(pool, tmp_path / "scratch")
    return pool


def fill(where: Dir, scratch: Path, byte: int = 1, names=("base", "install", "customize")) -> None:
    parent = None
    for path in chain(scratch, *names, byte=byte):
        put_image(path, where.state(path.stem), parent=parent)
        parent = where.state(path.stem)


def overlay_on(path: Path, where: Path) -> Path:
    made = image(where, backing=str(path))
    users.register(str(path), str(made), "g")
    return made


# the trash


def test_what_is_thrown_away_can_be_had_back(pool):
    path = pool.ram("s")
    info = put(path, b"content")
    kept = Path(trash.throw(str(path)))
    assert not path.exists() and read_record(str(path)) is None
    assert kept.read_bytes() == b"content" and kept.parent == Path(layout.trash_dir(str(path)))
    assert info.generation in Path(f"{kept}.json").read_text()
    with pytest.raises(FileNotFoundError):
        trash.throw(str(path))


def test_two_of_a_name_do_not_meet_in_the_trash(pool):
    path = pool.ram("s")
    kept = set()
    for content in (b"one", b"two"):
        put(path, content)
        kept.add(Path(trash.throw(str(path))).read_bytes())
    assert kept == {b"one", b"two"}
    contents = [
        p.read_bytes() for p in Path(layout.trash_dir(str(path))).iterdir() if p.suffix != ".json"
    ]
    assert sorted(contents) == [b"one", b"two"]


def test_the_trash_is_emptied_of_what_is_old_only(pool):
    path = pool.ram("s")
    put(path, b"one")
    kept = Path(trash.throw(str(path)))
    old = kept.with_name(f"{int(time.time() - trash.KEEP - 10)}-x-old.state")
    kept.rename(old)
    other = kept.with_name("somebody's file")
    other.write_text("x")
    put(path, b"two")
    young = Path(trash.throw(str(path)))
    assert not old.exists() and young.exists() and other.exists()


def test_a_link_is_removed_and_not_what_it_points_to(pool, cache):
    put(pool.ram("s"), b"content")
    cache.ram("s").parent.mkdir(parents=True)
    cache.ram("s").symlink_to(pool.ram("s"))
    local_store().remove(str(cache.ram("s")))
    assert not cache.ram("s").is_symlink() and pool.ram("s").read_bytes() == b"content"


def test_a_group_can_replace_and_remove_what_one_of_it_made(tmp_path):
    need_root()
    opened(tmp_path)
    where = tmp_path / "pool"
    where.mkdir()
    os.chown(where, -1, 4242)
    where.chmod(0o2775)
    path = where / "s.state"

    def as_user(uid, work):
        def child():
            os.setgroups([])
            os.setgid(4242)
            os.setuid(uid)
            os.umask(0o022)
            work()

        return in_child(child)

    assert as_user(1001, lambda: (put(path, b"one"), put(path, b"two"))) == 0
    assert as_user(1002, lambda: put(path, b"three")) == 0
    assert path.read_bytes() == b"three"
    assert as_user(1001, lambda: local_store().remove(str(path))) == 0
    assert as_user(1002, lambda: put(path, b"four")) == 0
    assert as_user(1001, lambda: users.register(str(path), str(tmp_path / "o1"), "g")) == 0
    assert as_user(1002, lambda: users.register(str(path), str(tmp_path / "o2"), "g")) == 0


def test_what_others_threw_away_long_ago_keeps_nobody_from_removing_his_own(tmp_path):
    """In a directory like /tmp each may remove his own files only."""
    need_root()
    opened(tmp_path)
    where = tmp_path / "pool"
    where.mkdir()
    where.chmod(0o1777)

    def thrown(uid, name):
        def child():
            os.setgroups([])
            os.setuid(uid)
            os.umask(0o022)
            put(where / name, b"content")
            local_store().remove(str(where / name))

        return in_child(child)

    assert thrown(1001, "one.state") == 0
    trashed = where / ".pool" / "trash"
    (other,) = (path for path in trashed.iterdir() if path.suffix != ".json")
    old = other.rename(trashed / f"{int(time.time() - trash.KEEP - 10)}-x-one.state")
    assert thrown(1002, "two.state") == 0
    assert not (where / "two.state").exists() and old.exists()


def test_a_replacement_by_another_user_never_leaves_no_file(tmp_path):
    """Where the kernel allows no link to somebody else's file there must be no gap either."""
    need_root()
    opened(tmp_path)
    where = tmp_path / "pool"
    where.mkdir()
    os.chown(where, -1, 4242)
    where.chmod(0o2775)
    path = where / "s.state"

    def child(uid, work):
        def run():
            os.setgroups([])
            os.setgid(4242)
            os.setuid(uid)
            work()

        return in_child(run)

    def replace():
        def no_link(*args):
            raise PermissionError(1, "Operation not permitted")

        real = os.rename

        def rename(source, target):
            assert path.exists()
            real(source, target)
            assert path.exists(), "gone for a moment"

        os.link, os.rename = no_link, rename
        put(path, b"two")

    assert child(1001, lambda: put(path, b"one")) == 0
    assert child(1002, replace) == 0
    assert path.read_bytes() == b"two"


# users


def test_users_are_the_overlays_that_stand_on_a_state(made, tmp_path):
    base = made.state("base")
    overlay = overlay_on(base, tmp_path / "disk.qcow2")
    other = overlay_on(base, tmp_path / "other disk.qcow2")
    found = users.users_of(str(base))
    assert sorted(user.path for user in found) == sorted([str(overlay), str(other)])
    assert {(user.host, user.pid) for user in found} == {(socket.gethostname(), os.getpid())}
    assert [user.path for user in users.users_of(str(base), but=str(other))] == [str(overlay)]
    assert users.users_of(str(made.state("install"))) == []
    users.unregister(str(base), str(other))
    users.unregister(str(base), str(other))
    assert [user.path for user in users.users_of(str(base))] == [str(overlay)]


@pytest.mark.parametrize("end", ["removed", "on another", "no image", "blank"])
def test_an_overlay_that_left_is_no_user(made, tmp_path, end):
    overlay = overlay_on(made.state("base"), tmp_path / "disk.qcow2")
    if end == "removed":
        overlay.unlink()
    elif end == "on another":
        overlay.unlink()
        image(overlay, backing=str(made.state("install")))
    elif end == "blank":
        overlay.unlink()
        image(overlay)
    else:
        overlay.write_text("no image")
    assert users.users_of(str(made.state("base"))) == []


def test_a_damaged_entry_is_no_user(made):
    directory = Path(layout.users_dir(str(made.state("base"))))
    directory.mkdir()
    (directory / "x.json").write_text("{")
    (directory / "y.json").write_text('{"path": 1}')
    assert users.users_of(str(made.state("base"))) == []


# dependents


def test_states_on_a_state_directly_or_not(made):
    found = [Path(path).stem for path in states_on(str(made.state("base")))]
    assert found == ["install", "customize"]
    assert states_on(str(made.state("customize"))) == []


def test_only_children_made_on_exactly_the_new_content_stay(made, tmp_path):
    """Two children: one of the old parent, one of the new. Only the first is in the way."""
    fill(Dir(tmp_path / "new"), tmp_path / "s2", byte=50, names=("base", "aa", "zz"))
    new = Dir(tmp_path / "new")
    for name in ("aa", "install2", "zz2"):
        image(tmp_path / "s3" / "base.qcow2")
        child = image(tmp_path / "s3" / f"{name}.qcow2", backing="base.qcow2")
        put_image(child, made.state(name), parent=new.state("base"))
    info = local_store().info(str(new.state("base")))
    found = sorted(Path(path).stem for path in states_on(str(made.state("base")), info))
    assert found == ["customize", "install"]


@pytest.mark.parametrize("name", ["base", "install"])
def test_removal_of_what_others_stand_on_is_refused_with_their_names(made, name):
    with pytest.raises(StateNeeded, match=r"customize\.qcow2"):
        local_store().remove(str(made.state(name)))
    assert made.state(name).exists() and made.state("customize").exists()


def test_children_first_then_parents(made):
    store = local_store()
    for name in ("customize", "install", "base"):
        store.remove(str(made.state(name)))
    assert store.names(str(made.image)) == []


def test_cascade_takes_children_along_into_the_trash(made, caplog):
    caplog.set_level("WARNING")
    guarded(cascade=True).remove(str(made.state("base")))
    assert local_store().names(str(made.image)) == []
    thrown = [p.name.split("-", 2)[2] for p in Path(layout.trash_dir(str(made.state("base"))))
              .iterdir() if p.suffix == ".qcow2"]  # fmt: skip
    assert sorted(thrown) == ["base.qcow2", "customize.qcow2", "install.qcow2"]
    assert "install.qcow2" in caplog.text and "customize.qcow2" in caplog.text


def test_a_replacement_is_refused_and_equal_content_is_not(made, tmp_path):
    other = Dir(tmp_path / "other")
    fill(other, tmp_path / "s2", byte=70, names=("base",))
    with pytest.raises(StateNeeded, match=r"install\.qcow2"):
        local_store().publish(str(other.state("base")), str(made.state("base")))
    same = Dir(tmp_path / "same")
    same.image.mkdir(parents=True)
    same.state("base").write_bytes(made.state("base").read_bytes())
    assert not local_store().publish(str(same.state("base")), str(made.state("base"))).changed


@pytest.mark.parametrize("cascade", [False, True])
def test_nothing_goes_from_under_an_open_overlay(made, tmp_path, cascade):
    overlay = overlay_on(made.state("customize"), tmp_path / "disk.qcow2")
    store = guarded(cascade=cascade)
    with held_open(overlay), pytest.raises(StateNeeded, match=r"disk\.qcow2"):
        store.remove(str(made.state("customize")))
    assert made.state("customize").exists()


def test_a_closed_overlay_is_warned_of(made, tmp_path, caplog):
    caplog.set_level("WARNING")
    overlay_on(made.state("customize"), tmp_path / "disk.qcow2")
    local_store().remove(str(made.state("customize")))
    assert "disk.qcow2 " in caplog.text and "invalid" in caplog.text


def test_the_callers_own_overlay_is_no_obstacle(made, tmp_path, caplog):
    caplog.set_level("WARNING")
    overlay = overlay_on(made.state("customize"), tmp_path / "disk.qcow2")
    guarded(own=str(overlay)).remove(str(made.state("customize")))
    assert "disk.qcow2" not in caplog.text


def test_cascade_takes_nothing_from_under_an_overlay_of_a_child(made, tmp_path):
    """The state itself has no user, the one on top of it is running right now."""
    overlay = overlay_on(made.state("customize"), tmp_path / "disk.qcow2")
    with held_open(overlay), pytest.raises(StateNeeded, match=r"disk\.qcow2"):
        guarded(cascade=True).remove(str(made.state("base")))
    assert made.state("base").exists() and made.state("customize").exists()


@pytest.mark.parametrize("cascade", [False, True])
def test_an_unregistered_overlay_that_is_open_counts(made, tmp_path, cascade):
    """A user's own qemu on a state shows by QEMU's locks, on backing files as well."""
    overlay = image(tmp_path / "disk.qcow2", backing=str(made.state("customize")))
    with held_open(overlay), pytest.raises(StateNeeded, match="customize"):
        guarded(cascade=cascade).remove(str(made.state("customize")))
    assert made.state("customize").exists()


def test_a_download_onto_a_link_leaves_alone_what_it_points_to(made, cache, tmp_path):
    """The link goes; the pool it points into keeps its states and all that stands on them."""
    other = Dir(tmp_path / "other pool")
    fill(other, tmp_path / "s2", byte=90)
    cache.image.mkdir(parents=True)
    cache.state("base").symlink_to(made.state("base"))
    before = {path.name: path.read_bytes() for path in made.image.glob("*.qcow2")}
    local_store().fetch(str(other.state("base")), str(cache.state("base")))
    assert {path.name: path.read_bytes() for path in made.image.glob("*.qcow2")} == before
    assert not cache.state("base").is_symlink()
    assert cache.state("base").read_bytes() == other.state("base").read_bytes()


def test_states_that_can_be_fetched_again_are_no_obstacle_to_a_fetch(made, cache, tmp_path):
    fill(cache, tmp_path / "s2", byte=90)
    local_store().fetch(str(made.state("base")), str(cache.state("base")))
    assert local_store().names(str(cache.image)) == ["base.qcow2"]
    for name in ("install", "customize"):
        local_store().fetch(str(made.state(name)), str(cache.state(name)))
    from avocado_pool_plugin.core.chain import verify

    assert verify(str(cache.image), "customize", POLICY)


def test_a_local_state_is_an_obstacle_to_a_fetch_of_what_it_stands_on(made, cache, tmp_path):
    fill(cache, tmp_path / "s2", byte=90, names=("base", "mine"))
    with pytest.raises(StateNeeded, match="mine"):
        local_store().fetch(str(made.state("base")), str(cache.state("base")))
    assert cache.state("mine").exists()


def test_a_repair_is_no_replacement(made):
    from tests.support.images import edit

    base = made.state("base")
    good = base.read_bytes()
    copy = base.parent.parent / "copy" / "base.qcow2"
    copy.parent.mkdir()
    copy.write_bytes(good)
    edit(base, 70_000, b"damage")
    assert local_store().publish(str(copy), str(base)).changed
    assert base.read_bytes() == good and made.state("customize").exists()


def test_circles_end(pool):
    from tests.support.images import qemu_img

    chain(pool.image, "a", "b")
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", pool.state("a"))
    with pytest.raises(StateNeeded):
        check_replace(str(pool.state("a")), None, Guard())


def test_an_overlay_that_can_not_be_looked_at_stays_a_dependent(tmp_path):
    """It is of somebody who lets nobody else look: his image is no less on the state for that."""
    need_root()
    opened(tmp_path)
    where, private = Dir(tmp_path / "pool"), tmp_path / "private"
    fill(where, tmp_path / "scratch", names=("base",))
    private.mkdir(mode=0o700)
    state = str(where.state("base"))
    overlay = overlay_on(where.state("base"), private / "o.qcow2")
    os.chmod(layout.users_dir(state), 0o777)

    def others():
        os.setgroups([])
        os.setuid(1001)
        assert [user.path for user in users.users_of(state)] == [str(overlay)]
        assert not users.users_of(state)[0].open
        with pytest.raises(StateNeeded, match=r"o\.qcow2"):
            refuse_used(state)

    assert in_child(others) == 0
    assert users.registered(state, str(overlay))


def test_a_note_that_can_not_be_read_is_no_reason_to_forget_it(made):
    state = str(made.state("base"))
    overlay_on(made.state("base"), made.root / "o.qcow2")
    (note,) = Path(layout.users_dir(state)).iterdir()
    text = note.read_bytes()
    note.unlink()
    note.symlink_to(note)
    with pytest.raises(PoolUnreachable, match="can't be read"):
        users.users_of(state)
    note.unlink()
    note.write_bytes(text)
    assert len(users.users_of(state)) == 1


# -- many at once


@pytest.mark.stress
def test_removed_by_several_at_once_without_locks(pool, no_locks):
    """Whoever comes second finds what it wanted."""
    path = pool.ram("s")

    def remove() -> None:
        local_store().remove(str(path))

    for _ in range(30):
        put(path, b"state")
        assert together([remove] * 4) == [""] * 4
        assert not path.exists()


@pytest.mark.stress
def test_noted_as_used_while_it_is_forgotten(pool, tmp_path):
    """The directory of its users goes with a state, and comes back."""
    path = pool.ram("s")
    put(path, b"state")

    def note() -> None:
        for number in range(300):
            users.register(str(path), str(tmp_path / f"o{number}"), "g")

    def forget() -> None:
        for _ in range(300):
            trash.forget(str(path))

    assert together([note, forget]) == ["", ""]
