import hashlib
import os
import threading
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avocado_pool_plugin.core import digest, parallel
from avocado_pool_plugin.core.copy import allocated, copy_file
from avocado_pool_plugin.core.errors import FileChanging
from tests.support.places import digest_of
from tests.support.processes import python

MIB = 1 << 20


def plainly(content: bytes, algorithm: str = "b3t1m") -> str:
    """The digest as its definition says it, without a thought about speed."""
    if algorithm == "sha256":
        return "sha256:" + hashlib.sha256(content).hexdigest()
    make = {"b3t1m": blake3, "s2t1m": hashlib.sha256}[algorithm]
    leaves = b""
    for start in range(0, len(content), MIB):
        block = content[start : start + MIB]
        leaves += make(block).digest() if any(block) else bytes(32)
    return f"{algorithm}:" + make(len(content).to_bytes(8, "little") + leaves).hexdigest()


def made(path: Path, size: int, spots: dict[int, bytes]) -> Path:
    """Make a file of holes with some data in it."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in spots.items():
            file.seek(at)
            file.write(data[: max(0, size - at)])
    return path


SPOTS = st.dictionaries(
    st.one_of(
        st.integers(0, 7 * MIB), st.integers(0, 7).map(lambda n: n * MIB), st.just(MIB - 1)
    ),
    st.sampled_from([b"x", b"\0" * 5000, b"y" * 5000, b"z" * (MIB + 1), b"\0" * MIB]),
    max_size=5,
)  # fmt: skip
SIZES = st.one_of(st.integers(0, 7 * MIB), st.sampled_from([0, 1, MIB, MIB - 1, MIB + 1, 5 * MIB]))


@settings(max_examples=60)
@given(size=SIZES, spots=SPOTS)
@example(size=7 * MIB + 3, spots={MIB - 1: b"abc", 7 * MIB: b"end"})
def test_digest_is_what_its_definition_says(tmp_path, size, spots):
    path = made(tmp_path / "file", size, spots)
    assert digest_of(path) == plainly(path.read_bytes())


@pytest.mark.parametrize("algorithm", ["s2t1m", "sha256"])
@settings(max_examples=25)
@given(size=SIZES, spots=SPOTS)
@example(size=7 * MIB + 3, spots={MIB - 1: b"abc", 7 * MIB: b"end"})
@example(size=3 * MIB + 3, spots={})
def test_so_are_those_for_hosts_without_blake3(tmp_path, algorithm, size, spots):
    path = made(tmp_path / "file", size, spots)
    done: list[int] = []
    with path.open("rb") as file:
        found = digest.digest_fd(file.fileno(), size, done.append, algorithm)
        data = sum(end - start for start, end in digest.data_spans(file.fileno(), size))
    assert found == plainly(path.read_bytes(), algorithm)
    assert sum(done) == data


@settings(max_examples=25)
@given(size=SIZES, spots=SPOTS, order=st.randoms(use_true_random=False))
def test_blocks_make_a_tree_in_any_order(tmp_path, size, spots, order):
    content = made(tmp_path / "file", size, spots).read_bytes()
    tree = digest.Tree(size, ("b3t1m", "s2t1m"))
    numbers = list(range(digest.count(size)))
    order.shuffle(numbers)
    for number in numbers:
        block = content[number * MIB : (number + 1) * MIB]
        assert tree.add(number, memoryview(block)) == any(block)
    for algorithm in ("b3t1m", "s2t1m"):
        assert tree.digest(algorithm) == plainly(content, algorithm)
        # its leaves are all that another tree needs
        other = digest.Tree(size, (algorithm,))
        half = len(numbers) // 2
        other.put(half, tree.leaves(algorithm)[half * 32 :], algorithm)
        for number in range(half):
            other.put(number, tree.leaf(number, algorithm), algorithm)
        assert other.digest(algorithm) == tree.digest(algorithm)


def test_one_tree_may_be_told_more_than_the_other():
    block = memoryview(b"x" * MIB)
    tree = digest.Tree(2 * MIB, ("b3t1m", "s2t1m"))
    tree.add(1, block, ("b3t1m",))
    assert tree.leaf(1) == blake3(block).digest()
    assert tree.leaf(1, "s2t1m") == bytes(32)


def test_one_reading_serves_both_trees(tmp_path):
    path = made(tmp_path / "file", 9 * MIB, {MIB: b"x" * 5 * MIB})
    with path.open("rb") as file:
        tree = digest.tree_fd(file.fileno(), 9 * MIB, None, ("b3t1m", "s2t1m"))
    for algorithm in ("b3t1m", "s2t1m"):
        assert tree.digest(algorithm) == plainly(path.read_bytes(), algorithm)


def test_algorithms_that_nobody_knows_are_refused(tmp_path):
    path = made(tmp_path / "file", 10, {0: b"x"})
    with path.open("rb") as file, pytest.raises(ValueError, match="md5"):
        digest.digest_fd(file.fileno(), 10, None, "md5")


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, MIB - 1, MIB])
@pytest.mark.parametrize("held", [bytes, bytearray])
def test_zeros_are_known_whatever_holds_them(length, held):
    inside = memoryview(held(2 * MIB))[5 : 5 + length]
    assert digest.all_zero(inside) and digest.all_zero(memoryview(held(length)))
    for at in {0, length // 2, length - 1} if length else ():
        data = bytearray(length)
        data[at] = 1
        assert not digest.all_zero(memoryview(held(data)))
        assert not digest.all_zero(memoryview(held(b"\0" + data + b"\0"))[1:-1])


@settings(max_examples=40)
@given(size=SIZES, spots=SPOTS)
def test_copies_are_equal_and_their_digest_is_of_the_content(tmp_path, size, spots):
    path, target = made(tmp_path / "file", size, spots), tmp_path / "copy"
    target.unlink(missing_ok=True)
    copied = copy_file(str(path), str(target))
    assert target.read_bytes() == path.read_bytes()
    assert copied.digest == plainly(path.read_bytes())


def test_serial_and_threaded_ways_agree(tmp_path, monkeypatch):
    path = made(tmp_path / "file", 23 * MIB + 17, {n * MIB * 2 + n: bytes([n + 1]) * 70000
                                                   for n in range(11)})  # fmt: skip
    monkeypatch.setattr(parallel, "_idle_cores", lambda: 3)
    started = threading.active_count()
    most = []
    with path.open("rb") as file:
        threaded = digest.digest_fd(
            file.fileno(), path.stat().st_size, lambda done: most.append(threading.active_count())
        )
    assert max(most) > started, "no thread was used"
    monkeypatch.setattr(parallel, "_SERIAL", 1 << 40)
    assert digest_of(path) == threaded == plainly(path.read_bytes())


def test_a_busy_machine_gets_no_further_threads():
    busy = [python("while True: pass") for _ in os.sched_getaffinity(0)]
    try:
        # one look may meet a moment in which some of them wait
        assert min(parallel._idle_cores() for _ in range(100)) == 1
    finally:
        for process in busy:
            process.kill()
            process.communicate()


def test_a_hole_equals_written_zeros(on_disk):
    hole = made(on_disk / "hole", 6 * MIB, {3 * MIB: b"x"})
    zeros = on_disk / "zeros"
    zeros.write_bytes(hole.read_bytes())
    assert allocated(str(hole)) < allocated(str(zeros))
    assert digest_of(hole) == digest_of(zeros)


def test_holes_are_not_read(tmp_path, monkeypatch):
    read: list[int] = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, b, at: (read.append(at), real(fd, b, at))[1])
    digest_of(made(tmp_path / "file", 64 << 30, {20 << 30: b"x", (64 << 30) - 1: b"y"}))
    assert sorted(set(read)) == [20 << 30, (64 << 30) - MIB]


@pytest.mark.parametrize("at", [0, MIB - 1, MIB, 3 * MIB + 5, 6 * MIB])
def test_a_change_anywhere_shows(tmp_path, at):
    one = digest_of(made(tmp_path / "file", 6 * MIB + 1, {0: b"base" * MIB}))
    assert digest_of(made(tmp_path / "file", 6 * MIB + 1, {0: b"base" * MIB, at: b"X"})) != one


def test_size_matters(tmp_path):
    found = {digest_of(made(tmp_path / "file", size, {0: b"x"}))
             for size in (1, 2, MIB, MIB + 1, 2 * MIB, 5 * MIB, 6 * MIB)}  # fmt: skip
    assert len(found) == 7


def test_blocks_can_not_change_places(tmp_path):
    one = made(tmp_path / "file", 2 * MIB, {0: b"a" * MIB, MIB: b"b" * MIB})
    first = digest_of(one)
    assert digest_of(made(one, 2 * MIB, {0: b"b" * MIB, MIB: b"a" * MIB})) != first


def test_a_file_that_got_shorter_is_noticed(tmp_path):
    path = made(tmp_path / "file", 3 * MIB, {0: b"x" * 3 * MIB})
    with path.open("rb") as file:
        os.truncate(path, 2 * MIB)
        # a hole up to the promised size would be silently taken for zeros
        for algorithm in ("b3t1m", "s2t1m", "sha256"):
            with pytest.raises(FileChanging):
                digest.digest_fd(file.fileno(), 3 * MIB, None, algorithm)


def test_copies_keep_files_sparse(on_disk):
    source = made(on_disk / "source", 200 * MIB,
                  {n * 17 * MIB + 4096 * n: b"d" * 300_000 for n in range(10)})  # fmt: skip
    copied = copy_file(str(source), str(on_disk / "copy"))
    assert allocated(str(on_disk / "copy")) <= allocated(str(source)) * 1.05
    assert digest_of(on_disk / "copy") == copied.digest == digest_of(source)


def test_copies_across_file_systems_keep_files_sparse(on_disk, tmp_path):
    source = made(tmp_path / "source", 200 * MIB,
                  {n * 17 * MIB + 4096 * n: b"d" * 300_000 for n in range(10)})  # fmt: skip
    assert not copy_file(str(source), str(on_disk / "copy")).cloned
    assert allocated(str(on_disk / "copy")) <= allocated(str(source)) * 1.05
    assert digest_of(on_disk / "copy") == digest_of(source)


def test_clones_share_blocks_and_need_no_reading_where_the_digest_is_known(on_xfs, monkeypatch):
    source = made(on_xfs / "source", 8 * MIB, {0: b"d" * 8 * MIB})
    first = copy_file(str(source), str(on_xfs / "one"))
    assert first.cloned
    monkeypatch.setattr(os, "preadv", None)
    again = copy_file(str(source), str(on_xfs / "two"), (first.stamp, first.digest))
    assert again.cloned and again.digest == first.digest


def test_a_source_written_to_while_it_is_copied_is_noticed(tmp_path, monkeypatch):
    source = made(tmp_path / "source", 3 * MIB, {0: b"d" * 3 * MIB})
    real = os.preadv

    def meddle(fd, buffers, at):
        with source.open("r+b") as file:
            file.write(b"X")
        return real(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", meddle)
    with pytest.raises(FileChanging, match="source"):
        copy_file(str(source), str(tmp_path / "copy"))


def test_progress_counts_the_data(tmp_path):
    done: list[int] = []
    path = made(tmp_path / "file", 30 * MIB, {0: b"x" * 6 * MIB})
    with path.open("rb") as file:
        digest.digest_fd(file.fileno(), 30 * MIB, done.append)
    assert sum(done) == 6 * MIB
