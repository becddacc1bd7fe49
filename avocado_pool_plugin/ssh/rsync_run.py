"""rsync as a program that is run: what it says, and how it ends."""

import contextlib
import errno
import os
import re
import select
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

#: Where it is after so many bytes, and bytes that travelled.
_DONE = re.compile(rb"\s*(\d+)\s+\d+%")
_SENT = re.compile(r"Total bytes sent: (\d+)")
_RECEIVED = re.compile(r"Total bytes received: (\d+)")
_FULL = {"No space left on device": errno.ENOSPC, "Disk quota exceeded": errno.EDQUOT}
#: The last lines that it says are kept.
_KEPT = 40
#: What it says when nothing moves; its exit status may be that of its ssh.
_SILENT = re.compile("io timeout after|timeout in data")
#: Seconds between looks at whether it has ended without its ssh.
_LOOK = 0.5


@dataclass(frozen=True)
class Outcome:
    """How rsync ended: its exit status and the last that it said."""

    status: int
    lines: tuple[str, ...]

    @property
    def cause(self) -> str:
        """The first complaint, which the others follow from."""
        return next((line for line in self.lines if line.startswith("rsync")), "") or (
            self.lines[-1] if self.lines else f"exit status {self.status}"
        )

    @property
    def sent(self) -> int:
        """Bytes that travelled from here."""
        return self._number(_SENT)

    @property
    def received(self) -> int:
        """Bytes that travelled to here."""
        return self._number(_RECEIVED)

    @property
    def silent(self) -> bool:
        """Whether nothing moved for too long."""
        return any(map(_SILENT.search, self.lines))

    def _number(self, pattern: re.Pattern[str]) -> int:
        return next((int(m[1]) for line in self.lines if (m := pattern.match(line))), 0)

    @property
    def full(self) -> int:
        """The error number if a file system is full, else 0."""
        text = " ".join(self.lines)
        return next((number for said, number in _FULL.items() if said in text), 0)


def quoted(word: str) -> str:
    """Return a word as rsync wants it in the command of its ``-e``."""
    return "'" + word.replace("'", "''") + "'"


def run(command: list[str], fds: Sequence[int], tell: Callable[[int], None]) -> Outcome:
    """Run rsync and tell how far it is, in bytes, as it says so."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("RSYNC_")}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=fds,
            env={**environment, "LC_ALL": "C"},
            start_new_session=True,  # Ctrl-C is for us to handle
        )
    except OSError as error:
        return Outcome(127, (f"{command[0]} can't be run: {error.strerror}",))
    assert process.stdout is not None
    kept: deque[str] = deque(maxlen=_KEPT)
    try:
        for line in _lines(process, process.stdout.fileno()):
            if match := _DONE.match(line):
                tell(int(match[1]))
            elif line.strip():
                kept.append(line.decode("utf-8", "replace").strip())
        return Outcome(process.wait(), tuple(kept))
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def _lines(process: "subprocess.Popen[bytes]", fd: int) -> Iterator[bytes]:
    """Yield what rsync says until it ends, even if its ssh does not."""
    rest = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        # in this order: what it said just before its end is still to be read
        ended = process.poll() is not None
        if not poll.poll(0 if ended else _LOOK * 1000):
            if ended:
                return
            continue
        said = os.read(fd, 1 << 16)
        *lines, rest = re.split(rb"[\r\n]", rest + said)
        yield from lines
        if not said:
            yield rest
            return
