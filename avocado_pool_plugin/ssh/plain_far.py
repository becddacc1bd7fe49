"""The shell that plain.sh makes of a far one: what it is asked for, and its answers."""

import pkgutil
import re
import secrets
import shlex

from avocado_pool_plugin.core.errors import PoolError, PoolUnreachable
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import answers, failures
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.content import LARGEST

#: Digits of the largest number there is.
_DIGITS = 20
#: The same from tools, from bash and from dash.
_ABSENT = re.compile("No such file|Not a directory|Directory nonexistent|not found")


class Far:
    """
    A shell over there that sends and takes content.

    :param channel: with a POSIX shell at its other end that waits for commands
    :raises PoolUnreachable: it lacks programs
    :raises HostUnreachable: the connection broke
    :raises PoolSilent: no answer came in time
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        #: The file that is worked on, for errors, and what is done to it.
        self.path, self.doing = "", "used"
        #: Whether the last error was an answer to what was asked, after which more can be asked.
        self.refused = False
        token = secrets.token_hex(16)
        self._token = token.encode() + b" "
        text = pkgutil.get_data(__package__, "plain.sh")
        assert text is not None
        channel.send(text)
        self.ask("pool_hello", token)
        #: The process over there.
        self.pid = self._counted(self._greeting())

    def _greeting(self) -> str:
        lacking = []
        for _ in range(failures.CHATTER):
            line = self.channel.receive_line()
            word, text = self._split(line)
            if word == "lacks":
                lacking.append(text)
            elif word == "hello" and lacking:
                raise PoolUnreachable(
                    f"{self.channel.title} lacks {', '.join(lacking)}; install GNU coreutils there"
                )
            elif word == "hello":
                return text
        raise failures.chatter(self.channel.title, line)

    @property
    def place(self) -> str:
        """The file that is worked on, with its host."""
        return f"{self.channel.title}:{self.path}"

    def ask(self, function: str, *arguments: str | int) -> None:
        """Have a function of plain.sh run."""
        line = " ".join([function, *(shlex.quote(str(argument)) for argument in arguments)])
        self.channel.send(line.encode("utf-8", "surrogateescape") + b"\n")

    def answer(self, wanted: str) -> str:
        """
        Return what the next answer says after its first word.

        :param wanted: that word
        :raises PoolError: the answer is an error
        """
        while True:
            word, text = self._split(self.channel.receive_line())
            if word == wanted:
                return text
            if word in ("bad", "busy"):
                self.refused = True
            if word in ("bad", "lost"):
                raise self.failed(text)
            if word == "busy":
                raise failures.busy(self.place, self.path)
            if word not in ("", "beat"):
                raise self.nonsense()

    def listen(self) -> None:
        """Hear what it says unasked: if anything, then that something went wrong."""
        if self.channel.has_said:
            self.answer("nothing")

    def stamp(self) -> Stamp:
        """Return the stamp that the next answer gives."""
        try:
            stamp = answers.parse_stamp(self.answer("stamp").replace(".", ""))
        except ValueError:
            raise self.nonsense() from None
        if stamp.size > LARGEST:
            raise self.nonsense()
        return stamp

    def numbers(self, wanted: str, count: int) -> list[int]:
        """
        Return the numbers that the next answer gives.

        :param wanted: its first word
        :param count: how many they are
        """
        words = self.answer(wanted).split()
        if len(words) != count:
            raise self.nonsense()
        return [self._counted(word) for word in words]

    def _counted(self, text: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > _DIGITS:
            raise self.nonsense()
        return int(text)

    def sha256(self) -> str:
        """Return the digest that the next answer gives, in hexadecimal digits."""
        found = self.answer("sum")
        if not re.fullmatch("[0-9a-f]{64}", found):
            raise self.failed(found or "sha256sum failed")
        return found

    def failed(self, cause: str) -> PoolError:
        """Return the error for what a tool over there complains about."""
        return failures.failure(
            self.place,
            f"can't be {self.doing}",
            cause,
            full=failures.tells_of_full(cause),
            absent=self.doing == "read" and _ABSENT.search(cause) is not None,
        )

    def nonsense(self) -> PoolUnreachable:
        """Return the error for an answer that makes no sense."""
        return failures.nonsense(self.place, self.doing, "the shell")

    def _split(self, line: bytes) -> tuple[str, str]:
        """Return the first word of an answer and the rest; empty for what is none."""
        at = line.find(self._token)
        if at < 0:
            return "", ""
        text = line[at + len(self._token) :].decode("utf-8", "surrogateescape")
        word, _, rest = text.partition(" ")
        return word, rest
