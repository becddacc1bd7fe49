"""Logins on a real ssh server, and what is left of them."""

import contextlib
import logging
import os
import re
import signal
import socket
import stat
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    LoginRefused,
    PoolSilent,
    PoolUnreachable,
    SettingRefused,
)
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.ssh import ciphers, control, login
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.login import Connection
from tests.support.needs import need_programs
from tests.support.processes import in_child, python
from tests.support.sshd import ADDRESS, PasswordUser, Sshd, free_port, make_key

#: All that can be typed on a keyboard, and keys that a terminal takes for something else.
ODD = string.punctuation + " `touch x` $(touch x) %s a\t\x03\x04\x15\x16\x17\x7f é☃ end "


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def by_dialog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server that asks for passwords in words of its own."""
    settings = {"UsePAM": "yes", "KbdInteractiveAuthentication": "yes"}
    with Sshd(tmp_path_factory.mktemp("pam"), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def user() -> Iterator[PasswordUser]:
    with PasswordUser(ODD) as found:
        yield found


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where all temporary files go; empty in the end, and nobody at work in it."""
    import aexpect.client
    import aexpect.shared

    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(aexpect.client, "BASE_DIR", name)
        monkeypatch.setattr(aexpect.shared, "BASE_DIR", name)
        yield Path(name)
        assert processes(name) == {}
        assert os.listdir(name) == []


def processes(word: str) -> dict[int, str]:
    """Return the processes with a word on their command line."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = Path("/proc", name, "cmdline").read_bytes()
            if word.encode() in line:
                found[int(name)] = line.decode(errors="replace")
    return found


def without_key(sshd: Sshd, text: str = "", **settings: str) -> str:
    return str(sshd.client_config("no-key", text, IdentityFile="none", **settings))


def password_host(sshd: Sshd, user: PasswordUser, **changes: object) -> Host:
    config = changes.pop("config", None) or without_key(sshd)
    known = {"user": user.name, "password": user.password, "config": config}
    return sshd.host(**{**known, **changes})


@contextlib.contextmanager
def connected(host: Host) -> Iterator[Connection]:
    connection = Connection.open(host)
    try:
        yield connection
    finally:
        connection.close()


def ask(channel: Channel, command: str) -> str:
    channel.send(f"{command}\n".encode())
    return channel.receive_line().decode()


def refused(host: Host, kind: type[Exception] = LoginRefused) -> str:
    """Return the one line in which a login is refused."""
    with pytest.raises(kind) as raised:
        Connection.open(host).close()
    text = str(raised.value)
    assert type(raised.value) is kind
    assert "\n" not in text and f"host {host.label} ({host})" in text
    if host.password:
        assert host.password not in text
    return text


def until(true, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- logins that work --


def test_by_key(sshd):
    with connected(sshd.host()) as connection:
        assert connection.title == f"host lab (root@127.0.0.1 port {sshd.port})"
        assert connection.alive
        channel = connection.channel()
        assert ask(channel, "id -un; echo") == "root"
        channel.close()
    assert not connection.alive
    assert "Accepted publickey for root" in sshd.log()


def test_channels_share_one_login(sshd):
    before = sshd.log().count("Accepted")
    with connected(sshd.host()) as connection:
        channels = [connection.channel() for _ in range(8)]
        pids = {ask(channel, "echo $$") for channel in channels}
        command = connection.command("exec", "echo", "$((2 + 3))")
        done = subprocess.run(command, capture_output=True, check=True)
        for channel in channels:
            channel.close()
    assert len(pids) == 8 and done.stdout == b"5\n"
    assert sshd.log().count("Accepted") == before + 1


def test_the_fast_cipher_unless_one_is_configured(tmp_path):
    """The server tells which one it was."""
    with Sshd(tmp_path / "sshd", LogLevel="DEBUG1") as sshd:
        chosen = []
        for settings in ({}, {"Ciphers": "aes256-ctr"}):
            config = sshd.client_config("other", **settings)
            Connection.open(sshd.host(config=str(config))).close()
            told = re.findall(r"kex: client->server cipher: (\S+)", sshd.log())
            chosen.append(told[-1])
    has_aes = re.search(r"\baes\b", Path("/proc/cpuinfo").read_text())
    usual = "aes128-gcm@openssh.com" if has_aes else "chacha20-poly1305@openssh.com"
    assert chosen == [usual, "aes256-ctr"]


def test_key_login_does_without_aexpect(sshd):
    code = """
