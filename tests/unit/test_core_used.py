"""When a state was used last, and how long it took to make it."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, records, since, trash, used
from avocado_pool_plugin.core.place import new_info
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp
from tests.support.mounts import read_only
from tests.support.places import local_store, put


def note(path: Path) -> Path:
    return Path(layout.used_path(str(path)))


def test_a_use_is_noted_beside_the_state(tmp_path):
    path = tmp_path / "a.qcow2"
    path.write_text("state")
    assert used.last(str(path)) == 0.0
    before = path.stat()
    used.touch(str(path))
    assert abs(used.last(str(path)) - time.time()) < 60
    assert note(path).stat().st_size == 0 and note(path).stat().st_mode & 0o777 == 0o666
    os.utime(note(path), (1000, 1000))
    assert used.last(str(path)) == 1000.0
    used.touch(str(path))
    assert used.last(str(path)) > 1000.0
    assert path.stat() == before


def test_what_a_link_leads_to_is_used(tmp_path):
    path, link = tmp_path / "pool" / "a.qcow2", tmp_path / "a.qcow2"
    path.parent.mkdir()
    path.write_text("state")
    link.symlink_to(path)
    used.touch(str(link))
    assert note(path).exists() and not note(link).exists()
    assert used.last(str(link)) == used.last(str(path)) > 0


def test_where_nothing_can_be_written_nothing_happens(tmp_path, caplog):
    put(tmp_path / "pool" / "a.qcow2", b"state")
    path = str(tmp_path / "pool" / "a.qcow2")
    with read_only(tmp_path / "pool"):
        used.touch(path)
        assert used.last(path) == 0.0
    (tmp_path / "file").write_text("")
    used.touch(str(tmp_path / "file" / "a.qcow2"))
    used.touch(str(tmp_path / ("x" * 300)))
    used.touch(str(tmp_path / "nowhere" / "a.qcow2"))
    assert not (tmp_path / "nowhere").exists()
    assert not [line for line in caplog.records if line.levelname != "DEBUG"]


def test_what_is_thrown_away_was_never_used(tmp_path):
    path = tmp_path / "a.qcow2"
    put(path, b"state")
    used.touch(str(path))
    trash.throw(str(path))
    assert not note(path).exists()


def test_both_sides_of_a_transfer_are_used(tmp_path):
    pool, cache = tmp_path / "pool" / "a.state", tmp_path / "cache" / "a.state"
    put(pool, b"state")
    store = local_store()
    for action in ("copied", "kept"):
        store.fetch(str(pool), str(cache))
        for path in (pool, cache):
            assert used.last(str(path)) > 1000.0, action
            os.utime(note(path), (1000, 1000))
    other = tmp_path / "other" / "a.state"
    store.publish(str(cache), str(other))
    assert used.last(str(other)) > 1000.0


# -- how long it took ----------------------------------------------------------------------------


def encoded(**changes: object) -> dict[str, object]:
    record = Record(replace(new_info(1), **changes), Stamp(0, 0, 0, 0))  # type: ignore[arg-type]
    found: dict[str, object] = json.loads(records.encode(record))
    return found


def test_a_record_says_how_long_it_took(tmp_path):
    info = replace(new_info(5, seconds=12.3456), digest="b3t1m:00")
    assert info.seconds == 12.346
    stored = records.decode(records.encode(Record(info, Stamp(1, 2, 3, 4))))
    assert stored is not None and stored.info == info
    start, middle, end = records.template(info)
    assert b'"seconds": 12.346' in start + middle + end


def test_a_record_that_does_not_is_the_one_of_earlier_versions():
    assert "seconds" not in encoded() and encoded()["format"] == encoded(seconds=1.0)["format"]
    known = records.decode(json.dumps(encoded()).encode())
    assert known is not None and known.info.seconds == 0.0


def test_copies_keep_it(tmp_path):
    source, copy = tmp_path / "pool" / "a.state", tmp_path / "cache" / "a.state"
    info = put(source, b"state")
    found = records.read_record(str(source))
    assert found is not None
    record = replace(found, info=replace(info, seconds=7.0))
    records.write_record(str(source), record, fsync=False)
    local_store().fetch(str(source), str(copy))
    assert _info(copy).seconds == 7.0


def _info(path: Path) -> FileInfo:
    record = records.read_record(str(path))
    assert record is not None
    return record.info


@pytest.fixture
def test_begun(monkeypatch):
    monkeypatch.setattr(since, "_watch", since._Watch())
    assert since.seconds() == 0.0
    since.begin()


def test_time_counts_from_the_start_of_the_test_but_not_what_it_got(test_begun):
    time.sleep(0.05)
    first = since.seconds()
    assert first >= 0.05
    with since.spared(), since.spared():
        time.sleep(0.3)
    assert first <= since.seconds() < first + 0.3
