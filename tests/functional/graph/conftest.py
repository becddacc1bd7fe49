"""A worker with tests that work on images but boot nothing, run as a graph."""

from pathlib import Path

import pytest

from tests.support.graphs import GraphWorker


@pytest.fixture
def worker(tmp_path: Path) -> GraphWorker:
    return GraphWorker(tmp_path)
