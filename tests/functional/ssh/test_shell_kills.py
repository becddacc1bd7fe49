"""A far shell killed before or after any program it starts: the old file or the new one, whole."""

import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, records, trash
from avocado_pool_plugin.core.errors import HostUnreachable, PoolError
from avocado_pool_plugin.ssh.shell import Shell
from tests.support.places import digest_of, local_store, put
from tests.support.shells import NEEDED, SHELLS, commit, far

OLD, NEW = b"old content " * 5_000, b"new content " * 6_000
#: Each program over there is this: it ends all that runs at a certain call.
PROGRAM = """#!/bin/dash
read -r number <{count}
number=$((number + 1))
echo $number >{count}
echo {name} >>{count}.names
[ "$number before" != "{at}" ] || kill -9 0
/usr/bin/{name} "$@"
status=$?
[ "$number after" != "{at}" ] || kill -9 0
exit $status
"""


@dataclass(frozen=True)
class Case:
    """What is done, and what is there before: nothing, a hashed or an unhashed file."""

    verb: str
    old: str


CASES = [Case("commit", "nothing"), Case("commit", "hashed"), Case("commit", "unhashed"),
         Case("remove", "hashed")]  # fmt: skip


class Scene:
    """A case in a directory of its own."""

    def __init__(self, case: Case, directory: Path, at: str = "never") -> None:
        self.case = case
        self.path = directory / "vm" / "x.state"
        self.path.parent.mkdir(parents=True)
        self.old = None
        if case.old != "nothing":
            put(self.path, OLD, hashed=case.old == "hashed")
            self.old = digest_of(self.path)
        self.bin, self.count = directory / "bin", directory / "count"
        self.bin.mkdir()
        for name in {*NEEDED} - {"sleep"}:
            (self.bin / name).write_text(PROGRAM.format(count=self.count, at=at, name=name))
            (self.bin / name).chmod(0o755)
        # its calls come when they like
        (self.bin / "sleep").symlink_to("/usr/bin/sleep")
        self.count.write_text("1000\n")

    def run(self) -> list[str]:
        """Do it with the programs that kill; return which were started, in order."""
        names = self.count.with_suffix(".names")
        with far(["env", f"PATH={self.bin}", shutil.which("dash")]) as shell:
            self.count.write_text("0\n")
            names.unlink()
            self.work(shell)
        return names.read_text().split()

    def work(self, shell: Shell) -> None:
        if self.case.verb == "remove":
            shell.remove(str(self.path), trash.name_of(str(self.path)))
            return
        record = records.read_record(str(self.path))
        loosened = None
        if record and not record.info.digest:
            loosened = records.encode(replace(record, stamp=None))
        commit(shell, self.path, NEW, fsync=True, loosened=loosened)

    def check(self, where: str) -> None:
        """The file is old or new and nobody takes it for corrupt; a second try makes it new."""
        store = local_store()
        for _ in range(2):
            info = store.info(str(self.path))
            if info:
                assert info.digest == digest_of(self.path), where
                assert self.path.read_bytes() in {OLD, NEW}, where
            else:
                assert self.old is None or self.case.verb == "remove", where
        assert store.names(str(self.path.parent)) in ([], [self.path.name]), where
        if self.old and not (info and info.digest == self.old):
            kept = Path(layout.trash_dir(str(self.path))).glob(f"*-{self.path.name}")
            assert OLD in [one.read_bytes() for one in kept], where
        with far() as shell:
            self.work(shell)
            shell.sweep(str(self.path.parent), -10)
        info = store.info(str(self.path))
        if self.case.verb == "remove":
            assert info is None, where
        else:
            assert self.path.read_bytes() == NEW and info.digest == digest_of(self.path), where


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.verb}-{case.old}")
def test_killed_at_any_program(case, tmp_path):
    names = Scene(case, tmp_path / "dry").run()
    assert len(names) > 5
    points = [f"{at} before" for at in range(1, len(names) + 1)]
    points += [f"{at + 1} after" for at, name in enumerate(names) if name in ("mv", "ln", "rm")]

    def one(point: str) -> bool:
        scene = Scene(case, tmp_path / point.replace(" ", "-"), point)
        killed = False
        try:
            scene.run()
        except HostUnreachable:
            killed = True
        scene.check(f"killed at {point}")
        return killed

    with ThreadPoolExecutor(2) as pool:
        killed = list(pool.map(one, points))
    # how often a commit looks whether the clock went on differs: twice a look, four at most
    assert killed.count(False) <= (8 if case.verb == "commit" else 0)


@pytest.mark.parametrize("kind", SHELLS)
def test_killed_at_any_moment(kind, tmp_path):
    chance = random.Random(kind)
    for number in range(12):
        scene = Scene(Case("commit", "hashed"), tmp_path / str(number))
        with far([kind], timeout=1) as shell:
            delay = chance.uniform(0, 0.04)
            timer = threading.Timer(delay, shell._channel._process.kill)
            timer.start()
            try:
                scene.work(shell)
            except PoolError as error:
                assert isinstance(error, HostUnreachable)
            timer.join()
            # what it had started may be at work a little longer
            time.sleep(0.02)
        scene.check(f"killed after {delay}")
