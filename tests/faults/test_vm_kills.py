"""Killed at any point of the save of a running vm: old or new as a whole, nothing is lost."""

import json

import pytest

from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.states.intents import Owner
from tests.faults.vm_cases import NEW, SINCE, Copied, Merged, New, Refused, Replaced, Sweep
from tests.support.cuts import Point, calls, cut
from tests.support.memory import in_memory
from tests.support.vms import holds, write
from tests.support.vmstates import be, get, is_, put, ram, show


@pytest.fixture
def memory():
    """A directory where fsync costs nothing."""
    with in_memory("vm-kills") as directory:
        yield directory


def swept(sweep, chosen):
    """Kill a save at some points; return for each if QEMU was in the way, and if ``s`` is new."""
    found = []
    for point in chosen:
        try:
            found.append(sweep.killed(point))
        except Exception as error:
            raise AssertionError(f"killed before {point}: {error!r}") from error
    in_the_way, new = zip(*found, strict=True)
    return in_the_way, new


def noted(chosen):
    """Return the indices at which it is noted how far a save got: begun, saved, safe."""
    notes = [n for n, point in enumerate(chosen) if "/intents/" in point.what]
    made = [n for n in notes if chosen[n].name == "replace"]
    # what is prepared tells nothing yet
    return [n for n in made if not chosen[n].what.endswith(".next")]


def test_killed_at_any_point(memory):
    sweep = Sweep(New, memory)
    chosen = sweep.points()
    assert len(chosen) >= 30
    begun, saved, _ = noted(chosen)
    in_the_way, new = swept(sweep, chosen)
    assert in_the_way == tuple(begun < n < len(chosen) for n in range(len(chosen)))
    # the guest may have gone on as soon as it is noted that it is saved
    assert new == tuple(n > saved for n in range(len(chosen)))


@pytest.mark.parametrize("kind", [Replaced, Merged, Copied], ids=lambda kind: kind.__name__)
def test_killed_while_an_old_state_is_replaced(kind, memory):
    sweep = Sweep(kind, memory)
    chosen = sweep.points()
    _, saved, _ = noted(chosen)
    in_the_way, new = swept(sweep, chosen[saved - 2 :])
    assert all(in_the_way) and new == tuple(n > 2 for n in range(len(new)))


@pytest.mark.parametrize("kind", [New, Merged, Copied], ids=lambda kind: kind.__name__)
def test_a_power_cut(kind, memory, monkeypatch):
    """What was not noted to be safe on the disk may be lost, and does not count."""
    sweep = Sweep(kind, memory)
    chosen = sweep.points()
    monkeypatch.setattr(Owner, "same_boot", False)
    _, saved, safe = noted(chosen)
    _, new = swept(sweep, chosen[saved : safe + 3])
    assert new == tuple(n > safe - saved for n in range(len(new)))


def test_a_power_cut_that_lost_a_note(memory, monkeypatch):
    """With ``pool_fsync = no`` an image may have been moved although that was not noted."""
    sweep = Sweep(New, memory)
    lab, image = sweep.case.lab, sweep.case.lab.image()
    monkeypatch.setattr(Owner, "same_boot", False)
    mode = (sweep.template / "images" / image.name).stat().st_mode
    with sweep.fresh() as vm:
        assert cut(lambda: sweep.case.save(vm), Point("rename", 2), sweep.log)
        vm.connect()
        sweep.case.goes_on(vm)
    assert not image.exists()
    (note,) = (ram(lab, "s").parent / META / "intents").glob("*.json")
    data = json.loads(note.read_text())
    assert data["reached"] == "safe"
    note.write_text(json.dumps({**data, "reached": "saved"}))
    assert not sweep.after(show)
    assert image.stat().st_mode == mode


def test_an_image_that_somebody_made_meanwhile_stays(memory):
    sweep = Sweep(New, memory)
    lab, more = sweep.case.lab, sweep.case.more
    with sweep.fresh() as vm:
        assert cut(lambda: sweep.case.save(vm), Point("rename", 2), sweep.log)
    assert not lab.image().exists()
    write(lab.make_image(), 77)
    assert show(lab, **more) == ["base", "s"]
    assert holds(lab.image(), 77) and holds(lab.state("s"), NEW)
    assert holds(lab.image(image="image2"), NEW)


def test_what_is_noted_to_be_safe_is_on_the_disk(memory):
    """The note comes after the RAM file; overlays and the note that comes next before the pause."""
    sweep = Sweep(New, memory)
    with sweep.fresh() as vm:
        done = calls(lambda: sweep.case.save(vm), sweep.log)
    begun, prepared, saved, safe = (
        n for n, call in enumerate(done) if "replace" in call and "/intents/" in call
    )
    synced = [call.removeprefix("fsync ") for call in done[saved:safe] if call.startswith("fsync")]
    meta = str(ram(sweep.case.lab, "s").parent / META)
    assert f"{meta}/s.state." in synced[0] and meta in synced
    overlays = [call for call in done[begun:saved] if "fsync" in call and "/images/.pool/" in call]
    assert len(overlays) == 2
    paused = done.index(next(call for call in done if call.startswith("stop")))
    ahead = [call for call in done[begun:prepared] if "fsync" in call and ".json.next." in call]
    assert len(ahead) == 1 and prepared < paused < saved


def test_killed_while_a_failed_save_is_undone(memory):
    sweep = Sweep(Refused, memory)
    chosen = sweep.points()
    _, _, undoing = noted(chosen)
    in_the_way, new = swept(sweep, chosen[undoing:])
    assert new == tuple(n == 0 for n in range(len(new)))
    assert not in_the_way[-1] and all(in_the_way[:-1])


@pytest.mark.parametrize("kind", [New, Merged], ids=lambda kind: kind.__name__)
def test_a_state_that_a_killed_save_left_is_resumed(kind, memory):
    """And the next save of that name works."""
    sweep = Sweep(kind, memory)
    lab, more = sweep.case.lab, sweep.case.more
    with sweep.fresh() as vm:
        assert cut(lambda: sweep.case.save(vm), Point("cont", 1), sweep.log)
        vm.connect()
        sweep.case.goes_on(vm)
        vm.stop()
        get(lab, vm, "s", **more)
        assert vm.holds(NEW) and vm.holds(0, at="1M") and vm.remembers() == NEW
        be(vm, SINCE)
        put(lab, vm, "s", **more)
        get(lab, vm, "s", **more)
        assert is_(vm, SINCE)
