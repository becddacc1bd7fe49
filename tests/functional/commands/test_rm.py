"""``avocado pool rm`` on caches and pools of each kind."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from avocado_pool_plugin.core import durable, knowledge, locks, users
from avocado_pool_plugin.core.passport import Passport
from avocado_pool_plugin.core.place import new_info, place
from avocado_pool_plugin.core.vmstate import mark_of
from tests.support.images import chain, held_open, image
from tests.support.keepers import PLACES, Keeper, fill, keeper, whole
from tests.support.places import POLICY, put_image
from tests.support.processes import lock_holder
from tests.support.states import contents

NAMED = "vm1/image1/"


@pytest.fixture(params=PLACES)
def kept(request: pytest.FixtureRequest, tmp_path: Path, caplog, capsys) -> Keeper:
    return keeper(request.param, tmp_path, caplog, capsys)


@pytest.fixture(params=["local", "plain"])
def pool(request: pytest.FixtureRequest, tmp_path: Path, caplog, capsys) -> Keeper:
    return keeper(request.param, tmp_path, caplog, capsys)


def file(kept: Keeper, name: str, of: str = "image1") -> Path:
    return kept.root / "vm1" / of / f"{name}.qcow2"


def ram(kept: Keeper, scratch: Path) -> Path:
    """Save a vm state c, of images image1 and image2."""
    [made] = chain(scratch, "c", byte=9)
    put_image(made, file(kept, "c", "image2"))
    peeks = {name: knowledge.peek(str(file(kept, "c", name))) for name in ("image1", "image2")}
    marks = {name: mark_of(peek) for name, peek in peeks.items() if peek}
    path = kept.root / "vm1" / "c.state"
    info = replace(new_info(0), passport=Passport.of({"memory": "1"}, marks))
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(b"memory" * 1000)
        place(part, str(path), info, POLICY)
    return path


def test_what_others_stand_on_is_refused_or_goes_along(kept):
    before = contents(kept.root)
    status, text = kept.rm(f"{NAMED}a")
    assert status == 1 and f"needed by {NAMED}b, {NAMED}c;" in text and "--cascade" in text
    assert str(file(kept, "a")) in text and contents(kept.root) == before
    status, text = kept.rm(f"{NAMED}a", pool_cascade=True, pool_dry_run=True)
    lines = [line.partition(" (")[0] for line in text.splitlines()]
    assert status == 0 and contents(kept.root) == before
    assert lines == [f"would remove {NAMED}{name} from {kept.at}" for name in "cba"]
    told = kept.ask("rm", pool_states=[f"{NAMED}b"], pool_cascade=True)
    assert [(row["title"], row["where"]) for row in told["removed"]] == [
        (f"{NAMED}{name}", kept.at) for name in "cb"
    ]
    assert all(row["size"] > 0 and row["link"] == "" for row in told["removed"])
    assert kept.states() == ["a"] and len(kept.thrown()) == 2
    # what it says brings them back
    status, text = kept.rm(f"{NAMED}a")
    assert status == 0 and f"avocado pool trash restore {NAMED}a --at" in text
    assert kept.at in text
    assert kept.trash("restore", f"{NAMED}a", f"{NAMED}c")[0] == 0
    for name in "abc":
        whole(file(kept, name))


def test_several_that_stand_on_each_other_need_no_cascade(pool):
    status, text = pool.rm(f"{NAMED}b", f"{NAMED}c", f"{NAMED}b")
    assert (status, pool.states()) == (0, ["a"])
    assert [line.split()[1] for line in text.splitlines()[:2]] == [f"{NAMED}c", f"{NAMED}b"]


def test_absent(pool):
    before = contents(pool.root)
    status, text = pool.rm(f"{NAMED}c", f"{NAMED}nowhere", "vm2/x")
    assert (status, contents(pool.root)) == (1, before)
    assert text.startswith(f"{NAMED}nowhere, vm2/x do not exist in {pool.at};")
    status, text = pool.rm(f"{NAMED}x", pool_json=True)
    assert status == 1 and f"{NAMED}x does not exist in {pool.at};" in text
    for state in ("vm1", "../x/y", "a/b/c/d", f"{NAMED}a:b"):
        assert pool.rm(state)[0] == 2, state


def test_a_vm_s_state(pool, tmp_path):
    path = ram(pool, tmp_path / "scratch")
    status, text = pool.rm(f"{NAMED}c")
    assert status == 1 and "needed by vm1/c;" in text
    told = pool.ask("rm", pool_states=["vm1/c"])
    assert [row["title"] for row in told["removed"]] == ["vm1/c"] and not path.exists()
    assert file(pool, "c").exists() and file(pool, "c", "image2").exists()
    assert pool.trash("restore", "vm1/c")[0] == 0 and path.exists()
    told = pool.ask("rm", pool_states=["vm1/c"], pool_images=True)
    names = [row["title"] for row in told["removed"]]
    assert names == ["vm1/c", "vm1/image1/c", "vm1/image2/c"]
    assert pool.states() == ["a", "b"] and not path.exists()
    # its images come back with it, and what these stand on
    assert pool.rm(f"{NAMED}b")[0] == 0
    status, text = pool.trash("restore", "vm1/c")
    names = [line.split()[1] for line in text.splitlines()]
    assert (status, names) == (0, [f"{NAMED}b", f"{NAMED}c", "vm1/image2/c", "vm1/c"])
    for one in (path, file(pool, "c"), file(pool, "c", "image2")):
        whole(one)
    assert knowledge.peek(str(path)).info.passport
    # with another image in its place it is of no use
    pool.rm("vm1/c", pool_images=True)
    [made] = chain(tmp_path / "scratch", "c", byte=77)
    put_image(made, file(pool, "c", "image2"))
    status, text = pool.trash("restore", "vm1/c")
    assert status == 1 and "another state of image2" in text and not path.exists()
    # cascade: the RAM file goes before the image state that it belongs to
    pool.trash("restore", f"{NAMED}c")
    file(pool, "c", "image2").unlink()
    assert pool.rm("vm1/image2/c")[0] == 1


def test_links_go_and_what_they_lead_to_stays(tmp_path, caplog, capsys):
    kept = keeper("cache", tmp_path, caplog, capsys)
    there = fill(tmp_path / "pool", tmp_path / "scratch", byte=20)
    link = kept.root / "vm2" / "image1" / "a.qcow2"
    link.parent.mkdir(parents=True)
    link.symlink_to(there.state("a"))
    status, text = kept.rm("vm2/image1/a")
    assert status == 0 and f"removed the link vm2/image1/a from {kept.at};" in text
    assert "restore" not in text and not link.is_symlink() and kept.thrown() == []
    whole(there.state("a"))
    link.symlink_to("nowhere")
    assert kept.rm("vm2/image1/a")[0] == 0 and not link.is_symlink()


def test_where_else_it_is(tmp_path, caplog, capsys):
    kept = keeper("cache", tmp_path, caplog, capsys)
    pools = [fill(tmp_path / f"pool{n}", tmp_path / "scratch") for n in (1, 2)]
    pools[1].state("c").unlink()
    (tmp_path / "loop").symlink_to("loop")
    kept.shared = [f":{pool.root}" for pool in pools] + [f":{tmp_path}/loop"]
    status, text = kept.rm(f"{NAMED}c", pool_at=None, pool_at_default="cache")
    assert (status, kept.states()) == (0, ["a", "b"])
    assert f"still in :{pools[0].root}; to remove: avocado pool rm {NAMED}c --at" in text
    assert f"still in :{pools[1].root}" not in text
    assert f"whether :{tmp_path}/loop has it is not known" in text
    assert pools[0].state("c").exists()
    status, text = kept.rm(f"{NAMED}c", pool_at=None, pool_at_default="cache")
    assert status == 1 and f"{NAMED}c does not exist in {kept.at}" in text


def test_what_is_open_stays(pool, tmp_path):
    overlay = image(tmp_path / "overlay.qcow2", backing=str(file(pool, "c")))
    peek = knowledge.peek(str(file(pool, "c")))
    assert peek
    users.register(str(file(pool, "c")), str(overlay), peek.info.generation)
    before = contents(pool.root)
    with held_open(overlay):
        for name in "cb":
            status, text = pool.rm(f"{NAMED}{name}", pool_cascade=True)
            assert status == 1 and "is in use by" in text
    assert contents(pool.root).keys() == before.keys() and pool.states() == ["a", "b", "c"]
    status, text = pool.rm(f"{NAMED}c", pool_dry_run=True)
    assert status == 0 and f"overlay {overlay}" in text and "would be invalid" in text
    status, text = pool.rm(f"{NAMED}c")
    assert status == 0 and f"overlay {overlay}" in text and "is invalid now" in text


def test_a_lock_that_is_held_is_waited_for(pool, monkeypatch):
    assert locks.skip() is False
    with lock_holder(file(pool, "c")):
        status, text = pool.do("rm", pool_states=[f"{NAMED}c"], **{"pool.lock_timeout": "0.2"})
    assert status == 1 and "is locked by host" in text and pool.states() == ["a", "b", "c"]


def test_killed_half_way_leaves_no_child_without_its_parent(pool):
    """Children go before parents, whatever the order in which they are named."""
    names = [f"{NAMED}{name}" for name in "abc"]
    told = pool.ask("rm", pool_states=names, pool_dry_run=True)
    assert [row["title"] for row in told["removed"]] == [*reversed(names)]
    assert os.listdir(pool.root) and told["dry_run"] is True
