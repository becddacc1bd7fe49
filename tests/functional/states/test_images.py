"""Kinds of images: elsewhere, with snapshots, linked, of other formats, on bases of their own."""

import os
import shutil
import subprocess

import pytest

from avocado_pool_plugin.core.errors import (
    ImageInUse,
    ImageRefused,
    PoolError,
    SettingRefused,
    StateMissing,
)
from avocado_pool_plugin.core.qcow2 import read_header
from avocado_pool_plugin.states import images, setup
from tests.support.images import held_open
from tests.support.needs import need_root
from tests.support.states import OWN, doing, get, leftovers, made, other, pop, put, show, unset
from tests.support.vms import Lab, backing, holds, sound, tool, write


def everything(root):
    """What is below a directory: names, sizes, times."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


@pytest.mark.parametrize("kind", ["tmpfs", "xfs"])
def test_images_on_another_file_system_than_the_cache(lab, file_systems, kind, tmp_path):
    lab.images = file_systems[kind] / tmp_path.name
    lab.images.mkdir()
    made(lab, "a", "b")
    assert os.stat(lab.state("b")).st_dev != os.stat(lab.image()).st_dev
    write(lab.image(), 9, "3M")
    put(lab, "b")
    pop(lab, "b")
    assert [holds(lab.image(), n, at) for n, at in ((1, "0"), (2, "1M"), (9, "3M"))] == [True] * 3
    assert backing(lab.image()) == str(lab.state("a"))
    sound(lab.image())
    shutil.rmtree(lab.images)


def test_images_and_cache_on_two_bind_mounts_of_one_file_system(lab):
    """In containers: the device number is the same, but no file can be renamed across."""
    need_root()
    real, mounts = lab.root / "real", []
    for name in ("images", "cache"):
        (real / name).mkdir(parents=True)
        (lab.root / name).mkdir(exist_ok=True)
        tool("mount", "--bind", real / name, lab.root / name)
        mounts.append(lab.root / name)
    try:
        made(lab, "a", "b", **OWN)
        write(lab.image(), 9, "3M")
        put(lab, "c", **OWN)
        pop(lab, "c", **OWN)
        assert [holds(lab.image(), n, at) for n, at in ((1, "0"), (2, "1M"), (9, "3M"))] == [
            True
        ] * 3
        assert show(lab, **OWN) == ["a", "b"]
        assert leftovers(lab.root) == []
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=False)


def test_internal_snapshots_stay_in_the_image(lab):
    lab.make_image()
    write(lab.image(), 1)
    tool("qemu-img", "snapshot", "-c", "early", lab.image())
    write(lab.image(), 2)
    put(lab, "s")
    assert holds(lab.state("s"), 2)
    assert read_header(str(lab.image())).snapshots == 1
    tool("qemu-img", "snapshot", "-a", "early", lab.image())
    assert holds(lab.image(), 1) and holds(lab.state("s"), 2)
    sound(lab.image())
    sound(lab.state("s"))


def test_a_hard_linked_image_is_not_taken_away(lab):
    lab.make_image()
    write(lab.image(), 1)
    backup = lab.images / "backup.qcow2"
    os.link(lab.image(), backup)
    put(lab, "s")
    write(backup, 2)
    assert holds(lab.state("s"), 1), "the state does not share its file with anyone"
    assert holds(lab.image(), 1)


def test_an_image_that_is_a_symlink(lab):
    lab.make_image()
    write(lab.image(), 1)
    real = lab.images / "elsewhere.qcow2"
    lab.image().rename(real)
    lab.image().symlink_to(real)
    put(lab, "s")
    assert holds(real, 1) and not lab.state("s").is_symlink()
    get(lab, "s")
    assert holds(lab.image(), 1)


def make(kind, lab):
    path = lab.image()
    lab.images.mkdir(exist_ok=True)
    if kind == "luks":
        secret = ("--object", "secret,id=s,data=geheim")
        options = ("-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
        tool("qemu-img", "create", "-q", "-f", "qcow2", *secret, *options, path, "4M")
    elif kind == "data file":
        data = f"data_file={lab.images / 'data.raw'}"
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", data, path, "4M")
    elif kind == "json":
        base = lab.images / "base.qcow2"
        tool("qemu-img", "create", "-q", "-f", "qcow2", base, "4M")
        name = f'json:{{"driver":"qcow2","file":{{"driver":"file","filename":"{base}"}}}}'
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "qcow2", path)
    elif kind == "protocol":
        name = ("-u", "-b", "nbd://localhost/x", "-F", "qcow2")
        tool("qemu-img", "create", "-q", "-f", "qcow2", *name, path, "4M")
    elif kind == "raw inside":
        path.write_bytes(bytes(1 << 20))
    elif kind == "vmdk base":
        base = lab.images / "base.vmdk"
        tool("qemu-img", "create", "-q", "-f", "vmdk", base, "4M")
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "vmdk", path)


@pytest.mark.parametrize(
    "kind", ["luks", "data file", "json", "protocol", "raw inside", "vmdk base"]
)
def test_refused_by_kind_before_any_change(lab, kind):
    make(kind, lab)
    before = everything(lab.root)
    with pytest.raises(ImageRefused) as caught:
        put(lab, "s")
    assert isinstance(caught.value, ValueError)
    assert everything(lab.root) == before


@pytest.mark.parametrize("more", [{"image_format": "raw"}, {"image_raw_device": "yes"}])
@pytest.mark.parametrize("verb", [put, get, unset])
def test_formats_without_states(lab, verb, more):
    lab.make_image()
    with pytest.raises(ImageRefused, match=r"qcow2|QCOW2"):
        verb(lab, "s", **more)
    assert not lab.cache.exists()


def test_no_image_to_save(lab):
    with pytest.raises(StateMissing, match="does not exist") as caught:
        put(lab, "s")
    assert isinstance(caught.value, FileNotFoundError)


def test_an_open_image_is_left_alone(lab):
    made(lab, "a")
    write(lab.image(), 5, "2M")
    with held_open(lab.image()):
        for verb, state in ((put, "b"), (put, "a"), (get, "a")):
            with pytest.raises(ImageInUse, match="open in a running QEMU"):
                verb(lab, state, **OWN)
        with pytest.raises(PoolError, match="running QEMU"):
            unset(lab, "a", **OWN)
    assert holds(lab.image(), 5, "2M") and show(lab, **OWN) == ["a"]


# -- bases ---------------------------------------------------------------------------------------


def golden(lab, image_format="qcow2", pattern=7, name="golden"):
    path = lab.root / "golden" / f"{name}.{image_format}"
    path.parent.mkdir(exist_ok=True)
    tool("qemu-img", "create", "-q", "-f", image_format, path, "16M")
    tool("qemu-io", "-f", image_format, "-c", f"write -P {pattern} 0 64k", path)
    return path


def overlay(lab, base, image_format="qcow2"):
    lab.image().unlink(missing_ok=True)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", image_format, lab.image())


def bases(lab):
    return sorted(path.name for path in (lab.cache / "vm1" / "image1").glob("base-*.qcow2"))


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_a_golden_image_is_brought_into_the_chain_once(lab, image_format):
    base = golden(lab, image_format)
    before = everything(base.parent)
    overlay(lab, base, image_format)
    write(lab.image(), 1, "1M")
    put(lab, "a")
    (name,) = bases(lab)
    assert len(name) == len("base-123456789012.qcow2")
    assert backing(lab.state("a")) == name
    assert everything(base.parent) == before, "it is only read"
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
    from avocado_pool_plugin.states import moves

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


def test_where_images_are(lab):
    """vms_base_dir as in avocado-i2n, else what Avocado-VT says."""
    params = lab.params(vms_base_dir="/vms", image_name="disk")
    own = params.object_params("vm1").object_params("image1")
    own["image_name"] = "disk"
    assert images.image_path(own) == "/vms/vm1/disk.qcow2"
    own["image_name"] = "/abs/disk"
    assert images.image_path(own) == "/abs/disk.qcow2"


def test_an_image_without_a_name(lab):
    params = lab.params(set_state_images="s", images="nameless")
    del params["image_name_nameless_vm1"]
    with pytest.raises(SettingRefused, match="'nameless' of 'vm1'"):
        setup.set_states(params)
