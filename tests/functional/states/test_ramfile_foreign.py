"""Files beside a pool's RAM files that others put there, damaged, or left half done."""

import shutil

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import FileCorrupt, ParentChanged
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.states import setup
from tests.support.images import edit
from tests.support.states import OWN, SHARED, leftovers
from tests.support.vms import tool, write
from tests.support.vmstates import (
    TWO,
    anywhere,
    be,
    get,
    is_,
    params,
    put,
    ram,
    shared_ram,
    show,
    shown,
)


def test_a_copy_that_somebody_made_by_hand(lab, twin, far):
    """Its image states have the same content, and other generations."""
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    for image in ("image1", "image2"):
        target = far.state("s", image=image)
        target.parent.mkdir(parents=True)
        shutil.copy(lab.shared("s", image=image), target)
    get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 1)
    shutil.copytree(lab.pool, far.pool / "by-hand", ignore=shutil.ignore_patterns(META))
    far.pool = far.pool / "by-hand"
    shutil.rmtree(far.cache)
    get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 1)


def test_half_of_a_state_in_the_pool_is_none(lab, twin, far):
    """Images come before the RAM file: a publish that was cut off shows nothing."""
    put(lab, twin, "s", **TWO)
    shared_ram(lab, "s").unlink()
    assert show(far, **TWO) == []
    with pytest.raises(exceptions.TestAbortError, match="does not exist"):
        get(far, far.vm, "s", **TWO)
    put(lab, None, "s", **TWO, **SHARED)
    get(far, far.vm, "s", **TWO)
    assert far.vm.status() == "running"


def test_images_of_another_state_beside_the_pools_ram_file(lab, twin, far):
    """A RAM file that was left beside image states that were replaced by hand is not fetched."""
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    replaced = lab.shared("s")
    replaced.unlink()
    (replaced.parent / META / "s.qcow2.json").unlink()
    tool("qemu-img", "create", "-q", "-f", "qcow2", replaced, "16M")
    write(replaced, 5)
    with pytest.raises(ParentChanged, match="another state of image1"):
        get(far, far.vm, "s", **TWO)
    assert show(far, **TWO, **OWN) == [] and not far.vm.is_alive()
    assert leftovers(far.root) == []


@anywhere
def test_a_damaged_ram_file_in_the_pool(lab, twin, far):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    edit(shared_ram(lab, "s"), 4096, b"damage")
    with pytest.raises(FileCorrupt, match=rf"^{lab.location}/.*s\.state is corrupt"):
        get(far, far.vm, "s", **TWO)
    assert show(far, **TWO, **OWN) == [] and not ram(far, "s").exists() and not far.vm.is_alive()
    get(lab, twin, "s", **TWO)
    assert is_(twin, 1), "the cache has what it was recorded to be"
    put(lab, None, "s", **TWO, **SHARED)
    get(far, far.vm, "s", **TWO)
    assert is_(far.vm, 1), "publishing what it should be has repaired it"


def test_an_image_state_of_another_worker_does_not_replace_one_under_a_ram_file(
    lab, twin, far, caplog
):
    be(twin, 1)
    put(lab, twin, "s", **TWO)
    for image in ("image1", "image2"):
        write(far.make_image(image=image), 9)
    setup.set_states(params(far, set_state_images="s", **TWO))
    assert "kept as it is, others stand on it" in caplog.text and "s.state" in caplog.text
    assert show(far, **TWO, **OWN) == shown(far, **TWO, **OWN) == []
    get(lab, twin, "s", **TWO)
    assert is_(twin, 1)
