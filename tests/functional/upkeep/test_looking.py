"""What a site shows of a part of itself is the same from here and from another host."""

import pytest

from avocado_pool_plugin.core import used
from avocado_pool_plugin.upkeep.inventory import Inventory
from avocado_pool_plugin.upkeep.stock import take
from tests.support.images import image
from tests.support.places import put_image
from tests.support.remote import KINDS
from tests.support.see import odd_pool, set_chain, set_ram
from tests.support.sites import HERE, site

BELOWS = ("", "vm1", "vm1/image1", "vm1/image2", "my vm's", "vm9", "vm1/none")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    root = tmp_path_factory.mktemp("looking") / "pool"
    odd_pool(root)
    files = set_chain(root, "a", "b")
    put_image(image(root.parent / "second.qcow2"), root / "vm1" / "image2" / "b.qcow2")
    set_ram(root, "b", {"image1": files[1]})
    used.touch(str(files[0]))
    used.touch(str(root / "vm1" / "b.state"))
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_items_and_notes_of_a_part(kind, pool):
    here, there = site(HERE, pool), site(kind, pool)
    for below in BELOWS:
        assert here.notes(below) == there.notes(below)
        paths = [note.path for note in here.notes(below)]
        homes = [f"{pool}/{below}/.pool/"] if below.count("/") else [f"{pool}/{below}"]
        assert all(path.startswith(tuple(homes)) for path in paths)
        assert bool(paths) == (below in ("", "vm1", "vm1/image1", "vm1/image2")), below
    for known in (False, True):
        for below in BELOWS:
            mine, theirs = here.items(below, known), there.items(below, known)
            assert [item.path for item in mine] == [item.path for item in theirs]
            assert [(i.parent, i.peek, i.entry) for i in mine] == [
                (i.parent, i.peek, i.entry) for i in theirs
            ]


@pytest.mark.parametrize("kind", [HERE, "plain"])
def test_the_stock_knows_uses_and_locks(kind, pool):
    stock = take(site(kind, pool), below="vm1")
    assert set(stock.used) == {f"{pool}/vm1/image1/a.qcow2", f"{pool}/vm1/b.state"}
    lines = [line for line in Inventory([stock]).lines() if line.name == "a" and line.holding]
    assert lines[0].holding.last_use >= lines[0].holding.item.made > 0
    only = take(site(kind, pool), below="vm1/image1")
    assert set(only.used) == {f"{pool}/vm1/image1/a.qcow2"}
