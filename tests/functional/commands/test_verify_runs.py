"""How a check goes: beside writers, in parts, slowly, interrupted, and what it dares to move."""

import random
import threading
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, records
from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.link import LinkStore
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.upkeep.here import LocalSite
from avocado_pool_plugin.upkeep.verify.journal import Journal
from avocado_pool_plugin.upkeep.verify.mirrors import Mirrors
from avocado_pool_plugin.upkeep.verify.run import Check, Wish
from avocado_pool_plugin.upkeep.verify.sample import Sample
from tests.support import checking
from tests.support.checking import ALL, HERE, Checked, copied, make_pool, put_ram, site_of, states
from tests.support.images import chain, held_open, image
from tests.support.places import local_store, put_image

HOME = "vm1/image1"


@pytest.fixture
def pool(tmp_path):
    root = tmp_path / "pool"
    make_pool(root, *"abcdefgh")
    return Checked(root)


# -- beside others --------------------------------------------------------------------------------


@pytest.mark.stress
@pytest.mark.parametrize("kind", [HERE, "python"])
def test_what_is_replaced_and_removed_meanwhile_is_no_finding(pool, tmp_path, kind):
    checked = Checked(pool.root, kind)
    checked.check(ALL)
    versions = [chain(tmp_path / name, "x", byte=9 + n)[0] for n, name in enumerate("pq")]
    path, over = pool.root / HOME / "x.qcow2", threading.Event()

    def write() -> None:
        while not over.is_set():
            for version in versions:
                put_image(version, path)
            local_store().remove(str(path))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert checked.told(ALL) == []
    finally:
        over.set()
        writer.join()


@pytest.mark.parametrize("kind", [HERE, "python"])
def test_what_runs_is_not_moved(pool, kind):
    path = pool.root / HOME / "h.qcow2"
    checking.flip(path, random.Random(1), 300000)
    data, checked = path.read_bytes(), Checked(pool.root, kind)
    with held_open(path, "-r"):
        report = checked.check(ALL, repair=True)
        [finding] = report.findings
        assert (finding.title, finding.kind, finding.done) == (f"{HOME}/h", "corrupt", "")
        assert "is in use by a running QEMU" in finding.told
        assert path.read_bytes() == data
    assert checked.told(ALL, repair=True) == [f"{HOME}/h corrupt quarantined"]
    assert not path.exists()


def test_a_mirror_that_can_not_be_asked_is_waited_for(pool, tmp_path):
    """What it may have is not given up."""
    (tmp_path / "file").write_text("")
    path = pool.root / HOME / "h.qcow2"
    checking.flip(path, random.Random(1))
    report = pool.check(ALL, site_of(tmp_path / "file", policy=checking.ALWAYS))
    [finding] = report.findings
    assert finding.done == "" and "not all other places could be asked" in finding.told
    assert path.exists() and any("was of no use" in note for note in report.notes)


