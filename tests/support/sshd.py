"""A real ssh server on the loopback interface, and users with passwords; gone with the context."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from avocado_pool_plugin.core.host import Host
from tests.support import stubbed
from tests.support.needs import need_programs, need_root

ADDRESS = "127.0.0.1"
#: Where programs of the system are, whatever the tests' own PATH has in front of them.
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The least that a host over SSH has: a POSIX shell and GNU coreutils.
_LEAST = """
sh [ b2sum base32 base64 basename basenc cat chcon chgrp chmod chown cksum comm cp csplit cut
date dd df dir dircolors dirname du echo env expand expr factor false fmt fold groups head
hostid id install join link ln logname ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup
nproc numfmt od paste pathchk pinky pr printenv printf ptx pwd readlink realpath rm rmdir runcon
sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat stdbuf stty sum
sync tac tail tee test timeout touch tr true truncate tsort tty uname unexpand uniq unlink users
vdir wc who whoami yes
""".split()  # noqa: SIM905
#: What programs of util-linux a host has besides, to be named where a test is to have them.
UTIL_LINUX = ("fallocate", "flock", "getopt", "hardlink", "setpriv", "setsid")


def free_port() -> int:
    """Return a TCP port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


def make_key(path: Path) -> Path:
    """Make a key pair and return the file of its private half."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


class Sshd:
    """
    A running server that lets the current user in by a key of its own.

    :param directory: everything is below it; made if it does not exist
    :param programs: the only ones that sessions find, besides a shell and coreutils; None for all
        that there are. Only for the current user, whom the directory belongs to.
    :param settings: lines of sshd_config; ``SetEnv`` may name several variables
    """

    def __init__(
        self, directory: Path, *, programs: list[str] | None = None, **settings: str | int
    ) -> None:
        need_programs("sshd", "ssh", "ssh-keygen")
        need_root()
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        #: Home directory of all sessions, empty: no user's own start files take part.
        self.home = directory / "home"
        self.home.mkdir(exist_ok=True)
        self.host_key = make_key(directory / "host_key")
        self.user_key = make_key(directory / "user_key")
        self.known_hosts = directory / "known_hosts"
        self._authorized = directory / "authorized_keys"
        self._authorized.write_text(self.user_key.with_suffix(".pub").read_text())
        self.config = self.client_config("config")
        given = f"{settings.pop('SetEnv', '')} {stubbed.far_variables()}"
        environment = f"HOME={self.home} {given}".strip()
        if programs is not None:
            environment += f" PATH={self._only(programs)}"
        self._settings = {"SetEnv": environment, **settings}
        self._log = directory / "log"
        self._process = self._start()

    def __enter__(self) -> "Sshd":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def host(self, **changes: object) -> Host:
        """Return what it takes to log in by key."""
        known = {
            "label": "lab",
            "address": ADDRESS,
            "port": self.port,
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "config": str(self.config),
            "timeout": 20.0,
        }
        return Host(**{**known, **changes})  # type: ignore[arg-type]

    def params(self, label: str = "lab") -> dict[str, str]:
        """Return the test params of the host by that label."""
        found = {
            "nets_shell_client": "ssh",
            "nets_shell_host": ADDRESS,
            "nets_shell_port": str(self.port),
            "nets_username": pwd.getpwuid(os.geteuid()).pw_name,
            "ssh_config": str(self.config),
        }
        return {f"{name}_{label}": value for name, value in found.items()}

    def client_config(self, name: str, text: str = "", **settings: str) -> Path:
        """
        Write a configuration file for ssh that leaves out all files of the user.

        :param text: goes to its begin
        :param settings: to be different, empty to be left out
        """
        usual = {
            "IdentityFile": str(self.user_key),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
        }
        lines = [f"{key} {value}" for key, value in {**usual, **settings}.items() if value]
        path = self.directory / name
        path.write_text("\n".join([text, "Host *", *lines, ""]))
        return path

    def lab(self, name: str, more: str = "") -> str:
        """
        Write a configuration file for ssh that knows this server as host ``lab``.

        :param name: of the file
        :param more: other hosts that it knows
        """
        known = f"Host lab\nHostName {ADDRESS}\nPort {self.port}\nUser root\n"
        return str(self.client_config(name, known + more))

    def introduce(self, key: Path | None = None) -> str:
        """Add its host key, or another one instead, to the known hosts; return the line."""
        public = (key or self.host_key).with_suffix(".pub").read_text().split()
        line = f"[{ADDRESS}]:{self.port} {public[0]} {public[1]}\n"
        with self.known_hosts.open("a") as file:
            file.write(line)
        return line

    def log(self) -> str:
        """Return what the server wrote so far."""
        return self._log.read_text(errors="replace")

    def connections(self) -> list[int]:
        """Return the server's processes for connections, one or two for each."""
        return [pid for pid in _below(self._process.pid) if _name(pid).startswith("sshd")]

    def kill_connections(self) -> int:
        """Kill the server's processes for connections; return how many there were."""
        found = self.connections()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def stop(self) -> None:
        """End the server and all connections."""
        # the server doesn't take its connections with it
        self._process.send_signal(signal.SIGSTOP)
        self.kill_connections()
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start again after ``stop``, at the same port."""
        self._process = self._run()

    def _start(self) -> "subprocess.Popen[bytes]":
        """Start at a port that is free; somebody else may get it first."""
        Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
        for _ in range(5):
            self.port = free_port()
            with contextlib.suppress(ChildProcessError):
                return self._run()
        raise AssertionError(f"no sshd: {self.log()}")

    def _run(self) -> "subprocess.Popen[bytes]":
        usual = {
            "ListenAddress": ADDRESS,
            "Port": self.port,
            "HostKey": self.host_key,
            "AuthorizedKeysFile": self._authorized,
            "PermitRootLogin": "yes",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "PrintMotd": "no",
            "MaxStartups": "100",
            **self._settings,
        }
        config = self.directory / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in usual.items()))
        command = [shutil.which("sshd", path=_SYSTEM) or "sshd", "-D", "-e", "-f", str(config)]
        with self._log.open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 10
        while "Server listening" not in self.log():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise ChildProcessError(self.log())
            time.sleep(0.01)
        return process

    def _only(self, programs: list[str]) -> Path:
        """Make a directory with the least of programs and these."""
        path = self.directory / "bin"
        path.mkdir(exist_ok=True)
        for name in (*_LEAST, *programs):
            found = shutil.which(name, path=_SYSTEM) or shutil.which(name)
            assert found or name not in programs, f"no program {name}"
            if found:
                (path / name).symlink_to(found)
        return path


class PasswordUser:
    """
    A user of this machine with a password; gone with the context.

    :param password: a random one if empty
    :param shell: the login shell
    """

    def __init__(self, password: str = "", shell: str = "/bin/bash") -> None:
        need_root()
        need_programs("useradd", "userdel", "chpasswd")
        self.name = f"pool{secrets.token_hex(6)}"
        self.password = password or secrets.token_urlsafe(12)
        self.shell = shell

    def __enter__(self) -> "PasswordUser":
        # not below pytest's directories, which are closed to others
        self.home = Path(tempfile.mkdtemp(prefix="pool-home-", dir="/tmp"))
        try:
            _run("useradd", "-M", "-N", "-d", str(self.home), "-s", self.shell, self.name)
            _run("chpasswd", given=f"{self.name}:{self.password}\n")
            shutil.chown(self.home, self.name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(["userdel", "-f", self.name], capture_output=True, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def _run(*command: str, given: str = "") -> None:
    done = subprocess.run(command, input=given.encode(), capture_output=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stderr.decode()}"


def _below(pid: int) -> list[int]:
    """Return a process's children, theirs and so on."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [one for child in map(int, text.split()) for one in (child, *_below(child))]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
