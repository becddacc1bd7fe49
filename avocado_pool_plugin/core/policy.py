"""How careful and how patient operations on files are."""

from dataclasses import dataclass

#: Values of ``verify``: hash what changed since it was last hashed, or hash on every use.
VERIFY = ("changed", "always")


@dataclass(frozen=True)
class Policy:
    """
    What every operation on files is told.

    :param timeout: seconds to wait for a lock; 0 tries once
    :param fsync: whether a state is on the disk, not only in memory, before it is visible
    :param verify: ``changed`` trusts a digest while inode, size and times of its file stay the
        same, ``always`` reads the content on every use
    :param cascade: replace or remove a state that others stand on, and send them to the trash too
    """

    timeout: float = 300.0
    fsync: bool = True
    verify: str = "changed"
    cascade: bool = False
