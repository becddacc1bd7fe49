"""Pins: who needs which states of a cache or pool, for as long as it lives."""

import contextlib
import json
import os
import threading
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import heart, layout, locks, pins
from avocado_pool_plugin.core.errors import PoolUnreachable
from tests.support.mounts import read_only
from tests.support.processes import in_child

A, B = "vm1/image1/a.qcow2", "vm1/image1/b.qcow2"


def files(root: Path) -> list[Path]:
    """Return what is in the directory of pins."""
    home = Path(layout.pins_dir(str(root)))
    return sorted(home.iterdir()) if home.is_dir() else []


def age(path: Path, seconds: float) -> None:
    """Let a pin have been touched some time ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def damaged(root: Path) -> Path:
    home = Path(layout.pins_dir(str(root)))
    home.mkdir(parents=True, exist_ok=True)
    path = home / "0123456789abcdef.json"
    path.write_text('{"files": ["a"')
    return path


def test_what_is_held_is_pinned_and_no_longer_than_that(tmp_path):
    root = str(tmp_path)
    assert pins.live(root) == [] and pins.pinned(root) == set()
    with pins.hold(root, [A], by="test install") as held:
        assert pins.pinned(root) == {A}
        held.add([B])
        assert pins.pinned(root) == {A, B}
        (pin,) = pins.live(root)
        assert pin.by.endswith(f"process {os.getpid()}, test install") and pin.lease == pins.LEASE
        assert abs(time.time() - pin.since) < 60
        (stored,) = [json.loads(path.read_bytes()) for path in files(tmp_path)]
        assert stored == {"files": [A, B], "by": pin.by, "since": pin.since, "lease": pins.LEASE}
    assert pins.live(root) == [] and files(tmp_path) == []


def test_each_holder_has_a_pin_of_its_own(tmp_path):
    root = str(tmp_path)
    with pins.hold(root, [A]):
        with pins.hold(root, [A, B]):
            assert len(pins.live(root)) == 2
        assert pins.pinned(root) == {A}


def test_a_pin_that_nobody_touched_for_its_lease_is_none_any_more(tmp_path):
    with pins.hold(str(tmp_path), [A], lease=10):
        (path,) = files(tmp_path)
        age(path, 9)
        assert pins.pinned(str(tmp_path)) == {A}
        age(path, 2)
        assert pins.pinned(str(tmp_path)) == set() and files(tmp_path) == [path]


def test_what_was_left_long_ago_is_removed_by_who_reads(tmp_path):
    home = Path(layout.pins_dir(str(tmp_path)))
    with pins.hold(str(tmp_path), [A]):
        (live,) = files(tmp_path)
        for name in ("old.json", "recent.json", "half.json.0123.tmp"):
            (home / name).write_bytes(live.read_bytes())
        age(home / "old.json", 25 * 3600)
        age(home / "recent.json", 23 * 3600)
        age(home / "half.json.0123.tmp", 25 * 3600)
        assert len(pins.live(str(tmp_path))) == 1
        assert files(tmp_path) == sorted([live, home / "recent.json"])


def test_a_damaged_pin_is_told_and_pins_nothing(tmp_path, caplog):
    path = damaged(tmp_path)
    with pins.hold(str(tmp_path), [A]):
        assert pins.pinned(str(tmp_path)) == {A}
    assert f"{path} is damaged" in caplog.text


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"files": "ab", "by": "", "since": 1, "lease": 1}',
     b'{"files": [1], "by": "", "since": 1, "lease": 1}',
     b'{"files": [], "by": "", "since": 1, "lease": "long"}'],
)  # fmt: skip
def test_nothing_else_is_taken_for_a_pin(text):
    assert pins.decode(text) is None


def test_pins_that_can_not_be_read_are_not_taken_for_none(tmp_path):
    home = Path(layout.pins_dir(str(tmp_path)))
    home.parent.mkdir()
    home.symlink_to(home.name)
    with pytest.raises(PoolUnreachable, match="pins"):
        pins.pinned(str(tmp_path))


def test_where_nothing_can_be_written_there_is_no_pin_and_no_error(tmp_path, caplog):
    (tmp_path / "pool").mkdir()
    with read_only(tmp_path / "pool"):
        with pins.hold(str(tmp_path / "pool"), [A], lease=0.03) as held:
            held.add([B])
            time.sleep(0.1)
            assert pins.live(str(tmp_path / "pool")) == []
        assert not (tmp_path / "pool" / layout.META).exists()
    assert not [line for line in caplog.records if line.levelname != "DEBUG"]


def test_a_read_only_pool_shows_the_pins_that_are_in_it(tmp_path):
    with pins.hold(str(tmp_path / "pool"), [A]), read_only(tmp_path / "pool"):
        assert pins.pinned(str(tmp_path / "pool")) == {A}


def test_a_pin_that_was_removed_meanwhile_comes_back(tmp_path):
    with pins.hold(str(tmp_path), [A], lease=60) as held:
        files(tmp_path)[0].unlink()
        held.beat()
        assert pins.pinned(str(tmp_path)) == {A}
    held.beat()
    assert files(tmp_path) == []


def test_a_short_pin_starts_no_thread_of_its_own(tmp_path):
    with pins.hold(str(tmp_path), [A]):
        pass
    before = threading.active_count()
    for _ in range(5):
        with pins.hold(str(tmp_path), [A]), pins.hold(str(tmp_path / "other"), [A]):
            assert threading.active_count() == before


def test_a_heartbeat_keeps_a_pin_alive_and_ends_with_it(tmp_path):
    lease = 0.3
    with pins.hold(str(tmp_path), [A], lease=lease):
        ends = time.monotonic() + 4 * lease
        while time.monotonic() < ends:
            assert pins.pinned(str(tmp_path)) == {A}
            time.sleep(lease / 10)
    deadline = time.monotonic() + 20
    while any(thread.name == "pool-beat" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert files(tmp_path) == []


def test_a_beat_that_hangs_keeps_no_other_from_beating():
    hangs, beats = threading.Event(), threading.Semaphore(0)
    with heart.every(0.01, hangs.wait), heart.every(0.02, beats.release):
        for _ in range(3):
            assert beats.acquire(timeout=20)
        hangs.set()


def test_a_beat_that_fails_is_tried_again():
    beats = threading.Semaphore(0)

    def beat() -> None:
        beats.release()
        raise OSError("no answer")

    with heart.every(0.01, beat):
        for _ in range(3):
            assert beats.acquire(timeout=20)


def test_a_forked_child_neither_beats_for_its_parent_nor_removes_its_pin(tmp_path):
    root = str(tmp_path)

    def child() -> None:
        held.add([B])
        held.end()
        assert pins.pinned(root) == {A}
        names = {thread.name for thread in threading.enumerate()}
        assert not names & {"pool-heart", "pool-beat"}
        with pins.hold(root, [B], lease=0.3):  # its own pins beat
            time.sleep(0.9)
            assert B in pins.pinned(root)

    with pins.hold(root, [A], lease=0.6) as held:
        assert in_child(child) == 0
        assert pins.pinned(root) == {A}


def test_a_child_that_leaves_the_block_leaves_the_pin(tmp_path):
    root, stack = str(tmp_path), contextlib.ExitStack()
    with stack:
        stack.enter_context(pins.hold(root, [A], lease=0.6))
        assert in_child(stack.close) == 0
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            assert pins.pinned(root) == {A}
            time.sleep(0.05)
    assert pins.live(root) == []


def test_a_file_that_is_being_judged_is_waited_for(tmp_path):
    """Who makes room takes a file away under its lock, and puts it back if it is pinned."""
    path = tmp_path / "vm1" / "image1" / "a.qcow2"
    path.parent.mkdir(parents=True)
    path.write_text("state")
    taken, asked = threading.Event(), threading.Event()

    def judge() -> None:
        with locks.hold(str(path), 20):
            path.rename(tmp_path / "away")
            taken.set()
            asked.wait(20)
            time.sleep(0.1)
            (tmp_path / "away").rename(path)

    thread = threading.Thread(target=judge)
    thread.start()
    assert taken.wait(20) and not path.exists()
    asked.set()
    assert pins.is_absent(str(path), 20) is False
    thread.join()
    path.unlink()
    assert pins.is_absent(str(path), 20) is True
    nowhere = tmp_path / "nowhere" / "a.qcow2"
    assert pins.is_absent(str(nowhere), 20) is True
    assert not nowhere.parent.exists()
