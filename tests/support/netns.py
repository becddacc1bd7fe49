"""Another host's network: a namespace with a link to this one that can be cut; needs root."""

import contextlib
import ctypes
import os
import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path

from tests.support.needs import need_programs, need_root

#: Addresses for tests of networks: four for each process; others than examples/lab's.
_NETWORK = IPv4Address("198.19.0.0")
_CLONE_NEWNET = 0x40000000
#: Names of namespaces, which end in the id of the process that made one.
_PREFIX = "pool-torture-"


class Namespace:
    """
    A network namespace and a link to it; gone with the context.

    :ivar here: this end's address, where both reach a server of this host
    """

    def __init__(self) -> None:
        need_root()
        need_programs("ip", "ss")
        self.name = f"{_PREFIX}{os.getpid()}"
        self._link = f"poolt{os.getpid()}"
        first = _NETWORK + os.getpid() % 2**14 * 4
        self.here, self._there = str(first + 1), str(first + 2)

    def __enter__(self) -> "Namespace":
        _remove_orphans()
        try:
            _run("ip", "netns", "add", self.name)
            self._make_link()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for command in (["ip", "link", "del", self._link], ["ip", "netns", "del", self.name]):
            subprocess.run(command, capture_output=True, check=False)

    def _make_link(self) -> None:
        peer = ("type", "veth", "peer", "name", "eth0", "netns", self.name)
        _run("ip", "link", "add", self._link, *peer)
        _run("ip", "addr", "add", f"{self.here}/30", "dev", self._link)
        _run("ip", "link", "set", self._link, "up")
        _run("ip", "-n", self.name, "addr", "add", f"{self._there}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", self.name, "link", "set", device, "up")

    def enter(self) -> None:
        """Let this process, and what it starts, be on the other host."""
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"network namespace {self.name}")
        finally:
            os.close(fd)

    def down(self, seconds: float) -> None:
        """Let nothing pass for some time."""
        _run("ip", "link", "set", self._link, "down")
        try:
            time.sleep(seconds)
        finally:
            _run("ip", "link", "set", self._link, "up")

    def reset(self) -> None:
        """End all connections over the link, as a router or a firewall does."""
        with contextlib.suppress(OSError):
            _run("ss", "-K", "-t", "src", self.here)


def _remove_orphans() -> None:
    """Remove what killed processes left; a link goes with its namespace."""
    for path in Path("/run/netns").glob(f"{_PREFIX}*"):
        if not Path("/proc", path.name.removeprefix(_PREFIX)).exists():
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
