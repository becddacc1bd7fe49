"""Programs on a terminal of their own."""

import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fcntl import ioctl

#: Seconds a program may take.
_PATIENCE = 120


@dataclass(frozen=True)
class Shown:
    """
    What a program left.

    :param status: exit status, negative for a signal
    :param output: all it wrote, escape codes included
    """

    status: int
    output: str


def on_terminal(
    command: Sequence[str],
    env: Mapping[str, str],
    typed: bytes = b"",
    after: bytes = b"",
    columns: int = 100,
) -> Shown:
    """
    Run a program on a terminal.

    :param typed: what the user types once ``after`` is on the screen
    """
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            # who starts the tests in the background has it ignored, a user on a terminal has not
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
            os.execve(command[0], list(command), {**env, "TERM": "xterm"})
        finally:
            os._exit(127)
    found, deadline = b"", time.monotonic() + _PATIENCE
    try:
        while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                found += os.read(terminal, 4096)
            except OSError:  # the program ended
                break
            if typed and after in found:
                os.write(terminal, typed)
                typed = b""
        else:
            os.kill(pid, 9)
    finally:
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Shown(status, found.decode(errors="replace"))
