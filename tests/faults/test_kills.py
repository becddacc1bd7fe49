"""Killed at any system call: the old file or the new one, whole; and the next try heals."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.link import LinkStore
from avocado_pool_plugin.core.policy import Policy
from tests.support.images import chain
from tests.support.places import Dir, digest_of, local_store, put, put_image
from tests.support.strace import calls, failed, killed, points

#: The sweep mostly waits for fsync and for strace.
WORKERS = 4
NEW = b"new content " * 60_000
OLD = b"old content " * 50_000


@dataclass(frozen=True)
class Case:
    """
    An operation, and how things are before.

    :param old: what is at the target: nothing, a hashed or an unhashed file
    :param kind: RAM files (plain bytes), or the top image of a chain
    """

    verb: str
    old: str
    kind: str = "ram"
    locking: str = "locks"


#: What no scene of tests/torture has.
CASES = [
    Case("publish", "hashed", locking="none"),
    Case("publish", "unhashed"),
    Case("fetch", "unhashed"),
    Case("link", "nothing"),
]
IMAGE = Case("fetch", "hashed", kind="image")


class Scene:
    """Source and target of a case in a directory of their own."""

    def __init__(self, case: Case, directory: Path, templates: Path) -> None:
        self.case = case
        pool, cache = Dir(directory / "pool"), Dir(directory / "cache")
        source, target = (cache, pool) if case.verb == "publish" else (pool, cache)
        if case.kind == "image":
            self.source, self.target = source.state("top"), target.state("top")
            for where in (source, target):
                put_image(templates / "base.qcow2", where.state("base"))
            put_image(templates / "top.qcow2", self.source, parent=source.state("base"))
            if case.old != "nothing":
                old, base = templates / "old" / "top.qcow2", target.state("base")
                put_image(old, self.target, parent=base, hashed=case.old == "hashed")
        else:
            self.source, self.target = source.ram("s"), target.ram("s")
            put(self.source, NEW)
            if case.old != "nothing":
                put(self.target, OLD, hashed=case.old == "hashed")
        self.old = digest_of(self.target) if case.old != "nothing" else None

    @property
    def program(self) -> list[str | Path]:
        return ["tests.faults.operation", self.case.verb, self.source, self.target,
                self.case.locking]  # fmt: skip

    def check(self, where: str) -> None:
        """The target is old or new and nobody takes it for corrupt; a second try makes it new."""
        store = local_store()
        new = digest_of(self.source)
        for _ in range(2):
            info = store.info(str(self.target))
            found = info.digest if info else None
            allowed = {self.old, new}
            assert found in allowed, where
            if info:
                assert digest_of(self.target) == found, where
        assert store.info(str(self.source)).digest == new, where
        names = {name for name in store.names(str(self.target.parent)) if name != "base.qcow2"}
        assert names <= {self.target.name}, where
        self.again()
        assert store.info(str(self.target)).digest == new, where
        assert digest_of(self.target) == new, where
        assert store.names(str(self.target.parent)) == sorted(names | {self.target.name} | {
            name for name in ("base.qcow2",) if self.case.kind == "image"}), where  # fmt: skip

    def again(self) -> None:
        verb, source, target = self.case.verb, str(self.source), str(self.target)
        if verb == "publish":
            local_store().publish(source, target)
        elif verb == "fetch":
            local_store().fetch(source, target)
        else:
            LinkStore(Policy(timeout=20), qemu.rename_backing).fetch(source, target)


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("templates")
    chain(directory, "base", "top")
    (directory / "old").mkdir()
    shutil.copy(directory / "base.qcow2", directory / "old")
    from tests.support.images import image, write

    write(image(directory / "old" / "top.qcow2", backing="base.qcow2"), 99, at="2M")
    return directory


def thinned(found: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Calls that only read or close matter where something else was changed before: every third."""
    quiet = [point for point in found if point[0] in ("openat", "close", "lseek", "ioctl")]
    loud = [point for point in found if point not in quiet]
    return loud + quiet[::3]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.verb}-{c.old}-{c.kind}-{c.locking}")
