"""Bulk transfers to and from a host with python3: the client of ssh/agent.py."""

import contextlib
import json
import pkgutil
import secrets
import shlex
from collections.abc import Iterator, Sequence

from avocado_pool_plugin.core.digest import ALGORITHM, SHA256_TREE, Progress, Tree
from avocado_pool_plugin.ssh import failures
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.content import Basis, Digested, Received, Sent
from avocado_pool_plugin.ssh.download import Download
from avocado_pool_plugin.ssh.frames import Wire, far_path
from avocado_pool_plugin.ssh.upload import Upload

#: What is sent, in this order.
_MODULES = ("far_files", "far_line", "far_work", "agent")
#: Receives modules and runs the last. Nothing is sent before it says so: shells read ahead.
_LOADER = """
import json, os, sys, types
os.write(1, ("\\n%s\\n" % sys.argv[1]).encode())
text, size = b"", int(sys.argv[2])
while len(text) < size:
    text += os.read(0, size - len(text)) or os._exit(1)
for name, source in json.loads(text.decode()):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
module.main()
"""


class Agent:
    """
    The agent at the other end of a channel, started by this; see ``content.Bulk``.

    :param channel: with a shell at its other end that waits for commands
    :param python: the host's python3
    :raises HostUnreachable: python3 can't be started, or the connection broke
    :raises PoolSilent: no answer came in time
    """

    def __init__(self, channel: Channel, python: str = "python3") -> None:
        self._wire = Wire(channel)
        #: See ``content.Bulk``.
        self.usable = True
        with self._whole():
            self._start(python)
            self._wire.path = python
            self._wire.ask("hello")
            hello = self._wire.finish()
            #: The trees of digests that the host computes best: ``b3t1m`` or ``s2t1m``.
            self.algorithm = str(hello.get("algorithm"))
            #: The agent's process over there.
            self.pid = int(hello["pid"]) if isinstance(hello.get("pid"), int) else 0
            if self.algorithm not in (ALGORITHM, SHA256_TREE) or self.pid <= 0:
                raise self._wire.nonsense()

    def _start(self, python: str) -> None:
        channel = self._wire.channel
        token = secrets.token_hex(16)
        program = json.dumps([(f"{__package__}.{name}", _source(name)) for name in _MODULES])
        command = [python, "-I", "-c", _LOADER, token, str(len(program))]
        channel.send(b"exec " + shlex.join(command).encode("utf-8", "surrogateescape") + b"\n")
        for _ in range(failures.CHATTER):
            line = channel.receive_line()
            if line == token.encode():
                channel.send(program.encode())
                return
        raise failures.chatter(channel.title, line)

    def upload(
        self,
        source: int,
        size: int,
        part: str,
        *,
        basis: Basis | None = None,
        fsync: bool = True,
        progress: Progress | None = None,
    ) -> Sent:
        """See ``content.Bulk``."""
        wire = self._work_on(part, "written", None)
        upload = Upload(wire, self.algorithm, source, size, basis=basis, progress=progress)
        with self._whole(refusable=True):
            upload.open()
        with self._whole():
            return upload.run(fsync)

    def download(
        self,
        path: str,
        target: int,
        *,
        basis: bool = False,
        target_path: str = "",
        algorithms: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> Received:
        """See ``content.Bulk``."""
        wire = self._open(path, progress)
        with self._whole():
            return Download(wire, target, algorithms, progress).run(basis)

    def digest(
        self, path: str, progress: Progress | None = None, algorithm: str | None = None
    ) -> Digested:
        """
        See ``content.Bulk``.

        :param algorithm: ``s2t1m``, or ``b3t1m`` where the host can
        """
        algorithm = algorithm or self.algorithm
        if algorithm not in (self.algorithm, SHA256_TREE):
            raise ValueError(f"{self._wire.channel.title} can't compute {algorithm!r} digests")
        wire = self._open(path, progress)
        before = wire.stamp()
        with self._whole():
            wire.ask("leaves", algorithm=algorithm)
            tree = Tree(before.size, (algorithm,))
            wire.hear_leaves(tree, algorithm)
        if wire.stamp() != before:
            raise failures.changed_there(wire.place)
        return Digested(tree.digest(algorithm), tree.leaves(algorithm), before)

    def release(self) -> None:
        """See ``content.Bulk``."""
        wire = self._work_on(self._wire.path, self._wire.doing, None)
        with self._whole():
            wire.ask("close")
            wire.finish()

    def close(self) -> None:
        """See ``content.Bulk``."""
        self.usable = False
        self._wire.channel.close()

    def _work_on(self, path: str, doing: str, progress: Progress | None) -> Wire:
        wire = self._wire
        if not self.usable:
            raise failures.closed(wire.channel.title)
        wire.path, wire.doing, wire.progress = path, doing, progress
        return wire

    def _open(self, path: str, progress: Progress | None) -> Wire:
        """Open a file over there to read it."""
        wire = self._work_on(path, "read", progress)
        with self._whole(refusable=True):
            wire.ask("source", path=far_path(path))
            wire.finish()
        return wire

    @contextlib.contextmanager
    def _whole(self, refusable: bool = False) -> Iterator[None]:
        """Close the channel unless the body gets to its end, or to a refusal where that is one."""
        self._wire.refused = False
        try:
            yield
        except BaseException:
            if not (refusable and self._wire.refused):
                self.close()
            raise


def _source(module: str) -> str:
    code = pkgutil.get_data(__package__, f"{module}.py")
    assert code is not None
    return code.decode()
