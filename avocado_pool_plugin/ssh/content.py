"""What moves whole files between this host and another, whatever programs there are over there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from avocado_pool_plugin.core.digest import ALGORITHM, LEAF, Progress, count
from avocado_pool_plugin.core.records import Stamp

#: The most bytes that a file over there may claim to have: the digests of its blocks take memory.
LARGEST = 1 << 43


@dataclass(frozen=True)
class Basis:
    """
    An old version over there that a new one is made from.

    :param path: over there
    :param stamp: under which the leaves are known; under another one they are of no use
    :param leaves: the digests of its blocks for ``b3t1m``, None if they are not known
    :param far_leaves: the same for ``s2t1m``, None if they are not known
    """

    path: str
    stamp: Stamp | None = None
    leaves: bytes | None = None
    far_leaves: bytes | None = None

    @property
    def known(self) -> bool:
        """Whether the leaves can be those of the whole file."""
        if self.stamp is None or self.leaves is None:
            return False
        whole = LEAF * count(self.stamp.size)
        return len(self.leaves) == whole == len(self.far_leaves or self.leaves)


@dataclass(frozen=True)
class Sent:
    """
    A file that was sent, and is there as it was sent.

    :param digest: of the whole content, ``b3t1m``
    :param far_digest: the same by the host's algorithm, None if that is not known
    :param leaves: the digests of its blocks for ``b3t1m``
    :param far_leaves: the same for ``s2t1m`` if that is the host's, None if not all are known
    :param stamp: of the part
    :param moved: bytes that travelled there for it
    """

    digest: str
    far_digest: str | None
    leaves: bytes
    far_leaves: bytes | None
    stamp: Stamp
    moved: int


@dataclass(frozen=True)
class Received:
    """
    A file that was received.

    :param digests: of the whole content, by algorithm
    :param leaves: the digests of its blocks for ``b3t1m``
    :param stamp: of the file over there, before and after it was read
    :param moved: bytes that travelled here for it
    """

    digests: dict[str, str]
    leaves: bytes
    stamp: Stamp
    moved: int

    @property
    def digest(self) -> str:
        """The digest that states on this host have."""
        return self.digests[ALGORITHM]


@dataclass(frozen=True)
class Digested:
    """
    What a file over there contains.

    :param digest: of the whole content
    :param leaves: the digests of its blocks, empty if they are not known
    :param stamp: of the file, before and after it was read
    """

    digest: str
    leaves: bytes
    stamp: Stamp


class Bulk(Protocol):
    """
    Moves content to and from a host, or reads it there.

    One for one thread at a time. After an error it may be of no more use, see ``usable``. Each
    method raises ``HostUnreachable`` if the connection breaks, and ``PoolSilent`` if no answer
    comes in time.
    """

    #: Of the digests that the host computes best: ``b3t1m``, ``s2t1m`` or ``sha256``.
    algorithm: str
    #: Whether it can be asked for anything; if not, its channel is closed.
    usable: bool

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
        """
        Make a part over there equal to an open file here.

        What the part has already, of an attempt that was interrupted, is not sent. The part stays
        locked against other uploads until :meth:`release` or the next call.

        :param source: open for reading
        :param size: bytes of it
        :param part: path over there, made if it is absent
        :param basis: an old version; of use, if at all, for a part that is absent or empty
        :param fsync: whether the part is to be on the disk when this returns
        :param progress: told how many bytes more are done
        :raises FileChanging: the open file was written to meanwhile
        :raises LockTimeout: another process is filling the part
        :raises SpaceMissing: no room is left over there
        :raises PoolUnreachable: the part can't be written, or does not hold what was sent
        """

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
        """
        Make an open file here equal to a file over there.

        :param path: over there
        :param target: open for reading and writing
        :param basis: whether what the open file contains may be of use: an old version, or what an
            attempt that was interrupted left
        :param target_path: a name of the open file, which some ways to move content need
        :param algorithms: of the digests that are wanted besides ``b3t1m``
        :param progress: told how many bytes more are done
        :raises FileChanging: the file was written to meanwhile
        :raises StateMissing: there is no such file
        :raises PoolUnreachable: it can't be read
        :raises OSError: the open file can't be written
        """

    def digest(
        self, path: str, progress: Progress | None = None, algorithm: str | None = None
    ) -> Digested:
        """
        Have a file read over there.

        :param progress: told how many bytes more are done
        :param algorithm: of the digest; None for what the host does best
        :raises ValueError: the host can't compute such digests
        :raises FileChanging: the file was written to meanwhile
        :raises StateMissing: there is no such file
        :raises PoolUnreachable: it can't be read
        """

    def release(self) -> None:
        """Let go of the file that was worked on last, and of its lock."""

    def close(self) -> None:
        """End it and its channel; quick and without errors in any state."""
