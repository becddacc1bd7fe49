"""What arrives is what was sent, and no more travels than has to."""

import ast
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import avocado_pool_plugin.ssh
from avocado_pool_plugin.core import digest
from avocado_pool_plugin.core.copy import allocated
from avocado_pool_plugin.ssh.bulk import Agent
from avocado_pool_plugin.ssh.content import Basis
from tests.support.agents import (
    MIB,
    agent,
    basis_of,
    download,
    made,
    noise,
    program,
    same,
    stamp_of,
    traced,
    upload,
    without_blake3,
)

HERE = Path(avocado_pool_plugin.ssh.__path__[0])
#: Bytes that requests and frames may add to the data.
TALK = 16 << 10
#: Bytes that a file system may need to keep track of a fragmented file.
SLACK = 16 << 10

SPOTS = st.dictionaries(
    st.one_of(
        st.integers(0, 5 * MIB), st.integers(0, 5).map(lambda n: n * MIB), st.just(MIB - 1)
    ),
    st.sampled_from(
        [b"x", b"\0" * 5000, noise(5000), noise(70_000, 1), noise(MIB + 1, 2), b"\0" * MIB]
    ),
    max_size=4,
)  # fmt: skip
SIZES = st.one_of(
    st.integers(0, 6 * MIB), st.sampled_from([0, 1, MIB, MIB - 1, MIB + 1, 16384, 5 * MIB])
)


@pytest.fixture(scope="module", params=["blake3", "standard library"])
def lab(request, tmp_path_factory):
    plain = without_blake3(tmp_path_factory.mktemp("python"))
    with agent(sys.executable if request.param == "blake3" else plain) as found:
        assert found.algorithm == ("b3t1m" if request.param == "blake3" else "s2t1m")
        yield found


