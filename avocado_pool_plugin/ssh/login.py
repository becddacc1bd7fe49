"""Logging in on a host, once for all that goes there: OpenSSH with a shared connection."""

import contextlib
import logging
import math
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence

from avocado_pool_plugin.core.errors import HostUnreachable, PoolError, PoolUnreachable
from avocado_pool_plugin.core.host import ACCEPT_NEW, Host
from avocado_pool_plugin.ssh import causes, ciphers, control, failures
from avocado_pool_plugin.ssh.channel import Channel

LOG = logging.getLogger("avocado." + __name__)

#: Seconds that a connection lives without a channel; one whose owner was killed ends by that.
PERSIST = 60
#: The program.
_SSH = "ssh"
#: Its exit status where a signal ended what ran over there.
_KILLED = 255
#: Seconds for a host to say who it is.
_CONNECT = 15
#: Answers a host may miss in a row; with one more, before the timeout, its connection is dead.
_MISSED = 2


class Connection:
    """
    One login on a host, shared by everything that goes there.

    An OpenSSH process in the background holds it. It ends by itself ``PERSIST`` seconds after the
    last channel, and when the host gives no answer for the host's timeout.

    Can be used by several threads. A forked child may use it but doesn't end it.
    """

    def __init__(self, host: Host, directory: str, title: str) -> None:
        self._host = host
        self._directory = directory
        self._socket = control.socket_path(directory)
        self._owner = os.getpid()
        self._closed = False
        #: What it is, for errors.
        self.title = title

    @classmethod
    def open(cls, host: Host) -> "Connection":
        """
        Log in.

        :raises LoginRefused: password, key or host key are wrong
        :raises HostUnreachable: nobody listens there, or the connection broke
        :raises PoolSilent: no answer in the host's timeout, or who it is not within 15 seconds
        :raises PoolUnreachable: ssh can't be started here
        """
        begin = time.monotonic()
        title = f"host {host.label} ({host})"
        with _typed(title):
            connection = cls(host, control.new_directory(), title)
        try:
            with _typed(title):
                connection._log_in()
        except BaseException:
            connection.close()
            raise
        LOG.debug("logged in on %s in %.2f s", connection.title, time.monotonic() - begin)
        return connection

    @property
    def alive(self) -> bool:
        """Whether it can still be used, as far as is known on this side; takes no process."""
        return control.listens(self._socket)

    @property
    def ssh(self) -> tuple[str, ...]:
        """The program and options that ride on the connection, to be followed by any host name."""
        options = {
            "ControlMaster": "no",
            "ProxyCommand": "false",  # without the connection there is none, never a new login
            "BatchMode": "yes",
            "EscapeChar": "none",
            "LogLevel": "ERROR",
        }
        return (_SSH, "-F", "none", "-T", "-S", self._socket, *_options(options))

    def command(self, *far: str) -> list[str]:
        """
        Return a command that runs another one over there.

        :param far: words that ssh joins by blanks for the user's login shell there; not quoted
        """
        return [*self.ssh, "--", "pool", *far]

    def channel(self) -> Channel:
        """
        Start a POSIX shell over there that reads commands from the channel.

        What a login prints before is swallowed.

        :raises HostUnreachable: the connection is dead or takes no more sessions
        :raises LoginRefused: the user has no shell over there, or it prints without end
        :raises PoolSilent: no answer in the host's timeout
        """
        if not self.alive:
            raise self._ended()
        with _typed(self.title):
            channel = Channel(self.command("exec", "sh"), self.title, self._host.timeout)
        heard: list[bytes] = []
        try:
            _greet(channel, heard)
        except HostUnreachable:
            complaints, status = channel.complaints(), channel.status()
            channel.close()
            raise self._no_channel(complaints, heard, status) from None
        except BaseException:
            channel.close()
            raise
        return channel

    def close(self) -> None:
        """End the connection with all that rides on it; quick, and nothing if done before."""
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        if self.alive:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    [*self.ssh, "-O", "exit", "--", "pool"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=control.END,
                    check=False,
                )
        control.see_off(self._socket)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _log_in(self) -> None:
        if self._host.password:
            # loads aexpect, which takes time
            from avocado_pool_plugin.ssh import prompts

            status = prompts.log_in(self._master(), self._host, self.title, self._directory)
        else:
            status = self._log_in_by_key()
        if status != 0:
            raise causes.login_failed(
                self.title, self._read("log"), self._read("noise"), bool(self._host.password)
            )
        if not self.alive:
            raise self._ended()

    def _log_in_by_key(self) -> int:
        with open(os.path.join(self._directory, "noise"), "ab") as noise:
            try:
                done = subprocess.run(
                    self._master(),
                    stdin=subprocess.DEVNULL,
                    stdout=noise,
                    stderr=noise,
                    start_new_session=True,  # Ctrl-C is for us to handle
                    timeout=self._host.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise causes.silent(self.title, self._host.timeout) from None
        return done.returncode

    def _master(self) -> list[str]:
        """Return the command that logs in and holds the connection in the background."""
        host = self._host
        command = [*_words(host), "-f", "-N", "-T", "-S", self._socket]
        command += ["-E", os.path.join(self._directory, "log")]
        settings = _settings(host) | cipher(host)
        return [*command, *_options(settings), "--", _name(host)]

    def _no_channel(
        self, complaints: str, heard: list[bytes], status: int | None
    ) -> PoolUnreachable:
        if not self.alive:
            return self._ended()
        if status == _KILLED and not heard and not complaints:
            return causes.shell_killed(self.title)
        return causes.no_channel(self.title, complaints, os.fsdecode(b"\n".join(heard)))

    def _ended(self) -> HostUnreachable:
        return causes.connection_ended(self.title, self._read("log"))

    def _read(self, name: str) -> str:
        """Return what ssh left in a file."""
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                return os.fsdecode(file.read())
        except FileNotFoundError:
            return ""


def cipher(host: Host) -> dict[str, str]:
    """Return which cipher a login on a host tries first, see ``ciphers.wanted``."""
    return ciphers.wanted(_words(host), _name(host))


def _words(host: Host) -> list[str]:
    """Return the program and what tells it which configuration of a host to go by."""
    given = {"-F": host.config, "-p": str(host.port or ""), "-l": host.user}
    return [_SSH, *(word for pair in given.items() if pair[1] for word in pair)]


def _name(host: Host) -> str:
    """Return a host's name or address as ssh wants it."""
    return host.address.strip("[]")


@contextlib.contextmanager
def _typed(title: str) -> Iterator[None]:
    """Make the system's errors about starting ssh those of this package."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PoolError):
            raise
        raise causes.no_start(title, error) from error


def _settings(host: Host) -> dict[str, str]:
    """Return what a login has to be like whatever the user's configuration says."""
    settings = {
        "ControlMaster": "yes",
        "ControlPersist": str(PERSIST),
        "StrictHostKeyChecking": "accept-new" if host.host_keys == ACCEPT_NEW else "yes",
        "ConnectTimeout": str(max(1, math.floor(min(host.timeout, _CONNECT)))),
        "ServerAliveInterval": str(max(1, math.floor(host.timeout / (_MISSED + 2)))),
        "ServerAliveCountMax": str(_MISSED),
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "Tunnel": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "RequestTTY": "no",
        "EscapeChar": "none",
        "LogLevel": "INFO",  # less hides why
    }
    if not host.password:
        return {**settings, "BatchMode": "yes"}
    return {
        **settings,
        "BatchMode": "no",
        "NumberOfPasswordPrompts": "1",
        "PreferredAuthentications": "publickey,keyboard-interactive,password",
        "KbdInteractiveAuthentication": "yes",
        "PasswordAuthentication": "yes",
    }


def _options(settings: dict[str, str]) -> Sequence[str]:
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _greet(channel: Channel, heard: list[bytes]) -> None:
    """Wait until the far shell does what it is told; keep the last it says before."""
    one, two = secrets.token_hex(8).encode(), secrets.token_hex(8).encode()
    with contextlib.suppress(HostUnreachable):  # it said why before it ended
        channel.send(b"echo ", one, b"''", two, b"\n")
    for _ in range(failures.CHATTER):
        line = channel.receive_line()
        if line.endswith(one + two):
            return
        heard[:] = [*heard[-9:], line]
    raise failures.chatter(channel.title, heard[-1])
