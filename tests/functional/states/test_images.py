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
from tests.support.states import (
    OWN,
    contents,
    get,
    leftovers,
    made,
    pop,
    put,
    show,
    unset,
)
from tests.support.vms import backing, holds, sound, tool, write


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
    if kind == "encrypted":
        secret = ("--object", "secret,id=s,data=geheim")
        options = ("-o", "encrypt.format=aes,encrypt.key-secret=s")
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
    "kind", ["encrypted", "data file", "json", "protocol", "raw inside", "vmdk base"]
)
def test_refused_by_kind_before_any_change(lab, kind):
    make(kind, lab)
    before = contents(lab.root)
    with pytest.raises(ImageRefused) as caught:
        put(lab, "s")
    assert isinstance(caught.value, ValueError)
    assert contents(lab.root) == before


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