def digest_by(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return digest.digest_fd(file.fileno(), path.stat().st_size, algorithm=algorithm)


def written(path: Path) -> int:
    """Bytes of a file that are no holes."""
    with path.open("rb") as file:
        return sum(b - a for a, b in digest.data_spans(file.fileno(), path.stat().st_size))


def check_sent(lab: Agent, sent, source: Path, part: Path) -> None:
    assert same(part, source)
    assert sent.digest == digest_by(source, "b3t1m")
    assert sent.far_digest == digest_by(source, lab.algorithm)
    assert sent.stamp == stamp_of(part)
    assert lab.digest(str(part)).digest == sent.far_digest


def check_received(received, path: Path, target: Path) -> None:
    assert same(target, path)
    assert received.digest == digest_by(path, "b3t1m")
    assert received.stamp == stamp_of(path)


# -- any content ---------------------------------------------------------------------------------


@settings(max_examples=25)
@given(size=SIZES, spots=SPOTS)
@example(size=5 * MIB + 3, spots={MIB - 1: b"abc", 5 * MIB: b"end"})
def test_uploads_are_equal_and_no_larger(lab, tmp_path, size, spots):
    source, part = made(tmp_path / "source", size, spots), tmp_path / "part"
    part.unlink(missing_ok=True)
    done: list[int] = []
    sent = upload(lab, source, part, progress=done.append)
    check_sent(lab, sent, source, part)
    assert sent.moved <= written(source) + TALK
    assert allocated(str(part)) <= allocated(str(source)) + SLACK
    assert sum(done) == written(source)


@settings(max_examples=25)
@given(size=SIZES, spots=SPOTS)
def test_downloads_are_equal_and_no_larger(lab, tmp_path, size, spots):
    path, target = made(tmp_path / "file", size, spots), tmp_path / "target"
    target.write_bytes(b"stale" * 100_000)
    done: list[int] = []
    received = download(lab, path, target, algorithms=("sha256", "s2t1m"), progress=done.append)
    check_received(received, path, target)
    assert received.digests == {
        name: digest_by(path, name) for name in ("b3t1m", "s2t1m", "sha256")
    }
    assert received.moved <= written(path) + TALK
    assert allocated(str(target)) <= allocated(str(path)) + SLACK
    assert sum(done) == written(path)


@settings(max_examples=40)
@given(size=SIZES, spots=SPOTS, old_size=SIZES, old_spots=SPOTS, trusted=st.booleans())
@example(size=3 * MIB, spots={}, old_size=5 * MIB, old_spots={0: noise(5 * MIB)}, trusted=True)
@example(size=3 * MIB, spots={}, old_size=5 * MIB, old_spots={0: noise(5 * MIB)}, trusted=False)
@example(
    size=5 * MIB + 9, spots={0: noise(MIB)}, old_size=MIB - 7, old_spots={0: noise(MIB)},
    trusted=True,
)  # fmt: skip
def test_uploads_on_an_old_version_are_equal(
    lab, tmp_path, *, size, spots, old_size, old_spots, trusted
):
    old, first = tmp_path / "old", made(tmp_path / "first", old_size, old_spots)
    old.unlink(missing_ok=True)
    sent = upload(lab, first, old)
    basis = basis_of(old, sent) if trusted else Basis(str(old))
    lab.release()
    source, part = made(tmp_path / "source", size, spots), tmp_path / "part"
    part.unlink(missing_ok=True)
    sent = upload(lab, source, part, basis)
    check_sent(lab, sent, source, part)
    assert sent.moved <= written(source) + TALK
    assert same(old, first)


@settings(max_examples=40)
@given(size=SIZES, spots=SPOTS, old_size=SIZES, old_spots=SPOTS)
def test_downloads_on_an_old_version_are_equal(lab, tmp_path, *, size, spots, old_size, old_spots):
    target = made(tmp_path / "target", old_size, old_spots)
    path = made(tmp_path / "file", size, spots)
    received = download(lab, path, target, basis=True)
    check_received(received, path, target)
    assert received.moved <= written(path) + TALK


@settings(max_examples=25)
@given(size=SIZES, spots=SPOTS, old_size=SIZES, old_spots=SPOTS)
def test_uploads_into_what_an_earlier_one_left_are_equal(
    lab, tmp_path, *, size, spots, old_size, old_spots
):
    part = made(tmp_path / "part", old_size, old_spots)
    source = made(tmp_path / "source", size, spots)
    # an old version is of no use beside what is there already
    sent = upload(lab, source, part, Basis(str(source)))
    check_sent(lab, sent, source, part)
    assert sent.moved <= written(source) + TALK


@settings(max_examples=15)
@given(size=SIZES, spots=SPOTS)
def test_digests_over_there_are_ours(lab, tmp_path, size, spots):
    path = made(tmp_path / "file", size, spots)
    done: list[int] = []
    found = lab.digest(str(path), done.append)
    assert found.digest == digest_by(path, lab.algorithm)
    assert found.stamp == stamp_of(path)
    assert lab.digest(str(path), algorithm="s2t1m").digest == digest_by(path, "s2t1m")
    tree = digest.Tree(size, (lab.algorithm,))
    tree.put(0, found.leaves, lab.algorithm)
    assert tree.digest(lab.algorithm) == found.digest
    assert sum(done) <= size


def test_digests_that_nobody_can_compute_are_refused(lab, tmp_path):
    path = made(tmp_path / "file", 10, {0: b"x"})
    with pytest.raises(ValueError, match="md5"):
        lab.digest(str(path), algorithm="md5")
    assert lab.digest(str(path)).stamp.size == 10


# -- what travels --------------------------------------------------------------------------------


def spotted(path: Path, content: bytes, spots: list[tuple[int, int]]) -> Path:
    """Make a changed version of some content."""
    changed = bytearray(content)
    for number, (at, length) in enumerate(spots):
        changed[at : at + length] = noise(length, 100 + number)
    path.write_bytes(changed)
    return path


#: One per cent of 32 MiB, in spots as guests write them and in larger ones of any place.
SMALL = [(n * 98 * 4096 + 8192, 4096) for n in range(82)]
MIXED = [(n * 3_500_000, 4096 << (n % 5)) for n in range(9)]


@pytest.mark.parametrize("spots", [SMALL, MIXED])
def test_of_a_changed_version_only_the_changes_travel_there(lab, tmp_path, spots):
    content = noise(32 * MIB)
    first, old = tmp_path / "first", tmp_path / "old"
    first.write_bytes(content)
    basis = basis_of(old, upload(lab, first, old))
    lab.release()
    source = spotted(tmp_path / "new", content, spots)
    for found in (basis, Basis(str(old))):
        part = tmp_path / "part"
        part.unlink(missing_ok=True)
        sent = upload(lab, source, part, found)
        check_sent(lab, sent, source, part)
        assert sent.moved <= 32 * MIB * 0.05


@pytest.mark.parametrize("spots", [SMALL, MIXED])
def test_of_a_changed_version_only_the_changes_travel_here(lab, tmp_path, spots):
    content = noise(32 * MIB)
    target = tmp_path / "target"
    target.write_bytes(content)
    path = spotted(tmp_path / "new", content, spots)
    received = download(lab, path, target, basis=True)
    check_received(received, path, target)
    assert received.moved <= 32 * MIB * 0.05


def test_what_is_trusted_is_not_read_over_there(tmp_path):
    content = noise(32 * MIB)
    first, old, part = tmp_path / "first", tmp_path / "old", tmp_path / "part"
    first.write_bytes(content)
    calls = "trace=preadv,preadv2,pread64,copy_file_range"
    with agent(traced(tmp_path, f"-e {calls}")) as lab:
        basis = basis_of(old, upload(lab, first, old))
        lab.release()
        source = spotted(tmp_path / "new", content, [(5 * MIB, 4096), (9 * MIB, 4096)])
        (tmp_path / "trace").write_text("")
        sent = upload(lab, source, part, basis)
        assert same(part, source)
    # a call may be in two lines, the last of which tells what it did
    read = re.findall(r"pread.* = (\d+)$", (tmp_path / "trace").read_text(), re.MULTILINE)
    assert 2 * MIB <= sum(map(int, read)) <= 3 * MIB
    assert sent.far_digest == digest_by(source, "s2t1m")


def test_without_its_leaves_the_far_digest_of_a_patched_file_is_not_known(tmp_path):
    first, old, part = tmp_path / "first", tmp_path / "old", tmp_path / "part"
    first.write_bytes(noise(5 * MIB))
    with agent(without_blake3(tmp_path)) as lab:
        sent = upload(lab, first, old)
        lab.release()
        source = spotted(tmp_path / "new", noise(5 * MIB), [(MIB, 4096)])
        again = upload(lab, source, part, Basis(str(old), stamp_of(old), sent.leaves))
    assert (again.far_digest, again.far_leaves) == (None, None)
    assert again.digest == digest_by(source, "b3t1m")
    assert same(part, source)


def test_the_leaves_of_one_upload_serve_the_next(lab, tmp_path):
    content = noise(6 * MIB)
    version = tmp_path / "0"
    version.write_bytes(content)
    at = tmp_path / "there-0"
    sent = upload(lab, version, at)
    for number in range(1, 4):
        lab.release()
        basis = basis_of(at, sent)
        version = spotted(tmp_path / str(number), content, [(number * MIB, 9000)])
        at = tmp_path / f"there-{number}"
        sent = upload(lab, version, at, basis)
        check_sent(lab, sent, version, at)
        assert sent.moved < 200_000


def test_a_huge_hole_costs_nothing(lab, tmp_path):
    source = made(tmp_path / "source", 64 << 30, {20 << 30: noise(4096)})
    part, target = tmp_path / "part", tmp_path / "target"
    sent = upload(lab, source, part)
    received = download(lab, part, target)
    again = download(lab, part, target, basis=True)
    assert sent.digest == received.digest == again.digest
    assert max(sent.moved, received.moved, again.moved) < 4096 + TALK
    assert allocated(str(part)) == allocated(str(target)) == allocated(str(source))


def test_written_zeros_do_not_travel(lab, tmp_path):
    source, part, target = tmp_path / "source", tmp_path / "part", tmp_path / "target"
    source.write_bytes(bytes(9 * MIB))
    done: list[int] = []
    sent = upload(lab, source, part, progress=done.append)
    received = download(lab, source, target, progress=done.append)
    assert same(part, source) and same(target, source)
    assert max(sent.moved, received.moved) < TALK
    assert sum(done) == 2 * 9 * MIB


def test_fragmented_files_stay_as_small(lab, tmp_path):
    source = made(tmp_path / "source", 8 * MIB, {n * 40960: noise(4096, n) for n in range(200)})
    part, target = tmp_path / "part", tmp_path / "target"
    upload(lab, source, part)
    download(lab, part, target)
    old = tmp_path / "old"
    old.write_bytes(noise(8 * MIB))
    patched = tmp_path / "patched"
    upload(lab, source, patched, Basis(str(old)))
    for path in (part, target, patched):
        assert same(path, source)
        assert allocated(str(path)) <= allocated(str(source)) + SLACK


def test_on_a_file_system_that_can_an_old_version_is_shared(lab, on_xfs):
    content = noise(16 * MIB)
    first, old, part = on_xfs / "first", on_xfs / "old", on_xfs / "part"
    first.write_bytes(content)
    basis = basis_of(old, upload(lab, first, old, fsync=True))
    lab.release()
    source = spotted(on_xfs / "new", content, MIXED[:4])
    os.sync()
    before = os.statvfs(on_xfs).f_bfree
    sent = upload(lab, source, part, basis, fsync=True)
    check_sent(lab, sent, source, part)
    taken = (before - os.statvfs(on_xfs).f_bfree) * os.statvfs(on_xfs).f_frsize
    assert taken < 4 * MIB


# -- what is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["agent", "far_files", "far_line", "far_work"])
def test_what_is_sent_is_read_by_old_pythons_and_needs_nothing(name):
    source = (HERE / f"{name}.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    typing = [
        id(inner)
        for node in tree.body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    ]
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.module in sys.stdlib_module_names or node.module in (
                "avocado_pool_plugin.ssh.far_files", "avocado_pool_plugin.ssh.far_line",
                "avocado_pool_plugin.ssh.far_work", "concurrent.futures",
            ), node.module  # fmt: skip
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        if isinstance(node, ast.arg | ast.FunctionDef):
            kind = node.annotation if isinstance(node, ast.arg) else node.returns
            # evaluated over there: nothing that old pythons lack
            assert not isinstance(kind, ast.BinOp | ast.Subscript), ast.unparse(node)[:80]


@pytest.mark.parametrize("shell", [("sh",), ("bash", "--posix"), ("sh", "-c", "exec cat | sh")])
def test_any_shell_will_do(tmp_path, shell):
    path = made(tmp_path / "file", 10, {0: b"x"})
    with agent(shell=shell) as lab:
        assert lab.digest(str(path)).stamp == stamp_of(path)


@pytest.mark.parametrize(
    "chatter",
    ["echo Welcome; echo", "printf 'no end of line'", "echo oops >&2", "set -v", "seq 3000",
     "printf '\\0\\377\\n'"],
)  # fmt: skip
def test_a_login_may_be_noisy(tmp_path, chatter):
    path = made(tmp_path / "file", 10, {0: b"x"})
    shell = program(tmp_path / "noisy", f"{chatter}\nexec sh")
    if chatter == "set -v":
        shell = program(tmp_path / "noisy", "exec sh -v")
    with agent(shell=(shell,)) as lab:
        assert lab.digest(str(path)).stamp == stamp_of(path)


NAMES = ["a b", "it's", 'say "hi"', "$(touch x)", "`touch x`", "a;touch x", "*?[x]", "%s%n",
         "back\\slash", "ümlaut", "\udcff\udcfe", "-rf", "a&b|c>d", "#x", "~", "{a,b}",
         "tab\there", "!x"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_names(lab, tmp_path, name):
    directory = tmp_path / "-d $(touch y)"
    directory.mkdir()
    source, part, target = tmp_path / "source", directory / name, tmp_path / "target"
    source.write_bytes(b"content" * 1000)
    upload(lab, source, part)
    assert same(part, source)
    lab.release()
    again = upload(lab, source, directory / f"{name}.2", Basis(str(part)))
    assert again.moved < 6000
    assert download(lab, part, target).digest == again.digest
    assert sorted(os.listdir(directory)) == sorted([name, f"{name}.2"])
    assert sorted(os.listdir(tmp_path)) == sorted([directory.name, "source", "target"])


def test_new_files_have_the_modes_of_the_login(tmp_path):
    source, part = made(tmp_path / "source", 10, {0: b"x"}), tmp_path / "part"
    with agent(shell=(program(tmp_path / "shell", "umask 027\nexec sh"),)) as lab:
        upload(lab, source, part)
    assert part.stat().st_mode & 0o777 == 0o640


def test_a_part_is_synced_if_that_is_asked_for(tmp_path):
    source = made(tmp_path / "source", 10, {0: b"x"})
    with agent(traced(tmp_path, "-e trace=fsync")) as lab:
        upload(lab, source, tmp_path / "one", fsync=False)
        assert "fsync" not in (tmp_path / "trace").read_text()
        upload(lab, source, tmp_path / "two", fsync=True)
        assert "fsync" in (tmp_path / "trace").read_text()
