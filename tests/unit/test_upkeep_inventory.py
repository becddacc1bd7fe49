"""What caches and pools hold together, found out from what is listed of them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.passport import Mark, Passport
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.plugins.text import ago
from avocado_pool_plugin.upkeep import inventory
from avocado_pool_plugin.upkeep.comparing import compare, differences
from avocado_pool_plugin.upkeep.inventory import Inventory, Line
from avocado_pool_plugin.upkeep.site import Entry, Item
from avocado_pool_plugin.upkeep.stock import Stock, allocated


def item(name: str, parent: str = "", root: str = "/c", inode: int = 0, **info: object) -> Item:
    """Return a listed state of ``vm1/image1``; a slash in its name makes it one of a vm."""
    vm = name.startswith("/")
    state = State("vm1", None if vm else "image1", name.strip("/"))
    stamp = Stamp(inode or abs(hash((root, name))), 100, 1, 1)
    known = FileInfo(**{"size": 100, "parent": parent, **info})  # type: ignore[arg-type]
    peek = Peek(known, stamp, recorded=True, fresh=True)
    return Item(state, Entry(f"{root}/{state.path}", stamp, 4096, 1), parent, "", peek)


def stock(*items: Item, root: str = "/c", **more: object) -> Stock:
    return Stock(f":{root}", root, items, cache=root == "/c", **more)  # type: ignore[arg-type]


def shape(*stocks: Stock) -> list[tuple[int, str]]:
    return [(line.depth, line.name) for line in Inventory(stocks).lines()]


def states(*stocks: Stock) -> list[Line]:
    return [line for line in Inventory(stocks).lines() if line.holding]


def test_states_stand_on_their_parents():
    found = shape(stock(item("a"), item("b", "a"), item("c", "b"), item("d", "a")))
    assert found == [(0, "vm1"), (1, "image1"), (2, "a"), (3, "b"), (4, "c"), (3, "d")]


def test_what_others_stand_on_is_in_the_tree_though_it_is_missing():
    one = stock(item("b", "a"), item("c", "b"))
    assert shape(one)[2:] == [(2, "a"), (3, "b"), (4, "c")]
    assert [line.kind for line in Inventory([one]).lines()][2] == inventory.MISSING
    assert [line.holding.problem for line in states(one)] == ["stands on 'a', which is missing", ""]


def test_a_parent_that_another_place_has_is_still_missing_where_it_is_not():
    here, there = stock(item("b", "a")), stock(item("a", root="/p"), root="/p")
    [a, b] = states(here, there)
    assert (a.name, a.depth, b.name, b.depth) == ("a", 2, "b", 3)
    assert b.holding.problem == "stands on 'a', which is missing"


def test_circles_end():
    one = stock(item("a", "c"), item("b", "a"), item("c", "b"), item("d", "d"), item("e", "c"))
    assert sorted(name for _, name in shape(one)[2:]) == ["a", "b", "c", "d", "e"]
    problems = {line.name: line.holding.problem for line in states(one)}
    assert {problems[name] for name in "abcd"} == {"stands on itself"}


def test_a_parent_that_was_made_anew_is_told():
    for known in ("digest", "generation"):
        below = item("a", **{known: "b3t1m:new"})
        for value, problem in (("b3t1m:old", True), ("b3t1m:new", False)):
            top = item("b", "a", **{f"parent_{known}": value})
            [_, line] = states(stock(below, top))
            told = "was made on another 'a' than the one beside it"
            assert line.holding.problem == (told if problem else "")


def test_where_it_is():
    def presence(*stocks: Stock) -> str:
        [line] = states(*stocks)
        return line.holding.presence

    for known in ("digest", "generation"):
        mine = stock(item("a", **{known: "x:1"}))
        same = stock(item("a", root="/p", **{known: "x:1"}), root="/p")
        other = stock(item("a", root="/q", **{known: "x:2"}), root="/q")
        assert presence(mine) == "cache" and presence(same) == presence(same, same) == "pool"
        assert presence(mine, same) == "cache+pool"
        assert presence(mine, other) == presence(mine, same, other) == "stale"
        assert presence(same, other) == "stale"
    bare = stock(item("a", root="/p"), root="/p")
    assert presence(mine, bare) == "unknown"
    moved = stock(item("a", "b", root="/p", digest="x:1"), root="/p")
    [a] = [line for line in states(mine, moved) if line.name == "a"]
    assert a.holding.presence == "stale"


def test_what_is_recorded_of_a_changed_file_proves_nothing():
    one, other = item("a", digest="x:1"), item("a", root="/p", digest="x:1")
    assert compare(one, other).kind == "equal"
    assert one.peek and one.entry.stamp
    stale = replace(one, peek=replace(one.peek, fresh=False))
    assert compare(stale, other).kind == "unknown"
    longer = replace(stale, entry=replace(one.entry, stamp=replace(one.entry.stamp, size=200)))
    assert compare(longer, other).kind == "different"


def test_adopted_content_is_told_apart_by_digests_only():
    """Two hosts that adopt one file by different digests give it different generations."""
    one = item("a", digest="b3t1m:1", generation="adopted-1")
    other = item("a", root="/p", also=("sha256:2",), generation="adopted-2")
    assert compare(one, other).kind == "unknown"
    made = item("a", root="/p", also=("sha256:2",), generation="g2")
    assert compare(item("a", digest="b3t1m:1", generation="g1"), made).kind == "different"


def test_the_same_file_is_equal_on_one_host_only():
    one, other = item("a", inode=7), item("a", root="/p", inode=7)
    assert compare(one, other, same_host=True).kind == "equal"
    assert compare(one, other, same_host=False).kind == "unknown"


def test_sizes_count_a_file_once():
    one = stock(item("a", inode=1), item("b", "a", inode=2), item("c", "b", inode=1))
    assert [line.holding.size for line in states(one)] == [4096] * 3
    assert [line.holding.chain_size for line in states(one)] == [4096, 8192, 8192]
    assert allocated([item("a", inode=3), item("b", inode=3)]) == 4096


def test_a_vm_state_needs_its_images():
    mark = Mark("g1", "x:1")
    ram = item("/on", passport=Passport.of({}, {"image1": mark}))
    part = item("on", "a", generation="g1")
    one = stock(ram, part, item("a"))
    found = [(line.kind, line.name) for line in Inventory([one]).lines()]
    assert found[1:3] == [(inventory.VM_STATE, "on"), (inventory.NEEDED, "image1/on")]
    [line] = [line for line in states(one) if line.kind == inventory.VM_STATE]
    assert (line.holding.problem, line.holding.chain_size) == ("", 3 * 4096)
    for other, problem in (
        (item("on", "a", generation="g2"), "belongs to another state of image 'image1'"),
        (item("off"), "lacks its state of image 'image1'"),
    ):
        [line] = [line for line in states(stock(ram, other, item("a"))) if line.kind == "vm state"]
        assert line.holding.problem.startswith(problem)


def test_last_use_is_that_of_any_place():
    here = stock(item("a", made=5.0), used={"/c/vm1/image1/a.qcow2": 7.0})
    there = stock(item("a", root="/p"), root="/p", used={"/p/vm1/image1/a.qcow2": 9.0})
    [line] = states(here, there)
    assert line.holding.last_use == 9.0
    assert states(here)[0].holding.last_use == 7.0
    assert states(stock(item("a", made=5.0)))[0].holding.last_use == 5.0


def test_differences_name_each_state_once():
    here = stock(item("a", digest="x:1"), item("b", digest="x:1"), item("c"), item("e"))
    there = stock(
        *(item("a", root="/p", digest="x:1"), item("b", root="/p", digest="x:2")),
        *(item("d", root="/p"), item("e", root="/p")),
        root="/p",
    )
    assert all(one.state and one.state.name == one.title[-1] for one in differences(here, there))
    found = {one.title: (one.kind, one.reason) for one in differences(here, there)}
    assert found == {
        "vm1/image1/a": ("equal", "digest"),
        "vm1/image1/b": ("different", "digest"),
        "vm1/image1/c": ("only here", ""),
        "vm1/image1/d": ("only there", ""),
        "vm1/image1/e": ("unknown", "no digest of both is known"),
    }


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["", *"abcdefghxy"])))
def test_each_state_is_in_the_tree_once_whatever_stands_on_what(parents):
    one = stock(*(item(name, parent) for name, parent in parents.items()))
    lines = list(Inventory([one]).lines())
    assert sorted(line.name for line in lines if line.holding) == sorted(parents)
    above: list[str] = []
    for line in lines[2:]:
        del above[line.depth - 2 :]
        assert len(above) == line.depth - 2
        if line.holding and above:
            assert above[-1] == parents[line.name]
        above.append(line.name)


def test_how_long_ago_is_told_in_one_unit():
    now = 1e9
    for seconds, told in (
        *((0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h")),
        *((86399, "23 h"), (3 * 86400, "3 d"), (800 * 86400, "2 y"), (-5, "0 s")),
    ):
        assert ago(now - seconds, now) == told
    assert ago(0.0) == ""
