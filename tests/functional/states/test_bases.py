"""Images that stand on a base image outside: brought into the chain once, as a state."""

import shutil

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.errors import ChainBroken, PoolError, StateMissing
from avocado_pool_plugin.states import moves
from tests.support.states import OWN, contents, doing, get, made, other, put, show
from tests.support.vms import Lab, backing, holds, sound, tool, write


def golden(lab, image_format="qcow2", pattern=7, name="golden"):
    path = lab.root / "golden" / f"{name}.{image_format}"
    path.parent.mkdir(exist_ok=True)
    tool("qemu-img", "create", "-q", "-f", image_format, path, "16M")
    tool("qemu-io", "-f", image_format, "-c", f"write -P {pattern} 0 64k", path)
    return path


def write_raw(path, pattern):
    tool("qemu-io", "-f", "raw", "-c", f"write -P {pattern} 0 64k", path)


def overlay(lab, base, image_format="qcow2"):
    lab.image().unlink(missing_ok=True)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", image_format, lab.image())


def bases(lab):
    return sorted(path.name for path in (lab.cache / "vm1" / "image1").glob("base-*.qcow2"))


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_a_golden_image_is_brought_into_the_chain_once(lab, image_format):
    base = golden(lab, image_format)
    before = contents(base.parent)
    overlay(lab, base, image_format)
    write(lab.image(), 1, "1M")
    put(lab, "a")
    (name,) = bases(lab)
    assert len(name) == len("base-123456789012.qcow2")
    assert backing(lab.state("a")) == name
    assert contents(base.parent) == before, "it is only read"
    first = (lab.cache / "vm1" / "image1" / name).stat()
    overlay(lab, base, image_format)
    write(lab.image(), 2, "1M")
    with doing() as done:
        put(lab, "b")
    assert bases(lab) == [name]
    again = (lab.cache / "vm1" / "image1" / name).stat()
    assert (again.st_ino, again.st_ctime_ns) == (first.st_ino, first.st_ctime_ns)
    assert done == ["set b", "published b"], "neither copied nor published again"
    get(lab, "a")
    assert holds(lab.image(), 7) and holds(lab.image(), 1, "1M")


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_a_chain_in_a_pool_is_complete(lab, image_format):
    """Even the golden image may go."""
    base = golden(lab, image_format)
    overlay(lab, base, image_format)
    write(lab.image(), 1, "1M")
    put(lab, "a")
    far = other(lab)
    for gone in (lab.root / "golden", lab.cache, lab.images):
        shutil.rmtree(gone)
    get(far, "a")
    assert holds(far.image(), 7) and holds(far.image(), 1, "1M")
    sound(far.image())
    write(far.image(), 3, "2M")
    put(far, "b")
    assert backing(far.shared("b")) == "a.qcow2"


def test_a_base_with_bases_of_its_own(lab):
    bottom, top = golden(lab, "raw", 7), lab.root / "golden" / "top.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", bottom.name, "-F", "raw", top)
    write(top, 8, "1M")
    overlay(lab, top)
    write(lab.image(), 1, "2M")
    put(lab, "a")
    assert len(bases(lab)) == 2
    shutil.rmtree(lab.root / "golden")
    far = other(lab)
    get(far, "a")
    assert [holds(far.image(), n, at) for n, at in ((7, "0"), (8, "1M"), (1, "2M"))] == [True] * 3


def test_a_changed_golden_image_is_another_base(lab):
    base = golden(lab)
    overlay(lab, base)
    put(lab, "a")
    write(base, 70)
    overlay(lab, base)
    put(lab, "b")
    assert len(bases(lab)) == 2
    get(lab, "a")
    assert holds(lab.image(), 7)
    get(lab, "b")
    assert holds(lab.image(), 70)


def test_a_base_that_is_not_there(lab):
    base = golden(lab)
    overlay(lab, base)
    base.unlink()
    with pytest.raises(StateMissing, match="golden"):
        put(lab, "a")


@pytest.mark.parametrize("bottom", ["top", "middle", "image"])
def test_bases_that_stand_on_themselves(lab, bottom):
    """Refused before any of them is read, and without a wait for a lock of our own."""
    middle, top = golden(lab, name="middle"), golden(lab, name="top")
    overlay(lab, top)
    on = {"top": top, "middle": middle, "image": lab.image()}
    for path, below in ((top, middle), (middle, on[bottom])):
        tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "qcow2", path)
    before = contents(lab.root)
    with pytest.raises(ChainBroken, match=f"stands on itself: .*{on[bottom]}"):
        put(lab, "a")
    assert contents(lab.root) == before


def test_a_raw_base_that_is_written_to_while_it_is_read(lab, monkeypatch):
    base = golden(lab, "raw")
    overlay(lab, base, "raw")
    convert = qemu.convert

    def late(*args):
        write_raw(base, 9)
        convert(*args)

    monkeypatch.setattr(qemu, "convert", late)
    with pytest.raises(ChainBroken, match="written to while it was read"):
        put(lab, "a")
    assert bases(lab) == []
    monkeypatch.undo()
    put(lab, "a")
    assert holds(lab.image(), 9)


def test_an_image_on_a_state_of_another_cache(lab):
    """A worker whose cache was moved: the image still stands on the old one's files."""
    made(lab, "a", "b", **OWN)
    write(lab.image(), 3, "2M")
    moved = Lab(lab.root, "cache2")
    put(moved, "c", **OWN)
    assert show(moved, **OWN) == ["a", "b", "c"]
    assert backing(moved.state("c")) == "b.qcow2"
    get(moved, "c", **OWN)
    shutil.rmtree(lab.cache)
    assert [holds(moved.image(), 1 + n, f"{n}M") for n in range(3)] == [True] * 3


def test_a_failed_set_on_a_raw_base_gives_the_image_back(lab, monkeypatch):
    """With the format of its base: raw taken for QCOW2 would not open any more."""
    base = golden(lab, "raw")
    overlay(lab, base, "raw")
    write(lab.image(), 1, "1M")

    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(moves, "place", fail)
    with pytest.raises(PoolError):
        put(lab, "a")
    assert holds(lab.image(), 7) and holds(lab.image(), 1, "1M")
    assert lab.image().stat().st_mode & 0o200
    monkeypatch.undo()
    put(lab, "a")
    assert holds(lab.state("a"), 1, "1M")
