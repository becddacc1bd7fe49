"""Programs over there that a broken connection has left; until they are ended they hold locks."""

import secrets
from dataclasses import dataclass

from avocado_pool_plugin.ssh import failures
from avocado_pool_plugin.ssh.channel import Channel
from avocado_pool_plugin.ssh.shell import Shell

#: Says which process reads it, by the same text as pool_session of far.sh.
_WHO = """
pool_b=; read -r pool_b 2>/dev/null </proc/sys/kernel/random/boot_id
pool_s=; read -r pool_s 2>/dev/null <"/proc/$$/stat"
set -- ${pool_s##*) }
printf '\\n%s %s %s\\n' MARK "$$" "$pool_b-${20}"
"""


@dataclass(frozen=True)
class Program:
    """
    A process over there, which leads a group of its own.

    :param pid: that it has there
    :param token: tells it from all others that ever had this number
    """

    pid: int
    token: str

    @classmethod
    def at(cls, channel: Channel) -> "Program":
        """
        Ask a shell that waits for commands; what it becomes by ``exec`` is the same process.

        :raises HostUnreachable: the connection broke
        :raises PoolSilent: no answer came in time
        """
        mark = secrets.token_hex(8).encode()
        channel.send(_WHO.encode().replace(b"MARK", mark))
        for _ in range(failures.CHATTER):
            line = channel.receive_line()
            if line.startswith(mark):
                break
        else:
            raise failures.chatter(channel.title, line)
        words = line.decode("ascii", "replace").split()
        if len(words) != 3 or not words[1].isdecimal():
            raise failures.nonsense(channel.title, "used", "the shell")
        return cls(int(words[1]), words[2])

    @classmethod
    def of(cls, shell: Shell) -> "Program":
        """Return the process of a shell."""
        return cls(shell.pid, shell.token)

    def end(self, shell: Shell) -> None:
        """Have it ended by another shell, if it still is there."""
        shell.end_of(self.pid, self.token)