import sys
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.ssh.login import Connection
Connection.open(Host("lab", "127.0.0.1", int(sys.argv[1]), "root", config=sys.argv[2])).close()
print("aexpect" in sys.modules)
"""
    process = python(code, str(sshd.port), sshd.config)
    assert process.communicate(timeout=30) == ("False\n", "")


def test_by_password(sshd, user):
    with connected(password_host(sshd, user)) as connection:
        channel = connection.channel()
        assert ask(channel, "id -un") == user.name
        channel.close()
    assert f"Accepted password for {user.name}" in sshd.log()


def test_by_dialog(by_dialog, user):
    with connected(password_host(by_dialog, user)) as connection:
        assert connection.alive
    assert f"Accepted keyboard-interactive/pam for {user.name}" in by_dialog.log()


def test_by_key_although_there_is_a_password(sshd):
    with connected(sshd.host(password="not asked for")) as connection:
        assert connection.alive


def test_passphrase_of_a_key_is_not_the_password(tmp_path, sshd, user):
    locked = make_key(tmp_path / "locked")
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", locked]
    subprocess.run(change, check=True, capture_output=True)
    allowed = user.home / "authorized"
    allowed.write_text(locked.with_suffix(".pub").read_text())
    with Sshd(tmp_path / "sshd", AuthorizedKeysFile=str(allowed)) as server:
        config = server.client_config("locked", IdentityFile=str(locked))
        with connected(password_host(server, user, config=str(config))) as connection:
            assert connection.alive
        assert "Postponed publickey" not in server.log()
        assert f"Accepted password for {user.name}" in server.log()


def test_by_password_under_another_name(sshd, user):
    alias = f"Host lab\n HostName {ADDRESS}\n Port {sshd.port}\n User {user.name}"
    config = without_key(sshd, alias)
    host = Host("x", "lab", password=user.password, config=config, timeout=20)
    with connected(host) as connection:
        assert connection.alive


def test_helper_of_aexpect_is_found_without_a_path(sshd, user, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with connected(password_host(sshd, user)):
        assert os.environ["PATH"] == "/usr/bin:/bin"


@pytest.mark.parametrize("host_keys", ["accept-new", "strict"])
def test_user_configuration_cannot_undo_what_matters(sshd, tmp_path, host_keys):
    config = sshd.client_config(
        "odd",
        StrictHostKeyChecking="no",
        RemoteCommand="touch evil",
        PermitLocalCommand="yes",
        LocalCommand=f"touch {tmp_path}/evil",
        ControlMaster="no",
        ControlPath="none",
        RequestTTY="force",
        LogLevel="QUIET",
        LocalForward=f"{free_port()} localhost:1",
        ForwardAgent="yes",
    )
    sshd.introduce()
    with connected(sshd.host(config=str(config), host_keys=host_keys)) as connection:
        channel = connection.channel()
        assert ask(channel, "tty") == "not a tty"
        channel.close()
    assert list(tmp_path.iterdir()) == [] and not (sshd.home / "evil").exists()


def test_noisy_login(sshd):
    start = sshd.home / ".bashrc"
    start.write_text("echo Welcome; echo warning >&2; printf 'no end of line> '\n")
    try:
        with connected(sshd.host()) as connection:
            channel = connection.channel()
            assert ask(channel, "echo $0") == "sh"
            channel.close()
    finally:
        start.unlink()


@pytest.mark.parametrize("shell", ["/usr/bin/dash", "noisy"])
def test_other_login_shells(sshd, tmp_path_factory, shell):
    with tempfile.TemporaryDirectory(prefix="shell-", dir="/tmp") as directory:
        if shell == "noisy":
            os.chmod(directory, 0o755)
            path = Path(directory, "noisy")
            path.write_text('#!/bin/sh\necho hi; echo hm >&2; printf "> "; exec /bin/sh "$@"\n')
            path.chmod(0o755)
            shell = str(path)
        with PasswordUser(shell=shell) as other, connected(password_host(sshd, other)) as found:
            channel = found.channel()
            assert ask(channel, "id -un") == other.name
            channel.close()


def test_banner_before_the_password(tmp_path, user):
    banner = tmp_path / "banner"
    banner.write_text("Permission denied\nEnter your password: \nyes/no? ")
    with (
        Sshd(tmp_path / "sshd", Banner=str(banner)) as server,
        connected(password_host(server, user)) as connection,
    ):
        assert connection.alive


def test_long_temporary_directory(sshd, tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with connected(sshd.host()) as connection:
        assert connection.alive and list(deep.iterdir()) == []
        assert connection.ssh[connection.ssh.index("-S") + 1].startswith("/tmp/pool-ssh-")


def test_odd_temporary_directory(sshd, room, monkeypatch):
    odd = room / "%h ${HOME}"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with connected(sshd.host()) as connection:
        assert connection.alive
    odd.rmdir()


# -- logins that don't --


def test_wrong_password(sshd, user):
    text = refused(password_host(sshd, user, password="wrong"))
    assert "Permission denied" in text and "nets_password" in text


def test_wrong_password_in_a_dialog(by_dialog, user):
    """Another question comes after the answer."""
    text = refused(password_host(by_dialog, user, password="another word"))
    assert "the password is wrong" in text and "nets_password" in text


def test_no_key(sshd):
    text = refused(sshd.host(config=without_key(sshd)))
    assert "Permission denied (publickey" in text and "or nets_password" in text


def test_accept_new_keeps_an_unknown_key(sshd, tmp_path):
    known = tmp_path / "known"
    config = sshd.client_config("new", UserKnownHostsFile=str(known))
    with connected(sshd.host(config=str(config))) as connection:
        assert connection.alive
    assert sshd.host_key.with_suffix(".pub").read_text().split()[1] in known.read_text()
    with connected(sshd.host(config=str(config), host_keys="strict")) as connection:
        assert connection.alive


@pytest.mark.parametrize("password", ["", "secret"])
def test_strict_refuses_an_unknown_key(sshd, tmp_path, password):
    known = tmp_path / "known"
    config = sshd.client_config("unknown", UserKnownHostsFile=str(known))
    text = refused(sshd.host(config=str(config), host_keys="strict", password=password))
    assert "ssh-keyscan" in text and "No ED25519 host key is known" in text
    assert not known.exists()


@pytest.mark.parametrize("host_keys", ["accept-new", "strict"])
@pytest.mark.parametrize("password", ["", "secret"])
def test_changed_key_is_never_accepted(tmp_path, sshd, host_keys, password):
    known = tmp_path / "known"
    wrong = sshd.user_key.with_suffix(".pub").read_text()
    known.write_text(f"# a comment\n[{ADDRESS}]:{sshd.port} {wrong}")
    before = known.read_bytes(), sshd.log().count("Accepted")
    config = sshd.client_config(
        "changed", UserKnownHostsFile=str(known), StrictHostKeyChecking="no"
    )
    text = refused(sshd.host(config=str(config), host_keys=host_keys, password=password))
    assert f"{known}:2" in text and "differs" in text
    assert (known.read_bytes(), sshd.log().count("Accepted")) == before


@pytest.mark.parametrize("password", ["", "secret"])
def test_nobody_listens(sshd, password):
    text = refused(sshd.host(port=free_port(), password=password), HostUnreachable)
    assert "Connection refused" in text


def test_unknown_name(sshd):
    text = refused(sshd.host(address="nowhere.invalid"), HostUnreachable)
    assert "nowhere.invalid" in text and "resolve" in text


@pytest.mark.parametrize("password", ["", "secret"])
def test_host_that_says_nothing(sshd, password):
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]
        begin = time.monotonic()
        text = refused(sshd.host(port=port, timeout=1, password=password), PoolSilent)
        assert time.monotonic() - begin < 5
    assert "ssh_timeout" in text


def test_host_that_stops_in_mid_login(sshd):
    """The host says who it is, and nothing more."""
    with socket.create_server((ADDRESS, 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            one, _ = server.accept()
            with one:
                one.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                while one.recv(4096):
                    pass

        thread = threading.Thread(target=greet)
        thread.start()
        refused(sshd.host(port=port, timeout=1), PoolSilent)
        thread.join(10)


def test_host_that_closes_at_once(sshd):
    with socket.create_server((ADDRESS, 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())  # noqa: PLW0108
        thread.start()
        text = refused(sshd.host(port=server.getsockname()[1]), HostUnreachable)
        thread.join(10)
    assert "Connection" in text


def test_configuration_that_ssh_refuses(sshd, tmp_path):
    assert "nowhere" in refused(sshd.host(config=str(tmp_path / "nowhere")))
    bad = tmp_path / "bad"
    bad.write_text("NoSuchOption yes\n")
    assert "configuration" in refused(sshd.host(config=str(bad)))


def test_jump_host_that_fails(sshd):
    way = f"Host lab\n ProxyJump jump\nHost jump\n HostName {ADDRESS}\n Port {free_port()}\n"
    config = str(sshd.client_config("jump", way))
    text = refused(sshd.host(address="lab", config=config), HostUnreachable)
    assert "jump host" in text


@pytest.mark.parametrize("by_password", [False, True])
def test_over_a_jump_host(sshd, user, by_password):
    way = (
        f"Host lab\n HostName {ADDRESS}\n ProxyJump jump\n"
        f"Host jump\n HostName localhost\n Port {sshd.port}\n User root\n"
        f" IdentityFile {sshd.user_key}\n StrictHostKeyChecking accept-new\n"
    )
    config = str(sshd.client_config("by-way", way, IdentityFile="none" if by_password else ""))
    if not by_password:
        config = str(sshd.client_config("by-way", way))
    changes = {"user": user.name, "password": user.password} if by_password else {}
    with connected(sshd.host(address="lab", config=config, **changes)) as connection:
        channel = connection.channel()
        assert ask(channel, "id -un") == (user.name if by_password else "root")
        channel.close()
        begin = time.monotonic()
        connection.close()
        assert time.monotonic() - begin < control.END
    until(lambda: not processes("by-way"))


def test_jump_host_does_not_get_the_password(sshd, user):
    way = (
        f"Host lab\n HostName {ADDRESS}\n ProxyJump jump\n"
        f"Host jump\n HostName localhost\n Port {sshd.port}\n User {user.name}\n"
        f" HostKeyAlias way\n StrictHostKeyChecking accept-new\n"
    )
    before = sshd.log().count("password for")
    text = refused(password_host(sshd, user, address="lab", config=without_key(sshd, way)))
    assert "way, a host on the way, asks for a password" in text
    assert sshd.log().count("password for") == before


def test_only_the_first_prompt_is_answered(tmp_path):
    """Prompts no server here gives, from a program in place of ssh that asks as ssh does."""
    answered, said = _asked(tmp_path, "Password for lab: ")
    assert (answered, said) == ("secret", "status 0")
    assert _asked(tmp_path, "Enter passphrase for key '/k': ") == ("", "status 0")
    for prompt, reason in {
        "Verification code: ": "only a person knows",
        "Are you sure you want to continue connecting (yes/no/[fingerprint])? ": "host key",
        "root@lab's password expired. New password: ": "renew it",
        "(root@way) Password: ": "a host on the way",
        "root@way's password: ": "a host on the way",
    }.items():
        answered, said = _asked(tmp_path, prompt)
        assert answered is None and reason in said, (prompt, said)


def test_a_configuration_that_ssh_does_not_tell_is_not_waited_for(tmp_path, monkeypatch):
    """Such as one whose ``Match exec`` hangs."""
    monkeypatch.setattr(ciphers, "_PATIENCE", 0.5)
    answered, said = _asked(tmp_path, "root@alias's password: ", "exec sleep 60")
    assert answered is None and "alias, a host on the way, asks for a password" in said


def _asked(
    directory: Path, prompt: str, settings: str = "echo hostname lab"
) -> tuple[str | None, str]:
    """Return how a prompt is answered, and the status or the refusal."""
    from avocado_pool_plugin.ssh import prompts

    answer, program = directory / "answer", directory / "ssh"
    answer.unlink(missing_ok=True)
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -G ] && {{ {settings}; exit; }}\n'
        f"printf '%s' \"$1\" >/dev/tty; read -r x </dev/tty; printf '%s' \"$x\" >{answer}\n"
    )
    program.chmod(0o755)
    host = Host("lab", "lab", password="secret", timeout=10)
    try:
        said = f"status {prompts.log_in([str(program), prompt], host, 'host lab', str(directory))}"
    except LoginRefused as error:
        said = str(error)
    return (answer.read_text() if answer.exists() else None), said


def test_no_ssh(sshd, room, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PoolUnreachable, match=r"host lab .* can't be started: No such file .*ssh"):
        Connection.open(sshd.host())


def test_no_temporary_directory(sshd, room, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", f"{room}/gone")
    with pytest.raises(PoolUnreachable, match="temporary directory"):
        Connection.open(sshd.host())


def test_no_helper_of_aexpect(sshd, tmp_path, user, monkeypatch):
    helper = tmp_path / "aexpect_helper"
    helper.write_text("#!/bin/sh\nexit 1\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(PoolUnreachable, match="aexpect_helper"):
        Connection.open(password_host(sshd, user))


# -- the end of a connection --


def test_connection_killed_over_there(tmp_path):
    with Sshd(tmp_path) as server, connected(server.host()) as connection:
        channel = connection.channel()
        assert server.kill_connections()
        with pytest.raises(HostUnreachable):
            channel.receive_line()
        channel.close()
        until(lambda: not connection.alive)
        with pytest.raises(HostUnreachable, match=r"host lab .* has ended"):
            connection.channel()
        assert server.log().count("Accepted") == 1


def test_connection_that_hangs_ends_by_itself(tmp_path):
    with Sshd(tmp_path) as server, connected(server.host(timeout=4)) as connection:
        frozen = server.connections()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(HostUnreachable, match="not responding"):
                connection.channel()
            assert not connection.alive
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


def test_no_more_sessions(tmp_path):
    with Sshd(tmp_path, MaxSessions=2) as server, connected(server.host()) as connection:
        channels = [connection.channel(), connection.channel()]
        with pytest.raises(HostUnreachable, match="MaxSessions") as raised:
            connection.channel()
        assert "host lab" in str(raised.value)
        assert connection.alive and ask(channels[0], "echo still") == "still"
        channels.pop().close()
        until(lambda: _opens(connection))
        channels.pop().close()
        assert server.log().count("Accepted") == 1


def _opens(connection: Connection) -> bool:
    try:
        connection.channel().close()
    except HostUnreachable:
        return False
    return True


def test_user_without_a_shell(sshd):
    with PasswordUser(shell="/usr/sbin/nologin") as nobody:
        host = password_host(sshd, nobody)
        with (
            connected(host) as connection,
            pytest.raises(LoginRefused, match=r"currently not available"),
        ):
            connection.channel()


def test_far_side_without_sh(tmp_path):
    with (
        Sshd(tmp_path, ForceCommand="no-such-program") as server,
        connected(server.host()) as connection,
        pytest.raises(LoginRefused, match="login shell") as raised,
    ):
        connection.channel()
    assert "no-such-program" in str(raised.value)


def test_far_side_whose_shell_is_killed(tmp_path):
    """As by one who is short of memory: trying again may help, unlike without a shell."""
    with (
        Sshd(tmp_path, ForceCommand="kill -9 $$") as server,
        connected(server.host()) as connection,
        pytest.raises(HostUnreachable, match="was killed as it started"),
    ):
        connection.channel()


def test_far_side_that_talks_without_end(tmp_path):
    with (
        Sshd(tmp_path, ForceCommand="yes") as server,
        connected(server.host()) as connection,
        pytest.raises(LoginRefused, match=r"10000 lines .* 'y' the last; make its login shell"),
    ):
        connection.channel()


def test_close_takes_channels_along(sshd, room):
    connection = Connection.open(sshd.host())
    channels = [connection.channel() for _ in range(3)]
    assert len(list(room.iterdir())) == 1
    begin = time.monotonic()
    connection.close()
    connection.close()
    assert time.monotonic() - begin < 2
    assert os.listdir(room) == []
    for channel in channels:
        with pytest.raises(HostUnreachable):
            channel.receive_line()
        channel.close()
    with pytest.raises(HostUnreachable):
        connection.channel()


def test_close_of_a_connection_that_hangs(sshd, room, monkeypatch):
    monkeypatch.setattr(control, "END", 0.3)
    connection = Connection.open(sshd.host())
    for pid in processes(str(room)):
        os.kill(pid, signal.SIGSTOP)
    connection.close()
    assert processes(str(room)) == {}


def test_forked_child_leaves_the_connection(sshd):
    with connected(sshd.host()) as connection:

        def child() -> None:
            channel = connection.channel()
            assert ask(channel, "echo here") == "here"
            channel.close()
            connection.close()

        assert in_child(child) == 0
        assert connection.alive
        connection.channel().close()


_OWNER = """
import sys
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.ssh import login
login.PERSIST = 1
host = Host("lab", "127.0.0.1", int(sys.argv[1]), "root", config=sys.argv[2])
connection = login.Connection.open(host)
channel = connection.channel()
print("open", flush=True)
sys.stdin.readline()
"""


def test_killed_owner(sshd, room, monkeypatch):
    owner = python(_OWNER, str(sshd.port), sshd.config)
    assert owner.stdout and owner.stdout.readline() == "open\n"
    assert len(processes(str(room))) >= 2
    owner.kill()
    owner.communicate()
    until(lambda: not processes(str(room)))
    # its directory goes with the next login, once nobody can be about to use it
    left = next(room.iterdir())
    with connected(sshd.host()):
        assert left.exists()
    monkeypatch.setattr(control, "STALE", -1.0)
    with connected(sshd.host()) as connection:
        assert not left.exists() and connection.alive
        with connected(sshd.host()):
            assert connection.alive


def test_idle_connection_stays_for_a_while(sshd, monkeypatch):
    monkeypatch.setattr(login, "PERSIST", 2)
    with connected(sshd.host()) as connection:
        channel = connection.channel()
        time.sleep(2.5)
        assert ask(channel, "echo here") == "here"
        channel.close()
        # whoever asks for it more often than that keeps it
        assert any(time.sleep(3) or not connection.alive for _ in range(5))


# -- nothing slips through --


@pytest.mark.parametrize(
    "text", ["-oProxyCommand=touch x", "a;touch x", "$(touch x)", "`x`", "a\nb"]
)
def test_nothing_is_run_by_a_name(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingRefused):
        Connection.open(Host("lab", text))
    with pytest.raises(SettingRefused):
        Connection.open(Host("lab", ADDRESS, user=text))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_run_by_the_path_of_a_configuration(sshd, user, tmp_path, monkeypatch):
    odd = tmp_path / "a b;touch x $(touch y) 'c\n\"d"
    odd.write_text(Path(without_key(sshd)).read_text())
    monkeypatch.chdir(tmp_path)
    with connected(password_host(sshd, user, config=str(odd))) as connection:
        assert connection.alive
    assert list(tmp_path.iterdir()) == [odd]


_LOGIN = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, filename=sys.argv[4])
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.ssh.login import Connection
password = sys.stdin.readline().rstrip("\\n")
host = Host("lab", "127.0.0.1", int(sys.argv[1]), sys.argv[2], password, config=sys.argv[3])
connection = Connection.open(host)
logging.debug("%r %s %r", host, connection.title, connection)
channel = connection.channel()
channel.close()
connection.close()
"""


