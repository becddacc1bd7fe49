"""The table of internal snapshots, as qemu-img writes it, and which states it stands for."""

import json
import struct

import pytest

from avocado_pool_plugin.core.errors import ImageRefused
from avocado_pool_plugin.core.snapshots import (
    Snapshot,
    deleted_by,
    image_states,
    loaded_by,
    new_tag,
    read_snapshots,
    state_of,
    vm_states,
)
from tests.support.images import edit, image, qemu_img

NAMES = ["plain", "two words", "o'clock", 'a "b"', "näme", "-rf", "1", "x" * 200]


def test_what_qemu_img_says(tmp_path):
    path = image(tmp_path / "a.qcow2")
    assert read_snapshots(str(path)) == ()
    for name in NAMES:
        qemu_img("snapshot", "-c", name, path)
    qemu_img("snapshot", "-d", "two words", path)
    told = json.loads(qemu_img("info", "--output=json", path))["snapshots"]
    assert [(one["id"], one["name"]) for one in told] == [
        (one.number, one.tag) for one in read_snapshots(str(path))
    ]
    assert sorted(image_states(read_snapshots(str(path)))) == sorted({*NAMES} - {"two words"})


@pytest.mark.parametrize("at", [64, 60])
def test_a_damaged_table(tmp_path, at):
    path = image(tmp_path / "a.qcow2")
    qemu_img("snapshot", "-c", "s", path)
    edit(path, at, b"\x00\x00\x0f\xff")
    with pytest.raises(ImageRefused, match="damaged table"):
        read_snapshots(str(path))


@pytest.mark.parametrize("at", [1 << 40, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize("count", [1, (1 << 32) - 1])
def test_a_table_that_no_file_could_hold(tmp_path, count, at):
    path = image(tmp_path / "a.qcow2")
    edit(path, 60, struct.pack(">IQ", count, at))
    with pytest.raises(ImageRefused, match="damaged table"):
        read_snapshots(str(path))


def test_an_entry_that_claims_gigabytes(tmp_path):
    path = image(tmp_path / "a.qcow2")
    qemu_img("snapshot", "-c", "s", path)
    (at,) = struct.unpack(">Q", path.read_bytes()[64:72])
    edit(path, at + 36, b"\xff" * 4)
    with pytest.raises(ImageRefused, match="it is too long"):
        read_snapshots(str(path))


def test_no_image(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_snapshots(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("tag", "state"),
    [("s", "s"), ("s/1", "s"), ("1/12", "1"), ("a/b", None), ("s/", None), ("s/1/2", None),
     (".s", None), ("", None), ("a:b", None), ("\udcff", None)],
)  # fmt: skip
def test_whose_tag_it_is(tag, state):
    assert state_of(tag) == state


def test_a_tag_that_is_free():
    assert new_tag("s", ()) == "s"
    assert new_tag("s", {"s", "s/1"}) == "s/2"
    assert state_of(new_tag("s", {"s"})) == "s"


def vm(number, tag, clock=5, ram=0):
    return Snapshot(str(number), tag, clock, ram)


def test_a_vm_state_is_in_all_images_with_ram_in_one():
    ram, part = vm(1, "s", ram=9), vm(3, "s")
    found = vm_states([(part,), (vm(1, "other"), ram)])
    assert {name: (one.tag, one.holder, one.ram) for name, one in found.items()} == {
        "s": ("s", 1, 9)
    }
    assert found["s"].parts == (part, ram)
    for tables in ([(part,), (part,)], [(ram,), ()], [(ram,), (vm(1, "s", clock=6),)], []):
        assert vm_states(tables) == {}
    assert vm_states([(ram,), (vm(1, "s", clock=0),)]) == {}, "an image state of that name"


def test_the_newest_of_a_name_counts():
    old, new, image_state = vm(1, "s", 5, 9), vm(2, "s/1", 6, 9), vm(3, "s/2", 0)
    assert vm_states([(old, new, image_state)])["s"].tag == "s/1"
    assert image_states((old, image_state, new)) == {"s": [image_state]}


def test_what_qemu_takes_for_a_tag():
    table = (vm(1, "3"), vm(2, "s"), vm(3, "s"), vm(4, "1"))
    assert [loaded_by(table, tag) for tag in ("1", "3", "s", "x")] == [
        table[0],
        table[2],
        table[1],
        None,
    ]
    assert [deleted_by(table, tag) for tag in ("1", "3", "s", "x")] == [
        table[3],
        table[0],
        table[1],
        None,
    ]
