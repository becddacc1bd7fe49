"""Saves of running vms that fail: the vm goes on as it was, and so does an old state."""

import pytest

from avocado_pool_plugin.core.errors import (
    ImageRefused,
    MonitorRefused,
    SpaceMissing,
    StateMissing,
    VmNotRunning,
)
from avocado_pool_plugin.states import intents, machine, saving
from avocado_pool_plugin.states.live import Live
from tests.support.bare import bare_vm
from tests.support.mounts import fill, mounted
from tests.support.states import OWN, contents, leftovers
from tests.support.vms import tool
from tests.support.vmstates import (
    TWO,
    be,
    ended,
    get,
    is_,
    params,
    put,
    ram,
    show,
    shown,
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
    with monkeypatch.context() as patch:
        refuse(patch, "resume")
        # the second disk stays on its overlay
        refuse(patch, "take_off", 1)
        with pytest.raises(MonitorRefused):
            put(lab, second, "new", **BOTH)
    assert second.status() == "running"
    be(second, 3)
    second.stop()
    assert show(lab, **BOTH) == ["old"]
    ended(lab, second, 3)


def test_the_note_says_what_to_do_before_anything_is_undone(lab, second, monkeypatch):
    """From the first image that is put back on, the saved state is not whole any more."""
    seen = []

    def notes():
        return [
            note.reached for note in map(saving._load, intents.noted(str(ram(lab, "x").parent)))
        ]

    real = Live.take_off
    monkeypatch.setattr(Live, "take_off", lambda *args: (seen.append(notes()), real(*args)))
    refuse(monkeypatch, "keep_by_descriptor")
    with pytest.raises(MonitorRefused):
        put(lab, second, "new", **BOTH)
    assert seen == [["begun"], ["begun"]]


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


# -- room -----------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """An empty file system of 32 MiB."""
    with mounted("tmpfs", tmp_path, 32) as point:
        yield point


@pytest.mark.parametrize("leave", [40, 300])
def test_no_room_for_the_ram(lab, small, monkeypatch, leave):
    """Found out while it is written: QEMU's guess of its size is no limit to it."""
    lab.cache = small / "cache"
    lab.make_image()
    monkeypatch.setattr(machine, "used_memory", lambda vm: 1)
    monkeypatch.setattr("avocado_pool_plugin.states.vmsave.require_space", lambda *args: None)
    with bare_vm(params(lab)) as vm:
        be(vm, 1)
        put(lab, vm, "old", **OWN)
        be(vm, 2)
        before = writes_to(vm)
        hog = fill(small, leave << 10)
        for state in ("old", "new"):
            with pytest.raises(SpaceMissing, match="free space"):
                put(lab, vm, state, **OWN)
            assert (vm.status(), writes_to(vm)) == ("running", before)
            assert leftovers(lab.root) == []
        be(vm, 3)
        hog.unlink()
        put(lab, vm, "new", **OWN)
        ended(lab, vm, 3)
        for state, pattern in (("old", 1), ("new", 3)):
            get(lab, vm, state, **OWN)
            assert is_(vm, pattern)


def test_too_little_room_is_known_before_the_vm_is_touched(lab, small, monkeypatch):
    """For the RAM, for images that are copied or merged, and for all of them together."""
    lab.cache = small / "cache"
    lab.make_image()

    def refused(used):
        with monkeypatch.context() as patch:
            patch.setattr(machine, "used_memory", lambda vm: used)
            patch.setattr(Live, "stop", None)  # called, it would fail
            with pytest.raises(SpaceMissing, match=r"s\.state needs"):
                put(lab, vm, "s", **OWN)
        assert (vm.status(), leftovers(lab.root)) == ("running", [])

    with bare_vm(params(lab)) as vm:
        vm.human('qemu-io -d /machine/peripheral/image1/virtio-backend "write -P 7 1M 8M"')
        hog = fill(small, 12 << 20)
        for used in (16 << 20, 4 << 20):
            refused(used)
        hog.unlink()
        monkeypatch.setattr(machine, "used_memory", lambda vm: 1)
        put(lab, vm, "s", **OWN)
        fill(small, 4 << 20)
        refused(1)


def test_no_room_for_the_overlay(lab, small):
    lab.images = small / "images"
    lab.images.mkdir()
    lab.make_image()
    with bare_vm(params(lab)) as vm:
        be(vm, 1)
        hog = fill(small, 64 << 10)
        with pytest.raises(SpaceMissing):
            put(lab, vm, "new", **OWN)
        assert leftovers(lab.root) == [] and show(lab, **OWN) == []
        be(vm, 2)
        hog.unlink()
        ended(lab, vm, 2)


# -- what can't be saved --------------------------------------------------------------------------


def unchanged(lab, vm, error, match, **more):
    """Make sure that a save is refused before the vm is touched."""
    before = writes_to(vm), vm.status()
    with pytest.raises(error, match=match):
        put(lab, vm, "s", **OWN, **more)
    assert (writes_to(vm), vm.status()) == before
    assert show(lab, **OWN) == shown(lab, **OWN) == leftovers(lab.root) == []


def test_internal_snapshots(lab):
    lab.make_image()
    tool("qemu-img", "snapshot", "-c", "early", lab.image())
    with bare_vm(params(lab)) as vm:
        unchanged(lab, vm, ImageRefused, "internal snapshots")


def test_a_disk_whose_writes_are_thrown_away(lab):
    lab.make_image()
    with bare_vm(params(lab, image_snapshot="yes")) as vm:
        unchanged(lab, vm, ImageRefused, "no disk of the running vm", image_snapshot="yes")


def test_an_image_that_is_no_disk(lab, bare):
    lab.make_image(image="image2")
    unchanged(lab, bare, ImageRefused, "image2.*no disk", **TWO)


def test_a_disk_of_another_file(lab, bare):
    lab.make_image("vm2")
    where = {"image_name_image1_vm1": str(lab.image("vm2").with_suffix(""))}
    unchanged(lab, bare, ImageRefused, "image1.*no disk", **where)


def test_a_raw_image(lab, bare):
    with pytest.raises(ImageRefused, match="image_format"):
        put(lab, bare, "s", image_format="raw", **OWN)


def test_an_image_that_is_gone(lab, bare):
    lab.image().unlink()
    with pytest.raises(StateMissing, match="does not exist"):
        put(lab, bare, "s", **OWN)
    assert bare.status() == "running"


def test_a_device_that_can_not_be_saved(lab):
    lab.make_image()
    with bare_vm(params(lab, extra_params="-device nvme,serial=1")) as vm:
        be(vm, 1)
        unchanged(lab, vm, MonitorRefused, "refused migrate")
        be(vm, 2)
        ended(lab, vm, 2)


def test_a_vm_that_does_not_run(lab, bare):
    bare.stop()
    for vm in (bare, None):
        with pytest.raises(VmNotRunning, match="does not run"):
            put(lab, vm, "s", **OWN)
    assert not lab.cache.exists()
