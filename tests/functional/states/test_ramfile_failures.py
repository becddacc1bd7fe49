"""Saves of running vms that fail: the vm goes on as it was, and so does an old state."""

import errno

import pytest

from avocado_pool_plugin.core.errors import (
    ImageInUse,
    MonitorRefused,
    SpaceMissing,
)
from avocado_pool_plugin.states import intents, saving
from avocado_pool_plugin.states.live import Live
from tests.support.states import OWN, contents, leftovers
from tests.support.vmstates import (
    TWO,
    be,
    ended,
    get,
    is_,
    put,
    ram,
    show,
    writes_to,
)

BOTH = {**TWO, **OWN}
#: What is asked of QEMU, in order, each with the number of calls that work before.
STEPS = [
    ("drive", 0),
    ("drive", 1),
    ("status", 0),
    ("stop", 0),
    ("name_backing", 0),
    ("name_backing", 1),
    ("open_overlay", 0),
    ("open_overlay", 1),
    ("put_on", 0),
    ("save_ram", 0),
    ("resume", 0),
    ("keep_by_descriptor", 0),
]


def refuse(patch, step, good=0, done=False):
    """Let QEMU refuse a step after some good calls; ``done`` says that it did it all the same."""
    real, calls = getattr(Live, step), []

    def refused(self, *args):
        calls.append(args)
        mine = len(calls) == good + 1
        answer = None if mine and not done else real(self, *args)
        if mine:
            raise MonitorRefused("QEMU does not want to")
        return answer

    patch.setattr(Live, step, refused)


@pytest.fixture
def second(lab, twin):
    """A vm with two images that stand on state ``old``, just started from it."""
    be(twin, 1)
    put(lab, twin, "old", **BOTH)
    get(lab, twin, "old", **BOTH)
    be(twin, 2)
    return twin


@pytest.mark.parametrize("status", ["running", "paused"])
@pytest.mark.parametrize("state", ["old", "new"])
def test_whatever_is_refused_the_vm_goes_on(lab, second, monkeypatch, status, state):
    if status == "paused":
        second.pause()
    before = writes_to(second), second.graph()
    files = contents(lab.cache)
    for number, (step, good) in enumerate(STEPS):
        if step == "name_backing" and state == "old":
            continue  # it is merged, no file of the image becomes the state
        with monkeypatch.context() as patch:
            refuse(patch, step, good)
            with pytest.raises(MonitorRefused, match="does not want"):
                put(lab, second, state, **BOTH)
        assert second.status() == status, step
        assert (writes_to(second), second.graph()) == before, step
        assert leftovers(lab.root) == [] and contents(lab.cache) == files, step
        be(second, 10 + number)
    ended(lab, second, 10 + number)
    assert show(lab, **BOTH) == ["old"]
    get(lab, second, "old", **BOTH)
    assert is_(second, 1)


def test_after_a_refusal_the_next_save_works(lab, second, monkeypatch):
    for step in ("save_ram", "resume"):
        with monkeypatch.context() as patch:
            refuse(patch, step)
            with pytest.raises(MonitorRefused):
                put(lab, second, "new", **BOTH)
    be(second, 3)
    put(lab, second, "new", **BOTH)
    be(second, 4)
    ended(lab, second, 4)
    get(lab, second, "new", **BOTH)
    assert is_(second, 3)


def test_all_disks_get_their_overlays_or_none(lab, second, monkeypatch):
    """QEMU refuses the last of them."""
    before, real = writes_to(second), Live.put_on
    with monkeypatch.context() as patch:
        patch.setattr(Live, "put_on", lambda live, nodes: real(live, {**nodes, "no": "no"}))
        with pytest.raises(MonitorRefused, match="refused transaction"):
            put(lab, second, "new", **BOTH)
    assert writes_to(second) == before and leftovers(lab.root) == []
    be(second, 3)
    ended(lab, second, 3)


