"""Sets that were cut off where finding them is hard, or that failed after they asked for much."""

import contextlib
import os

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import process
from avocado_pool_plugin.core.errors import PoolUnreachable, StateMissing, ToolFailed
from avocado_pool_plugin.states import setup
from avocado_pool_plugin.states.recover import recover_states
from tests.support.processes import in_child
from tests.support.states import OWN, get, made, put, show
from tests.support.vms import holds, write

KILLED = 9


def cut(lab, state, machine=None):
    """Set a state in a process that is gone as soon as the image was moved away."""

    def child():
        if machine:
            process.machine = lambda: machine
        real = os.rename

        def rename(source, target):
            real(source, target)
            if source == str(lab.image()):
                os._exit(KILLED)

        os.rename = rename
        put(lab, state, **OWN)

    assert in_child(child) == KILLED
    assert not lab.image().exists()


@pytest.mark.parametrize("machine", [None, "another boot", "another container"])
def test_a_cut_set_is_completed_wherever_it_was(lab, machine):
    made(lab, "a", **OWN)
    write(lab.image(), 77, "2M")
    cut(lab, "b", machine)
    assert show(lab, **OWN) == ["a", "b"]
    assert holds(lab.image(), 77, "2M")
    get(lab, "b", **OWN)
    assert holds(lab.image(), 77, "2M")


def test_a_cut_set_is_no_missing_image(lab):
    made(lab, "a", **OWN)
    write(lab.image(), 77, "2M")
    cut(lab, "b", "another boot")
    params = lab.params(set_state_images="root", set_mode="rf", image_size="16M", **OWN)
    setup.set_states(params)
    assert holds(lab.image(), 77, "2M"), "no blank image was made"


def test_a_cut_set_that_cannot_be_completed_yet(lab):
    """Something else is where the directory of the images was, such as an unmounted file system."""
    made(lab, "a", **OWN)
    write(lab.image(), 77, "2M")
    cut(lab, "b")
    away = lab.images.rename(lab.root / "away")
    lab.images.touch()
    with pytest.raises(PoolUnreachable, match=r"image1.*mounted"):
        get(lab, "a", **OWN)
    assert recover_states(lab.params(**OWN)) == []
    lab.images.unlink()
    away.rename(lab.images)
    assert len(recover_states(lab.params(**OWN))) == 1
    assert holds(lab.image(), 77, "2M")


def test_a_moved_image_that_somebody_removed_is_said_once(lab):
    made(lab, "a", **OWN)
    cut(lab, "b")
    for part in (lab.state("a").parent / ".pool").glob("*.part"):
        part.unlink()
    with pytest.raises(StateMissing, match="interrupted"):
        show(lab, **OWN)
    assert show(lab, **OWN) == ["a"]
    get(lab, "a", **OWN)
    assert holds(lab.image(), 1)


def test_a_set_that_fails_sends_nothing_to_the_trash(lab, monkeypatch):
    made(lab, "a", "b", **OWN)
    lab.image().unlink()
    lab.make_image()

    def fails(*args):
        raise ToolFailed("no")

    with monkeypatch.context() as patch:
        patch.setattr(qemu, "create_overlay_unseen", fails)
        with contextlib.suppress(ToolFailed):
            put(lab, "a", set_cascade="yes", **OWN)
            raise AssertionError("it worked")
    assert show(lab, **OWN) == ["a", "b"]
    get(lab, "b", **OWN)
    assert holds(lab.image(), 1) and holds(lab.image(), 2, "1M")


def test_a_cascade_takes_along_what_stood_on_the_old_state(lab):
    made(lab, "a", "b", **OWN)
    lab.image().unlink()
    lab.make_image()
    write(lab.image(), 9)
    put(lab, "a", set_cascade="yes", **OWN)
    assert show(lab, **OWN) == ["a"]
    assert holds(lab.state("a"), 9)
