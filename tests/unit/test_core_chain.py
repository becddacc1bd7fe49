import os
import shutil

import pytest

from avocado_pool_plugin.core import chain as chains
from avocado_pool_plugin.core.errors import ChainBroken, FileCorrupt, PoolUnreachable, StateMissing
from avocado_pool_plugin.core.records import FileInfo, read_record
from tests.support.images import chain, edit, guest_bytes, image, qemu_img, write
from tests.support.places import POLICY, Dir, put_image


def walk(directory, name):
    return list(chains.walk(name, chains.parent_in(str(directory))))


def test_a_chain_is_walked_from_the_state_to_its_base(pool):
    chain(pool.image, "base", "install", "customize")
    assert walk(pool.image, "customize") == ["customize", "install", "base"]
    assert walk(pool.image, "base") == ["base"]
    assert guest_bytes(pool.state("customize")) == [1, 2, 3, 0]


def test_a_missing_parent_is_named(pool):
    chain(pool.image, "base", "install", "customize")
    pool.state("install").unlink()
    with pytest.raises(StateMissing, match=r"install\.qcow2") as caught:
        walk(pool.image, "customize")
    assert isinstance(caught.value, FileNotFoundError)


def test_headers_are_read_once_for_all_who_ask_what_stands_on_what(pool, monkeypatch):
    chain(pool.image, "base", "install", "customize")
    read, backing_of = [], chains.backing_of
    monkeypatch.setattr(chains, "backing_of", lambda path: read.append(path) or backing_of(path))
    assert list(chains.children_of(str(pool.image), "base")) == ["install"]
    assert list(chains.children_of(str(pool.image), "install")) == ["customize"]
    assert sorted(read) == sorted(str(pool.state(n)) for n in ("base", "install", "customize"))
    # another file of the same name, and one that was changed
    shutil.copy(pool.state("install"), pool.image / "x")
    os.replace(pool.image / "x", pool.state("customize"))
    assert list(chains.children_of(str(pool.image), "base")) == ["customize", "install"]
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", "", pool.state("install"))
    assert list(chains.children_of(str(pool.image), "base")) == ["customize"]


@pytest.mark.parametrize("onto", ["customize", "install", "base"])
def test_a_circle_ends_in_an_error_that_shows_it(pool, onto):
    chain(pool.image, "base", "install", "customize")
    base = pool.state("base")
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", f"{onto}.qcow2", "-F", "qcow2", base)
    with pytest.raises(ChainBroken, match="circle") as caught:
        walk(pool.image, "customize")
    assert f"base -> {onto}" in str(caught.value) or f"{onto} -> " in str(caught.value)
    with pytest.raises(ChainBroken):
        chains.verify(str(pool.image), "customize", POLICY)


def test_backing_names_of_all_kinds(pool, cache):
    chain(pool.image, "base")
    chain(cache.image, "base")
    own, other = str(pool.state("base")), str(cache.state("base"))
    image(pool.state("relative"), backing="base.qcow2")
    image(pool.state("absolute"), backing=own)
    image(pool.state("in another cache"), backing=other)
    shown = {
        name: chains.backing_of(str(pool.state(name)))
        for name in ("base", "relative", "absolute", "in another cache")
    }
    assert shown["base"] == chains.Backing()
    assert shown["relative"] == chains.Backing(state="base")
    assert shown["absolute"] == chains.Backing(state="base", relative=False)
    assert shown["in another cache"] == chains.Backing(state="base", relative=False)


@pytest.mark.parametrize("where", ["golden", "vm1/image2", "vm2/image1", "vm1/image1/sub"])
def test_a_base_outside_is_no_state_of_the_same_image(pool, where, tmp_path):
    directory = tmp_path / "elsewhere" / where
    chain(directory, "base")
    image(pool.state("top"), backing=str(directory / "base.qcow2"))
    assert chains.backing_of(str(pool.state("top"))).outside == str(directory / "base.qcow2")
    with pytest.raises(ChainBroken, match="no state of the same image"):
        walk(pool.image, "top")


def test_a_relative_name_that_climbs_out_is_outside(pool, tmp_path):
    image(tmp_path / "golden.qcow2")
    image(pool.state("top"), backing="../../../golden.qcow2")
    assert chains.backing_of(str(pool.state("top"))).outside == str(tmp_path / "golden.qcow2")


def test_an_overlay_elsewhere_stands_on_a_state_by_its_absolute_name(pool, tmp_path):
    chain(pool.image, "base")
    overlay = image(tmp_path / "images" / "disk.qcow2", backing=str(pool.state("base")))
    found = chains.backing_of(str(overlay), home=str(pool.image))
    assert found == chains.Backing(state="base", relative=False)


