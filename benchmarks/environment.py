"""
An environment with avocado-i2n, apart from ours, and programs of ours that run in it.

This checkout is installed in it as well, as it is with users who come from avocado-i2n.
"""

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from filelock import FileLock

CHECKOUT = Path(__file__).resolve().parents[1]
PEER = "avocado-framework-plugin-i2n==103.0"
#: Avocado 113 imports pkg_resources, which later setuptools lack.
_NEEDED = ("setuptools<81", PEER)
_HOME = CHECKOUT / ".build" / "peer"


def peer_python() -> Path:
    """Return the environment's Python; it is made, or brought up to date, if need be."""
    python, stamp = _HOME / "bin" / "python", _HOME / "ready"
    _HOME.parent.mkdir(exist_ok=True)
    with FileLock(_HOME.with_suffix(".lock")):
        want = _fingerprint()
        if not stamp.exists() or stamp.read_text() != want:
            _make(python)
            stamp.write_text(want)
    return python


def _make(python: Path) -> None:
    if not _works(python):
        venv.create(_HOME, clear=True, with_pip=True)
    command = [python, "-m", "pip", "install", "-q", *_NEEDED, "--editable", CHECKOUT]
    subprocess.run(list(map(str, command)), env=variables(), check=True)


def _works(python: Path) -> bool:
    """Tell whether there is such an environment, made by this very Python."""
    found = subprocess.run(
        [str(python), "-c", "import pip, sys; print(sys.version)"],
        capture_output=True,
        text=True,
        check=False,
    ) if python.exists() else None  # fmt: skip
    return found is not None and found.stdout.rstrip("\n") == sys.version


def _fingerprint() -> str:
    """Return what changes with anything that the environment is made of."""
    parts = [str(_HOME), sys.version, *_NEEDED]
    parts += [(CHECKOUT / name).read_text() for name in ("setup.py", "pyproject.toml")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def variables(**more: str) -> dict[str, str]:
    """Return environment variables for programs that run in it, not in ours."""
    leave = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name not in leave} | more


class Answering:
    """
    A program that answers each line of its input with one; see :mod:`benchmarks.answers`.

    :param module: what to run, by its name in this checkout
    """

    def __init__(self, module: str, errors: int | None = subprocess.DEVNULL) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [str(peer_python()), "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=CHECKOUT,
            env=variables(),
        )

    def tell(self, do: str, **what: Any) -> None:
        """Hand over work."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **what}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """
        Wait for what became of it.

        :raises RuntimeError: the program died
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} in {_HOME} died")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the program."""
        self._process.terminate()
        self._process.communicate()
