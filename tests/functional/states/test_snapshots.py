"""The backend ``qcow2``: image states inside of the image."""

import os
from pathlib import Path

import pytest
from avocado.core import exceptions

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.errors import (
    ImageInUse,
    ImageRefused,
    SettingRefused,
    SpaceMissing,
    StateMissing,
    ToolFailed,
)
from avocado_pool_plugin.core.qcow2 import read_header
from avocado_pool_plugin.core.snapshots import read_snapshots
from avocado_pool_plugin.states import report, setup
from avocado_pool_plugin.states.qcow2 import QCOW2Backend
from tests.functional.states.test_images import make
from tests.support.images import held_open, qemu_img
from tests.support.machines import Env, machine
from tests.support.mounts import mounted
from tests.support.needs import need_programs
from tests.support.processes import in_child
from tests.support.states import ask, contents, leftovers, other, stamp
from tests.support.vms import Lab, holds, sound, tool, write

INSIDE = {"states_images": "qcow2"}
SHARED = {"pool_scope": "shared"}
OWN = {"pool_scope": "own"}
BOTH = {"images": "image1 image2"}


def do(lab, verb, state, **more):
    return ask(lab, verb, state, **{**INSIDE, **more})


def show(lab, **more):
    return setup.show_states(lab.params(**INSIDE, **more))


def tags(path: Path) -> list[str]:
    return [snapshot.tag for snapshot in read_snapshots(str(path))]


def written(lab: Lab, pattern: int = 1, **where: str) -> Path:
    path = lab.image(**where)
    write(path if path.exists() else lab.make_image(**where), pattern)
    return path


def params(lab, **more):
    """Return what a backend gets that is called by itself."""
    own = lab.params(object_type="vms/images", **more).object_params("vm1")
    own["vms"] = "vm1"
    own["object_name"] = "vm1/image1"
    return own.object_params("image1")


# -- the verbs ------------------------------------------------------------------------------------


def test_set_and_get_and_unset(lab):
    image = written(lab, 1)
    inode = image.stat().st_ino
    do(lab, "set", "a")
    write(image, 2)
    do(lab, "set", "b")
    write(image, 3)
    assert show(lab) == ["a", "b"]
    for state, pattern in (("a", 1), ("b", 2), ("a", 1)):
        do(lab, "get", state)
        assert holds(image, pattern)
    do(lab, "unset", "a")
    assert show(lab) == ["b"] and holds(image, 1), "what the image holds stays"
    sound(image)
    assert image.stat().st_ino == inode
    assert not lab.cache.exists() and not lab.pool.exists(), "nothing leaves the image"
    assert leftovers(lab.root) == []


def test_what_is_done_is_told(lab):
    written(lab)
    before = len(report.events())
    for verb in ("set", "get", "unset"):
        do(lab, verb, "a")
    events = report.events()[before:]
    assert [(one.verb, one.state, one.object) for one in events] == [
        (verb, "a", "vm1/image1") for verb in ("set", "got", "unset")
    ]
    assert all(str(lab.image()) in one.where for one in events)


def test_a_state_is_replaced(lab):
    image = written(lab, 1)
    for pattern in (1, 2, 3):
        write(image, pattern)
        do(lab, "set", "s")
        assert tags(image) == ["s"]
    write(image, 4)
    do(lab, "get", "s")
    assert holds(image, 3)
    sound(image)


def test_push_and_pop_and_check(lab):
    image = written(lab, 1)
    do(lab, "push", "s")
    with pytest.raises(exceptions.TestAbortError, match="'s' of vm1/image1 exists already"):
        do(lab, "push", "s")
    assert do(lab, "check", "s") is True
    write(image, 2)
    do(lab, "pop", "s")
    assert holds(image, 1) and tags(image) == []
    assert do(lab, "check", "s") is False


@pytest.mark.parametrize(
    ("verb", "mode", "there"),
    [("get", "ra", False), ("get", "aa", True), ("set", "af", True), ("set", "fa", False),
     ("unset", "fa", False)],
)  # fmt: skip
def test_modes_that_abort(lab, verb, mode, there):
    image = written(lab)
    do(lab, "set", "s" if there else "other")
    before = stamp(image)
    with pytest.raises(exceptions.TestAbortError, match="'s' of vm1/image1") as caught:
        do(lab, verb, "s", **{f"{verb}_mode": mode})
    assert stamp(image) == before
    if not there:
        assert str(image) in str(caught.value), "it says where it looked"


