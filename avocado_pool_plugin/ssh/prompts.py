"""A person's part in a login by password, played by aexpect."""

import contextlib
import os
import re
import secrets
import shlex
import shutil
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import aexpect
from aexpect import shared
from aexpect.utils.path import CmdNotFoundError

from avocado_pool_plugin.core.errors import HostUnreachable, LoginRefused, PoolUnreachable
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.ssh.causes import silent
from avocado_pool_plugin.ssh.ciphers import configuration
from avocado_pool_plugin.ssh.control import AEXPECT

#: The end of a prompt. Not what may be left of one that was answered when only a part was seen.
_ASKS = r"\w.*[:?>]\s*\Z|(?i:password)"
#: Prompts that are about a key here, and what they get: nothing, which makes ssh leave it out.
_KEY = re.compile(r"passphrase for|\bPIN for\b", re.IGNORECASE)
_CONFIRM = re.compile(r"\(yes/no|type 'yes'", re.IGNORECASE)
_RENEW = re.compile(r"new password|retype|expired", re.IGNORECASE)
_ONCE = re.compile(
    r"one.?time|\botp\b|verification|passcode|\bcode\b|\btoken\b|\bpin\b|challenge|duo\b",
    re.IGNORECASE,
)
#: Whose prompt it is, as ssh marks it.
_WHOSE = re.compile(r"^\(.+@([^@)]+)\) |^.+@(.+)'s password:", re.MULTILINE)
#: Characters that a terminal acts upon, and the one that takes this meaning from the next.
_CONTROL = re.compile(rb"[\x01-\x1f\x7f]")
_LITERALLY = b"\x16"
#: Keys whose passphrases are asked for in one login at most.
_KEYS = 20

_path = threading.Lock()


def log_in(command: Sequence[str], host: Host, title: str, directory: str) -> int:
    """
    Run an ssh that logs in with a password and then goes to the background.

    The password is typed once, on a terminal of its own.

    :param command: ssh and its arguments
    :param directory: private; ``noise`` in it gets what ssh leaves on its standard error
    :return: its exit status
    :raises LoginRefused: it asks for what isn't known, or for the password again
    :raises PoolSilent: it takes longer than the host's timeout
    :raises HostUnreachable: it can't be talked to
    :raises PoolUnreachable: aexpect doesn't work here
    """
    deadline = time.monotonic() + host.timeout
    script = os.path.join(directory, "login")
    with open(script, "w", encoding="utf-8", errors="surrogateescape") as file:
        # the terminal goes away when ssh goes to the background
        file.write("trap '' HUP\nSSH_ASKPASS_REQUIRE=never\nexport SSH_ASKPASS_REQUIRE\n")
        noise = shlex.quote(os.path.join(directory, "noise"))
        file.write(f"exec {shlex.join(command)} 2>>{noise}\n")
    session = _session(f"exec /bin/sh {shlex.quote(script)}")
    try:
        return _Talk(session, command, host, title, deadline).run()
    finally:
        session.close()


def _session(command: str) -> Any:
    """Start a command on a terminal, through aexpect's helper."""

    class Session(aexpect.Expect):
        def _get_aexpect_helper(self, helper: str, *rest: Any) -> Any:
            return super()._get_aexpect_helper(shlex.quote(helper), *rest)

    name = f"{AEXPECT}{secrets.token_hex(8)}"
    # aexpect would make it readable to all, with the pipe in it that the password goes through
    directory = os.path.join(shared.BASE_DIR, name)
    os.mkdir(directory, 0o700)
    number = name.removeprefix("aexpect_")
    try:
        with _helper_in_sight():
            return Session(command, a_id=number, auto_close=False, encoding="utf-8")
    except (aexpect.ExpectError, CmdNotFoundError):
        shutil.rmtree(directory, ignore_errors=True)
        raise PoolUnreachable(
            "logins by password don't work here: aexpect_helper doesn't run; install the Python "
            "package aexpect again, or log in by key"
        ) from None


