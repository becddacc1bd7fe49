import os
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import SpaceMissing, StateMissing
from avocado_pool_plugin.core.plan import check_space, plan_transfer
from tests.support.mounts import fill
from tests.support.places import local_store, put, settle


def pairs(pool, cache, *names):
    return [(str(pool.ram(name)), str(cache.ram(name))) for name in names]


def test_a_plan_says_what_is_absent_differs_and_is_there(pool, cache):
    for name in ("a", "b", "c"):
        put(pool.ram(name), name.encode() * 50_000)
    put(cache.ram("b"), b"another")
    local_store().fetch(str(pool.ram("c")), str(cache.ram("c")))
    settle(cache.ram("c"))
    plan = plan_transfer(pairs(pool, cache, "a", "b", "c"))
    assert [step.action for step in plan.steps] == ["copy", "replace", "keep"]
    taken = sum(os.stat(pool.ram(name)).st_blocks * 512 for name in ("a", "b"))
    assert plan.size == taken
    assert str(pool.ram("a")) in str(plan) and "MiB to copy" in str(plan)
    assert not cache.ram("a").exists()


def test_a_missing_source_is_named(pool, cache):
    put(pool.ram("a"), b"x")
    with pytest.raises(StateMissing, match=r"b\.state"):
        plan_transfer(pairs(pool, cache, "a", "b"))


def test_planning_reads_no_content(pool, cache, monkeypatch):
    put(pool.ram("a"), b"x" * 50_000, hashed=False)
    monkeypatch.setattr(os, "preadv", None)
    plan_transfer(pairs(pool, cache, "a"))


def test_planning_leaves_nothing_behind(pool, tmp_path):
    """The cache need not exist; the directory above it is not ours to put things in."""
    put(pool.ram("a"), b"x" * 50_000)
    home = tmp_path / "home"
    home.mkdir()
    target = home / "cache" / "vm1" / "a.state"
    check_space(plan_transfer([(str(pool.ram("a")), str(target))]))
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("images", [("image1",) * 4, ("image1", "image2", "image3", "image4")])
def test_space_is_added_up_over_all_files(pool, file_systems, tmp_path, images):
    """Each file would fit, all of them do not, in whatever directories they are."""
    disk = file_systems["tmpfs"] / tmp_path.name
    disk.mkdir()
    steps = []
    for number, name in enumerate(images):
        source = pool.root / "vm1" / name / f"s{number}.state"
        put(source, os.urandom(1 << 20))
        target = disk / "vm1" / name / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        steps.append((str(source), str(target)))
    hog = fill(file_systems["tmpfs"], leave=4 << 20)
    try:
        with pytest.raises(SpaceMissing, match="MiB are free"):
            check_space(plan_transfer(steps))
        check_space(plan_transfer(steps[:2]))
        assert not any(Path(target).exists() for _, target in steps)
    finally:
        hog.unlink()


def test_clones_need_no_room(on_xfs, file_systems):
    source = on_xfs / "a" / "s.state"
    put(source, os.urandom(1 << 20))
    hog = fill(file_systems["xfs"], leave=1 << 19)
    try:
        check_space(plan_transfer([(str(source), str(on_xfs / "b" / "s.state"))]))
    finally:
        hog.unlink()