@pytest.mark.parametrize(
    ("verb", "mode", "there"),
    [("get", "ia", True), ("get", "ai", False), ("set", "rf", True), ("unset", "ra", True),
     ("unset", "fi", False)],
)  # fmt: skip
def test_modes_that_leave_things_as_they_are(lab, verb, mode, there):
    image = written(lab, 1)
    do(lab, "set", "s" if there else "other")
    write(image, 2)
    before = stamp(image)
    do(lab, verb, "s", **{f"{verb}_mode": mode})
    assert stamp(image) == before and holds(image, 2)


def test_missing_states_of_a_backend_called_by_itself(lab):
    with pytest.raises(StateMissing, match=r"vm1-image1\.qcow2 of vm1/image1 does not exist"):
        QCOW2Backend.get(params(lab, get_state="s"))
    with pytest.raises(StateMissing):
        QCOW2Backend.set(params(lab, set_state="s"))
    assert list(lab.root.rglob("*")) == [lab.images], "not even a directory was made"
    image = written(lab, 1)
    with pytest.raises(StateMissing, match="'s' of vm1/image1") as caught:
        QCOW2Backend.get(params(lab, get_state="s"))
    assert isinstance(caught.value, FileNotFoundError) and str(image) in str(caught.value)
    QCOW2Backend.unset(params(lab, unset_state="s"))
    assert holds(image, 1) and QCOW2Backend.show(params(lab)) == []