def test_killed_at_any_call(case, tmp_path, templates):
    (tmp_path / "dry").mkdir()
    found = thinned(points(Scene(case, tmp_path / "dry" / "x", templates).program, tmp_path))

    def one(number: int, point: tuple[str, int]) -> bool:
        directory = tmp_path / f"{number}-{point[0]}-{point[1]}"
        scene = Scene(case, directory, templates)
        died = killed(scene.program, *point)
        scene.check(f"killed at {point[0]} number {point[1]}, see {directory}")
        shutil.rmtree(directory)
        return died

    with ThreadPoolExecutor(WORKERS) as pool:
        died = list(pool.map(one, range(len(found)), found))
    assert sum(died) > 0.8 * len(found), "the sweep mostly missed"


#: What can fail with an error, and the calls that it can come out of.
ERRORS = {
    "ENOSPC": ("pwrite64", "write", "link", "rename"),
    "EIO": ("pwrite64", "write", "link", "rename", "fsync", "ftruncate", "fchmod", "preadv"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("case", [*CASES[:2], IMAGE], ids=lambda c: f"{c.verb}-{c.old}-{c.kind}")
def test_any_call_fails(case, error, tmp_path, templates):
    (tmp_path / "dry").mkdir()
    calls = ERRORS[error]
    found = [point for point in points(Scene(case, tmp_path / "dry" / "x", templates).program,
                                       tmp_path) if point[0] in calls]  # fmt: skip

    def one(number: int, point: tuple[str, int]) -> str:
        directory = tmp_path / f"{number}-{point[0]}-{point[1]}"
        scene = Scene(case, directory, templates)
        said = failed(scene.program, point[0], str(point[1]), error)
        scene.check(f"{point[0]} number {point[1]} failed with {error}, see {directory}")
        shutil.rmtree(directory)
        return said

    with ThreadPoolExecutor(WORKERS) as pool:
        said = list(pool.map(one, range(len(found)), found))
    assert any(said), "no failure was reported"
    # the last line of a traceback: every error that comes out is one of ours
    foreign = [text for text in said if text and "core.errors." not in text.splitlines()[-1]]
    assert foreign == []


@pytest.mark.parametrize("old", ["nothing", "hashed"])
@pytest.mark.parametrize("verb", ["publish", "fetch"])
def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    verb, old, tmp_path, templates
):
    """What only a power cut would show: fsync of the file, rename, fsync of its directory."""
    scene = Scene(Case(verb, old), tmp_path / "x", templates)
    log = calls(scene.program, tmp_path, "fsync,fdatasync,rename,pwrite64,write,ioctl")
    directory = str(scene.target.parent)
    part = rf"{re.escape(directory)}/\.pool/[^>\"]*\.part"

    def first(pattern: str, after: int = -1) -> int:
        for number, line in enumerate(log):
            if number > after and re.search(pattern, line):
                return number
        raise AssertionError(f"no {pattern} after {after} in\n" + "\n".join(log))

    renamed = first(rf'rename\("{part}", "{re.escape(str(scene.target))}"')
    synced = first(rf"fsync\(\d+<{part}>")
    filling = re.compile(rf"(pwrite64|ioctl)\(\d+<{part}>")
    written = [number for number, line in enumerate(log) if filling.search(line)]
    recorded = first(rf'rename\("[^"]*", "{re.escape(directory)}/\.pool/[^"]*\.next-[0-9a-f]+"')
    committed = first(rf'rename\("[^"]*", "{re.escape(directory)}/\.pool/s\.state\.json"')
    assert written and max(written) < synced < renamed, log
    assert recorded < renamed < committed, log
    assert first(rf"fsync\(\d+<{re.escape(directory)}>", renamed) > renamed
    # a record is on the disk before its name as well
    for name in (recorded, committed):
        temporary = re.search(r'rename\("([^"]*)"', log[name]).group(1)
        assert first(rf"fsync\(\d+<{re.escape(temporary)}>") < name
