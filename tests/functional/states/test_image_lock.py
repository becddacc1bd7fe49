"""``image_lock`` as documented: processes, threads, timeouts that say who, switched off."""

import threading
import time

import pytest

from avocado_pool_plugin.states import pool
from avocado_pool_plugin.states.pool import image_lock
from tests.support.processes import lock_holder
from tests.support.states import get, made, other, put
from tests.support.vms import holds, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "dir" / "x.qcow2"


@pytest.mark.parametrize("timeout", [0, 2, "2", "0", 0.5])
def test_a_free_lock_is_had_at_once(path, timeout):
    with image_lock(str(path), timeout):
        assert not path.exists(), "the file itself need not be there"
    with image_lock(str(path), timeout=timeout):
        pass


@pytest.mark.parametrize("timeout", [0, "0", "0.2", 0.2])
def test_another_process_holds_it(path, timeout):
    with lock_holder(path) as holder:
        with pytest.raises(TimeoutError) as caught, image_lock(str(path), timeout):
            pass
        assert isinstance(caught.value, RuntimeError)
        text = str(caught.value)
        assert str(path) in text and f"process {holder.pid}" in text
    with image_lock(str(path), 5):
        pass


@pytest.mark.parametrize("timeout", [0, "0.2"])
def test_another_thread_holds_it(path, timeout):
    held, done = threading.Event(), threading.Event()

    def hold():
        with image_lock(str(path)):
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    try:
        with pytest.raises(TimeoutError), image_lock(str(path), timeout):
            pass
    finally:
        done.set()
        thread.join()
    with image_lock(str(path), 0):
        pass


def test_threads_take_turns(path):
    inside, most = [], []

    def work(number):
        with image_lock(str(path), 30):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.005)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_a_waiter_gets_it_when_it_is_let_go(path):
    with lock_holder(path) as holder:
        timer = threading.Timer(0.2, lambda: (holder.stdin.write("\n"), holder.stdin.flush()))
        timer.start()
        with image_lock(str(path), 20):
            pass


def test_it_is_let_go_when_the_body_fails(path):
    with pytest.raises(KeyError), image_lock(str(path)):
        raise KeyError
    with image_lock(str(path), 0):
        pass


def test_skip_locks_is_looked_at_on_each_call(path, monkeypatch):
    with lock_holder(path):
        monkeypatch.setattr(pool, "SKIP_LOCKS", True)
        with image_lock(str(path), 0):
            pass
        monkeypatch.setattr(pool, "SKIP_LOCKS", False)
        with pytest.raises(TimeoutError), image_lock(str(path), 0):
            pass


@pytest.mark.parametrize("timeout", ["never", "", "nan"])
def test_nonsense(path, timeout):
    with pytest.raises(ValueError), image_lock(str(path), timeout):
        pass


def test_a_state_that_someone_works_on(lab, monkeypatch):
    """Operations wait as long as update_pool_timeout says; without locks they go ahead."""
    made(lab, "a")
    far = other(lab)
    with lock_holder(far.state("a")) as holder:
        with pytest.raises(TimeoutError, match=f"process {holder.pid}"):
            get(far, "a", update_pool_timeout="0.2")
        assert not far.state("a").exists()
        monkeypatch.setattr(pool, "SKIP_LOCKS", True)
        get(far, "a", update_pool_timeout="0.2")
    assert holds(far.image(), 1)


def test_readers_take_no_lock_in_a_pool(lab):
    made(lab, "a", "b")
    with lock_holder(lab.shared("a")), lock_holder(lab.shared("b")):
        far = other(lab)
        get(far, "b", update_pool_timeout="0.2")
        get(far, "b", update_pool_timeout="0.2")
        write(far.image(), 3, "2M")
        put(far, "c", update_pool_timeout="0.2")
    assert holds(far.image(), 3, "2M")
