"""Far shells that are near: Shell over the shells of this host."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from avocado_pool_plugin.core import durable, layout, records, trash
from avocado_pool_plugin.core.place import new_info
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.shell import Shell
from tests.support.needs import need_programs
from tests.support.places import digest_of

#: What may be called sh over there.
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"]}
TITLE = "host far (root@10.0.0.2)"
#: What the shell needs over there, and what may be missing.
NEEDED = ("base64", "cat", "chgrp", "chmod", "cp", "head", "ln", "ls", "mkdir", "mv", "od",
          "realpath", "rm", "sha256sum", "sleep", "stat", "sync")  # fmt: skip
#: Names that a shell would like to do something with.
ODD = [
    "plain", "two words", "-n", "--", "it's", 'quo"te', "$(touch x)", "`touch x`", "a;b|c&d",
    "%s%d", "back\\slash\\", "*", "[a]?", "~", "#no", "!x", "$HOME", "{a,b}", "<in>out", "=", "\\n",
    "āĂ\u0201ÈèÐ", "日本語", " lead", "trail ", "''", "\"'\"'\"",
]  # fmt: skip


class Counting(Channel):
    """A channel that counts how often something is asked."""

    asked = 0

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        self.asked += 1
        super().send(*parts)


@contextlib.contextmanager
def far(
    command: Sequence[str] = ("dash",), title: str = TITLE, timeout: float = 20, **given: object
) -> Iterator[Shell]:
    """Give a shell that ends with the context."""
    need_programs(command[0])
    channel = Counting(command, title, timeout)
    try:
        yield Shell(channel, **given)  # type: ignore[arg-type]
    finally:
        channel.close()


def asked(shell: Shell) -> int:
    """Return how often something was asked of a shell."""
    assert isinstance(shell._channel, Counting)
    return shell._channel.asked


def with_programs(directory: Path, *programs: str) -> list[str]:
    """Return the command of a shell that finds only some programs."""
    directory.mkdir()
    for program in programs:
        (directory / program).symlink_to(shutil.which(program) or program)
    return ["env", f"PATH={directory}", shutil.which("dash") or "dash"]


def as_nobody(*command: str) -> list[str]:
    """Return a command that another user runs."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]


def finished(path: Path, content: bytes) -> tuple[str, FileInfo]:
    """Make a finished temporary file for a path; return it and what it is."""
    durable.make_meta(str(path))
    part = Path(layout.part_path(str(path), durable.new_token()))
    part.write_bytes(content)
    return str(part), replace(new_info(len(content)), digest=digest_of(part))


def commit(shell: Shell, path: Path, content: bytes, **given: object) -> Stamp | None:
    """Set a state over there."""
    part, info = finished(path, content)
    given = {"trash": trash.name_of(str(path)), "fsync": False, **given}
    return shell.commit(part, str(path), records.template(info), **given)  # type: ignore[arg-type]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """Each kind of shell in turn."""
    with far(SHELLS[request.param]) as one:
        yield one


def stamp_of(path: str | Path) -> Stamp:
    return Stamp.of(os.stat(path))
