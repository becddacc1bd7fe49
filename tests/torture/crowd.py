"""Workers that share states through one directory at once, and what has to be true of it then."""

import contextlib
import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avocado.core import exceptions

from avocado_pool_plugin.core import chain
from avocado_pool_plugin.core.errors import FileCorrupt, PoolError
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.states import exchange
from avocado_pool_plugin.upkeep.gc import act
from avocado_pool_plugin.upkeep.site import Site
from tests.support import checking
from tests.support.states import get, put, unset
from tests.support.vms import Lab
from tests.torture.common_states import (
    BOTH,
    RAMS,
    SHARED,
    STRICT,
    Said,
    number_in,
    own,
    ram_of,
    rams,
    write,
)
from tests.torture.row import Row


@dataclass(frozen=True)
class Worker:
    """
    One of those at work.

    :param lab: its cache and images, and the pool as it sees it
    :param place: returns the pool as its keeper sees it
    :param begin: is called in its process before all else
    :param unsure: whether a file that nobody has read yet may be taken for one that was changed
    :param mixed: whether its file system may show parts of an old and a new file as one, which is
        then refused as corrupt
    """

    lab: Lab
    place: Callable[[], Site]
    begin: Callable[[], object] = int
    unsure: bool = False
    mixed: bool = False


class _Work:
    """What one worker does, a step at a time."""

    def __init__(self, number: int, worker: Worker, dice: random.Random, log: Path) -> None:
        self.number, self.worker, self.dice, self.log = number, worker, dice, log
        self.lab = worker.lab
        self.verbs = [self.set, self.get, self.keep, self.publish, self.fetch, self.ram]
        self.verbs += [self.unset, self.gc, self.verify]

    def run(self, steps: int) -> None:
        """Do some of all, in any order."""
        self.worker.begin()
        order = [*self.verbs, *(self.dice.choice(self.verbs) for _ in range(steps))][-steps:]
        self.dice.shuffle(order)
        for verb in order:
            name = verb.__name__
            try:
                verb()
                self.say(did=name)
            except FileCorrupt as error:
                unsure = error.expected is None and self.worker.unsure
                if not (unsure or self.worker.mixed):
                    self.say(wrong=traceback.format_exc())
                self.say(did="taken for corrupt", why=f"{name}: {error}")
            except (PoolError, exceptions.TestBaseException) as error:
                self.say(did=f"{name} refused", why=f"{type(error).__name__}: {error}")
            except BaseException:
                self.say(wrong=f"{name}: {traceback.format_exc()}")

    def say(self, **what: object) -> None:
        """Write down what happened."""
        with self.log.open("a") as file:
            file.write(json.dumps(what) + "\n")

    # -- verbs

    def _based(self) -> None:
        self.lab.image().unlink(missing_ok=True)
        get(self.lab, "base", **BOTH)

    def _put(self, state: str) -> None:
        """Save the image; there is one afterwards, come what may."""
        try:
            put(self.lab, state, **BOTH)
        except BaseException:
            assert self.lab.image().exists(), "a set that failed took the image"
            raise

    def set(self) -> None:
        """Make the state that all make, each with a number of its own."""
        self._based()
        write(self.lab.image(), self.dice.randrange(10, 250))
        self._put("s")

    def keep(self) -> None:
        """Make a state that is nobody else's."""
        self._based()
        number = self.dice.randrange(10, 250)
        write(self.lab.image(), number)
        self.say(keeping=number)
        self._put(own(self.number))
        self.say(kept=number)

    def get(self) -> None:
        """Use what somebody made."""
        self.lab.image().unlink(missing_ok=True)
        get(self.lab, "s", **BOTH)
        number_in(self.lab.image())

    def publish(self) -> None:
        """Bring what is in the cache, if anything is."""
        exchange.publish(State("vm1", "image1", "s"), self.lab.params())

    def fetch(self) -> None:
        """Bring all of it anew into an empty place."""
        place = self.lab.elsewhere(f"fetched{self.number}")
        shutil.rmtree(place.cache, ignore_errors=True)
        exchange.fetch(State("vm1", "image1", "s"), place.params())
        chain.verify(str(place.cache / "vm1" / "image1"), "s", STRICT)
        number_in(place.state("s"))

    def ram(self) -> None:
        """Publish a RAM file of one name and unlike content, then fetch it."""
        place = self.lab.elsewhere(f"ram{self.number}")
        params, state = place.params(images=""), State("vm2", None, "r")
        mine = place.cache / "vm2" / "r.state"
        checking.put_ram(mine, ram_of(self.dice.randrange(RAMS)))
        exchange.publish(state, params)
        mine.unlink()
        exchange.fetch(state, params)
        assert mine.read_bytes() in rams(), "not what anybody made"

    def unset(self) -> None:
        """Remove what all make."""
        self.lab.image().unlink(missing_ok=True)
        unset(self.lab, "s", **self.dice.choice([BOTH, SHARED]))

    def gc(self) -> None:
        """Collect what nobody needs, which is what others left behind, in the pool."""
        site = self.worker.place()
        with act.alone(site, 10):
            outcome = act.collect(site, act.decide(site, 1 << 50))
        states = [step for step in outcome.done if step.kind == "state"]
        assert states == [], f"removed though it is new: {states}"

    def verify(self) -> None:
        """Look for what is damaged: nothing is."""
        report = checking.Check(
            self.worker.place(), self.worker.place(), str(self.lab.root / f"seen{self.number}"),
            checking.ALL, None,
        ).run()  # fmt: skip
        bad = [f"{one.title} {one.kind}" for one in report.findings if one.kind == "corrupt"]
        assert bad == [], f"found damaged: {bad}"


def start(workers: Sequence[Worker], dice: random.Random, steps: int, logs: Path) -> list[int]:
    """Let all begin in processes of their own; return those."""
    pids = []
    for number, worker in enumerate(workers):
        own_dice = random.Random(dice.random())
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            work = _Work(number, worker, own_dice, logs / f"{number}.log")
            try:
                work.run(steps)
                session.close_all()
            except BaseException:
                work.say(wrong=traceback.format_exc())
            finally:
                os._exit(0)
        pids.append(pid)
    return pids


def ended(pids: Sequence[int], patience: float) -> list[int]:
    """Wait for processes; return the numbers of those that had to be killed."""
    deadline, hung = time.monotonic() + patience, []
    for number, pid in enumerate(pids):
        over = False
        while not over and time.monotonic() < deadline:
            over = os.waitpid(pid, os.WNOHANG) != (0, 0)
            time.sleep(0.02)
        # with what it started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if not over:
            os.waitpid(pid, 0)
            hung.append(number)
    return hung


def heard(logs: Path, row: Row) -> Said:
    """Return what workers said, and count it."""
    said = Said()
    for path in sorted(logs.glob("*.log")):
        number = int(path.stem)
        for line in path.read_text().splitlines():
            for what, value in json.loads(line).items():
                if what == "did":
                    row.count("refused" if value.endswith(" refused") else value)
                elif what == "keeping":
                    said.kept.setdefault(number, [None]).append(value)
                    said.tried.setdefault(number, [None]).append(value)
                elif what == "kept":
                    said.kept[number] = [value]
                elif what == "wrong":
                    said.wrong.append(f"worker {number}: {value}")
    return said