def test_password_goes_to_the_terminal_only(sshd, tmp_path):
    need_programs("strace")
    trace, log = tmp_path / "trace", tmp_path / "log"
    calls = "execve,write,writev,pwrite64,sendto,sendmsg,rename,symlink,mkdir,open,openat"
    strace = ["strace", "-f", "-y", "-v", "-s", "100000", "-e", f"trace={calls}", "-o", trace]
    strace.append(sys.executable)
    with PasswordUser() as user:
        process = subprocess.run(
            [*strace, "-c", _LOGIN, str(sshd.port), user.name, without_key(sshd), log],
            input=f"{user.password}\n",
            text=True,
            capture_output=True,
            check=False,
        )
        password = user.password
    assert process.returncode == 0, process.stderr
    assert "logged in on host lab" in log.read_text() and password not in log.read_text()
    lines = [line for line in trace.read_text(errors="replace").splitlines() if password in line]
    places = {re.sub(r".*? (\w+)\(\d+<(.*?)>.*", r"\1 \2", line) for line in lines}
    assert len(places) == 2, lines
    for place in places:
        assert re.fullmatch(r"write (.*/aexpect_pool_\w+/inpipe|/dev/pt.*)", place), lines
    assert password not in process.stdout + process.stderr


def test_nobody_else_can_read_what_is_typed(sshd, user, room, monkeypatch):
    from avocado_pool_plugin.ssh import prompts

    seen = {}
    original = prompts._Talk._type

    def look(self, text):
        for path in room.iterdir():
            seen[path.name.rstrip("0123456789abcdef")] = stat.S_IMODE(path.stat().st_mode)
        original(self, text)

    monkeypatch.setattr(prompts._Talk, "_type", look)
    with connected(password_host(sshd, user)):
        pass
    assert [mode for name, mode in seen.items() if name.startswith("aexpect_pool_")] == [0o700]
    assert [mode for name, mode in seen.items() if name.startswith("pool-ssh-")] == [0o700]


