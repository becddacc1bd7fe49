"""Real guests for the rows about states of running vms, each in an ``avocado run`` of one test."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import peer_python
from benchmarks.jobs import SUITE, run_test
from benchmarks.lab import CHECKOUT, tool
from benchmarks.measure import Contender, Samples, alternate

sys.path.insert(0, str(CHECKOUT / "examples"))

from configure import SUITE as EXAMPLE
from configure import Environment, configure, kvm_works, stop_machines

#: Where the wheel of avocado-i2n puts its example of a suite, below its environment.
_CONTROL = "lib/python*/site-packages/usr/share/*/tp_folder/controls/pre_test.control"
__all__ = ["Guests", "Measured", "kvm_works"]

#: What a test told, by name.
Figures = dict[str, float]


@dataclass(frozen=True)
class Guests:
    """
    A suite with one vm, and a cache of its states.

    :param env: where Avocado finds both
    :param runs: counted runs of each contender
    """

    env: Environment
    runs: int

    @classmethod
    def below(cls, root: Path, runs: int) -> "Guests":
        """Set up everything in a directory, over what an earlier run left."""
        shutil.rmtree(root, ignore_errors=True)
        own = Environment(
            venv=root / "venv",
            data=root / "data",
            pool=root / "pool",
            cache=root / "cache",
            provider=SUITE,
            configs=SUITE / "guests",
        )
        try:
            found = cls(configure(own), runs)
        except ValueError as error:
            sys.exit(f"benchmark: {error}")
        configs = found.env.vt_config.parent
        (configs / "base.cfg").symlink_to(EXAMPLE / "cfg" / "base.cfg")
        (configs / "places.cfg").write_text(found._places())
        return found

    @property
    def _home(self) -> Path:
        return self.env.images / "vm1"

    def _places(self) -> str:
        (control,) = peer_python().parents[1].glob(_CONTROL)
        values = {
            "swarm_pool": self.env.cache,
            "shared_pool": self.env.pool,
            "vms_base_dir": f"{self.env.images}/",
            "images_base_dir": f"{self._home}/",
            "i2n_control": control,
        }
        return "".join(f"{name} = {value}\n" for name, value in values.items())

    def close(self) -> None:
        """End vms that a failed test may have left, and remove all files."""
        stop_machines(self.env)
        shutil.rmtree(self.env.data.parent)

    def forget(self) -> None:
        """Remove all states, and make the vm's image anew."""
        shutil.rmtree(self.env.cache)
        self.env.cache.mkdir()
        self.renew()

    def renew(self) -> None:
        """Make the vm's image anew; a contender who replaces it has done so before, too."""
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir()
        base, image = self.env.guest / "base.qcow2", self._home / "image.qcow2"
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, image)

    def leave_state(self) -> None:
        """Make the state that all contenders get."""
        self.forget()
        self._run("leave", "ours", ["set"])

    def measure(self, work: str, fresh: bool, *ways: str) -> "Measured":
        """
        Have a work done in several ways in turn; see suite/guests/subtests.cfg.

        :param fresh: whether there is no state before each run
        """
        told: dict[str, list[Figures]] = {way: [] for way in ways}

        def contender(way: str) -> Contender:
            def run() -> float:
                verbs = ["got", "got"] if (work, way) == ("before", "ours") else []
                told[way].append(self._run(work, way, verbs))
                return told[way][-1]["seconds"]

            return Contender(run, self.forget if fresh else self.renew)

        alternate({way: contender(way) for way in ways}, self.runs)
        # the first of each does not count
        return Measured({way: figures[1:] for way, figures in told.items()})

    def _run(self, work: str, way: str, verbs: list[str]) -> Figures:
        python = peer_python() if way == "i2n" else None
        options = [] if way == "ours" else ["--pool-off"]
        test = f"{work}..by_{way}"
        ran = run_test(self.env, test, verbs, *options, python=python)
        (told,) = ran.directory.glob("test-results/*/figures.json")
        return dict(json.loads(told.read_text()))


@dataclass(frozen=True)
class Measured:
    """
    What the tests told.

    :param figures: of each run, by way
    """

    figures: dict[str, list[Figures]]

    def samples(self, way: str, name: str = "seconds") -> Samples:
        """Return one figure of all runs."""
        return Samples(self.all(way, name))

    def all(self, way: str, name: str) -> list[float]:
        """Return one figure of all runs, as numbers."""
        return [figures[name] for figures in self.figures[way]]
