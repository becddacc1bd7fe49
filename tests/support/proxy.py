"""
A link to a host that can be slow, silent or broken: a relay of TCP connections.

It runs in a process of its own, so that what is measured through it has its interpreter to itself.
The standard library is all that this file needs when it is run as that program.
"""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

ADDRESS = "127.0.0.1"
_CHUNK = 1 << 16
#: Chunks that are on their way in one direction: a delay limits no rate.
_UNDER_WAY = 1024

UP, DOWN = "up", "down"


class Moved(NamedTuple):
    """
    Bytes that arrived.

    :ivar up: at the host
    :ivar down: at those who connected
    """

    up: int
    down: int


class Proxy:
    """
    A relay to a port of this machine; gone with the context.

    :param port: where to
    :param delay: seconds for each direction; connecting takes a round trip
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(port), str(delay)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        #: Where to connect.
        self.port: int = self._answer()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def moved(self) -> Moved:
        """Return how many bytes were passed on so far."""
        return Moved(*self._ask("moved"))

    def cut(self) -> int:
        """Close all connections at once, with what is under way; return how many there were."""
        found: int = self._ask("cut")
        return found

    def cut_after(self, up: int | None = None, down: int | None = None) -> None:
        """Cut, once, when so many more bytes were passed on in a direction; None for never."""
        self._ask("cut_after", up=up, down=down)

    def freeze(self) -> None:
        """Keep all connections open and pass nothing on; new ones are taken but get no answer."""
        self._ask("freeze")

    def thaw(self) -> None:
        """Go on after ``freeze``, nothing is lost."""
        self._ask("thaw")

    def refuse(self) -> None:
        """Let nobody connect from now on, as if no program listened."""
        self._ask("refuse")

    def allow(self) -> None:
        """Let them connect again, at the same port."""
        self._ask("allow")

    def stop(self) -> None:
        """End everything."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, do: str, **what: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([do, what]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


class _Relay:
    """The program itself; what :class:`Proxy` asks for is a method of that name."""

    def __init__(self, port: int, delay: float) -> None:
        self._target, self.delay = (ADDRESS, port), delay
        self._changed = threading.Condition()
        self._frozen = False
        self._cuts = 0
        self._moved = {UP: 0, DOWN: 0}
        self._limits: dict[str, int] = {}
        self._sockets: set[socket.socket] = set()
        # keeps the port ours while nobody listens at it
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listener: socket.socket | None = None
        self.allow()

    def moved(self) -> list[int]:
        with self._changed:
            return [self._moved[UP], self._moved[DOWN]]

    def cut(self) -> int:
        with self._changed:
            self._cuts += 1
            self._limits = {}
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._changed.notify_all()
            return len(self._sockets) // 2

    def cut_after(self, **limits: int | None) -> None:
        with self._changed:
            wanted = {way: limit for way, limit in limits.items() if limit is not None}
            self._limits = {way: self._moved[way] + limit for way, limit in wanted.items()}

    def freeze(self) -> None:
        with self._changed:
            self._frozen = True

    def thaw(self) -> None:
        with self._changed:
            self._frozen = False
            self._changed.notify_all()

    def refuse(self) -> None:
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def allow(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        """Relay a connection until both of its directions ended."""
        with near, socket.socket() as far, self._listed(near, far) as age:
            time.sleep(2 * self.delay)
            try:
                self.gate(age)
                far.connect(self._target)
            except OSError:
                return
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways = (_Way(self, UP, near, far, age), _Way(self, DOWN, far, near, age))
            threads = [threading.Thread(target=work) for way in ways for work in way.works]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    @contextlib.contextmanager
    def _listed(self, *sockets: socket.socket) -> Iterator[int]:
        """Let sockets take part in cuts; give how many cuts there were before."""
        with self._changed:
            self._sockets.update(sockets)
            age = self._cuts
        try:
            yield age
        finally:
            with self._changed:
                self._sockets.difference_update(sockets)

    def gate(self, age: int) -> None:
        """
        Wait while all is frozen.

        :param age: how many cuts there were when the connection was made
        :raises ConnectionAbortedError: there was one since
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._frozen or self._cuts != age)
            if self._cuts != age:
                raise ConnectionAbortedError

    def pass_on(self, way: str, data: bytes, target: socket.socket, age: int) -> None:
        """Send what may be sent now; errors of :meth:`gate` and of sockets."""
        with self._changed:
            self.gate(age)
            limit = self._limits.get(way)
            size = len(data) if limit is None else min(len(data), limit - self._moved[way])
            self._moved[way] += size
        target.sendall(data[:size])
        if limit is not None and self.moved()[way == DOWN] >= limit:
            self.cut()


class _Way:
    """
    One direction of a connection.

    :param relay: whose rules it obeys
    :param name: ``UP`` or ``DOWN``
    :param age: see :meth:`_Relay.gate`
    """

    def __init__(
        self, relay: _Relay, name: str, source: socket.socket, target: socket.socket, age: int
    ) -> None:
        self._relay, self._name, self._age = relay, name, age
        self._source, self._target = source, target
        self._under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_UNDER_WAY)
        #: To be done at the same time.
        self.works = (self._read, self._write)

    def _read(self) -> None:
        data = b"?"
        while data:
            try:
                data = self._source.recv(_CHUNK)
                due = time.monotonic() + self._relay.delay
                self._relay.gate(self._age)
            except OSError:
                data, due = b"", 0.0
            self._under_way.put((due, data))

    def _write(self) -> None:
        """Take all that is read until its end, even if nobody wants it any more."""
        data = b"?"
        while data:
            due, data = self._under_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if data:
                    self._relay.pass_on(self._name, data, self._target, self._age)
                else:
                    self._target.shutdown(socket.SHUT_WR)
            except OSError:
                with contextlib.suppress(OSError):
                    self._source.shutdown(socket.SHUT_RD)


def _bound(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((ADDRESS, port))
    return found


def _main(port: str, delay: str) -> None:
    """Say which port it is, then do what each line asks for until there are no more."""
    relay = _Relay(int(port), float(delay))
    print(relay.port, flush=True)
    for line in sys.stdin:
        do, what = json.loads(line)
        print(json.dumps(getattr(relay, do)(**what)), flush=True)
    os._exit(0)  # connections don't keep it


if __name__ == "__main__":
    _main(*sys.argv[1:])
