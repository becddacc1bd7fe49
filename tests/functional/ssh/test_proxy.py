"""The relay that stands for slow and broken links: it does what tests rely on."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.proxy import ADDRESS, Proxy

#: Seconds after which nothing will come any more.
_NEVER = 0.3


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self._listener = socket.create_server((ADDRESS, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def _answer(self, one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                one.sendall(data)

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # done before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.stop()


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection((ADDRESS, proxy.port), timeout=10)


def say(there: socket.socket, data: bytes) -> bytes:
    """Return the answer to some bytes, as much of it as comes before the end."""
    sender = threading.Thread(target=lambda: _send(there, data))
    sender.start()
    found = received(there, len(data))
    sender.join()
    return found


def _send(there: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        there.sendall(data)


def received(there: socket.socket, size: int) -> bytes:
    found = bytearray()
    with contextlib.suppress(ConnectionError):
        while len(found) < size and (data := there.recv(1 << 16)):
            found += data
    return bytes(found)


def silent(there: socket.socket) -> bool:
    there.settimeout(_NEVER)
    try:
        there.recv(1)
    except TimeoutError:
        return True
    finally:
        there.settimeout(10)
    return False


def test_all_is_passed_on_in_order_and_counted(echo: Echo) -> None:
    data = bytes(range(256)) * 8192
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        assert say(there, data) == data
        assert proxy.moved() == (len(data), len(data))


def test_end_of_one_direction_is_passed_on(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        there.sendall(b"last words")
        there.shutdown(socket.SHUT_WR)
        assert received(there, 100) == b"last words"


def test_a_delay_is_one_for_each_direction_and_none_for_each_chunk(echo: Echo) -> None:
    data = bytes(4 << 20)
    with Proxy(echo.port, delay=0.1) as proxy, connected(proxy) as there:
        say(there, b"?")  # connected by now, which takes its own time
        begin = time.monotonic()
        assert say(there, b"?") == b"?"
        once = time.monotonic() - begin
        begin = time.monotonic()
        assert say(there, data) == data
        many = time.monotonic() - begin
    assert once >= 0.2
    assert many < 10 * once  # 64 or more chunks


def test_connecting_takes_a_round_trip(echo: Echo) -> None:
    with Proxy(echo.port, delay=0.1) as proxy:
        begin = time.monotonic()
        with connected(proxy) as there:
            say(there, b"?")
        assert time.monotonic() - begin >= 0.4


def test_cut_ends_all_connections_and_allows_new_ones(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as one, connected(proxy) as other:
        assert say(one, b"1") + say(other, b"2") == b"12"
        assert proxy.cut() == 2
        assert say(one, b"3") + say(other, b"4") == b""
        with connected(proxy) as again:
            assert say(again, b"5") == b"5"


def test_cut_drops_what_is_under_way(echo: Echo) -> None:
    with Proxy(echo.port, delay=0.2) as proxy, connected(proxy) as there:
        say(there, b"1")
        there.sendall(b"2")
        proxy.cut()
        assert received(there, 1) == b""
        assert proxy.moved() == (1, 1)


@pytest.mark.parametrize("limit", [0, 1, 65536, 100_001])
def test_cut_after_so_many_bytes_down(echo: Echo, limit: int) -> None:
    data = bytes(range(250)) * 4000
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        assert say(there, data) == data
        proxy.cut_after(down=limit)
        assert say(there, data) == data[:limit]
        assert proxy.moved().down == len(data) + limit
        with connected(proxy) as again:  # once only
            assert say(again, data) == data


def test_cut_after_so_many_bytes_up(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        proxy.cut_after(up=70_000)
        assert len(say(there, bytes(1 << 20))) <= 70_000
        assert proxy.moved().up == 70_000


def test_frozen_connections_stay_open_and_lose_nothing(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        say(there, b"1")
        proxy.freeze()
        there.sendall(b"2")
        with connected(proxy) as other:
            other.sendall(b"3")
            assert silent(there)
            assert silent(other)
            proxy.thaw()
            assert received(there, 1) + received(other, 1) == b"23"


def test_a_frozen_connection_takes_little_more(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        say(there, b"1")
        proxy.freeze()
        there.settimeout(_NEVER)
        with pytest.raises(TimeoutError):
            there.sendall(bytes(64 << 20))


def test_a_frozen_connection_can_be_cut(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        say(there, b"1")
        proxy.freeze()
        there.sendall(b"2")
        proxy.cut()
        assert received(there, 1) == b""


def test_refused_connections_and_the_same_port_again(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        with connected(proxy) as there:
            say(there, b"1")
            proxy.refuse()
            assert say(there, b"2") == b"2"  # those that there are go on
            with pytest.raises(ConnectionRefusedError):
                connected(proxy)
        proxy.allow()
        with connected(proxy) as again:
            assert say(again, b"3") == b"3"


def test_nobody_there(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        echo.stop()
        with connected(proxy) as there:
            assert say(there, b"1") == b""


def test_nobody_listens_afterwards(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, connected(proxy) as there:
        say(there, b"1")
        proxy.stop()
        assert received(there, 1) == b""
        with pytest.raises(ConnectionRefusedError):
            connected(proxy)
