"""What ``make run`` does, twice: the second time with an emptied cache nothing is rebuilt."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.jobs import EXAMPLES, kvm_works

pytestmark = pytest.mark.guest


PRODUCERS = {
    "install": ("vm1/image1",),
    "customize": ("vm1/image1",),
    "ready": ("vm1", "vm1/image1"),
    "two_disks": ("vm2", "vm2/image1", "vm2/image2"),
}
CONSUMERS = ("consumer_a", "consumer_b", "plain", "resumed", "two_vms")


def run(build: Path) -> tuple[str, str]:
    """Return what is printed by each of the two workers."""
    command = [sys.executable, str(EXAMPLES / "run.py"), "--build", str(build)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    first, _, second = done.stdout.partition("a worker with an empty cache")
    return first, second


def passed(output: str) -> list[str]:
    """Return the tests that passed, in the order in which they ended."""
    return re.findall(r"(\w+):  PASS", output)


def listed(output: str) -> dict[str, dict[str, set[str]]]:
    """Return the states of each object in each place, as they are listed at the end."""
    places: dict[str, dict[str, set[str]]] = {}
    own: dict[str, set[str]] = {}
    for line in output.partition("States:\n")[2].splitlines():
        name, _, states = line.strip().partition(": ")
        if states:
            own[name] = set(re.findall(r"(\S+) [\d.]+ MiB", states))
        else:
            own = places[Path(name.rstrip(":")).name] = {}
    return places


def files(pool: Path) -> dict[Path, int]:
    """Return the state files of a pool with their inodes."""
    found = [path for pattern in ("*.qcow2", "*.state") for path in pool.rglob(pattern)]
    return {path: path.stat().st_ino for path in found}


@pytest.mark.timeout(600)
def test_emptied_cache_and_kept_pool_rebuild_nothing(tmp_path: Path) -> None:
    first, elsewhere = run(tmp_path)
    assert "9 to run" in first and "reused" not in first
    ended = passed(first)
    assert sorted(ended) == sorted([*PRODUCERS, *CONSUMERS])
    for sooner, later in (
        ("install", "customize"), ("customize", "consumer_a"), ("customize", "ready"),
        ("ready", "resumed"), ("ready", "two_vms"), ("two_disks", "two_vms"),
    ):  # fmt: skip
        assert ended.index(sooner) < ended.index(later)
    drawn = Path(re.search(r"^picture: (.*)$", first, re.MULTILINE)[1])
    assert "customize" in (Path.cwd() / drawn).read_text()

    assert sorted(passed(elsewhere)) == ["consumer_a", "resumed"]
    assert re.search(r"3 got \([^)]*miss[^)]*\), 5 fetched", elsewhere) and "3 reused" in elsewhere
    places = listed(elsewhere)
    assert list(places) == ["pool", "cache", "cache-of-another-worker"]
    for place in ("pool", "cache"):
        for state, objects in PRODUCERS.items():
            for name in objects:
                assert state in places[place][name], (place, name)
    assert places["cache-of-another-worker"]["vm1"] == {"ready"}
    assert "vm2" not in places["cache-of-another-worker"]

    states = files(tmp_path / "pool")
    shutil.rmtree(tmp_path / "cache")
    second, _ = run(tmp_path)
    assert "5 to run, 4 reused" in second
    for test, objects in PRODUCERS.items():
        assert f"{test}:  SKIP: reused: '{test}' of {objects[0]} is in " in second
    assert sorted(passed(second)) == sorted(CONSUMERS)
    assert states == files(tmp_path / "pool")


def test_accelerator_is_probed_and_not_believed() -> None:
    assert kvm_works("tcg")
    assert not kvm_works("no-such-accelerator")
