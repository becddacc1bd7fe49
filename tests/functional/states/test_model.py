"""One image's states under get, write, set, unset, pop and kills, against a model in a dict."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avocado.core import exceptions
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from avocado_pool_plugin.core.errors import StateNeeded
from avocado_pool_plugin.states.recover import recover_states
from tests.support.processes import in_child
from tests.support.states import OWN, get, pop, put, show, unset
from tests.support.vms import Lab, sound, tool, write

SLOTS = 4
NAMES = st.sampled_from(["a", "b", "c"])
Content = tuple[int, ...]
KILLED = 9


@dataclass(frozen=True)
class Known:
    """What a state has to hold, and what it stands on."""

    content: Content
    parent: str


class States(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="pool-model-"))
        self.lab = Lab(self.root)
        self.states: dict[str, Known] = {}
        self.image: Content = (0,) * SLOTS
        self.on = ""

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @initialize()
    def blank(self) -> None:
        self.lab.make_image(size=f"{SLOTS}M")

    # the model

    def children(self, name: str) -> list[str]:
        return [other for other, known in self.states.items() if known.parent == name]

    def after_set(self, name: str) -> None:
        if self.children(name):
            return  # kept, or equal anyway
        stands_on_it = name == self.on
        parent = self.states[name].parent if stands_on_it else self.on
        self.states[name] = Known(self.image, parent)
        self.on = name

    def after_get(self, name: str) -> None:
        self.image, self.on = self.states[name].content, name

    def after_unset(self, name: str) -> None:
        gone = self.states.pop(name)
        if self.on == name:
            self.on = gone.parent

    # what users do

    @rule(slot=st.integers(0, SLOTS - 1), pattern=st.integers(1, 250))
    def write(self, slot: int, pattern: int) -> None:
        write(self.lab.image(), pattern, f"{slot}M")
        self.image = (*self.image[:slot], pattern, *self.image[slot + 1 :])

    @rule(name=NAMES)
    def set(self, name: str) -> None:
        put(self.lab, name, **OWN)
        self.after_set(name)

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        if name in self.states:
            get(self.lab, name, **OWN)
            self.after_get(name)
        else:
            with contextlib.suppress(exceptions.TestAbortError):
                get(self.lab, name, **OWN)
                raise AssertionError("got what is not there")

    @rule(name=NAMES)
    def unset(self, name: str) -> None:
        if self.children(name):
            with contextlib.suppress(StateNeeded):
                unset(self.lab, name, **OWN)
                raise AssertionError("removed what others stand on")
            return
        unset(self.lab, name, **OWN)
        if name in self.states:
            self.after_unset(name)

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def pop(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.states)))
        self.after_get(name)
        if self.children(name):
            with contextlib.suppress(StateNeeded):
                pop(self.lab, name, **OWN)
                raise AssertionError("removed what others stand on")
            return
        pop(self.lab, name, **OWN)
        self.after_unset(name)

    @rule(name=NAMES, at=st.integers(1, 12))
    def killed_set(self, name: str, at: int) -> None:
        before = dict(self.states)
        self.killed(lambda: put(self.lab, name, **OWN), at)
        self.after_set(name)
        self.settle(name, before)

    @precondition(lambda self: any(not self.children(name) for name in self.states))
    @rule(data=st.data(), at=st.integers(1, 6))
    def killed_unset(self, data: st.DataObject, at: int) -> None:
        free = [name for name in sorted(self.states) if not self.children(name)]
        name = data.draw(st.sampled_from(free))
        before = dict(self.states)
        self.killed(lambda: unset(self.lab, name, **OWN), at)
        self.after_unset(name)
        self.settle(name, before)

    def killed(self, work: Callable[[], None], at: int) -> None:
        """Work in a process that is gone, as by SIGKILL, just before its n-th change of a name."""

        def child() -> None:
            count = 0

            def dying(real: Callable[..., None]) -> Callable[..., None]:
                def call(*args: object, **more: object) -> None:
                    nonlocal count
                    count += 1
                    if count == at:
                        os._exit(KILLED)
                    real(*args, **more)

                return call

            for name in ("rename", "replace", "unlink", "link"):
                setattr(os, name, dying(getattr(os, name)))
            work()

        assert in_child(child) in (0, KILLED)
        recover_states(self.lab.params(pool_fsync="no", **OWN))

    def settle(self, name: str, before: dict[str, Known]) -> None:
        """Old or new: find out which, and go on from there."""
        there = name in show(self.lab, **OWN)
        held = content(self.lab.state(name)) if there else None
        new, old = self.states.get(name), before.get(name)
        assert held in ((new and new.content), (old and old.content))
        parents = {known.parent for known in (new, old) if known}
        if there:
            parent = tool_parent(self.lab.state(name))
            assert parent in parents and held is not None
            self.states[name] = Known(held, parent)
        else:
            self.states.pop(name, None)
        self.on = tool_parent(self.lab.image())

    # what always has to be true

    @invariant()
    def image_is_whole(self) -> None:
        if self.lab.image().exists():  # not yet before the first step
            sound(self.lab.image())
            assert content(self.lab.image()) == self.image
            assert tool_parent(self.lab.image()) == self.on

    @invariant()
    def states_are_as_they_were_set(self) -> None:
        assert show(self.lab, **OWN) == sorted(self.states)
        for name, known in self.states.items():
            sound(self.lab.state(name))
            assert content(self.lab.state(name)) == known.content
            assert tool_parent(self.lab.state(name)) == known.parent


def content(image: Path) -> Content:
    """Return the first byte of each slot as a guest would read it."""
    raw = image.parent / ".content.raw"
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
    with raw.open("rb") as file:
        found = []
        for slot in range(SLOTS):
            file.seek(slot << 20)
            found.append(file.read(1)[0])
    raw.unlink()
    return tuple(found)


def tool_parent(image: Path) -> str:
    from tests.support.vms import backing

    return Path(backing(image)).stem if backing(image) else ""


TestStates = States.TestCase
TestStates.settings = settings(
    max_examples=int(os.environ.get("POOL_MODEL_EXAMPLES", "15")),
    stateful_step_count=14,
    deadline=None,
)
