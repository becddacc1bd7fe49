"""The first login on a host."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmarks.far.place import Far
from benchmarks.lab import tool
from benchmarks.measure import Contender, Samples, alternate, ratio
from benchmarks.table import SLACK, Row
from tests.support.sshd import ADDRESS

if TYPE_CHECKING:
    from avocado_pool_plugin.core.host import Host
    from avocado_pool_plugin.ssh.channel import Channel
    from avocado_pool_plugin.ssh.login import Connection


def rows(far: Far) -> Iterator[Row]:
    """Yield the rows."""
    yield _by_key(far)
    yield _by_password(far)


class _Login:
    """Logging in up to a shell over there; taken away again before the next time."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._connection: Connection | None = None
        self._channel: Channel | None = None

    def run(self) -> None:
        from avocado_pool_plugin.ssh.login import Connection

        self._connection = Connection.open(self._host)
        self._channel = self._connection.channel()

    def close(self) -> None:
        if self._channel:
            self._channel.close()
        if self._connection:
            self._connection.close()


def _measured(host: "Host", other: dict[str, Contender], runs: int) -> dict[str, Samples]:
    login = _Login(host)
    try:
        return alternate({"ours": Contender(login.run, login.close), **other}, runs)
    finally:
        login.close()


def _by_key(far: Far) -> Row:
    server = far.usual
    config = server.client_config("plain", StrictHostKeyChecking="accept-new")
    command = ("ssh", "-F", config, "-p", server.port, ADDRESS, "true")
    found = _measured(server.host(), {"ssh": Contender(lambda: tool(*command))}, far.runs)
    ours, plain = found.values()
    return Row(
        "first login and a shell, by key",
        "<= 1.2 x ssh host true + 0.1 s",
        str(ours),
        f"ssh host true {plain}",
        f"{ratio(ours, plain):.2f} x ssh host true",
        ours.median > SLACK * (1.2 * plain.median + 0.1),
        {"ours": ours, "ssh": plain},
    )


def _by_password(far: Far) -> Row:
    seconds_aim = 1.6
    config = far.usual.client_config("no-key", IdentityFile="none")
    host = far.usual.host(user=far.user.name, password=far.user.password, config=str(config))
    peer = Contender(lambda: far.timed("login"))
    ours, other = _measured(host, {"peer": peer}, far.runs).values()
    return Row(
        "first login and a shell, by password",
        f"<= {seconds_aim} s",
        str(ours),
        f"avocado-i2n {other}",
        f"{ratio(ours, other):.2f} x avocado-i2n; both by aexpect",
        ours.median > SLACK * seconds_aim,
        {"ours": ours, "avocado-i2n": other},
        "first login, by password",
    )
