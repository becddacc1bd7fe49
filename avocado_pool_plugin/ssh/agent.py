"""
Bulk work on a host's own files: sent there with the modules it uses, and run by the python3 there.

So these need only the standard library and nothing newer than Python 3.6. Requests come in on
standard input, answers leave by standard output, both as frames: a kind, a number, a length, and
that many bytes. A request is JSON (kind ``j``), and so is the answer that ends it (``r``). Before
that may come pieces of data (``d``), digests of pieces (``s``) and of blocks (``l``), with their
place in the file as the number, and signs of life (``b``), whose number says how many bytes got
done. Paths travel as bytes, in JSON each as a character.

One file is open at a time: a part to fill, locked until another file or none is asked for, or a
source, only read. Data, patches and zeros for a part (``d``, ``p``, ``z``) are sent without waiting
for an answer; if it can't take them, the answer of an error comes unasked.
"""

import errno
import json
import os

from avocado_pool_plugin.ssh.far_files import (
    BLAKE3_TREE,
    SHA256_TREE,
    blake3,
    open_part,
    open_source,
    stamp,
)
from avocado_pool_plugin.ssh.far_line import HEAD, Line
from avocado_pool_plugin.ssh.far_work import Part, Reader

TYPE_CHECKING = False  # importing typing takes a while
if TYPE_CHECKING:
    from typing import Any

    from avocado_pool_plugin.ssh.far_files import Span


class Agent:
    """Does what it is asked for."""

    def __init__(self) -> None:
        self.line = Line()
        self.file: Reader | None = None
        self.algorithm = BLAKE3_TREE if blake3 else SHA256_TREE

    def serve(self) -> None:
        """Answer requests until nobody asks any more."""
        head = bytearray(HEAD.size)
        while self.line.hear(memoryview(head)):
            kind, number, length = HEAD.unpack(head)
            if kind == b"j":
                body = bytearray(length)
                if not self.line.hear(memoryview(body)):
                    return
                try:
                    self._request(json.loads(body.decode()))
                except OSError as error:
                    self.line.refuse(error)
            elif not isinstance(self.file, Part) or not self.file.take(kind, number, length):
                return

    def _request(self, request: "dict[str, Any]") -> None:
        answer = getattr(self, "_" + request.pop("do"))(**request) or {}
        if isinstance(self.file, Part) and self.file.failed:
            return  # told already
        if self.file is not None:
            answer["stamp"] = stamp(self.file.fd)
        self.line.answer(**answer)

    def _hello(self) -> "dict[str, object]":
        return {"algorithm": self.algorithm, "pid": os.getpid()}

    def _close(self) -> None:
        if self.file is not None:
            file, self.file = self.file, None
            file.close()

    def _part(self, path: str, size: int, basis: str) -> "dict[str, object]":
        """Open a part and give it its size, and the content of an old version if it has none."""
        self._close()
        fd = open_part(path.encode("latin-1"))
        part = Part(self.line, fd, size, self.algorithm)
        try:
            if basis and os.fstat(fd).st_size == 0:
                part.begin_as(basis.encode("latin-1"))
            empty = os.fstat(fd).st_size == 0
            os.ftruncate(fd, size)
            self.file = part
        finally:
            if self.file is None:
                part.close()
        return {"empty": empty, "basis": part.old_stamp}

    def _source(self, path: str) -> None:
        """Open a file to read it."""
        self._close()
        fd = open_source(path.encode("latin-1"))
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self.file = Reader(self.line, fd)

    def _open_file(self) -> Reader:
        if self.file is None:
            raise OSError(errno.EBADF, "no file is open")
        return self.file

    def _sums(self, spans: "list[Span]") -> None:
        self._open_file().tell_sums(spans)

    def _read(self, spans: "list[Span]") -> None:
        self._open_file().tell_data(spans)

    def _leaves(self, algorithm: str) -> None:
        self._open_file().tell_leaves(algorithm)

    def _finish(self, leaves: bool, fsync: bool) -> "dict[str, object]":
        part = self._open_file()
        if not isinstance(part, Part):
            raise OSError(errno.EBADF, "no part is open")
        part.finish(leaves, fsync)
        return {"patches": part.patches.hexdigest()}


def main() -> None:
    """Serve whoever sent this."""
    Agent().serve()
