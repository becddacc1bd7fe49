from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.environment import Answering
from tests.support.i2n import Answered, Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """A cache, a pool and no image yet."""
    return Suite(tmp_path)


@pytest.fixture(scope="module")
def policies() -> Iterator[Answering]:
    yield from _running("policies")


@pytest.fixture(scope="module")
def hooks() -> Iterator[Answering]:
    yield from _running("hooks")


def _running(module: str) -> Iterator[Answering]:
    program = Answering(f"tests.functional.i2n.{module}", errors=None)
    yield program
    program.close()


@pytest.fixture
def policy(policies: Answering, suite: Suite) -> Callable[..., Any]:
    """Do a verb by avocado-i2n's own policies."""

    def do(verb: str, of: Suite = suite, **params: str) -> Any:
        return ask(policies, "policy", verb=verb, params=of.params(**params))

    return do


def ask(program: Answering, do: str, **what: Any) -> Any:
    """Return what a program answers; an error that it answers is raised."""
    program.tell(do, **what)
    answer = program.answer()
    if "error" in answer:
        raise Answered(answer)
    return answer["result"]
