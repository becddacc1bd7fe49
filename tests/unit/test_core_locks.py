import os
import threading
import time
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, locks
from avocado_pool_plugin.core.errors import LockTimeout, PoolError, PoolUnreachable
from tests.support.needs import need_root
from tests.support.places import opened
from tests.support.processes import in_child, lock_holder, python


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vm1" / "s.state"


def taken(path: Path, timeout: float = 0) -> bool:
    try:
        with locks.hold(str(path), timeout):
            return False
    except LockTimeout:
        return True


def test_timeout_names_the_process_that_holds(path):
    with lock_holder(path) as holder:
        named = f"process {holder.pid}, since "
        with pytest.raises(LockTimeout, match=named) as caught, locks.hold(str(path), 0.05):
            pass
        assert isinstance(caught.value, TimeoutError) and isinstance(caught.value, PoolError)
        assert str(path) in str(caught.value) and os.uname().nodename in str(caught.value)
        assert "update_pool_timeout" in str(caught.value)


def test_threads_exclude_each_other_and_timeout_names_this_process(path):
    held, done = threading.Event(), threading.Event()

    def hold():
        with locks.hold(str(path), 1):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with pytest.raises(LockTimeout, match=f"process {os.getpid()}"), locks.hold(str(path), 0):
            pass
    finally:
        done.set()
        thread.join()
    assert not taken(path)


def test_a_free_lock_is_had_with_no_time_at_all(path):
    assert not taken(path, 0)
    assert not taken(path, 0)


def test_the_same_thread_does_not_get_it_twice(path):
    with locks.hold(str(path), 0):
        assert taken(path, 0.05)
    assert not taken(path)


def test_a_waiter_gets_it_when_it_is_let_go(path):
    with lock_holder(path) as holder:
        threading.Timer(0.2, lambda: holder.stdin.write("\n") and holder.stdin.flush()).start()
        assert not taken(path, 30)


def test_a_killed_holder_holds_nothing(path):
    with lock_holder(path) as holder:
        assert taken(path)
        holder.kill()
        holder.wait()
        assert not taken(path, 30)


def test_closing_another_descriptor_of_the_file_loses_no_lock(path):
    """POSIX locks would be gone as soon as anybody in the process closes the file."""
    with locks.hold(str(path), 1):
        os.close(os.open(layout.lock_path(str(path)), os.O_RDWR))
        Path(layout.lock_path(str(path))).read_text()
        other = python(
            "import sys; from avocado_pool_plugin.core import locks\n"
            "with locks.hold(sys.argv[1], 0): pass", path
        )  # fmt: skip
        assert "LockTimeout" in other.communicate()[1]


def test_locks_of_unlike_files_are_unlike(path):
    with locks.hold(str(path), 0):
        assert not taken(path.with_name("t.state"))


def test_an_error_inside_lets_go(path):
    with pytest.raises(ZeroDivisionError), locks.hold(str(path), 1):
        raise ZeroDivisionError
    assert not taken(path)


def test_stubbed_locks_take_nothing_and_write_nothing(path, no_locks):
    with locks.hold(str(path), 0), locks.hold(str(path), 0):
        pass
    assert not path.parent.exists()


def test_increments_under_the_lock_are_never_lost(path):
    counter = path.with_name("counter")
    path.parent.mkdir()
    counter.write_text("0")
    code = (
        "import sys; from pathlib import Path; from avocado_pool_plugin.core import locks\n"
        "for _ in range(25):\n"
        "    with locks.hold(sys.argv[1], 60):\n"
        "        p = Path(sys.argv[2]); p.write_text(str(int(p.read_text()) + 1))\n"
    )
    processes = [python(code, path, counter) for _ in range(4)]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert counter.read_text() == "100"


def test_waiting_is_done_in_milliseconds(path, monkeypatch):
    """Whoever sleeps for a second between two tries lets eight readers wait for eight."""
    naps: list[float] = []
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (naps.append(seconds), real(seconds))[1])
    with lock_holder(path):
        assert taken(path, 0.3)
    assert naps and max(naps) <= 0.1


def test_a_place_that_can_not_be_written_is_unreachable(tmp_path):
    need_root()
    (tmp_path / "file").write_text("")
    with pytest.raises(PoolUnreachable), locks.hold(str(tmp_path / "file" / "x" / "s.state"), 0):
        pass


def test_other_users_of_the_group_can_take_a_lock_that_was_left(path, tmp_path):
    need_root()
    opened(tmp_path)
    path.parent.mkdir()
    path.parent.chmod(0o2775)
    os.chown(path.parent, -1, 4242)

    def as_user(uid):
        def work():
            os.setgroups([])
            os.setgid(4242)
            os.setuid(uid)
            with locks.hold(str(path), 0):
                pass

        return in_child(work)

    assert as_user(1001) == 0
    assert as_user(1002) == 0
