"""How states were made and what would be different now, for people."""

import time
from collections import Counter
from dataclasses import dataclass

from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.recipe import PARAM, Change
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.graph.exists import Finder


@dataclass(frozen=True)
class Why:
    """
    A state in one place.

    :param where: ``cache`` or a pool's location
    :param problem: why it can't be used from there, empty if it can
    :param info: what is recorded of it, None if its file is corrupt
    :param maker: the test that would make it now, empty if none or several would
    :param changes: what would be different then
    """

    state: State
    where: str
    problem: str
    info: FileInfo | None
    maker: str
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> str:
        """Whether it would be made in the same way again, in words."""
        if self.info is None or self.info.recipe is None:
            return "its record does not say how it was made"
        if not self.maker:
            return "there is not exactly one test that sets it, so nothing to compare with"
        if not self.changes:
            return f"test {self.maker!r} would make it in the same way"
        return f"test {self.maker!r} would make it in another way:"

    def lines(self) -> list[str]:
        """Return all of it in words, a line each."""
        found = [f"{self.state} in {self.where}"]
        if self.problem:
            found.append(f"  can't be used: {self.problem}")
        if self.info is not None:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.info.made))
            found.append(f"  made {when} by {self.info.made_by or 'nobody knows whom'}")
            found.append(f"  stands on {self.info.parent or 'no other state'}")
            found += _recipe_line(self.info)
        return [*found, f"  {self.verdict}", *(f"    {change}" for change in self.changes)]


def _recipe_line(info: FileInfo) -> list[str]:
    if info.recipe is None:
        return []
    names = [name for name, _ in info.recipe.parts]
    params = Counter(name.partition(" ")[0] for name in names)[PARAM]
    others = [name for name in names if not name.startswith(f"{PARAM} ")]
    return [f"  recipe {info.recipe.key}: {', '.join([*others, f'{params} params'])}"]


def why(state: State, finder: Finder) -> list[Why]:
    """
    Return how a state was made in each place that has it, the cache first.

    :raises PoolError: no place has it and one can't be looked at
    """
    maker = finder.maker(state)
    return [
        Why(
            state,
            place.where,
            place.problem,
            place.sight.info,
            maker.node.name if maker else "",
            finder.changes(state, place.sight),
        )
        for place in finder.places(state)
    ]
