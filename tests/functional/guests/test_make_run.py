"""What ``make run`` does, twice: the second time with an emptied cache nothing is rebuilt."""

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
    assert "nothing to rebuild" not in first
    assert "install:  PASS" in first and "customize:  PASS" in first
    states = {path: path.stat().st_ino for path in (tmp_path / "pool").rglob("*.qcow2")}
    shutil.rmtree(tmp_path / "cache")
    second = run(tmp_path)
    assert "nothing to rebuild: install, customize come from the pool" in second
    assert " install:" not in second and " customize:" not in second
    for test in ("consumer_a", "consumer_b", "plain"):
        assert f"{test}:  PASS" in second
    assert states == {path: path.stat().st_ino for path in (tmp_path / "pool").rglob("*.qcow2")}


def test_accelerator_is_probed_and_not_believed() -> None:
    assert kvm_works("tcg")
    assert not kvm_works("no-such-accelerator")
