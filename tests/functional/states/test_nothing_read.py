"""Where nothing changed, no content is read: told by what is in the page cache afterwards."""

import ctypes
import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.states.pool import QCOW2ImageTransfer
from tests.support.needs import need
from tests.support.states import get, put
from tests.support.vms import Lab, tool

MIB = 1 << 20
#: MiB of random data in each state.
DATA = 32
#: Headers, tables and what the kernel reads ahead of them, in bytes.
LITTLE = 2 * MIB
#: A good part of a state's content, in bytes.
MUCH = DATA // 2 * MIB
STATES = ("base", "top")


@pytest.fixture
def lab(file_systems: dict[str, Path], tmp_path: Path) -> Iterator[Lab]:
    """Two states on top of each other, verified in cache and pool; nothing is in memory."""
    # not tmpfs: its files have no other place than memory
    root = file_systems["ext4"] / tmp_path.name
    lab = Lab(root)
    lab.make_image(size="256M")
    for number, state in enumerate(STATES):
        fill(lab.image(), number * DATA)
        put(lab, state)
    get(lab, STATES[-1])
    assert compare(lab)
    forget(lab)
    yield lab
    shutil.rmtree(root)


def fill(image: Path, at: int) -> None:
    """Write random data into an image from ``at`` MiB on."""
    data = image.with_suffix(".data")
    data.write_bytes(os.urandom(DATA * MIB))
    tool("qemu-io", "-f", "qcow2", "-c", f"write -q -s {data} {at}M {DATA}M", image)
    data.unlink()


def compare(lab: Lab) -> bool:
    params = lab.params(object_id="vm1", object_type="vms/images")
    cache, pool = str(lab.cache), f":{lab.pool}"
    return bool(QCOW2ImageTransfer.compare_chain(STATES[-1], cache, pool, params))


def files(lab: Lab) -> list[Path]:
    return [place(state) for place in (lab.state, lab.shared) for state in STATES]


def forget(lab: Lab) -> None:
    """Drop the states' files from memory, and make sure that they can be dropped."""
    for path in files(lab):
        assert path.stat().st_blocks * 512 > DATA * MIB
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    need(max(map(resident, files(lab))) < LITTLE, "files that leave the page cache when told to")


def resident(path: Path) -> int:
    """Return how many bytes of a file are in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        # to map a file does not read it
        start = ctypes.c_char.from_buffer(mapped)
        done = libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), pages)
        del start
        assert done == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def test_a_get_reads_no_content(lab):
    get(lab, STATES[-1])
    assert {path: size for path in files(lab) if (size := resident(path)) >= LITTLE} == {}


def test_a_comparison_reads_no_content(lab):
    assert compare(lab)
    assert {path: size for path in files(lab) if (size := resident(path)) >= LITTLE} == {}


def test_a_touched_file_is_read_and_no_other(lab):
    """What the tests above look at does change when content is read."""
    for touched in (lab.state("base"), lab.shared("top")):
        os.utime(touched)
        assert compare(lab)
        sizes = {path: resident(path) for path in files(lab)}
        assert sizes.pop(touched) > MUCH
        assert max(sizes.values()) < LITTLE
        forget(lab)


def test_a_get_reads_a_touched_file(lab):
    touched = lab.state("base")
    os.utime(touched)
    get(lab, STATES[-1])
    sizes = {path: resident(path) for path in files(lab)}
    assert sizes.pop(touched) > MUCH
    assert max(sizes.values()) < LITTLE
