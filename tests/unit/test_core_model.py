"""
One state's life, at random: set, published, fetched, removed, damaged, killed on the way.

The model is a set: the contents that each place may have now. A finished operation leaves exactly
one; one that was killed leaves the old and the new, until a look at the file tells which.
"""

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from avocado_pool_plugin.core import locks
from avocado_pool_plugin.core.errors import FileCorrupt, StateMissing
from tests.support.images import edit
from tests.support.places import Dir, digest_of, local_store, put

LOADED = blake3
#: Functions of ``os`` that change something, before any of which a process may die.
STEPS = ("open", "rename", "link", "unlink", "fsync", "fchmod", "ftruncate", "replace", "pwrite",
         "mkdir")  # fmt: skip
CONTENTS = {n: bytes([65 + n]) * (3000 + n % 2) for n in range(4)}
WHERE = st.sampled_from(["cache", "pool"])
CONTENT = st.sampled_from(sorted(CONTENTS))
#: None for no file, -1 for content that nobody may deliver.
Content = int | None


def dying(work: Callable[[], object], at: int) -> bool:
    """Do something in a child killed before the step of that number; tell whether it was."""
    pid = os.fork()
    if pid == 0:
        left = at

        def watched(real):
            def step(*args, **more):
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **more)

            return step

        try:
            for name in STEPS:
                setattr(os, name, watched(getattr(os, name)))
            work()
        except (StateMissing, FileCorrupt):
            os._exit(0)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


class Life(RuleBasedStateMachine):
    """The state of one name in a cache and in a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.places = {name: Dir(self.directory / name).ram("s") for name in ("cache", "pool")}
        #: what each place may hold
        self.may: dict[str, set[Content]] = {"cache": {None}, "pool": {None}}
        self.damaged: set[str] = set()
        self.store = local_store()
        self.skip = locks.skip

    def teardown(self) -> None:
        locks.skip = self.skip
        shutil.rmtree(self.directory)

    def look(self, where: str) -> Content:
        """Return what is there, by its bytes alone."""
        path = self.places[where]
        if not path.exists():
            return None
        content = path.read_bytes()
        return next((n for n, known in CONTENTS.items() if known == content), -1)

    def run(self, where: str, new: Content, work: Callable[[], object], at: int | None) -> None:
        """Do or start something that makes a place hold something new."""
        if at is not None and dying(work, at):
            found = self.look(where)
            assert found in self.may[where] | {new}, f"{where} holds {found}: neither old nor new"
            if found == new and found != -1:
                self.damaged.discard(where)
            self.may[where] = {found}
            return
        if at is None:
            work()
        self.may[where] = {new}
        self.damaged.discard(where)

    DEATH = st.one_of(st.none(), st.integers(0, 40))

    @rule(where=WHERE, content=CONTENT, hashed=st.booleans(), at=DEATH)
    def set(self, where, content, hashed, at):
        path = self.places[where]
        self.run(where, content, lambda: put(path, CONTENTS[content], hashed=hashed), at)

    @rule(content=CONTENT)
    @precondition(lambda self: self.look("pool") is None)
    def somebody_copies_a_file_into_the_pool(self, content):
        """As avocado-i2n does; what a damaged file's record asked for went with the record."""
        path = self.places["pool"]
        if (path.parent / ".pool" / "s.state.json").exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENTS[content])
        self.may["pool"] = {content}
        self.store.info(str(path))

    @rule(up=st.booleans(), at=DEATH)
    def transfer(self, up, at):
        source, target = ("cache", "pool") if up else ("pool", "cache")
        one, other = str(self.places[source]), str(self.places[target])
        work = (lambda: self.store.publish(one, other)) if up else (
            lambda: self.store.fetch(one, other))  # fmt: skip
        holds = self.look(source)
        if holds is None or source in self.damaged:
            before, known = self.look(target), self.damaged.copy()
            try:
                work()
                raise AssertionError(f"{source} is missing or corrupt, and yet was delivered")
            except StateMissing:
                assert holds is None
            except FileCorrupt:
                assert source in self.damaged
            assert self.look(target) == before and self.damaged == known
            return
        self.run(target, holds, work, at)

    @rule(where=WHERE, at=DEATH)
    def remove(self, where, at):
        path = str(self.places[where])
        self.run(where, None, lambda: self.store.remove(path), at)
        if self.look(where) is None:
            self.damaged.discard(where)

    @rule(where=WHERE, keep_mtime=st.booleans(), at=st.integers(0, 2999))
    @precondition(lambda self: True)
    def damage(self, where, keep_mtime, at):
        if self.look(where) in (None, -1):
            return
        edit(self.places[where], at, b"!", keep_mtime)
        self.may[where] = {-1}
        self.damaged.add(where)

    @rule(where=WHERE)
    def touch(self, where):
        """Another mode, another name for it: its content is as good as before, if it was read."""
        if self.look(where) in (None, -1):
            return
        self.store.info(str(self.places[where]))
        self.places[where].chmod(random.choice([0o400, 0o444, 0o644]))

    @rule(off=st.booleans())
    def locks_may_do_nothing(self, off):
        locks.skip = (lambda: True) if off else self.skip

    @invariant()
    def places_hold_what_they_may_and_know_it(self):
        for where, path in self.places.items():
            found = self.look(where)
            assert found in self.may[where]
            if where in self.damaged:
                try:
                    self.store.info(str(path))
                    raise AssertionError(f"{where} is damaged, and nobody sees it")
                except FileCorrupt:
                    continue
            info = self.store.info(str(path))
            assert (info is None) == (found is None)
            if info is not None:
                assert info.digest == digest_of(path)
            names = self.store.names(str(path.parent))
            assert names == ([path.name] if found is not None else [])


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
