"""The look for one state in the cache and in its mirrors."""

from dataclasses import dataclass, replace

from avocado_pool_plugin.core.durable import typed_failures
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.sight import Eyes, Sight

#: What a plan calls the local cache.
CACHE = "cache"


@dataclass(frozen=True)
class Place:
    """
    A state in the cache or in a mirror.

    :param where: ``cache`` or the mirror's location
    :param linked: whether a get makes symlinks to it
    """

    where: str
    sight: Sight
    linked: bool = False

    @property
    def problem(self) -> str:
        """Why it can't be used from there, empty if it can."""
        if not self.sight.problem:
            return ""
        return f"{self.sight.problem} in {'the cache' if self.where == CACHE else self.where}"


@dataclass(frozen=True)
class Search:
    """
    The look for one state.

    :param images: of the vm whose state it is
    :param cache: what looks at the cache
    :param own: whether the cache may be used
    """

    state: State
    images: tuple[str, ...]
    cache: Eyes
    own: bool

    def cached(self) -> Place | None:
        """Return the state in the cache, None if it is not there or the cache is not used."""
        sight = self._look(self.cache, CACHE) if self.own else None
        if sight is None:
            return None
        if not sight.problem and any(file.stray for file in sight.files):
            sight = replace(sight, problem="names its parent by another path")
        return Place(CACHE, sight)

    def mirrored(self, source: str, eyes: Eyes) -> Place | None:
        """Return the state in a mirror, None if it is not there."""
        sight = self._look(eyes, source)
        return Place(source, sight, Location.parse(source).link) if sight else None

    def _look(self, eyes: Eyes, title: str) -> Sight | None:
        with typed_failures(title):
            return eyes.look(self.state, self.images)
