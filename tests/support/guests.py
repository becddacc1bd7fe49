"""Workers whose tests do steps of tests/functional/guests/steps in guests, around vm states."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from avocado_pool_plugin.core import knowledge, vmstate
from avocado_pool_plugin.core.records import FileInfo
from tests.support.jobs import EXAMPLES, PATIENCE, Job, Worker, configure

STEPS = Path(__file__).resolve().parents[1] / "functional" / "guests" / "steps"

SUITE = """\
memory_module = {memory}
variants:
    - install:
        image_chain = golden image1
        force_create_image = yes
        type = guest_files
        files_written = /root/installed
        set_state_images = install
    - ready:
        get_state_images = install
        type = guest_memory
        memory_written = answer
        set_state_vms = ready
    - {name}:
        type = vm_steps
        step = {step}
{params}
"""


class Machines(Worker):
    """A worker whose suite does the steps of steps/ in guests."""

    def __init__(self, root: Path, pool: Path) -> None:
        super().__init__(root, pool)
        provider = root / "provider" / "qemu" / "tests"
        provider.mkdir(parents=True)
        for source in (EXAMPLES / "suite" / "qemu" / "tests", STEPS / "qemu" / "tests"):
            for module in source.glob("*.py"):
                (provider / module.name).symlink_to(module)
        self.env = configure(replace(self.env, provider=root / "provider"))

    def do(self, step: str, name: str = "", **params: object) -> Job:
        """Run one step as a test of the suite."""
        lines = "".join(f"        {key} = {value}\n" for key, value in params.items())
        memory = EXAMPLES / "suite" / "qemu" / "tests" / "guest_memory.py"
        name = name or step
        text = SUITE.format(memory=memory, name=name, step=step, params=lines)
        subtests = self.env.vt_config.parent / "subtests.cfg"
        subtests.unlink()
        subtests.write_text(text)
        return self.run(name)

    def avocado(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line program, which may leave processes behind that hold its output."""
        command = [str(Path(sys.executable).with_name("avocado")), *arguments]
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(
                command,
                env=self.env.variables(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, output.read(), "")

    def ram(self, state: str = "ready") -> Path:
        return self.cache / "vm1" / f"{state}.state"

    def image_state(self, state: str = "ready") -> Path:
        return self.cache / "vm1" / "image1" / f"{state}.qcow2"


def passport(ram: Path) -> dict[str, str]:
    passport = _known(ram).passport
    assert passport is not None
    return dict(passport.machine)


def generation(ram: Path) -> str:
    """Return what tells a RAM file from all others of its name."""
    return _known(ram).generation


def whole(ram: Path) -> bool:
    """Tell whether a RAM file stands beside the image states that it was saved with."""
    passport = _known(ram).passport
    assert passport is not None
    return not vmstate.strangers(str(ram), passport)


def _known(ram: Path) -> FileInfo:
    """Return what is recorded of a RAM file, be it by a writer that was killed just then."""
    known = knowledge.peek(str(ram))
    assert known is not None
    return known.info


def with_ready(root: Path) -> Machines:
    """Return a worker with the vm state ``ready`` on the image state ``install``, both pooled."""
    worker = Machines(root / "first", root / "pool")
    worker.do("recall", "none")  # writes the suite; there is no such vm state to be recalled
    for name in ("install", "ready"):
        worker.run(name).passed()
    return worker


@contextmanager
def left_as_they_are(*places: Path) -> Iterator[None]:
    """Give directories of states back as they were."""
    for place in places:
        shutil.copytree(place, place.with_name(f"{place.name}-kept"), symlinks=True)
    try:
        yield
    finally:
        for place in places:
            shutil.rmtree(place)
            place.with_name(f"{place.name}-kept").rename(place)
