"""What is to go from the trash for good, with what killed operations left."""

from dataclasses import dataclass

from avocado_pool_plugin.upkeep import trashcan
from avocado_pool_plugin.upkeep.leftovers import leftovers
from avocado_pool_plugin.upkeep.site import Entry, Site
from avocado_pool_plugin.upkeep.trashcan import Thrown

#: Seconds for which a record may be there before its file is, which is put there just now.
_YOUNG = 3600.0


@dataclass(frozen=True)
class Emptying:
    """
    What is to go.

    :param thrown: files in the trash
    :param leftovers: temporary files of operations that are over
    :param orphans: records of files that are gone from the trash
    """

    thrown: tuple[Thrown, ...]
    leftovers: tuple[Entry, ...] = ()
    orphans: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, site: Site, age: float, quarantine: bool = False) -> "Emptying":
        """
        Look at what is there.

        :param age: seconds for which it must have been in the trash
        :param quarantine: files that were found damaged go as well
        :raises PoolUnreachable: it can't be listed or read
        """
        notes, now = site.notes(), site.clock()
        thrown = [
            one
            for one in trashcan.contents(site, notes)
            if now - one.thrown_at >= age and (quarantine or not one.quarantined)
        ]
        orphans = (
            one
            for one in trashcan.orphans(notes)
            if one.stamp and now - one.stamp.mtime_ns / 1e9 > _YOUNG
        )
        return cls(tuple(thrown), tuple(leftovers(site, notes, now)), tuple(orphans))

    def __bool__(self) -> bool:
        return bool(self.thrown or self.leftovers)

    @property
    def count(self) -> int:
        """How many files go, records aside."""
        return len(self.thrown) + len(self.leftovers)

    @property
    def frees(self) -> int:
        """How many bytes get free."""
        return trashcan.freed([*(one.entry for one in self.thrown), *self.leftovers])

    def carry_out(self, site: Site) -> None:
        """
        Remove all of it.

        :raises PoolUnreachable: something can't be removed
        """
        trashcan.empty(site, self.thrown)
        site.drop([entry.path for entry in self.orphans])
        site.drop_idle([entry.path for entry in self.leftovers])
