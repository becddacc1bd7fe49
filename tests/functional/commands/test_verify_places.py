"""Pools on this host and on others are checked alike, and repaired from each other."""

import random
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout
from tests.support import checking
from tests.support.checking import ALL, HERE, Checked, copied, make_pool, put_ram, site_of, states
from tests.support.remote import KINDS

#: Where the pool and the mirror are.
DIRECTIONS = [
    (HERE, HERE),
    *[(kind, HERE) for kind in KINDS],
    *[(HERE, kind) for kind in KINDS],
    ("python", "plain"),
    ("plain", "rsync"),
    ("python", "python"),
]


@pytest.fixture
def pool(tmp_path):
    root = tmp_path / "pool"
    make_pool(root, "base", "running", "later")
    put_ram(root / "vm1" / "running.state", b"memory" * 50000, "image1")
    return root


@pytest.fixture(params=[HERE, *KINDS])
def kind(request):
    return request.param


@pytest.mark.parametrize(("kind", "other"), DIRECTIONS)
def test_repair_in_all_directions(pool, tmp_path, kind, other):
    mirror = copied(pool, tmp_path / "mirror")
    before, dice = states(pool), random.Random(5)
    checked = Checked(pool, kind)
    assert checked.told(ALL) == []
    image = pool / "vm1" / "image1"
    checking.flip_header(image / "base.qcow2", dice)
    checking.cut(pool / "vm1/running.state", dice)
    checking.flip(image / "later.qcow2", dice)
    checking.flip_record(image / "running.qcow2", dice)
    damages = ["base corrupt", "later corrupt", "running record"]
    wanted = [*(f"vm1/image1/{one}" for one in damages), "vm1/running corrupt"]
    assert checked.told(ALL) == wanted
    site = site_of(mirror, other, checking.ALWAYS)
    assert checked.told(ALL, site) == [f"{one} repaired" for one in wanted]
    assert states(pool) == before == states(mirror)
    assert checked.told(ALL) == []
    assert left(checked.cache) == []


def left(cache: Path) -> list[Path]:
    """Return what a run that is complete left in the cache of who ran it."""
    home = cache / layout.META / "verify"
    return list(home.iterdir()) if home.is_dir() else []


@pytest.mark.parametrize(("kind", "other"), [(HERE, HERE), ("plain", HERE), ("python", "plain")])
def test_missing_states_come_back_with_all_they_stand_on(pool, tmp_path, kind, other):
    mirror = copied(pool, tmp_path / "mirror")
    before, checked = states(pool), Checked(pool, kind)
    for name in ("base", "running"):
        (pool / f"vm1/image1/{name}.qcow2").unlink()
    assert checked.told() == ["vm1/image1/later broken", "vm1/image1/running missing",
                              "vm1/running broken"]  # fmt: skip
    told = checked.told(None, site_of(mirror, other, checking.ALWAYS))
    assert told == ["vm1/image1/running missing repaired"]
    assert states(pool) == before and checked.told(ALL) == []


def test_a_mirror_with_other_content_is_of_no_use(pool, tmp_path, kind):
    """Nor is one whose file is corrupt as well: what can't be repaired is put aside."""
    mirror = copied(pool, tmp_path / "mirror")
    make_pool(tmp_path / "other", "base", byte=9)
    for root in (pool, mirror):
        checking.flip(root / "vm1/image1/base.qcow2", random.Random(1))
    bad = (pool / "vm1/image1/base.qcow2").read_bytes()
    record = checking.record_of(pool / "vm1/image1/base.qcow2")
    others = [site_of(tmp_path / one, policy=checking.ALWAYS) for one in ("mirror", "other")]
    told = Checked(pool, kind).told(ALL, *others)
    assert told == [
        "vm1/image1/base corrupt quarantined",
        "vm1/image1/later broken",
        "vm1/image1/running broken",
        "vm1/running broken",
    ]
    [file] = quarantined(pool)
    assert file.read_bytes() == bad and file.name.endswith("-base.qcow2")
    assert checking.json_of(file.with_name(f"{file.name}.json")) == record
    assert not (pool / "vm1/image1/base.qcow2").exists()
    assert not Path(layout.record_path(str(pool / "vm1/image1/base.qcow2"))).exists()
    report = Checked(pool, kind).check(ALL)
    assert any("1 in quarantine" in note for note in report.notes)


def quarantined(pool: Path) -> list[Path]:
    files = pool.glob("vm1/*/.pool/quarantine/*")
    return [file for file in files if not file.name.endswith(".json")]


def test_what_is_odd_is_found_wherever_it_is(pool, tmp_path, kind):
    home = pool / "vm1" / "image1"
    checking.odd(pool)
    report = Checked(pool, kind).check(ALL)
    found = {one.title: one.kind for one in report.findings if one.kind != "broken"}
    # programs are what hosts differ in
    able = kind in (HERE, "python")
    assert any("no qemu-img" in note for note in report.notes) != able
    assert found == {
        **({"vm1/image1/leaky": "image"} if able else {}),
        "vm1/image1/absolute": "backing",
        "vm1/image1/astray": "backing",
        "vm1/image1/dangling": "dangling",
        "vm1/image1/directory": "stray",
        "vm1/image1/gone": "missing",
        "vm1/image1/round1": "circle",
        "vm1/image1/text": "image",
        "vm1/image1/changed": "parent",
        "vm1/image1/written": "pending",
        "vm1/other": "vm state",
    }, report.findings
    assert any("are links" in note or "is a link" in note for note in report.notes)
    assert (home / "link.qcow2").is_symlink()
    texts = {one.title: one.text for one in report.findings}
    assert "round1 -> round2 -> round1" in texts["vm1/image1/round1"]
    assert f"{tmp_path}/golden.qcow2" in texts["vm1/image1/astray"]
    assert "orphan stands on it" in texts["vm1/image1/gone"]


def test_a_pool_that_can_only_be_read_is_checked(pool, tmp_path, kind, monkeypatch):
    mirror = copied(pool, tmp_path / "mirror")
    checking.flip(pool / "vm1/image1/later.qcow2", random.Random(1))
    site = site_of(mirror, policy=checking.ALWAYS)
    before = checking.tree(pool)
    with checking.read_only(pool):
        [finding] = Checked(pool, kind).check(ALL, site).findings
        assert (finding.title, finding.done) == ("vm1/image1/later", "")
        assert "Read-only file system" in finding.told, finding
    assert checking.tree(pool) == before


@pytest.mark.parametrize(("kind", "other"), [(HERE, "plain"), ("plain", HERE)])
def test_root_images_are_checked_and_repaired_as_well(tmp_path, kind, other):
    path = checking.put_root(tmp_path / "pool", "vm1/image1.qcow2")
    mirror = copied(tmp_path / "pool", tmp_path / "mirror")
    data, checked = path.read_bytes(), Checked(tmp_path / "pool", kind)
    checking.flip_header(path, random.Random(4))
    assert checked.told(ALL) == ["vm1/image1.qcow2 corrupt"]
    site = site_of(mirror, other, checking.ALWAYS)
    assert checked.told(ALL, site) == ["vm1/image1.qcow2 corrupt repaired"]
    assert path.read_bytes() == data
