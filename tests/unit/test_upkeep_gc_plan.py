"""What goes to keep a place under its limit, decided on made-up places."""

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.upkeep.gc.candidates import GRACE
from avocado_pool_plugin.upkeep.gc.facts import Facts
from avocado_pool_plugin.upkeep.gc.plan import LEFTOVER, STATE, TRASH, Plan, plan
from avocado_pool_plugin.upkeep.site import Entry, Item
from avocado_pool_plugin.upkeep.stock import last_uses
from avocado_pool_plugin.upkeep.trashcan import contents

ROOT, NOW, HOUR = "/c", 1_000_000_000.0, 3600.0
MIB = 1 << 20
_inodes = iter(range(1, 10**9))


def entry(path: str, size: int = MIB, age: float = HOUR, **more) -> Entry:
    stamp = Stamp(next(_inodes), size, int((NOW - age) * 1e9), int((NOW - age) * 1e9))
    return Entry(path, stamp, size, 7, 0o444, **more)


def state(
    name: str, parent: str = "", size: int = MIB, age: float = HOUR, *, seconds: float = 0.0,
    image: str | None = "i", **more,
) -> Item:  # fmt: skip
    path = f"{ROOT}/v/{image}/{name}.qcow2" if image else f"{ROOT}/v/{name}.state"
    file = more.pop("entry", None) or entry(path, size, age)
    info = FileInfo(file.allocated, made=NOW - age, seconds=seconds)
    peek = Peek(info, file.stamp, recorded=True, fresh=False)
    return Item(State("v", image, name), file, parent, peek=peek, **more)


def ram(name: str, **more) -> Item:
    return state(name, image=None, **more)


def used(name: str, age: float) -> Entry:
    return entry(f"{ROOT}/v/i/.pool/{name}.qcow2.used", 0, age)


def path(name: str) -> str:
    return f"{ROOT}/v/i/{name}.qcow2"


def facts(*items: Item, **more) -> Facts:
    return Facts(ROOT, NOW, items, **more)


def goes(found: Plan) -> list[str]:
    return [step.title.removeprefix("v/").removeprefix("i/") for step in found.steps]


def stays(found: Plan) -> dict[str, str]:
    return {kept.title.removeprefix("v/").removeprefix("i/"): kept.reason for kept in found.kept}


def test_nothing_goes_from_a_place_within_its_limit():
    found = plan(facts(state("a"), state("b")), 2 * MIB)
    assert (found.steps, found.before, found.after, found.reached) == ((), 2 * MIB, 2 * MIB, True)


def test_bytes_times_idle_by_seconds_to_rebuild_decides():
    items = [
        state("big", size=4 * MIB, age=HOUR, seconds=100),
        state("old", size=MIB, age=10 * HOUR, seconds=100),
        state("cheap", size=MIB, age=HOUR, seconds=5),
        state("dear", size=MIB, age=HOUR, seconds=1000),
    ]
    found = plan(facts(*items), 0)
    assert goes(found) == ["cheap", "old", "big", "dear"]
    first = found.steps[0]
    assert (first.size, first.idle, first.rebuild) == (MIB, HOUR, 5)
    assert first.score == MIB * HOUR / 5 and "made in 5 s" in first.why
    assert goes(plan(facts(*items), 6 * MIB)) == ["cheap"]


def test_what_was_used_counts_from_then():
    items = [state("a", age=9 * HOUR), state("b", age=5 * HOUR)]
    assert goes(plan(facts(*items), MIB)) == ["a"]
    assert goes(plan(facts(*items, notes=(used("a", HOUR),)), MIB)) == ["b"]


def test_unknown_seconds_are_the_median_of_the_known_or_a_minute():
    assert plan(facts(state("a")), 0).steps[0].rebuild == 60
    items = [state("a"), *(state(f"k{n}", seconds=n) for n in (10, 20, 90))]
    step = next(step for step in plan(facts(*items), 0).steps if step.title == "v/i/a")
    assert step.rebuild == 20 and "or so" in step.why


def test_leaves_go_before_bases_whatever_they_score():
    items = [
        state("base", size=100 * MIB, age=99 * HOUR, seconds=1),
        state("mid", "base", seconds=10),
        state("leaf", "mid", seconds=9999),
    ]
    assert goes(plan(facts(*items), 0)) == ["leaf", "mid", "base"]
    assert goes(plan(facts(*items), 101 * MIB)) == ["leaf"]


