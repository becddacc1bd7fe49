"""What a test needs of the machine: missing is a skip for a person, a failure under CI."""

import os
import shutil

import pytest


def need(there: bool, what: str) -> None:
    """Skip the test unless something is there; under ``CI=true`` fail instead."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs {what}, and CI must have it")
    pytest.skip(f"needs {what}")


def need_root() -> None:
    need(os.geteuid() == 0, "root (mounts)")


def need_programs(*names: str) -> None:
    for name in names:
        need(shutil.which(name) is not None, f"the program {name}")
