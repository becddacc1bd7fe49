"""
Damage in a pool is found, and repaired from a mirror as if it had not been.

At random and by the hundred: tests/torture/rows/damage.py.
"""

import random

import pytest

from tests.support import checking
from tests.support.checking import ALL, Checked, copied, make_pool, put_ram, site_of


@pytest.fixture
def pool(tmp_path):
    """Two chains, and a vm state on both."""
    root = tmp_path / "pool"
    make_pool(root, "base", "install", "running", "later", "last")
    make_pool(root, "data", "running", name="image2")
    put_ram(root / "vm1" / "running.state", b"memory" * 50000, "image1", "image2")
    return Checked(root)


@pytest.fixture
def mirror(pool, tmp_path):
    return copied(pool.root, tmp_path / "mirror")


def test_without_repair_nothing_is_changed(pool, mirror):
    dice = random.Random(3)
    pool.check(ALL)
    for name in ("vm1/image1/base.qcow2", "vm1/running.state"):
        checking.flip(pool.root / name, dice)
    checking.cut_record(pool.root / "vm1/image1/last.qcow2", dice)
    before = checking.tree(pool.root)
    assert pool.told(ALL) == [
        "vm1/image1/base corrupt",
        "vm1/image1/install broken",
        "vm1/image1/last record",
        "vm1/image1/later broken",
        "vm1/image1/running broken",
        "vm1/running corrupt",
    ]
    assert checking.tree(pool.root) == before


def test_a_change_that_keeps_size_and_mtime_is_found_without_all(pool, mirror):
    checking.settled(pool.root)
    assert pool.told() == []
    path = pool.root / "vm1/image1/install.qcow2"
    data = path.read_bytes()
    checking.write(path, data[:70000] + b"x" + data[70001:])
    report = pool.check()
    assert [(one.title, one.kind) for one in report.findings if one.kind == "corrupt"] == [
        ("vm1/image1/install", "corrupt")
    ]
    assert report.files == 1
    assert pool.told(None, site_of(mirror)) == ["vm1/image1/install corrupt repaired"]
    assert path.read_bytes() == data and pool.told(ALL) == []


@pytest.mark.parametrize("kind", [checking.HERE, "python", "plain"])
def test_damage_under_an_unchanged_stamp_is_found_by_all_and_repaired(pool, mirror, kind):
    """What a disk does: nothing tells but the content."""
    pool = Checked(pool.root, kind)
    path = pool.root / "vm1/image1/install.qcow2"
    data = path.read_bytes()
    checking.write(path, data[:70000] + b"x" + data[70001:])
    checking.believe(path)
    assert pool.told() == []
    assert "vm1/image1/install corrupt" in pool.told(ALL)
    assert pool.told(ALL, site_of(mirror)) == ["vm1/image1/install corrupt repaired"]
    assert path.read_bytes() == data