def test_left_behind_and_thrown_away_things_go_first_the_oldest_before_others():
    part = entry(f"{ROOT}/v/i/.pool/x.qcow2.0123456789abcdef.part", MIB, 48 * HOUR)
    new = entry(f"{ROOT}/v/i/.pool/y.qcow2.0123456789abcdef.part", MIB, 48 * HOUR)
    thrown = [
        entry(f"{ROOT}/v/i/.pool/trash/{int(NOW - age)}-{n * 16}-s{n}.qcow2")
        for n, age in (("a", 100), ("b", 5000), ("c", 50))
    ]
    record = entry(f"{thrown[1].path}.json", 4096)

    class Nowhere:
        root = ROOT

        def read(self, paths):
            return {}

    notes = (part, new, *thrown, record)
    trash = tuple(contents(Nowhere(), notes))
    known = facts(state("a"), notes=notes, leftovers=(part,), trash=trash)
    found = plan(known, 0)
    assert [step.kind for step in found.steps] == [LEFTOVER, TRASH, TRASH, TRASH, STATE]
    assert goes(found)[1:] == ["sb", "sa", "sc", "a"]
    assert found.steps[1].paths == (thrown[1].path, record.path)
    assert found.before == 6 * MIB + 4096 and found.after == MIB, "the part that is young stays"
    assert not found.reached and goes(plan(known, 5 * MIB))[1:] == ["sb"]


def test_quarantine_root_images_links_and_what_is_no_state_stay():
    bad = entry(f"{ROOT}/v/i/.pool/quarantine/{int(NOW)}-{'a' * 16}-x.qcow2")

    class Nowhere:
        root = ROOT

        def read(self, paths):
            return {}

    root = Item(None, entry(f"{ROOT}/v/root.qcow2"))
    link = state("link", entry=entry(path("link"), link="/pool/v/i/link.qcow2"))
    broken = state("broken", problem="it is no QCOW2 image")
    notes = (bad,)
    known = facts(
        root, link, broken, state("below", "", 5 * MIB), replace(link, parent="below"),
        notes=notes, trash=tuple(contents(Nowhere(), notes)),
    )  # fmt: skip
    found = plan(known, 0)
    assert found.steps == () and found.before == 8 * MIB
    why = stays(found)
    assert why["v/root.qcow2" if "v/root.qcow2" in why else "root.qcow2"] == "is a root image"
    assert "QCOW2" in why["broken"] and "quarantine" in why["x"]
    assert why["below"] == "v/i/link stands on it" and "link" not in why


def test_pinned_chains_overlays_and_what_is_new_stay_with_what_is_below():
    items = [state("base"), state("a", "base"), state("b", "a"), state("free", "base")]
    pins = {path("b"): "host h, process 5"}
    found = plan(facts(*items, pins=pins), 0)
    assert goes(found) == ["free"]
    assert stays(found) == {
        "b": "is needed by host h, process 5",
        "a": "v/i/b stands on it",
        "base": "v/i/a stands on it",
    }
    assert goes(plan(facts(*items, pins={path("a"): "x"}), 0)) == ["b", "free"]
    assert goes(plan(facts(*items, held={path("free"): "is in use"}), 0)) == ["b", "a"]
    young = facts(*items[:3], state("new", "base", age=GRACE - 1))
    assert goes(plan(young, 0)) == ["b", "a"]
    assert goes(plan(facts(*items, notes=(used("b", 5),)), 0)) == ["free"]


def test_a_vm_state_goes_as_one_its_ram_first():
    images = [state("run", image=name, parent="p") for name in ("i", "j")]
    items = [*images, state("p"), state("p", image="j"), ram("run", size=8 * MIB, seconds=30)]
    found = plan(facts(*items), 2 * MIB)
    assert [step.title for step in found.steps] == ["v/run"]
    assert [os.path.relpath(file, ROOT) for file in found.steps[0].paths] == [
        "v/run.state", "v/i/run.qcow2", "v/j/run.qcow2"
    ]  # fmt: skip
    assert found.steps[0].size == 10 * MIB and found.steps[0].rebuild == 30
    for named in (f"{ROOT}/v/run.state", path("run"), f"{ROOT}/v/j/run.qcow2"):
        kept = plan(facts(*items, pins={named: "x"}), 0)
        assert kept.steps == (), named
        assert len(kept.kept) == 5


def test_a_ram_file_goes_without_an_image_that_others_stand_on():
    items = [state("run"), state("top", "run", seconds=9999), ram("run", size=MIB, seconds=1)]
    found = plan(facts(*items), 0)
    assert goes(found) == ["run", "top", "run"]
    assert len(found.steps[0].paths) == 1
    kept = plan(facts(*items, pins={path("top"): "x"}), 0)
    assert goes(kept) == ["run"] and kept.steps[0].paths == (f"{ROOT}/v/run.state",)


