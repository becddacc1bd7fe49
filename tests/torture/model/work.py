"""What workers do, each time in a process of its own."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from avocado_pool_plugin.core import pins
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.states.recover import recover_states
from avocado_pool_plugin.upkeep.gc import act, candidates
from avocado_pool_plugin.upkeep.gc.size import measure
from avocado_pool_plugin.upkeep.here import LocalSite
from tests.support import states
from tests.support.places import local_store
from tests.torture.model.world import POOLS, WORKERS, Key, World

GET, SET, UNSET, GC, RECOVER = "get", "set", "unset", "gc", "recover"
_VERBS = {GET: states.get, SET: states.put, UNSET: states.unset}


@dataclass(frozen=True)
class Op:
    """
    One operation.

    :param verb: ``GET SET UNSET GC RECOVER``
    :param worker: who does it
    :param vm: whose state
    :param state: its name
    :param own: in the cache only
    :param cascade: what stands on it may go
    :param place: of ``GC``
    :param stays: of ``GC``, the part that may stay
    :param delay: seconds before it begins
    """

    verb: str
    worker: int = 0
    vm: str = ""
    state: str = ""
    own: bool = False
    cascade: bool = False
    place: str = ""
    stays: float = 0.0
    delay: float = 0.0

    @property
    def cache(self) -> str:
        """The worker's."""
        return WORKERS[self.worker]

    @property
    def places(self) -> tuple[str, ...]:
        """Where it may change something."""
        if self.verb == GC:
            return (self.place,)
        beyond = self.verb in (SET, UNSET) and not self.own
        return (self.cache, *(POOLS if beyond else ()))

    def __str__(self) -> str:
        if self.verb == GC:
            return f"gc of {self.place} to {self.stays:.1f}"
        more = f"{' own' if self.own else ''}{' cascade' if self.cascade else ''}"
        return f"worker {self.worker}: {self.verb} {self.vm} {self.state}{more}"


def work(op: Op, world: World) -> Callable[[], None]:
    """Return what does an operation."""

    def do() -> None:
        time.sleep(op.delay)
        if op.verb == GC:
            _collect(op, world)
            return
        lab, options = world.labs[op.worker], world.options(op.vm, own=op.own)
        if op.verb == RECOVER:
            recover_states(lab.params(pool_fsync="no", **options))
            return
        if op.cascade:
            options[f"{op.verb}_cascade"] = "yes"
        _VERBS[op.verb](lab, op.state, **options)

    return do


def _collect(op: Op, world: World) -> None:
    """Make room, although nothing is old."""
    candidates.GRACE = -1e12
    root = str(world.root / op.place)
    site = LocalSite(Location(root), local_store())
    with act.alone(site, 20):
        act.collect(site, act.decide(site, int(measure(root) * op.stays)))


@contextmanager
def pinned(world: World, key: Key) -> Iterator[None]:
    """A process that needs a state, as a graph run does, until the context ends."""
    ready, tell = os.pipe()
    wait, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            os.close(end)
            root = world.root / key.place
            names = [str(world.file(key).relative_to(root))]
            # a beat of it would be one of the calls that are counted
            with pins.hold(str(root), names, lease=3600, by="the model"):
                os.write(tell, b"x")
                os.read(wait, 1)
        os._exit(0)
    os.close(tell)
    os.close(wait)
    try:
        assert os.read(ready, 1), "nothing could be pinned"
        yield
    finally:
        os.write(end, b"x")  # later ones have it open as well
        os.close(ready)
        os.close(end)
        os.waitpid(pid, 0)
