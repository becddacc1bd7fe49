"""A short run of every row; ``make torture`` is the long one."""

import subprocess
import sys

import pytest

from tests.support.processes import ROOT, environment
from tests.torture.rows import NAMES


# the points of real guests are tests of their own
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "guests"])
def test_all_hold(name):
    command = [sys.executable, "-m", "tests.torture", "--short", "--only", name]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "all held" in done.stdout, done.stdout + done.stderr