def test_a_file_with_several_names_counts_once_and_gets_free_with_the_last():
    one = entry(path("one"), links=2)
    items = [state("one", entry=one), state("two", entry=replace(one, path=path("two")))]
    found = plan(facts(*items), 0)
    assert found.before == MIB and [step.size for step in found.steps] == [0, MIB]
    alone = plan(facts(items[0]), 0)
    assert alone.before == MIB and alone.steps == (), "its other name is elsewhere"


def test_a_circle_and_a_missing_parent_are_no_trouble():
    items = [state("a", "b"), state("b", "a"), state("orphan", "gone")]
    found = plan(facts(*items), 0)
    assert goes(found) == ["orphan"]
    assert {"a", "b"} == set(stays(found))


# -- any place --------------------------------------------------------------------------------


@st.composite
def places(draw: st.DrawFn) -> Facts:
    items: list[Item] = []
    held, pins, notes = {}, {}, []
    for image in ("i", "j")[: draw(st.integers(1, 2))]:
        names: list[str] = []
        for number in range(draw(st.integers(0, 7))):
            name = f"s{number}"
            parent = draw(st.sampled_from(["", *names]))
            seconds = draw(st.sampled_from([0.0, 1.0, 60.0, 3000.0]))
            age = draw(st.sampled_from([1.0, HOUR, 50 * HOUR]))
            size = draw(st.integers(0, 9)) * MIB
            item = state(name, parent, size, age, seconds=seconds, image=image)
            items.append(item)
            names.append(name)
            fate = draw(st.sampled_from(["", "", "", "pin", "hold", "used"]))
            if fate == "pin":
                pins[item.path] = "somebody"
            elif fate == "hold":
                held[item.path] = "is in use"
            elif fate == "used" and image == "i":
                notes.append(used(name, draw(st.sampled_from([5.0, 2 * HOUR]))))
    for name in draw(st.sets(st.sampled_from(["s0", "s1", "s2", "s3"]))):
        items.append(ram(name, size=draw(st.integers(0, 9)) * MIB))
    return facts(*items, notes=tuple(notes), held=held, pins=pins)


def needed(known: Facts) -> set[str]:
    """Return all that must stay, by a second way of finding out."""
    files = {item.path: item for item in known.items}
    last = last_uses(known.notes)
    found = {
        item.path
        for item in known.items
        if item.path in known.pins
        or item.path in known.held
        or NOW - max(item.made, last.get(item.path, 0)) < GRACE
    }
    waiting = list(found)
    for one in waiting:
        item = files[one]
        home = os.path.dirname(one)
        if one.endswith(".state"):
            below = [f"{home}/{image}/{item.state.name}.qcow2" for image in ("i", "j")]
        else:
            below = [f"{home}/{item.parent}.qcow2"]
        waiting += [file for file in below if file in files and file not in waiting]
    return set(waiting)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(places(), st.integers(0, 80))
def test_any_place(known: Facts, limit: int) -> None:
    found = plan(known, limit * MIB)
    files = {item.path: item for item in known.items}
    left, total = dict(files), sum(item.entry.allocated for item in known.items)
    assert found.before == total
    must = needed(known)
    for step in found.steps:
        assert total > limit * MIB, "no more goes than has to"
        assert len(step.paths) == len(step.sizes)
        for file in step.paths:
            assert file not in must
            item = left.pop(file)
            home = os.path.dirname(file)
            for other in left.values():
                assert not (
                    os.path.dirname(other.path) == home and other.parent == item.state.name
                ), "a base goes after its leaves"
            if item.state.image:
                assert f"{os.path.dirname(home)}/{item.state.name}.state" not in left
            total -= item.entry.allocated
    assert found.after == total
    assert found.reached == (total <= limit * MIB)
    if not found.reached:
        # all that frees something went, but for what is needed or goes with that
        blocked = {kept.path for kept in found.kept}
        assert must <= blocked
        assert sum(item.entry.allocated for path, item in left.items() if path not in blocked) == 0
    assert plan(known, limit * MIB) == found, "it is always the same"
    shuffled = replace(known, items=tuple(reversed(known.items)))
    assert [step.paths for step in plan(shuffled, limit * MIB).steps] == [
        step.paths for step in found.steps
    ]


@pytest.mark.parametrize("limit", [0, 10**4 * MIB, 19_999 * MIB])
def test_a_plan_for_a_large_place_is_quick_enough_to_be_asked_for(limit):
    items = [
        state(f"s{n}", f"s{n - 1}" if n % 10 else "", seconds=n % 7, image=f"i{n // 1000}")
        for n in range(20_000)
    ]
    found = plan(facts(*items), limit)
    assert found.reached and len(found.steps) == 20_000 - limit // MIB
