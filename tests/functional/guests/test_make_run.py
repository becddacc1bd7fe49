"""What ``make run`` does, twice: the second time with an emptied cache nothing is rebuilt."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.jobs import EXAMPLES, kvm_works

pytestmark = pytest.mark.guest


def run(build: Path) -> str:
    command = [sys.executable, str(EXAMPLES / "run.py"), "--build", str(build)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(600)
def test_emptied_cache_and_kept_pool_rebuild_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert "5 to run" in first and "reused" not in first.partition("a worker with an empty")[0]
    passed = re.findall(r"(\w+):  PASS", first)
    assert sorted(passed[:5]) == ["consumer_a", "consumer_b", "customize", "install", "plain"]
    assert passed[0] == "install" and passed.index("customize") < passed.index("consumer_a")
    drawn = Path(re.search(r"^picture: (.*)$", first, re.MULTILINE)[1])
    assert "customize" in (Path.cwd() / drawn).read_text()
    states = {path: path.stat().st_ino for path in (tmp_path / "pool").rglob("*.qcow2")}
    shutil.rmtree(tmp_path / "cache")
    second = run(tmp_path)
    assert "3 to run, 2 reused" in second
    for test in ("install", "customize"):
        assert f"{test}:  SKIP: reused: '{test}' of vm1/image1 is in " in second
    for test in ("consumer_a", "consumer_b", "plain"):
        assert f"{test}:  PASS" in second
    assert states == {path: path.stat().st_ino for path in (tmp_path / "pool").rglob("*.qcow2")}


def test_accelerator_is_probed_and_not_believed() -> None:
    assert kvm_works("tcg")
    assert not kvm_works("no-such-accelerator")
