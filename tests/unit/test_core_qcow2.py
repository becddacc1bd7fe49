import fcntl
import os
import struct
import subprocess

import pytest

from avocado_pool_plugin.core.chain import backing_of
from avocado_pool_plugin.core.errors import ImageRefused, PoolUnreachable
from avocado_pool_plugin.core.qcow2 import Header, check_movable, in_use, is_qcow2, read_header
from tests.support.images import chain, described, edit, held_open, image, qemu_img
from tests.support.needs import need_programs


@pytest.mark.parametrize("version", ["compat=0.10", "compat=1.1"])
@pytest.mark.parametrize("backed", [False, True])
def test_header_agrees_with_qemu_img(tmp_path, version, backed):
    image(tmp_path / "base.qcow2", size="7M")
    backing = "base.qcow2" if backed else None
    path = image(tmp_path / "a.qcow2", "-o", version, backing=backing, size="7M")
    said = described(path)
    found = read_header(str(path))
    assert found == Header(
        virtual_size=said["virtual-size"],
        backing=said.get("backing-filename", ""),
        backing_format=said.get("backing-filename-format", ""),
    )
    assert bool(found.backing) == backed
    check_movable(str(path), found)


@pytest.mark.parametrize("cluster", ["512", "4096", "2M"])
def test_header_with_a_long_backing_name(tmp_path, cluster):
    base = image(tmp_path / ("n" * 180 + ".qcow2"))
    path = image(tmp_path / "a.qcow2", "-o", f"cluster_size={cluster}", backing=str(base))
    assert read_header(str(path)).backing == str(base)


def test_snapshots_are_counted(tmp_path):
    path = image(tmp_path / "a.qcow2")
    qemu_img("snapshot", "-c", "one", path)
    qemu_img("snapshot", "-c", "two", path)
    assert read_header(str(path)).snapshots == len(described(path)["snapshots"]) == 2


def test_what_keeps_its_data_elsewhere_is_refused(tmp_path):
    path = image(tmp_path / "a.qcow2", "-o", f"data_file={tmp_path / 'a.raw'}")
    assert read_header(str(path)).data_file
    with pytest.raises(ImageRefused, match="external"):
        check_movable(str(path), read_header(str(path)))


@pytest.mark.parametrize("method", [1, 2])
def test_encrypted_images_are_refused(tmp_path, method):
    path = tmp_path / "a.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc",
             "-o", "encrypt.format=aes,encrypt.key-secret=s", path, "1M")  # fmt: skip
    assert described(path)["encrypted"]
    if method == 2:
        # LUKS; QEMU measures the processor for it, and fails where that is busy
        with path.open("r+b") as file:
            file.seek(32)
            file.write(struct.pack(">I", method))
    with pytest.raises(ImageRefused, match="encrypted"):
        check_movable(str(path), read_header(str(path)))


@pytest.mark.parametrize(
    "backing",
    ['json:{"driver":"qcow2","file":{"driver":"file","filename":"b.qcow2"}}',
     "nbd://localhost/x", "nbd:localhost:10809"],
)  # fmt: skip
def test_backing_that_is_no_plain_file_is_refused(tmp_path, backing):
    path = image(tmp_path / "a.qcow2")
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", path)
    with pytest.raises(ImageRefused, match="backed by"):
        backing_of(str(path))


def test_marks_of_qemu(tmp_path):
    path = image(tmp_path / "a.qcow2")
    with path.open("r+b") as file:
        file.seek(72)
        file.write(struct.pack(">Q", 3))
    found = read_header(str(path))
    assert found.corrupt
    with pytest.raises(ImageRefused, match="marked corrupt"):
        check_movable(str(path), found)


@pytest.mark.parametrize("length", [*range(0, 112, 7), 4, 71, 72, 103])
def test_a_cut_off_header_is_refused_and_never_misread(tmp_path, length):
    image(tmp_path / "b.qcow2")
    path = image(tmp_path / "a.qcow2", backing="b.qcow2")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ImageRefused, match=r"a\.qcow2"):
        read_header(str(path))