def test_password_in_no_log(sshd, user, caplog):
    caplog.set_level(logging.DEBUG)
    with connected(password_host(sshd, user)) as connection:
        assert user.password not in repr(connection) + repr(vars(connection))
    refused(password_host(sshd, user, password="other word"))
    assert "logged in on host lab" in caplog.text
    assert user.password not in caplog.text and "other word" not in caplog.text


# -- what takes time --


def test_first_login_costs_little_more_than_ssh(sshd):
    sshd.introduce()
    plain = ["ssh", "-F", str(sshd.config), "-p", str(sshd.port), ADDRESS, "true"]

    def timed(work) -> float:
        begin = time.monotonic()
        work()
        return time.monotonic() - begin

    def ours() -> None:
        Connection.open(sshd.host()).close()

    # best of three, in turns: others may be at work here
    times = [(timed(ours), timed(lambda: subprocess.run(plain, check=True))) for _ in range(3)]
    mine, plainly = (min(column) for column in zip(*times, strict=True))
    assert mine <= 1.2 * plainly + 0.1


def test_only_named_programs_are_over_there(tmp_path):
    with Sshd(tmp_path, programs=["flock"]) as server, connected(server.host()) as connection:
        channel = connection.channel()
        assert ask(channel, "command -v python3 rsync; command -v flock") == f"{tmp_path}/bin/flock"
        assert ask(channel, "echo $PATH") == f"{tmp_path}/bin"
        channel.close()