def test_listed_states_and_children(pool):
    chain(pool.image, "base", "install", "customize")
    image(pool.state("other"), backing="base.qcow2")
    (pool.image / "notes.txt").write_text("x")
    (pool.image / ".hidden.qcow2").write_text("x")
    (pool.image / "broken.qcow2").write_text("no image")
    (pool.image / "a directory.qcow2").mkdir()
    assert chains.states_in(str(pool.image)) == ["base", "broken", "customize", "install", "other"]
    assert sorted(chains.children_of(str(pool.image), "base")) == ["install", "other"]
    assert list(chains.children_of(str(pool.image), "customize")) == []
    assert chains.states_in(str(pool.image / "absent")) == []


def made_with_records(where: Dir, scratch, *, hashed=True) -> None:
    paths = chain(scratch, "base", "install", "customize")
    parent = None
    for path in paths:
        put_image(path, where.state(path.stem), parent=parent, hashed=hashed)
        parent = where.state(path.stem)


@pytest.mark.parametrize("hashed", [True, False])
def test_a_whole_chain_verifies(pool, tmp_path, hashed):
    made_with_records(pool, tmp_path / "scratch", hashed=hashed)
    found = chains.verify(str(pool.image), "customize", POLICY)
    assert found == ["customize", "install", "base"]


@pytest.mark.parametrize("hashed", [True, False])
def test_a_parent_replaced_under_its_child_is_noticed(pool, tmp_path, hashed):
    made_with_records(pool, tmp_path / "scratch", hashed=hashed)
    (other,) = chain(tmp_path / "other", "base", byte=77)
    put_image(other, pool.state("base"), hashed=hashed)
    chains.verify(str(pool.image), "base", POLICY)
    with pytest.raises(ChainBroken, match=r"install\.qcow2"):
        chains.verify(str(pool.image), "customize", POLICY)


def test_a_changed_parent_is_corrupt_for_the_child(pool, tmp_path):
    made_with_records(pool, tmp_path / "scratch")
    qemu_img("commit", "-q", "-d", overlay := image(tmp_path / "o.qcow2", backing=str(
        pool.state("base"))))  # fmt: skip
    assert overlay.exists()
    pool.state("base").chmod(0o644)
    write(pool.state("base"), 9)
    with pytest.raises(FileCorrupt, match=r"base\.qcow2"):
        chains.verify(str(pool.image), "customize", POLICY)


def test_a_chain_moves_as_a_whole(pool, cache, tmp_path):
    made_with_records(pool, tmp_path / "scratch")
    shutil.copytree(pool.root, cache.root)
    assert chains.verify(str(cache.image), "customize", POLICY)
    assert guest_bytes(cache.state("customize")) == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("child", "parent", "fits"),
    [
        (FileInfo(1), FileInfo(1), True),
        (FileInfo(1, parent_digest="x"), FileInfo(1, digest="x"), True),
        (FileInfo(1, parent_digest="x"), FileInfo(1, digest="y", source_digest="x"), True),
        (FileInfo(1, parent_digest="x"), FileInfo(1, digest="y"), False),
        (FileInfo(1, parent_generation="g"), FileInfo(1, generation="g"), True),
        (FileInfo(1, parent_generation="g"), FileInfo(1, generation="h"), False),
        # equal content made anew is as good as the one it was made on
        (
            FileInfo(1, parent_digest="x", parent_generation="g"),
            FileInfo(1, digest="x", generation="h"),
            True,
        ),
        (FileInfo(1, parent_digest="x"), FileInfo(1, generation="h"), True),
    ],
)
def test_parents_are_compared_by_content_then_by_generation(child, parent, fits):
    if fits:
        chains.check_parent("c", child, parent)
        return
    with pytest.raises(ChainBroken):
        chains.check_parent("c", child, parent)


def test_edit_helper_really_keeps_the_mtime(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    before = path.stat()
    edit(path, 1, b"X", keep_mtime=True)
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert after.st_ctime_ns != before.st_ctime_ns and path.read_bytes() == b"aXc"
    assert read_record(os.fspath(path)) is None


def test_a_directory_that_can_not_be_listed_is_no_empty_one(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(PoolUnreachable, match="loop can't be read"):
        chains.states_in(str(loop))
    assert chains.states_in(str(tmp_path / "none")) == []


def test_what_is_not_there_leads_nowhere(tmp_path):
    assert not chains.leads_away(str(tmp_path / "none.qcow2"))