def test_a_save_on_top_of_another_is_refused(lab, second, monkeypatch):
    """What was made ready for an earlier save in this vm's life stays ready."""
    put(lab, second, "new", **BOTH)
    before = writes_to(second)
    with monkeypatch.context() as patch:
        refuse(patch, "resume")
        with pytest.raises(MonitorRefused):
            put(lab, second, "newer", **BOTH)
    assert writes_to(second) == before
    be(second, 3)
    put(lab, second, "newer", **BOTH)
    be(second, 4)
    ended(lab, second, 4)
    for state, pattern in (("new", 2), ("newer", 3)):
        get(lab, second, state, **BOTH)
        assert is_(second, pattern)


@pytest.mark.parametrize("done", [False, True])
def test_what_can_not_be_undone_is_taken_back_when_the_vm_has_ended(
    lab, second, monkeypatch, caplog, done
):
    with monkeypatch.context() as patch:
        refuse(patch, "keep_by_descriptor", 1, done)
        with pytest.raises(MonitorRefused, match="does not want"):
            put(lab, second, "new", **BOTH)
    assert "can't be brought back" in caplog.text and second.status() == "running"
    be(second, 3)
    second.stop()
    assert show(lab, **BOTH) == ["old"], "what the guest wrote since is not in any state"
    ended(lab, second, 3)
    get(lab, second, "old", **BOTH)
    assert is_(second, 1)


def test_images_that_are_merged_back_are_not_merged_again(lab, second, monkeypatch):
    """An overlay that was taken off is gone before the guest writes below it."""

    def refused(*args):
        be(second, 9)
        raise MonitorRefused("QEMU does not want to")

    with monkeypatch.context() as patch:
        patch.setattr(Live, "keep_by_descriptor", refused)
        # the second disk stays on its overlay
        refuse(patch, "take_off", 1)
        with pytest.raises(MonitorRefused):
            put(lab, second, "new", **BOTH)
    assert second.status() == "running" and is_(second, 9)
    be(second, 3)
    second.stop()
    assert show(lab, **BOTH) == ["old"]
    ended(lab, second, 3)


def test_the_note_says_what_to_do_before_anything_is_undone(lab, second, monkeypatch):
    """From the first image that is put back on, the saved state is not whole any more."""
    seen = []

    def notes():
        return [note["reached"] for note in intents.noted(str(ram(lab, "x").parent))]

    real = Live.take_off
    monkeypatch.setattr(Live, "take_off", lambda *args: (seen.append(notes()), real(*args)))
    refuse(monkeypatch, "keep_by_descriptor")
    with pytest.raises(MonitorRefused):
        put(lab, second, "new", **BOTH)
    assert seen == [["begun"], ["begun"]]


def test_what_fails_after_the_guest_went_on_is_completed_later(lab, second, monkeypatch):
    """The images can't be given back any more without what the guest wrote since."""
    real = saving._commit

    def full(work, disk):
        if disk.name == "image2":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(work, disk)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "_commit", full)
        with pytest.raises(SpaceMissing, match="free space"):
            put(lab, second, "new", **BOTH)
    assert second.status() == "running"
    be(second, 3)
    for state in ("new", "newer"):
        with pytest.raises(ImageInUse, match="end that QEMU"):
            put(lab, second, state, **BOTH)
    second.stop()
    assert show(lab, **BOTH) == ["new", "old"]
    ended(lab, second, 3)
    get(lab, second, "new", **BOTH)
    assert is_(second, 2)


def test_a_vm_that_dies_while_it_is_saved(lab, second, monkeypatch):
    def dies(self, *args):
        second.process.kill()
        second.process.wait()
        raise MonitorRefused("QEMU did not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Live, "save_ram", dies)
        with pytest.raises(MonitorRefused):
            put(lab, second, "new", **BOTH)
    assert show(lab, **BOTH) == ["old"]
    ended(lab, second, 2)
    get(lab, second, "old", **BOTH)
    assert is_(second, 1)
