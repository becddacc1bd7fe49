"""The agent's language on this side: requests, frames and answers over a channel."""

import errno
import json
import os
import struct
from typing import Any

from avocado_pool_plugin.core import typed
from avocado_pool_plugin.core.digest import BLOCK, LEAF, Progress, Tree, count
from avocado_pool_plugin.core.errors import PoolError, PoolUnreachable
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import failures
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.content import LARGEST
from avocado_pool_plugin.ssh.far_line import HEAD

#: Kinds of frames, see ssh/agent.py.
DATA, PATCH, ZEROS, SUMS, LEAVES, ANSWER = b"d", b"p", b"z", b"s", b"l", b"r"
_REQUEST, _BEAT = b"j", b"b"
#: Frames with less in them are sent by one call of the system.
_SMALL = 1 << 15
#: Bytes that an answer may have.
_LONG = 1 << 20
#: More signs of life than anything takes: they come four times a second.
_BEATS = 2_000_000


class Wire:
    """
    Frames to and from an agent.

    :param channel: where the agent is
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        #: Bytes sent and received so far.
        self.sent = self.received = 0
        #: The file that is worked on, for errors, and what is done to it.
        self.path, self.doing = "", "used"
        #: Told what the agent says that it got done.
        self.progress: Progress | None = None
        #: The last answer, and whether it was an error.
        self.answer: dict[str, Any] = {}
        self.refused = False
        self._head = bytearray(HEAD.size)

    @property
    def place(self) -> str:
        """The file that is worked on, with its host."""
        return f"{self.channel.title}:{self.path}"

    def ask(self, request: str, **what: object) -> None:
        """Send a request."""
        self.send(_REQUEST, 0, json.dumps({"do": request, **what}).encode())

    def send(self, kind: bytes, number: int, body: bytes | memoryview) -> None:
        """Send a frame."""
        head = HEAD.pack(kind, number, len(body))
        if len(body) < _SMALL:
            self.channel.send(head + body)
        else:
            self.channel.send(head, body)
        self.sent += len(head) + len(body)

    def send_zeros(self, start: int, end: int) -> None:
        """Have a stretch of the part zeroed."""
        self.send(ZEROS, start, struct.pack("!Q", end))

    def next(self) -> tuple[bytes, int, int]:
        """
        Return the next frame's kind, number and length; its body is still to be received.

        Signs of life are passed over. An answer is kept and has no body.

        :raises PoolError: the answer is an error
        """
        for _ in range(_BEATS):
            frame = self._frame()
            if frame is not None:
                return frame
        raise self.nonsense()

    def _frame(self) -> tuple[bytes, int, int] | None:
        self.channel.receive_into(memoryview(self._head))
        self.received += HEAD.size
        kind, number, length = HEAD.unpack(self._head)
        if kind == ANSWER and length <= _LONG:
            self._hear_answer(self.body(length))
            return kind, 0, 0
        if kind in (DATA, SUMS, LEAVES) and length <= BLOCK:
            return kind, number, length
        if kind != _BEAT or length:
            raise self.nonsense()
        if number and self.progress is not None:
            self.progress(number)
        return None

    def _hear_answer(self, body: bytes) -> None:
        try:
            self.answer = typed.mapping(body)
            problem = self.answer.get("error")
            number = typed.whole(self.answer.get("errno", 0))
        except ValueError:
            raise self.nonsense() from None
        if problem is not None:
            self.refused = True
            raise self._error(number, str(problem))

    def fill(self, view: memoryview) -> None:
        """Receive a frame's body into a buffer of its length."""
        self.channel.receive_into(view)
        self.received += len(view)

    def body(self, length: int) -> bytes:
        """Receive a frame's body."""
        self.received += length
        return self.channel.receive(length)

    def finish(self) -> dict[str, Any]:
        """Receive an answer that nothing comes before, and return it."""
        if self.next()[0] != ANSWER:
            raise self.nonsense()
        return self.answer

    def listen(self) -> None:
        """Receive what the agent said unasked: if anything, then that something went wrong."""
        while self.channel.has_said:
            if self._frame() is not None:
                raise self.nonsense()

    def hear_leaves(self, tree: Tree, algorithm: str) -> None:
        """Receive digests of blocks until the answer."""
        while True:
            kind, number, length = self.next()
            if kind == ANSWER:
                return
            if kind != LEAVES or number + -(-length // LEAF) > count(tree.size):
                raise self.nonsense()
            tree.put(number, self.body(length), algorithm)

    def stamp(self, key: str = "stamp") -> Stamp:
        """Return the stamp that the last answer gives: of the open file, or by another key."""
        found = self.answer.get(key)
        try:
            stamp = Stamp(*map(typed.whole, found)) if isinstance(found, list) else None
        except (ValueError, TypeError):
            stamp = None
        if stamp is None or not 0 <= stamp.size <= LARGEST:
            raise self.nonsense()
        return stamp

    def nonsense(self) -> PoolUnreachable:
        """Return the error for a frame that makes no sense."""
        return failures.nonsense(self.place, self.doing, "python3")

    def _error(self, number: int, cause: str) -> PoolError:
        if number == errno.EAGAIN:
            return failures.busy(self.place, self.path)
        return failures.failure(
            self.place,
            f"can't be {self.doing}",
            cause,
            full=number in (errno.ENOSPC, errno.EDQUOT),
            absent=number in (errno.ENOENT, errno.ENOTDIR) and self.doing == "read",
        )


def far_path(path: str) -> str:
    """Return how a path travels."""
    return os.fsencode(path).decode("latin-1")
