"""What the rows of the local table share."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.lab import Lab, Peer


@dataclass(frozen=True)
class Bench:
    """
    Two file systems, the peer, and how often to run.

    :param ext4: an empty file system, as is ``xfs``, which has reflinks
    :param runs: counted runs of each contender
    """

    ext4: Path
    xfs: Path
    peer: Peer
    runs: int

    @property
    def few(self) -> int:
        """Counted runs of what takes long."""
        return min(self.runs, 5)

    def chain(self, root: Path) -> Lab:
        """Return the chain on a file system; it is made when first asked for, and stays."""
        lab = Lab(root / "lab")
        if not lab.root.exists():
            lab.make_chain()
        return lab
