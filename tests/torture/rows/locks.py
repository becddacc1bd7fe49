"""All that many do at once, without any locks, and with locks that keep nobody out."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.support import stubbed
from tests.support.processes import ROOT
from tests.torture.locking import variables
from tests.torture.row import Row, Wish

_MARK = "pytest.mark.stress"
_RIGHT = "each test of many at once passes: no state is torn, mixed or lost"
_HOW = {
    stubbed.NONE: "tests of many at once, every lock a no-op, no flock on other hosts",
    stubbed.BLIND: "tests of many at once, flock(2) always succeeds, on other hosts as well",
}
#: Quick ones of all sorts, for the short run. With locks as they are, all are among the tests.
_QUICK = (
    "tests/unit/test_core_knowledge.py",
    "tests/functional/states/test_stress.py::test_two_caches_publish_different_content[no locks]",
    "tests/functional/states/test_stress.py::test_readers_while_a_chain_is_replaced[locks]",
    "tests/faults/test_together.py::test_eight_processes_fetch_one_chain_into_one_cache[locks]",
    "tests/faults/test_remote_together.py::test_who_sends_the_same_at_once_does_not_spoil_it",
)
#: Seconds for all of it, many times what it takes.
_PATIENCE = 1800


class Failed(Exception):
    """A test did not pass."""


@dataclass(frozen=True)
class _Run:
    """Tests at work under one kind of locks."""

    kind: str
    process: "subprocess.Popen[bytes]"
    report: Path
    log: Path

    def cases(self) -> list[ElementTree.Element]:
        """Return what is said of each test, in the end."""
        self.process.wait(_PATIENCE)
        if not self.report.exists():
            return []
        return list(ElementTree.parse(self.report).iter("testcase"))


def rows(wish: Wish) -> Iterator[Row]:
    """Run the tests under both kinds of locks at once."""
    tests = list(_QUICK) if wish.short else _files()
    wish.dice("order of tests").shuffle(tests)
    with wish.directory("locks") as directory:
        runs = [_start(kind, tests, directory) for kind in _HOW]
        try:
            for run in runs:
                wish.progress(f"tests of many at once, locks: {run.kind}")
                yield _judge(run)
        finally:
            for run in runs:
                run.process.kill()
                run.process.wait()


def _files() -> list[str]:
    """Return the files that have such tests."""
    found = (ROOT / "tests").rglob("test_*.py")
    return sorted(str(path.relative_to(ROOT)) for path in found if _MARK in path.read_text())


def _start(kind: str, tests: list[str], directory: Path) -> _Run:
    report, log = directory / f"{kind}.xml", directory / f"{kind}.log"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "stress", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}", f"--basetemp={directory / kind}", *tests]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables(kind), stdin=subprocess.DEVNULL, stdout=said,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    return _Run(kind, process, report, log)


def _judge(run: _Run) -> Row:
    row, cases = Row(_HOW[run.kind], _RIGHT), run.cases()
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        with row.trying(f"python -m tests.torture.locking {run.kind} -m pytest, {name}"):
            for bad in (*case.iter("failure"), *case.iter("error"), *case.iter("skipped")):
                row.count("failed")
                raise Failed((bad.text or bad.get("message") or "")[-3000:])
            row.count("passed")
    if not cases or (run.process.returncode and not row.wrong):
        row.wrong.append(run.log.read_text(errors="replace")[-3000:])
    return row
