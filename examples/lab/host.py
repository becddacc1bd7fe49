"""
Another host on this machine: a network namespace with an address and an ssh server of its own.

Only its ``/srv``, ``/etc`` and ``/run`` differ from this machine's: user ``states``, whom no other
host knows, may log in by a key. Nothing of it outlives the context but what is in ``/srv``. Needs
root.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
USER = "states"
#: Of that user over there; this machine has none by that number.
UID = 64321
#: Names of namespaces, which end in the id of the process that made one.
PREFIX = "pool-lab-"
#: Addresses for tests of networks: four for each process that makes a host.
NETWORK = IPv4Address("198.18.0.0")
#: Seconds an ssh server may take to listen.
PATIENCE = 10
SSHD_CONFIG = f"""\
HostKey /etc/ssh/host_key
AllowUsers {USER}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
LogLevel VERBOSE
"""


class HostMissing(Exception):
    """The host can't be made; the text says why and what to do."""


class LabHost:
    """
    The host, while its context lasts.

    :param directory: gets ``srv``, which is the host's /srv and stays, and ``keys``, which has all
        that is needed to log in and goes with the host
    """

    def __init__(self, directory: Path) -> None:
        self.srv, self.keys = directory / "srv", directory / "keys"
        self.name = f"{PREFIX}{os.getpid()}"
        # of hosts at the same time, hardly two have the same number
        self._gateway = NETWORK + os.getpid() % 2**14 * 4 + 1
        self.address = str(self._gateway + 1)
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LabHost":
        """
        Make the host.

        :raises HostMissing: that is not possible
        """
        if os.geteuid() != 0:
            raise HostMissing("network namespaces need root: run this as root")
        _remove_orphans()
        try:
            self._make_files()
            self._make_network()
            self._serve()
        except BaseException as error:
            self._remove()
            if isinstance(error, OSError):
                raise HostMissing(f"no host in a network namespace here: {error}") from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def write(self, template: str, path: Path) -> str:
        """Write a file of this directory with the host's address, user and keys; return it."""
        values = {"address": self.address, "user": USER, "keys": str(self.keys)}
        text = Template((HERE / template).read_text(encoding="utf-8")).substitute(values)
        path.write_text(text, encoding="utf-8")
        return text

    def _make_files(self) -> None:
        for directory in (self.srv, self.keys):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, mode=0o755)
        self.keys.chmod(0o700)
        self._make_etc(self.keys / "etc")
        self._make_key("etc/ssh/host_key")
        self._make_key("user_key")
        self._write("known_hosts", f"{self.address} {self._public('etc/ssh/host_key')}")
        login = self.srv / ".ssh"
        login.mkdir(mode=0o700)
        (login / "authorized_keys").write_text(self._public("user_key"), encoding="utf-8")
        for path in (self.srv, login, login / "authorized_keys"):
            os.chown(path, UID, UID)

    def _make_etc(self, directory: Path) -> None:
        """Make the little of /etc that is needed, without the passwords of this machine."""
        (directory / "ssh").mkdir(parents=True)
        directory.chmod(0o755)
        own = Path("/etc")
        for name in ("group", "ld.so.cache", "localtime"):
            if (own / name).exists():
                shutil.copy(own / name, directory / name)
        if (own / "alternatives").exists():
            shutil.copytree(own / "alternatives", directory / "alternatives", symlinks=True)
        users = (own / "passwd").read_text(encoding="utf-8")
        databases = ("passwd", "shadow", "group", "hosts")
        self._write("etc/passwd", f"{users}{USER}:x:{UID}:{UID}::/srv:/bin/sh\n")
        self._write("etc/shadow", f"{USER}:*:19000:0:99999:7:::\n")
        self._write("etc/nsswitch.conf", "".join(f"{name}: files\n" for name in databases))
        self._write("etc/ssh/sshd_config", SSHD_CONFIG)

    def _make_key(self, name: str) -> None:
        """Make a key pair; the other half has ``.pub`` at its end."""
        file = str(self.keys / name)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", file)

    def _write(self, name: str, text: str) -> None:
        path = self.keys / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)

    def _public(self, key: str) -> str:
        return (self.keys / f"{key}.pub").read_text(encoding="utf-8")

    def _make_network(self) -> None:
        link = _link_of(self.name)
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _run("ip", "addr", "add", f"{self._gateway}/30", "dev", link)
        _run("ip", "link", "set", link, "up")
        _run("ip", "-n", self.name, "addr", "add", f"{self.address}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run("ip", "-n", self.name, "link", "set", device, "up")

    def _serve(self) -> None:
        log = self.keys / "sshd.log"
        command = ["ip", "netns", "exec", self.name, str(HERE / "start.sh")]
        with log.open("wb") as output:
            self._server = subprocess.Popen(
                [*command, str(self.srv), str(self.keys / "etc")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is not for the server: tests still end
            )
        deadline = time.monotonic() + PATIENCE
        while self._server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.address, 22), 1):
                return
            time.sleep(0.02)
        raise HostMissing(f"no ssh server in a network namespace here: {log.read_text().strip()}")

    def _remove(self) -> None:
        with _uninterrupted():
            _remove_namespace(self.name)
            if self._server is not None:
                self._server.wait()
            shutil.rmtree(self.keys, ignore_errors=True)
            shutil.rmtree(self.srv / ".ssh", ignore_errors=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C not leave half of the host behind."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _remove_orphans() -> None:
    """Remove the hosts of processes that were killed."""
    for namespace in Path("/run/netns").glob(f"{PREFIX}*"):
        if not Path("/proc", namespace.name.removeprefix(PREFIX)).exists():
            _remove_namespace(namespace.name)


def _remove_namespace(name: str) -> None:
    """Remove a namespace, all processes in it, and its link; what of it there is."""
    while processes := _processes(name):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
    for command in (["ip", "link", "del", _link_of(name)], ["ip", "netns", "del", name]):
        subprocess.run(command, capture_output=True, check=False)


def _processes(name: str) -> list[int]:
    command = ["ip", "netns", "pids", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(process) for process in done.stdout.split()]


def _link_of(name: str) -> str:
    """Return what this machine's end of a namespace's link is called."""
    return f"pool{name.removeprefix(PREFIX)}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