class Dying(LocalSite):
    """A place whose keeper is killed after some changes."""

    left = 0

    def _step(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1

    def write(self, path: str, data: bytes) -> None:
        super().write(path, data)
        self._step()

    def move_new(self, old: str, new: str) -> bool:
        done = super().move_new(old, new)
        self._step()
        return done

    def drop(self, paths: object) -> None:
        for path in list(paths):  # type: ignore[call-overload]
            super().drop([path])
            self._step()


@pytest.mark.parametrize("steps", range(6))
def test_a_cut_while_a_file_is_put_aside_loses_nothing(pool, steps):
    path = pool.root / HOME / "h.qcow2"
    checking.flip(path, random.Random(1))
    data, record = path.read_bytes(), checking.record_of(path)
    site = Dying(Location(str(pool.root)), local_store(checking.ALWAYS))
    site.left = steps
    with pytest.raises(KeyboardInterrupt):
        Check(site, site, str(pool.cache), ALL, Mirrors([])).run()
    aside = list((pool.root / HOME).glob(".pool/quarantine/*-h.qcow2"))
    if path.exists():
        assert path.read_bytes() == data and checking.record_of(path) == record
        assert pool.told(ALL, repair=True) == [f"{HOME}/h corrupt quarantined"]
    else:
        [file] = aside
        assert file.read_bytes() == data
        assert checking.json_of(file.with_name(f"{file.name}.json")) == record
        assert pool.told(ALL, repair=True) == []


def test_links_are_followed_and_nothing_is_repaired_through_them(pool, tmp_path):
    cache = Checked(tmp_path / "cache")
    store = LinkStore(checking.POLICY, lambda *_: None)
    for name in "ab":
        file = f"{HOME}/{name}.qcow2"
        store.fetch(str(pool.root / file), str(cache.root / file))
    mirror = copied(pool.root, tmp_path / "mirror")
    report = cache.check(ALL)
    assert report.findings == () and any("2 of the states are links" in n for n in report.notes)
    checking.flip(pool.root / HOME / "b.qcow2", random.Random(1))
    before = (pool.root / HOME / "b.qcow2").read_bytes()
    [finding] = cache.check(ALL, site_of(mirror, policy=checking.ALWAYS)).findings
    assert (finding.title, finding.kind, finding.done) == (f"{HOME}/b", "corrupt", "")
    assert str(pool.root / HOME / "b.qcow2") in finding.told
    assert (cache.root / HOME / "b.qcow2").is_symlink()
    assert (pool.root / HOME / "b.qcow2").read_bytes() == before
    # the link into the damaged pool is no mirror for it, the real copy is
    others = [site_of(one, policy=checking.ALWAYS) for one in (cache.root, mirror)]
    [finding] = pool.check(ALL, *others).findings
    assert finding.told == f"from :{mirror}"


# -- records --------------------------------------------------------------------------------------


def test_what_had_no_record_is_fine_and_told(tmp_path):
    chain(tmp_path / "pool" / HOME, "base", "top")
    report = Checked(tmp_path / "pool").check()
    assert report.findings == () and report.fine == 2
    assert any("no record before" in note and f"{HOME}/base" in note for note in report.notes)
    assert Checked(tmp_path / "pool").check().notes == ()


@pytest.mark.parametrize(("old", "new"), [('"format": 1', '"format": 3'), ("}", "|"), ("0", "1")])
def test_a_damaged_record_without_a_mirror_stays(pool, old, new):
    record = Path(layout.record_path(str(pool.root / HOME / "c.qcow2")))
    damaged = record.read_text().replace(old, new, 1)
    record.write_text(damaged)
    for repair in (False, True):
        [finding] = pool.check(ALL, repair=repair).findings
        assert (finding.kind, finding.done) == ("record", "")
        assert record.read_text() == damaged, "what a file happens to be is no record of it"
    assert "its content is good" in finding.told, "what stands on it says so"


def test_the_same_pool_by_another_name_is_no_mirror(pool, tmp_path):
    (tmp_path / "alias").symlink_to(pool.root)
    alias = site_of(tmp_path / "alias", policy=checking.ALWAYS)
    record = Path(layout.record_path(str(pool.root / HOME / "c.qcow2")))
    record.write_text("{")
    checking.flip(pool.root / HOME / "h.qcow2", random.Random(1))
    assert pool.told(ALL, alias) == [f"{HOME}/c record", f"{HOME}/h corrupt quarantined"]
    assert record.read_text() == "{"


def test_a_record_that_is_wrong_itself_is_replaced_not_the_file(pool, tmp_path):
    """Of an earlier version, whose records have no sum."""
    mirror = copied(pool.root, tmp_path / "mirror")
    before, path = states(pool.root), str(pool.root / HOME / "h.qcow2")
    data = checking.record_of(Path(path))
    data.pop("sum")
    digest = str(data["digests"]["b3t1m"])  # type: ignore[index]
    data["digests"] = {"b3t1m": digest[:-1] + ("1" if digest[-1] == "0" else "0")}
    Path(layout.record_path(path)).write_text(checking.dumped(data))
    assert pool.told(ALL) == [f"{HOME}/h corrupt"]
    told = pool.told(ALL, site_of(mirror, policy=checking.ALWAYS))
    assert told == [f"{HOME}/h corrupt repaired"]
    assert states(pool.root) == before and pool.told(ALL) == []


def test_a_record_of_a_later_version_is_left_alone(pool):
    record = Path(layout.record_path(str(pool.root / HOME / "h.qcow2")))
    record.write_text('{"format": 2, "more": true}')
    report = pool.check(ALL, repair=True)
    assert report.findings == () and any("later version" in note for note in report.notes)
    assert record.read_text() == '{"format": 2, "more": true}'


def test_what_writers_left_that_died_is_tidied_up(pool):
    path = str(pool.root / HOME / "h.qcow2")
    record = records.read_record(path)
    assert record is not None
    for name in ("h", "never"):
        left = records.write_pending(str(pool.root / HOME / f"{name}.qcow2"), record, fsync=False)
        checking.age(left)
    Path(layout.record_path(path)).unlink()
    assert pool.told() == [f"{HOME}/h pending", f"{HOME}/never pending"]
    assert pool.told(repair=True) == [
        f"{HOME}/h pending repaired",
        f"{HOME}/never pending repaired",
    ]
    now = records.read_record(path)
    assert now is not None and now.info == record.info
    assert records.pending_names(path) == [] and pool.told(ALL) == []


def test_an_image_that_is_damaged_as_it_was_made_stays_found(tmp_path):
    """Its content is known after the first look, and not read again."""
    path = image(tmp_path / "pool" / HOME / "a.qcow2")
    data = bytearray(path.read_bytes())
    data[0x10000:0x10008] = (0x7F0000).to_bytes(8, "big")
    path.write_bytes(data)
    for _ in range(3):
        [finding] = Checked(tmp_path / "pool").check().findings
        assert finding.kind == "image" and "qemu-img check" in finding.text
    path.unlink()
    assert Checked(tmp_path / "pool").told() == []


def test_one_object_and_one_image_of_it(pool):
    put_ram(pool.root / "vm2" / "s.state", b"memory")
    for name in ("vm2/s.state", f"{HOME}/h.qcow2"):
        checking.flip(pool.root / name, random.Random(2))
    assert pool.told(Wish("vm2")) == ["vm2/s corrupt"]
    assert pool.told(Wish("vm1")) == pool.told(Wish(HOME)) == [f"{HOME}/h corrupt"]


@pytest.mark.parametrize("text", ["8/7", "x", "0/3", "1/0", "3", "1/7/2", "", "-1/7", "1 / 7"])
def test_what_is_no_part(text):
    with pytest.raises(SettingRefused, match="is no part"):
        Sample.parse(text)


# -- how much, how fast ---------------------------------------------------------------------------


def test_samples_cover_all_and_are_the_same_everywhere(pool, tmp_path):
    checked = [pool.check(Wish(sample=Sample(n, 3))) for n in (1, 2, 3)]
    assert sum(report.files for report in checked) == sum(r.states for r in checked) == 8
    moved = copied(pool.root, tmp_path / "elsewhere")
    for n in (1, 2, 3):
        parts = [
            [path.name for path in sorted((root / HOME).glob("*.qcow2"))
             if Sample(n, 3).holds(str(root), str(path))]
            for root in (pool.root, moved)
        ]  # fmt: skip
        assert parts[0] == parts[1]
    checking.flip(pool.root / HOME / "e.qcow2", random.Random(1))
    checking.believe(pool.root / HOME / "e.qcow2")
    found = [pool.told(Wish(sample=Sample(n, 3))) for n in (1, 2, 3)]
    assert sum(f"{HOME}/e corrupt" in told for told in found) == 1


@pytest.mark.parametrize("kind", [HERE, "python", "plain"])
def test_reading_is_no_faster_than_asked_for(pool, kind):
    checked = Checked(pool.root, kind)
    started = time.monotonic()
    report = checked.check(Wish(everything=True, rate=4.0 * 2**20))
    assert report.findings == () and report.size > 2**20
    assert time.monotonic() - started >= 0.8 * report.size / (4.0 * 2**20)


def test_a_run_that_was_interrupted_is_continued(pool, monkeypatch):
    """What a killed one leaves: lines for some files, the last one cut off."""
    lines: list[str] = []
    monkeypatch.setattr(Journal, "close", lambda self, _: lines.append(Path(self.path).read_text()))
    report = pool.check(ALL)
    monkeypatch.undo()
    [text] = lines
    path = next((pool.cache / ".pool" / "verify").glob("*.jsonl"))
    some = text.splitlines(keepends=True)
    path.write_text("".join(some[:5]) + some[5][:40])
    report = pool.check(ALL)
    assert (report.before, report.files, report.states) == (5, 3, 8)
    assert not path.exists()
    # what changed meanwhile is read again, and nothing of another run counts
    for wish, wanted in ((ALL, 3 + 1), (Wish(everything=True, restart=True), 8)):
        path.write_text("".join(some[:5]))
        name = checking.first_of(some[0])
        put_image(Path(name), Path(name), parent=checking.parent_of(Path(name)))
        assert pool.check(wish).files == wanted
    path.write_text("".join(some[:5]))
    assert pool.check(Wish(sample=Sample(1, 1))).before == 0
    checking.age(str(path))
    assert pool.check(ALL).before == 0