NAMES = ["two words", "o'clock", 'a "b"', "näme", "$(touch x)", "-rf", "x.y", "a&b", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(lab, name):
    image = written(lab, 1)
    for pattern in (1, 2):
        write(image, pattern)
        do(lab, "set", name)
    assert show(lab) == [name]
    write(image, 3)
    do(lab, "get", name)
    assert holds(image, 2)
    do(lab, "unset", name)
    assert tags(image) == []


def test_names_that_are_ids_of_others(lab):
    """Ids are given from 1 on, and what is asked for is a name and never an id."""
    image = written(lab)
    for pattern, name in ((10, "3"), (11, "1"), (12, "2")):
        write(image, pattern)
        do(lab, "set", name)
    for pattern, name in ((10, "3"), (11, "1"), (12, "2")):
        do(lab, "get", name)
        assert holds(image, pattern)
    with pytest.raises(exceptions.TestAbortError):
        do(lab, "get", "4")
    write(image, 13)
    do(lab, "set", "1")
    do(lab, "unset", "2")
    assert show(lab) == ["1", "3"]
    for pattern, name in ((10, "3"), (13, "1")):
        do(lab, "get", name)
        assert holds(image, pattern)


# -- nothing is lost ------------------------------------------------------------------------------


def test_an_open_image_is_left_alone(lab):
    image = written(lab, 1)
    do(lab, "set", "s")
    before = stamp(image)
    with held_open(image):
        for verb in ("get", "set", "unset"):
            with pytest.raises(ImageInUse, match="running QEMU"):
                do(lab, verb, "s")
        assert show(lab) == ["s"], "it can be looked at"
    assert stamp(image) == before


def test_an_image_of_a_running_vm(lab):
    image = written(lab, 1)
    do(lab, "set", "s")
    with machine(image) as vm:
        for verb in ("get", "unset"):
            with pytest.raises(ImageInUse):
                do(lab, verb, "s")
        setup.set_states(lab.params(set_state_images="t", **INSIDE), Env(vm))
        assert vm.destroyed == [True], "it was shut down first"
    assert show(lab) == ["s", "t"]


@pytest.mark.parametrize("kind", ["encrypted", "data file", "raw inside"])
def test_refused_by_kind_before_any_change(lab, kind):
    make(kind, lab)
    before = contents(lab.root)
    with pytest.raises(ImageRefused):
        do(lab, "set", "s")
    with pytest.raises(ImageRefused):
        QCOW2Backend.get(params(lab, get_state="s"))
    assert contents(lab.root) == before


@pytest.mark.parametrize("more", [{"image_format": "raw"}, {"image_raw_device": "yes"}])
def test_formats_without_states(lab, more):
    lab.make_image()
    with pytest.raises(ImageRefused, match=r"qcow2|QCOW2"):
        do(lab, "set", "s", **more)


def old_state(lab: Lab) -> Path:
    """Make an image with a state of pattern 1, and pattern 2 in it now."""
    image = written(lab, 1)
    do(lab, "set", "s")
    write(image, 2)
    return image


@pytest.fixture
def program():
    """Put qemu-img back."""
    yield
    qemu.PROGRAM = "qemu-img"


def killing(directory: Path, call: str, number: int) -> dict[str, str]:
    """Return params with a qemu-img that is killed at its n-th call of a kind."""
    need_programs("strace")
    path = directory / f"qemu-img-{call}-{number}"
    inject = f"-e trace={call} -e inject={call}:signal=SIGKILL:when={number}"
    path.write_text(f'#!/bin/sh\nexec strace -f -qq -o /dev/null {inject} qemu-img "$@"\n')
    path.chmod(0o755)
    return {"qemu_img_binary": str(path)}


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_a_set_that_is_killed_anywhere_leaves_the_old_or_the_new(lab, program, call):
    ends = set()
    for number in range(1, 30):
        lab.image().unlink(missing_ok=True)
        image = old_state(lab)
        try:
            do(lab, "set", "s", **killing(lab.root, call, number))
            killed = tags(image) != ["s"]
        except ToolFailed:
            killed = True
        qemu.PROGRAM = "qemu-img"
        assert holds(image, 2) and show(lab) == ["s"]
        do(lab, "get", "s")
        assert tags(image) == ["s"], "what was left is cleared away"
        ends.add(1 if holds(image, 1) else 2)
        assert holds(image, 1) or holds(image, 2)
        qemu.check(str(image))
        if not killed:
            break
    assert not killed and ends == {1, 2}


@pytest.mark.parametrize("verb", ["get", "set", "unset"])
def test_a_cut_before_the_old_one_is_removed(lab, monkeypatch, verb):
    image = old_state(lab)

    def child():
        monkeypatch.setattr(qemu, "delete_snapshot", lambda *_: os._exit(9))
        do(lab, "set", "s")

    assert in_child(child) == 9
    assert tags(image) == ["s", "s"] and show(lab) == ["s"]
    note = Path(layout.unfinished_path(str(image)))
    assert note.exists()
    write(image, 3)
    do(lab, verb, "s")
    assert tags(image) == ([] if verb == "unset" else ["s"]), "the next one completes it"
    assert not note.exists()
    if verb == "get":
        assert holds(image, 2)


def test_an_old_one_that_can_not_be_removed_is_no_failure_of_a_set(lab, monkeypatch):
    image = old_state(lab)

    def fails(*_):
        raise ToolFailed("no")

    with monkeypatch.context() as patch:
        patch.setattr(qemu, "delete_snapshot", fails)
        do(lab, "set", "s")
    write(image, 3)
    do(lab, "get", "s")
    assert holds(image, 2) and tags(image) == ["s"]


def test_a_full_disk_leaves_the_old_one(tmp_path):
    with mounted("tmpfs", tmp_path, 4) as tiny:
        lab = Lab(tiny)
        image = lab.make_image(size="64M")
        # as much as tables need for a snapshot of it
        write(image, 1, "0", "2M")
        do(lab, "set", "s")
        write(image, 2)
        (tiny / "ballast").write_bytes(bytes(os.statvfs(tiny).f_bavail * os.statvfs(tiny).f_bsize))
        with pytest.raises(SpaceMissing, match="No space left"):
            do(lab, "set", "s")
        (tiny / "ballast").unlink()
        assert holds(image, 2) and tags(image) == ["s"]
        do(lab, "get", "s")
        assert holds(image, 1)
        qemu.check(str(image))


# -- several images -------------------------------------------------------------------------------


def test_two_vms_with_two_images_each(lab):
    everything = {"vms": "vm1 vm2", **BOTH}
    places = [(vm, image) for vm in ("vm1", "vm2") for image in ("image1", "image2")]
    for number, (vm, image) in enumerate(places):
        written(lab, 10 + number, vm=vm, image=image)
    do(lab, "set", "s", **everything)
    for vm, image in places:
        write(lab.image(vm, image), 99)
    do(lab, "get", "s", **everything)
    for number, (vm, image) in enumerate(places):
        assert holds(lab.image(vm, image), 10 + number)
    assert show(lab, **everything) == ["s"] * 4


def test_nothing_is_got_if_one_image_lacks_the_state(lab):
    for image in ("image1", "image2"):
        written(lab, 1, image=image)
    do(lab, "set", "s")
    for image in ("image1", "image2"):
        write(lab.image(image=image), 2)
    with pytest.raises(exceptions.TestAbortError, match="vm1/image2"):
        do(lab, "get", "s", **BOTH)
    whole = {**BOTH, "states_chain": "vms", "states_vms": "qcow2", "skip_types": ""}
    own = lab.params(get_state="s", **whole).object_params("vm1")
    own["vms"], own["object_type"] = "vm1", "vms"
    assert QCOW2Backend.show(own) == []
    with pytest.raises(StateMissing, match="vm1/image2"):
        QCOW2Backend.get(own)
    assert holds(lab.image(), 2) and holds(lab.image(image="image2"), 2)
    setup.set_states(lab.params(set_state_vms="s", **whole))
    setup.get_states(lab.params(get_state_vms="s", **whole))
    assert show(lab, **BOTH) == ["s", "s"]


# -- the image itself, here and in the pool -------------------------------------------------------


def root(lab: Lab) -> Path:
    return lab.pool / "vm1" / "vm1-image1.qcow2"


def test_roots_here(lab):
    with pytest.raises(SettingRefused, match="image_size"):
        do(lab, "set", "root", **OWN)
    do(lab, "set", "root", image_size="8M", **OWN)
    assert read_header(str(lab.image())).virtual_size == 8 << 20
    do(lab, "set", "s", **OWN)
    do(lab, "get", "root", **OWN)
    assert show(lab, **OWN) == ["s"], "it is as it was"
    do(lab, "set", "root", image_size="8M", **OWN)
    assert show(lab, **OWN) == []
    do(lab, "unset", "root", **OWN)
    assert not lab.image().exists() and not lab.pool.exists()
    with pytest.raises(exceptions.TestAbortError, match="'root' of vm1/image1"):
        do(lab, "get", "root", **OWN)


def test_no_image_is_made_unasked(lab):
    with pytest.raises(exceptions.TestAbortError, match="'s' of vm1/image1"):
        do(lab, "get", "s", image_size="8M")
    assert show(lab) == [] and not lab.image().exists()
    do(lab, "set", "s", image_size="8M", check_mode="rf")
    assert show(lab) == ["s"], "but if it is asked for"


def test_states_come_along_with_a_root_from_the_pool(lab):
    image = written(lab, 1)
    do(lab, "set", "s")
    write(image, 2)
    do(lab, "set", "root", **SHARED)
    assert tags(root(lab)) == ["s"]
    far = other(lab)
    assert show(far) == ["s"], "looking changes nothing"
    assert not far.image().exists() and show(far, **OWN) == []
    do(far, "get", "s")
    assert holds(far.image(), 1) and show(far, **OWN) == ["s"]
    with pytest.raises(exceptions.TestAbortError) as caught:
        do(other(lab, "third"), "get", "nosuch")
    assert str(root(lab)) in str(caught.value)
    with pytest.raises(exceptions.TestAbortError):
        do(other(lab, "fourth"), "get", "s", **OWN)


def test_an_image_that_is_here_is_not_replaced_by_the_pools(lab):
    """Its states are nowhere else, and what a test did to it is what is to be saved."""
    image = written(lab, 1)
    do(lab, "set", "root", **SHARED)
    write(image, 2)
    do(lab, "set", "s")
    write(image, 3)
    do(lab, "set", "t")
    do(lab, "get", "s")
    assert holds(image, 2)
    do(lab, "get", "t", check_mode="rr")
    assert holds(image, 3)
    with pytest.raises(exceptions.TestAbortError):
        do(lab, "get", "nosuch")
    assert show(lab) == ["s", "t"]
    do(lab, "get", "root")
    assert holds(image, 1) and show(lab) == [], "only if that is what is asked for"


def test_a_root_that_stands_on_another_image_is_published_flat(lab):
    lab.make_image()
    write(lab.image(), 1)
    base = lab.images / "base.qcow2"
    lab.image().rename(base)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", lab.image())
    do(lab, "set", "s")
    do(lab, "set", "root", **SHARED)
    assert holds(root(lab), 1) and tags(root(lab)) == []
    write(lab.image(), 2)
    do(lab, "get", "s")
    assert holds(lab.image(), 1)


# -- beside what others do ------------------------------------------------------------------------


def test_snapshots_of_no_state_are_left_alone(lab):
    image = written(lab)
    for tag in ("a/b", ".hidden", "a:b"):
        qemu_img("snapshot", "-c", tag, image)
    do(lab, "set", "a")
    assert show(lab) == ["a"]
    do(lab, "unset", "a")
    assert tags(image) == ["a/b", ".hidden", "a:b"]


def test_snapshots_that_avocado_i2n_made_are_states(lab):
    image = written(lab, 1)
    qemu_img("snapshot", "-c", "s", image)
    write(image, 2)
    assert show(lab) == ["s"]
    do(lab, "get", "s")
    assert holds(image, 1)


def test_an_unset_on_the_way_to_a_set_removes_nothing(lab):
    """avocado-i2n's own policies unset a state before they set it."""
    old_state(lab)
    QCOW2Backend.unset(params(lab, set_state="s", unset_state="s"))
    assert show(lab) == ["s"]
