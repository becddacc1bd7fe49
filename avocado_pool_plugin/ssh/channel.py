"""Bytes to and from a program that runs elsewhere, with a limit on every wait."""

import contextlib
import fcntl
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence

from avocado_pool_plugin.core.errors import HostUnreachable, PoolSilent, PoolUnreachable

#: Bytes of a pipe, instead of the usual 64 KiB: what the system lets anybody have.
_PIPE = 1 << 20
_F_SETPIPE_SZ = 1031
_CHUNK = 1 << 16
#: The longest line in bytes; what lies about a file and all it stands on comes in one.
_LINE = 1 << 28
#: How much of what the program complains about is kept, in bytes.
_COMPLAINTS = 4096


class Channel:
    """
    A program's standard input and output.

    Not for several threads at once. After an error it is of no more use.

    :param command: the program and its arguments
    :param title: what it is, for errors, such as ``host lab (root@10.0.0.2)``
    :param timeout: seconds in which at least one byte has to move
    """

    def __init__(self, command: Sequence[str], title: str, timeout: float) -> None:
        self.title = title
        self.timeout = timeout
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us to handle
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        self._err = self._process.stderr.fileno()
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE)
        self._closed = False
        self._buffer = bytearray()
        self._said = bytearray()

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return self._process.poll() is None

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        """
        Give bytes to the program.

        :raises HostUnreachable: it is gone
        :raises PoolSilent: it takes nothing any more
        """
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:
                try:
                    rest = rest[os.write(self._in, rest) :]
                except BlockingIOError:
                    self._wait(self._in, select.POLLOUT)
                except OSError:
                    raise self._lost() from None

    def receive_into(self, view: memoryview) -> None:
        """
        Fill a buffer with what the program says.

        :raises HostUnreachable: it is gone
        :raises PoolSilent: it says nothing any more
        """
        have = min(len(self._buffer), len(view))
        if have:
            view[:have] = self._buffer[:have]
            del self._buffer[:have]
        while have < len(view):
            have += self._read(view[have:])

    def receive(self, size: int) -> bytes:
        """Return exactly so many bytes of what the program says; errors of ``receive_into``."""
        data = bytearray(size)
        self.receive_into(memoryview(data))
        return bytes(data)

    def receive_line(self) -> bytes:
        """Return the next line of what the program says, without its end; same errors.

        :raises PoolUnreachable: it has no end
        """
        start = 0
        while True:
            end = self._buffer.find(b"\n", start)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            start = len(self._buffer)
            if start > _LINE:
                raise PoolUnreachable(
                    f"{self.title} said {start} bytes without the end of a line; check what "
                    f"answers there, and that no other program writes to the connection"
                )
            chunk = bytearray(_CHUNK)
            got = self._read(memoryview(chunk))
            self._buffer += chunk[:got]

    @property
    def has_said(self) -> bool:
        """Whether there is something to receive, or the program is gone."""
        if self._buffer:
            return True
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        return bool(poll.poll(0))

    def complaints(self) -> str:
        """Return the end of what the program wrote to its standard error."""
        if not self._closed:
            self._listen()
        return self._said.decode("utf-8", "replace").strip()

    def status(self, within: float = 1.0) -> int | None:
        """Return the exit status of the program, None if it does not end in so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(within)
        return None

    @contextlib.contextmanager
    def whole(self) -> Iterator["Channel"]:
        """Give this, and close it unless the body gets to its end."""
        try:
            yield self
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the program; quick and without errors in any state."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                assert pipe
                pipe.close()
        self._process.wait()

    def _read(self, view: memoryview) -> int:
        while True:
            try:
                got = os.readv(self._out, [view])
            except BlockingIOError:
                self._wait(self._out, select.POLLIN)
                continue
            except OSError:
                raise self._lost() from None
            if not got:
                raise self._lost()
            return got

    def _wait(self, fd: int, event: int) -> None:
        """Wait until a pipe can be used."""
        deadline = time.monotonic() + self.timeout
        poll = select.poll()
        poll.register(fd, event)
        poll.register(self._err, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise PoolSilent(
                    f"{self.title} gave no answer for {self.timeout:g} seconds; check the host and "
                    f"the network to it, or raise ssh_timeout"
                )
            ready = [ready for ready, _ in poll.poll(left * 1000)]
            if fd in ready:
                return
            if self._err in ready and not self._listen():
                poll.unregister(self._err)

    def _listen(self) -> bool:
        """Take in what the program complains about; return False at its end."""
        while True:
            try:
                said = os.read(self._err, _CHUNK)
            except BlockingIOError:
                return True
            except (OSError, ValueError):
                return False
            if not said:
                return False
            self._said = (self._said + said)[-_COMPLAINTS:]

    def _lost(self) -> HostUnreachable:
        """Return the error for a program that is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        cause = self.complaints().rpartition("\n")[2] or f"exit status {self._process.poll()}"
        return HostUnreachable(
            f"the connection to {self.title} broke ({cause}); check the host and the network to it"
        )
