"""The directory in the name of a backing file, taken away by changing twelve bytes."""

import os
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import ImageRefused
from avocado_pool_plugin.core.qcow2 import Change, read_header, without_directory
from tests.support.images import described, guest_bytes, image, qemu_img, write


def changed(path: Path) -> Change:
    """Change an image, and return what that was."""
    with path.open("r+b") as file:
        found = without_directory(str(path), file.read(4096))
        assert os.pread(file.fileno(), len(found.old), found.at) == found.old
        os.pwrite(file.fileno(), found.new, found.at)
    return found


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
@pytest.mark.parametrize("name", ["a.qcow2", "ä b'%s.qcow2", f"{'n' * 190}.qcow2"])
def test_qemu_finds_the_file_beside_it_then(compat, name, tmp_path):
    base = write(image(tmp_path / name), 7)
    top = image(tmp_path / "top.qcow2", "-o", f"compat={compat}", backing=str(base))
    write(top, 8, "1M")
    before = top.read_bytes()
    change = changed(top)
    assert (change.at, len(change.new)) == (8, 12), "within the first sector"
    assert described(top)["backing-filename"] == read_header(str(top)).backing == name
    assert described(top)["backing-filename-format"] == "qcow2"
    qemu_img("check", "-q", top)
    assert guest_bytes(top, 2) == [7, 8]
    assert top.read_bytes() == change.applied(before) != before
    # and it is as good as any other image: QEMU changes it again
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", base, top)
    assert read_header(str(top)).backing == str(base)


def test_a_name_without_a_directory_stays(tmp_path):
    image(tmp_path / "a.qcow2")
    change = changed(image(tmp_path / "top.qcow2", backing="a.qcow2"))
    assert change.old == change.new


def test_extensions_without_an_end_are_left_alone(tmp_path):
    base = image(tmp_path / "a.qcow2")
    start = bytearray(image(tmp_path / "top.qcow2", backing=str(base)).read_bytes()[:4096])
    end = start.index(os.fsencode(base)) - 8
    start[end : end + 4] = b"\x12\x34\x56\x78"
    with pytest.raises(ImageRefused, match=r"qemu-img rebase -u .* -b a\.qcow2"):
        without_directory("top.qcow2", bytes(start))


def test_what_is_no_image(tmp_path):
    with pytest.raises(ImageRefused, match="is no QCOW2 image"):
        without_directory("x", b"junk" * 100)
