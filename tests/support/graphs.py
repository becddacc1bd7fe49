"""Real ``avocado run`` of tests that work on images but boot nothing."""

import subprocess
from dataclasses import replace
from pathlib import Path

from tests.support.jobs import Job, Worker, configure

SUITE = Path(__file__).resolve().parents[1] / "functional" / "graph" / "suite"

_BASE = """
include paths.cfg
provider = pool_example
vm_type = qemu
machine_type = pc
nics =
vms = vm1
main_vm = vm1
start_vm = no
images = image1
image_name = images/vm1
image_format = qcow2
image_size = 32M
image_name_vm2 = images/vm2
type = image_work
verify_host_dmesg = no
include subtests.cfg
"""

#: install <- customize <- a, b; install <- plain. Every test proves where it started from.
CHAIN = """
variants:
    - consumer_a:
        get_state_images = customize
        marks_wanted = 1 2
        marks_unwanted = 3 4
        marks_written = 3
    - customize:
        get_state_images = install
        marks_wanted = 1
        marks_unwanted = 2 3
        marks_written = 2
        set_state_images = customize
    - consumer_b:
        get_state_images = customize
        marks_wanted = 1 2
        marks_unwanted = 3 4
        marks_written = 4
    - install:
        force_create_image = yes
        marks_written = 1
        set_state_images = install
    - plain:
        get_state_images = install
        marks_wanted = 1
        marks_unwanted = 2
"""


class GraphWorker(Worker):
    """
    A worker whose tests are given as text of a Cartesian config.

    :param root: directory of its own; the pool is in it unless another one is given
    """

    def __init__(self, root: Path, pool: Path | None = None, **options: str) -> None:
        super().__init__(root, pool or root / "pool", **options)
        self.journal = root / "journal"
        self._configs = root / "configs"
        self.tests(CHAIN)

    def tests(self, variants: str) -> "GraphWorker":
        """Let the suite have these tests."""
        self._configs.mkdir(exist_ok=True)
        (self._configs / "subtests.cfg").write_text(variants)
        (self._configs / "tests.cfg").write_text(f"journal = {self.journal}\n{_BASE}")
        self.env = configure(replace(self.env, configs=self._configs, provider=SUITE))
        return self

    def graph(self, *arguments: str) -> Job:
        """Run tests as a graph; the journal then holds what this run did."""
        self.journal.unlink(missing_ok=True)
        return self.run("--suite-runner", "pool-graph", *arguments)

    def pool_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a sub-command of ``avocado pool`` on the suite."""
        name, *rest = arguments
        return self.avocado("pool", name, "--vt-config", str(self.env.vt_config), *rest)

    def state(self, name: str, image: str = "image1", vm: str = "vm1", *, pool: bool) -> Path:
        """Return the file of a state in the pool or in the cache."""
        root = Path(self.env.pool) if pool else self.env.cache
        return root / vm / image / f"{name}.qcow2"

    def lines(self) -> list[list[str]]:
        """Return time, test and event of each line of the journal."""
        if not self.journal.exists():
            return []
        return [line.split(maxsplit=2) for line in self.journal.read_text().splitlines()]

    def ran(self) -> list[str]:
        """Return the tests that began, in order."""
        return [test for _, test, event in self.lines() if event == "begins"]
