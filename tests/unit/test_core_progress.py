"""Reports of long operations: who is told, and how many bytes there are in truth."""

import logging
import os
import threading

import pytest

from avocado_pool_plugin.core import progress
from avocado_pool_plugin.core.copy import copy_file
from avocado_pool_plugin.core.progress import (
    Count,
    LogProgress,
    Task,
    data_size,
    reported,
    reporting,
)
from avocado_pool_plugin.states.ops import TransferOps
from tests.support.places import digest_of
from tests.support.vms import Lab

MIB = 1 << 20
NAME = "avocado.avocado_pool_plugin.core.progress"


@pytest.fixture
def sparse(tmp_path):
    """64 MiB of which 3 MiB and a bit, in two places, are data."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
        for start, length in ((8 * MIB, MIB), (40 * MIB, 2 * MIB + 4096)):
            os.pwrite(file.fileno(), b"x" * length, start)
    return path


def collector():
    """Return a reporter, and what it is told: what, which file, the bytes."""
    told = []

    class Told(list):
        def __enter__(self):
            told.append(self)
            return self.append

        def __exit__(self, *error):
            self.append("end")

    return (lambda task: Told([task.doing, task.path])), told


def test_holes_are_not_counted(sparse):
    assert sparse.stat().st_size == 64 * MIB
    assert data_size(str(sparse)) == 3 * MIB + 4096
    assert data_size(f"{sparse}-gone") == 0


def test_a_copy_tells_as_many_bytes_as_are_counted_before(sparse, tmp_path):
    told = []
    copy_file(str(sparse), str(tmp_path / "copy"), progress=told.append)
    assert sum(told) == Count(Task("fetching", str(sparse))).total == 3 * MIB + 4096
    assert digest_of(tmp_path / "copy") == digest_of(sparse)


@pytest.mark.parametrize("down", [True, False], ids=["fetching", "publishing"])
def test_file_operations_report_the_file_that_they_read(sparse, tmp_path, down):
    lab = Lab(tmp_path)
    here, there = lab.state("a").with_suffix(".state"), lab.shared("a").with_suffix(".state")
    source = there if down else here
    source.parent.mkdir(parents=True)
    sparse.rename(source)
    reporter, told = collector()
    with reporting(reporter):
        move = TransferOps.download if down else TransferOps.upload
        move(str(here), f":{there}", lab.params())
    assert len(told) == 1
    doing, path, *numbers, end = told[0]
    assert (doing, path, end) == ("fetching" if down else "publishing", str(source), "end")
    assert sum(numbers) == data_size(str(source))


def test_a_report_ends_also_where_the_operation_fails(tmp_path):
    lab = Lab(tmp_path)
    reporter, told = collector()
    with reporting(reporter), pytest.raises(FileNotFoundError):
        TransferOps.download(str(lab.state("a")), f":{lab.shared('a')}", lab.params())
    assert told == [["fetching", str(lab.shared("a")), "end"]]


def test_the_reporter_in_charge_last_is_asked_and_the_one_before_it_comes_back():
    outer, heard_outer = collector()
    inner, heard_inner = collector()
    with reporting(outer):
        with pytest.raises(KeyError), reporting(inner):
            with reported("doing", "/a"):
                pass
            raise KeyError
        with reported("doing", "/b"):
            pass
    with reported("doing", "/c") as last:
        assert isinstance(last, LogProgress)
    assert heard_inner == [["doing", "/a", "end"]] and heard_outer == [["doing", "/b", "end"]]


def test_threads_report_to_the_one_in_charge():
    reporter, told = collector()

    def work():
        with reported("doing", "/a"):
            pass

    with reporting(reporter):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert told == [["doing", "/a", "end"]]


def test_words(sparse, monkeypatch):
    count = Count(Task("fetching", str(sparse)))
    count.done = MIB
    monkeypatch.setattr(progress.time, "monotonic", lambda: count.started + 2)
    assert str(count) == "1.0 of 3.0 MiB, 0.5 MiB/s, 4 s left"
    count.done = 0
    assert str(count) == "0.0 of 3.0 MiB, 0.0 MiB/s, ? s left"
    # read again, as it was replaced meanwhile
    count.done = 5 * MIB
    assert str(count) == "5.0 of 5.0 MiB, 2.5 MiB/s, 0 s left"


def test_the_size_of_a_file_elsewhere_is_asked_for():
    count = Count(Task("fetching", "lab:/x", lambda: 7 * MIB))
    count.done = MIB
    assert str(count).startswith("1.0 of 7.0 MiB")


def test_a_line_every_ten_seconds(sparse, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    told = LogProgress(Task("fetching", str(sparse)))
    now = told.count.started
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    for _ in range(25):
        now += 1
        told(MIB // 10)
    times = [line.split(": ")[1] for line in caplog.messages]
    assert len(times) == 2 and all(f"fetching {sparse}: " in line for line in caplog.messages)
    assert times[0].startswith("1.0 of 3.0 MiB, 0.1 MiB/s, 20 s")
    assert {record.name for record in caplog.records} == {NAME}


def test_lines_go_to_the_log_that_is_asked_for(sparse, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_PERIOD", 0)
    with reporting(progress.lines(logging.getLogger("mine"))), reported("x", str(sparse)) as told:
        told(1)
    assert [record.name for record in caplog.records] == ["mine"]


def test_whoever_works_may_have_more_to_tell(tmp_path):
    count = Count(Task("verifying", str(tmp_path), lambda: 2 * MIB, lambda: "3 of 9 states"))
    count.done = MIB
    assert str(count).startswith("3 of 9 states, 1.0 of 2.0 MiB, ")
