"""What ssh says when it fails, as errors of this package."""

import re

from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    LoginRefused,
    PoolSilent,
    PoolUnreachable,
)

_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_PLACE = re.compile(r"(?:key in|Offending key for IP in) (\S.*?:\d+)\s*$", re.MULTILINE)
_SILENT = (
    "the login on {title} got no answer in time ({cause}); check the host and the network to it, "
    "or raise ssh_timeout"
)
#: What ssh says, the error for it and its text; the first that fits counts.
_CASES: tuple[tuple[str, type[PoolUnreachable], str], ...] = (
    (
        r"host key is known for .* strict checking",
        LoginRefused,
        "the login on {title} was refused on this side: {cause}; add its key to known_hosts "
        "(ssh-keyscan, or log in once by hand) or set ssh_host_keys = accept-new",
    ),
    (
        r"host key verification failed|host key .*revoked",
        LoginRefused,
        "the login on {title} was refused on this side: {cause}; check its host key and what "
        "known_hosts says of it",
    ),
    (
        r"permission denied|too many authentication failures|no supported authentication",
        LoginRefused,
        "the login on {title} was refused ({cause}), expected {wanted}; set that, and check that "
        "the host lets this user in",
    ),
    (
        r"unable to negotiate|no matching",
        LoginRefused,
        "the login on {title} failed ({cause}); allow an algorithm that both sides know",
    ),
    (
        r"bad configuration option|terminating, \d+ bad|can't open user config|bad owner or perm"
        r"|keyword .* extra arguments|line \d+: (?:missing|unsupported|invalid|bad)",
        LoginRefused,
        "the login on {title} failed: ssh refuses its configuration ({cause}); correct it",
    ),
    (r"timed out|not responding", PoolSilent, _SILENT),
    (
        # ssh drops what a program on the way says
        r"UNKNOWN port 65535",
        HostUnreachable,
        "the login on {title} failed: the jump host or ProxyCommand on the way to it ended "
        "({cause}); log in there once by hand with ssh to see why",
    ),
    (
        r"",
        HostUnreachable,
        "the login on {title} failed ({cause}); check its name or address, its port, and that an "
        "ssh server runs there",
    ),
)
_ENDED = r"closed|disconnect|reset|broken pipe|not responding|timed out"
#: What is said where a server opens no further session on a connection.
_SESSION_REFUSED = r"session open refused|open failed"


def login_failed(title: str, log: str, noise: str, by_password: bool) -> PoolUnreachable:
    """
    Return the error for a login that failed.

    :param title: the host
    :param log: what ssh said
    :param noise: what came to its standard error, which may be the host's banner
    :param by_password: whether there was a password to log in with
    """
    said = log.strip() or noise.strip() or "ssh gave no reason"
    if _CHANGED in said:
        return _changed(title, said)
    wanted = "a key that it accepts without a question, or nets_password"
    if by_password:
        wanted = "the right nets_username and nets_password"
    kind, text, cause = next(
        (kind, text, cause) for about, kind, text in _CASES if (cause := _line(about, said))
    )
    return kind(text.format(title=title, cause=cause, wanted=wanted))


def silent(title: str, seconds: float) -> PoolSilent:
    """Return the error for a login that takes too long."""
    return PoolSilent(_SILENT.format(title=title, cause=f"{seconds:g} seconds"))


def no_start(title: str, error: OSError) -> PoolUnreachable:
    """Return the error for an ssh that can't be started on this side."""
    about = f" ({error.filename})" if error.filename else ""
    return PoolUnreachable(
        f"ssh to {title} can't be started: {error.strerror}{about}; install OpenSSH's client, and "
        f"check the limits and the temporary directory of this machine"
    )


def connection_ended(title: str, log: str) -> HostUnreachable:
    """Return the error for a connection that is no more; ``log`` is what ssh said at the end."""
    return HostUnreachable(
        f"the connection to {title} has ended ({_line(_ENDED, log) or 'its ssh process is gone'}); "
        f"check the host and the network to it"
    )


def no_channel(title: str, complaints: str, heard: str) -> PoolUnreachable:
    """
    Return the error for a sound connection that gave no shell.

    :param title: the host
    :param complaints: what ssh and the other side wrote to standard error
    :param heard: what came in place of the shell's answer
    """
    if cause := _line(_SESSION_REFUSED, complaints):
        return HostUnreachable(
            f"{title} opens no more sessions on its connection ({cause}); raise MaxSessions in its "
            f"sshd_config, or use it by fewer processes and threads at once"
        )
    said = "; ".join(filter(None, (_line("", heard), _line("", complaints))))
    return LoginRefused(
        f"{title} lets the user in, but `sh` doesn't run there "
        f"({said or 'it ended without a word'}); give the user a login shell, with a POSIX shell "
        f"on its PATH"
    )


def shell_killed(title: str) -> HostUnreachable:
    """Return the error for a shell over there that a signal ended before it said a word."""
    return HostUnreachable(
        f"the shell on {title} was killed as it started; check that host's log for who does that, "
        f"and its memory"
    )


def _changed(title: str, said: str) -> LoginRefused:
    places = " and ".join(dict.fromkeys(_PLACE.findall(said))) or "the list of known hosts"
    return LoginRefused(
        f"the login on {title} was refused on this side: its host key differs from the one in "
        f"{places}; if the host was set up anew remove that line, else somebody else answers in "
        f"its place"
    )


def _line(pattern: str, text: str) -> str:
    """Return the last line that says something in which a pattern is found, without its end."""
    lines = (line.strip().rstrip(".") for line in reversed(text.splitlines()))
    return next((line for line in lines if line and re.search(pattern, line, re.IGNORECASE)), "")
