"""A directory mounted by sshfs from a server of this machine: a worst-case network file system."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.needs import need, need_programs, need_root
from tests.support.sshd import ADDRESS, Sshd

#: Seconds that it may take to mount.
_PATIENCE = 15


def sftp_server(directory: Path) -> Sshd:
    """Return a server that sshfs can use."""
    return Sshd(directory, Subsystem="sftp internal-sftp", MaxSessions=10)


class Mount:
    """
    A mount; gone with the context.

    :param server: where the directory is, one of ``sftp_server``
    :param source: the directory there
    :param point: where it is seen here; what is there before is seen when the mount is gone
    :param options: of sshfs
    """

    def __init__(self, server: Sshd, source: Path, point: Path, *options: str) -> None:
        need_root()
        need_programs("sshfs", "fusermount3")
        need(os.path.exists("/dev/fuse"), "FUSE (/dev/fuse)")
        self.point = point
        self._command = [
            "sshfs", "-f", "-p", str(server.port), "-F", str(server.config),
            "-o", "StrictHostKeyChecking=no", *(word for one in options for word in ("-o", one)),
            f"root@{ADDRESS}:{source}", str(point),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Mount":
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()

    def mount(self) -> None:
        """Mount it, again after a cut."""
        before = os.stat(self.point).st_dev
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while not self._answers(before):
            assert self._process.poll() is None, f"{self._command} ended"
            assert time.monotonic() < deadline, f"{self._command} takes too long"
            time.sleep(0.02)

    def _answers(self, before: int) -> bool:
        with contextlib.suppress(OSError):
            return self.mounted() and os.stat(self.point).st_dev != before
        return False

    def mounted(self) -> bool:
        """Tell whether the kernel knows of it, without touching it."""
        points = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
        return str(self.point) in points

    def cut(self) -> None:
        """Let the connection break: sshfs and its ssh are killed, the mount stays or goes."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Let nothing be answered any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def unmount(self) -> None:
        """End it, whoever uses it."""
        if self._process is not None and self._process.poll() is None:
            self.cut()
        while self.mounted():
            subprocess.run(["umount", "-l", str(self.point)], check=False, timeout=20)


@contextlib.contextmanager
def two_mounts(
    server: Sshd, source: Path, points: tuple[Path, Path]
) -> Iterator[tuple[Mount, Mount]]:
    """Mount a directory twice: with sshfs's own caches of names and times, and without."""
    with (
        Mount(server, source, points[0]) as one,
        Mount(server, source, points[1], "dir_cache=no") as two,
    ):
        yield one, two
