"""Two writers of a file without locks: whichever comes last, its file has its record."""

import threading
from typing import Any

import pytest

from avocado_pool_plugin.core import knowledge, records
from tests.support.places import POLICY, put


@pytest.mark.stress
def test_a_record_that_another_one_went_over_stays_findable(pool, monkeypatch):
    """The last one has its file in place and its record under that of the one before it."""
    path = pool.ram("s")
    write, names = records.write_record, records.pending_names
    written, done = threading.Event(), threading.Event()
    last = threading.Thread(target=lambda: put(path, b"the last"))

    def write_record(*args: Any) -> None:
        if threading.current_thread() is not last and not last.ident:
            last.start()
            assert written.wait(20)
        write(*args)
        if threading.current_thread() is last:
            written.set()
            assert done.wait(20)

    monkeypatch.setattr(records, "write_record", write_record)
    first = put(path, b"first")
    done.set()
    last.join(20)
    assert records.read_record(str(path)).info.generation == first.generation
    assert names(str(path)) and path.read_bytes() == b"the last"
    assert knowledge.identify(str(path), POLICY).size == len(b"the last")