@contextlib.contextmanager
def _helper_in_sight() -> Iterator[None]:
    """Let aexpect find its helper, in a virtual environment that isn't activated as well."""
    with _path:
        before = os.environ.get("PATH")
        parts = [part for part in (before or os.defpath).split(os.pathsep) if part]
        os.environ["PATH"] = os.pathsep.join([*parts, sysconfig.get_path("scripts")])
        try:
            yield
        finally:
            if before is None:
                del os.environ["PATH"]
            else:
                os.environ["PATH"] = before


class _Talk:
    """The questions of one login and their answers."""

    def __init__(
        self, session: Any, command: Sequence[str], host: Host, title: str, deadline: float
    ) -> None:
        self._session = session
        self._command = command
        self._host = host
        self._title = title
        self._deadline = deadline

    def run(self) -> int:
        """Answer all questions; return ssh's exit status."""
        typed, keys = False, 0
        while True:
            prompt = self._next()
            if isinstance(prompt, int):
                return prompt
            if _KEY.search(prompt) and keys < _KEYS:
                keys += 1
                self._type("")
                continue
            self._check(prompt, typed)
            self._type(self._host.password)
            typed = True

    def _next(self) -> str | int:
        """Return the next question, or the exit status."""
        left = self._deadline - time.monotonic()
        try:
            _, text = self._session.read_until_output_matches(
                [_ASKS], _last_line, timeout=max(left, 0), internal_timeout=0
            )
        except aexpect.ExpectProcessTerminatedError as error:
            return 255 if error.status is None else int(error.status)
        except aexpect.ExpectTimeoutError:
            raise silent(self._title, self._host.timeout) from None
        except aexpect.ExpectError:
            raise self._broken() from None
        return str(text)

    def _check(self, prompt: str, typed: bool) -> None:
        """Refuse all questions but the one for the password."""
        # what a terminal echoes isn't for error messages
        said = _last_line(prompt).replace(self._host.password, "***").strip()
        start = f"the login on {self._title} was refused: "
        if _CONFIRM.search(prompt):
            raise LoginRefused(
                f"{start}ssh asks whether a host key is right ({said!r}); add the key to "
                f"known_hosts by hand"
            )
        if _RENEW.search(prompt):
            raise LoginRefused(
                f"{start}it asks for a new password ({said!r}); log in by hand and renew it, then "
                f"set nets_password"
            )
        whose = _WHOSE.search(prompt)
        if whose and not self._is_ours(whose[1] or whose[2]):
            raise LoginRefused(
                f"{start}{whose[1] or whose[2]}, a host on the way, asks for a password "
                f"({said!r}); set up a key for that one"
            )
        if typed:
            raise LoginRefused(
                f"{start}the password is wrong, or not enough ({said!r} came after it), expected "
                f"the one of the user; set nets_username and nets_password, or log in by key"
            )
        if _ONCE.search(_last_line(prompt)):
            raise LoginRefused(
                f"{start}it asks for what only a person knows ({said!r}); set up a key that it "
                f"accepts without a question"
            )

    def _is_ours(self, name: str) -> bool:
        """Tell whether a host that asks is the one to log in to, which may have an alias."""
        if name.lower() == self._host.address.strip("[]").lower():
            return True
        settings = configuration(self._command)
        called = settings.get("hostkeyalias", settings.get("hostname", ""))
        return name.lower() == called.lower()

    def _type(self, text: str) -> None:
        """Type a line. aexpect's own way would log what it can't send."""
        literal = _CONTROL.sub(lambda match: _LITERALLY + match[0], os.fsencode(text))
        try:
            pipe = os.open(self._session.inpipe_filename, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, literal + b"\n")
            finally:
                os.close(pipe)
        except OSError:
            raise self._broken() from None

    def _broken(self) -> HostUnreachable:
        return HostUnreachable(
            f"the login on {self._title} broke off: the terminal of ssh is gone; try again"
        )


def _last_line(text: str) -> str:
    """Return the last line, which is empty after a line break."""
    return text.rpartition("\n")[2]
