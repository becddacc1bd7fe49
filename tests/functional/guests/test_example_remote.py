"""What ``make run-remote`` does: states in a pool on another host, which is gone afterwards."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.jobs import EXAMPLES
from tests.support.needs import need_programs, need_root

pytestmark = pytest.mark.guest

COMMAND = (sys.executable, str(EXAMPLES / "remote.py"), "--build")
NAMESPACES = Path("/run/netns")


@pytest.fixture(autouse=True)
def needs() -> None:
    need_root()
    need_programs("ip", "sshd", "ssh", "setpriv")


def processes(part: str) -> list[list[str]]:
    """Return the commands of running processes that have a text in their arguments."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace")
        except OSError:
            continue  # gone by now
        if part in command and file.parent.name != str(os.getpid()):
            found.append(command.split("\0"))
    return found


def guests(images: str) -> list[list[str]]:
    """Return the commands of running guests that have their images there."""
    return [command for command in processes(images) if "qemu-system" in command[0]]


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def leaves_nothing(build: Path, host: str) -> None:
    """Make sure that of a host's life only its states are left."""
    assert not (NAMESPACES / f"pool-lab-{host}").exists()
    assert not Path(f"/sys/class/net/pool{host}").exists()
    assert not (build / "lab" / "keys").exists()
    assert not (build / "lab" / "srv" / ".ssh").exists()
    # ssh notices by itself that its connection broke
    wait_for(lambda: not processes(str(build)), 10)


class Started:
    """The example, running on its own terminal so to say, with its output in a file."""

    def __init__(self, build: Path) -> None:
        self.build = build
        self._output = build.with_suffix(".out")
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*COMMAND, str(build)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.host = str(self.process.pid)
        wait_for(lambda: "host lab: " in self.output() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output()

    def output(self) -> str:
        return self._output.read_text()

    def servers(self) -> list[str]:
        """Return the ids of all processes on the host."""
        command = ["ip", "netns", "pids", f"pool-lab-{self.host}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    def send(self, number: int) -> int:
        """Send a signal as the terminal does, to the whole group; return the exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(60)


@pytest.fixture
def start() -> Iterator[Callable[[Path], Started]]:
    started: list[Started] = []

    def one(build: Path) -> Started:
        started.append(Started(build))
        return started[-1]

    yield one
    for example in started:
        if example.process.poll() is None:
            example.send(signal.SIGTERM)


def test_second_worker_starts_from_what_the_first_left_on_the_host(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(tmp_path)], capture_output=True, text=True, timeout=290, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, _, second = done.stdout.partition("a worker with an empty cache")

    assert "shared_pool = lab:/srv/states\n" in first
    assert "HostName 198.18." in first and "nets_" not in first
    assert re.findall(r"(\w+):  PASS", first) == ["install"]
    there = "lab:/srv/states/vm1/image1"
    published = re.findall(rf"published to {there}/(\S+)\.qcow2, copied: ", first)
    assert len(published) == 2 and published[0].startswith("base-") and published[1] == "install"

    assert "nets_shell_host_lab = 198.18." in second and "HostName" not in second
    assert re.findall(r"(\w+):  PASS", second) == ["plain"]
    assert "install:  SKIP: reused: 'install' of vm1/image1 is in lab:/srv/states" in second
    assert re.findall(rf"fetched from {there}/(\S+)\.qcow2, copied: ", second) == published
    assert "made by another recipe" not in second + done.stderr

    states = tmp_path / "lab" / "srv" / "states" / "vm1" / "image1"
    assert {path.stem for path in states.glob("*.qcow2")} == set(published)
    for worker in ("first-worker", "elsewhere/second-worker"):
        for name in published:
            copy = tmp_path / worker / "cache" / "vm1" / "image1" / f"{name}.qcow2"
            assert copy.read_bytes() == (states / copy.name).read_bytes()
    host = re.search(r"namespace pool-lab-(\d+)", first)
    assert host
    leaves_nothing(tmp_path, host[1])


def test_host_goes_after_ctrl_c_and_that_of_a_killed_run_with_the_next(
    tmp_path: Path, start: Callable[[Path], Started]
) -> None:
    killed = start(tmp_path / "killed")
    assert killed.servers()
    assert killed.send(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not killed.servers(), 10)
    assert (NAMESPACES / f"pool-lab-{killed.host}").exists()

    example = start(tmp_path / "interrupted")
    assert example.servers()
    assert not (NAMESPACES / f"pool-lab-{killed.host}").exists()
    images = f"{example.build}/first-worker/avocado/avocado-vt/images"
    wait_for(lambda: guests(images) or example.process.poll() is not None)
    assert example.send(signal.SIGINT) == 130, example.output()
    assert "Traceback" not in example.output()
    leaves_nothing(example.build, example.host)


def test_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--user", *COMMAND, str(tmp_path / "build")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "remote: network namespaces need root: run this as root\n"
    assert not (tmp_path / "build").exists()