def test_nonsense_lengths_are_refused(tmp_path):
    image(tmp_path / "b.qcow2")
    path = image(tmp_path / "a.qcow2", backing="b.qcow2")
    with path.open("r+b") as file:
        file.seek(16)
        file.write(struct.pack(">I", 0xFFFFFFFF))
    with pytest.raises(ImageRefused):
        read_header(str(path))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "raw"
    path.write_bytes(bytes(70000))
    assert not is_qcow2(str(path))
    with pytest.raises(ImageRefused, match="no QCOW2"):
        read_header(str(path))
    with pytest.raises(FileNotFoundError):
        read_header(str(tmp_path / "absent"))


def test_open_images_are_seen_backing_files_too(tmp_path):
    paths = chain(tmp_path, "base", "mid", "top")
    other = image(tmp_path / "other.qcow2")
    assert not any(in_use(str(path)) for path in paths)
    with held_open(paths[2]):
        assert all(in_use(str(path)) for path in paths)
        assert not in_use(str(other))
    assert not any(in_use(str(path)) for path in paths)
    assert not in_use(str(tmp_path / "absent"))


def test_reading_alone_is_use(tmp_path):
    (path,) = chain(tmp_path, "base")
    with held_open(path, "-r"):
        assert in_use(str(path))


def test_an_image_of_a_running_machine_is_in_use(tmp_path):
    need_programs("qemu-system-x86_64")
    base, top = chain(tmp_path, "base", "top")
    with subprocess.Popen(
        ["qemu-system-x86_64", "-S", "-display", "none", "-nodefaults", "-monitor", "stdio",
         "-drive", f"file={top},format=qcow2,if=ide"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout and process.stdin
        process.stdout.readline()  # the monitor's greeting: the drive is open
        try:
            assert in_use(str(top)) and in_use(str(base))
        finally:
            process.kill()
            process.communicate()
    assert not in_use(str(top)) and not in_use(str(base))


@pytest.mark.parametrize(("byte", "used"), [(99, False), (100, True), (101, True), (150, True),
                                            (203, True), (209, True), (210, False)])  # fmt: skip
def test_any_of_the_bytes_that_qemu_locks_is_use(tmp_path, byte, used):
    path = image(tmp_path / "a.qcow2")
    with path.open("rb") as file:
        ask = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
        fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, ask)
        assert in_use(str(path)) == used
    assert not in_use(str(path))


@pytest.mark.parametrize("at", [2 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_backing_name_outside_of_the_header_is_damage(tmp_path, at):
    path = image(tmp_path / "a.qcow2")
    edit(path, 8, struct.pack(">QI", at, 10))
    with pytest.raises(ImageRefused, match=f"at byte {at}, outside"):
        read_header(str(path))


def test_a_backing_name_with_a_null_byte_is_damage(tmp_path):
    image(tmp_path / "base.qcow2")
    path = image(tmp_path / "a.qcow2", backing="base.qcow2")
    edit(path, path.read_bytes().index(b"base.qcow2") + 2, b"\0")
    with pytest.raises(ImageRefused, match="null byte"):
        read_header(str(path))


@pytest.mark.parametrize("version", [0, 1, 4])
def test_other_versions_of_the_format_are_refused(tmp_path, version):
    path = image(tmp_path / "a.qcow2")
    edit(path, 4, struct.pack(">I", version))
    with pytest.raises(ImageRefused, match=f"version is {version}, expected 2 or 3"):
        read_header(str(path))


def test_use_of_what_can_not_be_looked_at(tmp_path):
    loop, file = tmp_path / "loop", tmp_path / "file"
    loop.symlink_to(loop)
    file.write_bytes(b"")
    with pytest.raises(PoolUnreachable, match="loop can't be read"):
        in_use(str(loop))
    assert not in_use(str(tmp_path / "none")) and not in_use(str(file / "none"))
