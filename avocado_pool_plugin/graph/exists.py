"""Which states exist and can be used, found out with as little reading as a plan needs."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from avocado_pool_plugin.core.errors import LocationRefused, PoolError, SettingRefused
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX, State
from avocado_pool_plugin.core.recipe import Change
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.graph.lookup import Lookup
from avocado_pool_plugin.graph.plan import Found
from avocado_pool_plugin.graph.read import Owner, Reading, saved_images
from avocado_pool_plugin.graph.readers import Here
from avocado_pool_plugin.graph.recipe import Recipes, told
from avocado_pool_plugin.graph.search import CACHE, Place, Search
from avocado_pool_plugin.graph.sight import Eyes, Sight
from avocado_pool_plugin.params import (
    cache_dir,
    host,
    mirrors,
    policy,
    recipe_mode,
    scopes,
    seen_dir,
)
from avocado_pool_plugin.params.options import IGNORE, REBUILD
from avocado_pool_plugin.states.ops import TransferOps
from avocado_pool_plugin.states.setup import BACKENDS
from avocado_pool_plugin.states.sourced import SourcedStateBackend
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

LOG = logging.getLogger("avocado." + __name__)


class Finder:
    """
    Tells for a plan which states exist; what it found is remembered.

    A state is where a get would take it from: the first mirror that has it and is sound, else the
    cache. Content is only read where something speaks against what is recorded of it.

    :param lookup: what the tests know of states
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._recipes = Recipes()
        self._eyes: dict[tuple[Any, ...], Eyes] = {}
        self._changes: dict[tuple[str, State], tuple[Change, ...]] = {}
        self._told: set[tuple[str, str]] = set()
        self._seen: dict[State, set[str]] = {}
        #: Caches, and pools that are there, that were looked into so far: by location, with params
        #: to use them.
        self.roots: dict[str, Any] = {}

    @classmethod
    def of(cls, readings: Iterable[Reading], defaults: Mapping[str, str] | None = None) -> "Finder":
        """Return the finder of some tests; see :meth:`Lookup.of`."""
        return cls(Lookup.of(readings, defaults))

    def __call__(self, state: State) -> Found:
        """
        Return where a state is, and whether it can be used.

        :raises BackendUnknown: its backend is not installed
        :raises PoolError: no place has it and one could not be looked at; another setting is wrong
        """
        owner = self._lookup.owner(state)
        if owner is None:
            return Found()
        backend = BACKENDS[owner.params.get("states", "")]
        if not _is_ours(backend):
            return _ask(backend, state, owner)
        return self._find(backend, owner, self._search(state, owner.params))

    def places(self, state: State) -> list[Place]:
        """
        Return all places that have a state, the cache first.

        :raises PoolError: none has it and one could not be looked at; a setting is wrong
        """
        kept = self._kept(state)
        if kept is None:
            return []
        backend, owner = kept
        search = self._search(state, owner.params)
        failures: list[PoolError] = []
        mirrored = self._mirrored(backend, owner, search, failures)
        found = [place for place in (search.cached(), *mirrored) if place]
        if failures and not found:
            raise failures[0]
        return found

    def files(self, state: State) -> set[str]:
        """
        Return the files of a state that is kept in cache and pools, as far as they are known.

        :returns: paths relative to a cache or pool: of the state itself, which need not be there,
            and of all that it stands on where it was found so far
        """
        kept = self._kept(state)
        if kept is None:
            return set()
        owner = kept[1]
        images = saved_images(owner.params) if state.image is None else ()
        own = {replace(state, image=image).path for image in images}
        return {state.path, *own, *self._seen.get(state, ())}

    def _kept(self, state: State) -> tuple[Any, Owner] | None:
        """Return backend and owner of a state that is kept in cache and pools, None of others."""
        owner = self._lookup.owner(state)
        backend = BACKENDS[owner.params.get("states", "")] if owner else None
        return (backend, owner) if owner and _is_ours(backend) else None

    def _note(self, state: State, place: Place | None) -> None:
        if place:
            self._seen.setdefault(state, set()).update(file.path for file in place.sight.files)

    # -- where it is -------------------------------------------------------------------------

    def _search(self, state: State, own: Any) -> Search:
        images = tuple(saved_images(own)) if state.image is None else ()
        self.roots.setdefault(f":{cache_dir(own)}", own)
        return Search(state, images, self._local(cache_dir(own), own), "own" in scopes(own))

    def _local(self, directory: str, own: Any) -> Eyes:
        """Return what looks at a directory of this host."""
        careful = policy(own, "get"), seen_dir(own)
        key = (*careful, directory)
        if key not in self._eyes:
            self._eyes[key] = Eyes(Here(directory, *careful))
        return self._eyes[key]

    def _mirror(self, source: str, own: Any) -> Eyes:
        """
        Return what looks at a mirror.

        :param own: params as its host sees them
        """
        place = Location.parse(source)
        if not place.remote:
            return self._local(place.path, own)
        from avocado_pool_plugin.graph.far import There
        from avocado_pool_plugin.states.far import FarFiles

        careful = policy(own, "get"), seen_dir(own)
        key = (*careful, host(place.label, own), place.path)
        if key not in self._eyes:
            far = FarFiles.at(place, own, careful[1])
            ahead = [state.path for state in self._lookup.states]
            self._eyes[key] = Eyes(There(far, place.path, careful[0], ahead))
        return self._eyes[key]

    def _mirrored(
        self, backend: Any, owner: Owner, search: Search, failures: list[PoolError]
    ) -> Iterator[Place]:
        """
        Yield the state in each mirror that has it, nearest first.

        :param failures: is given why a mirror could not be looked at
        """
        for source, own in backend.permitted(owner.verb, owner.params):
            try:
                there = search.mirrored(source, self._mirror(source, own))
            except (LocationRefused, SettingRefused):
                raise
            except PoolError as error:
                failures.append(error)
                self._warn(source, error)
                continue
            place = Location.parse(source)
            if there or (not place.remote and os.path.isdir(place.path)):
                self.roots.setdefault(source, own)
            self._note(search.state, there)
            if there:
                yield there

    def _find(self, backend: Any, owner: Owner, search: Search) -> Found:
        state, here = search.state, search.cached()
        self._note(state, here)
        bad = [here] if here and here.problem else []
        failures: list[PoolError] = []
        for there in self._mirrored(backend, owner, search, failures):
            if not there.problem:
                return self._in_mirror(search, here, there)
            bad.append(there)
        corrupt = [error for place in bad for error in place.sight.corrupt if place is not here]
        as_recorded = (backend.as_recorded(error, owner.params) for error in corrupt)
        if here and not here.problem and all(as_recorded):
            return self._judged(state, Found(CACHE), [here])
        if failures:
            raise failures[0]
        where = bad[0].where if bad else ""
        return Found(where, problem=" and ".join(place.problem for place in bad))

    def _warn(self, source: str, error: PoolError) -> None:
        """Log that a mirror can't be used, each reason once."""
        if (source, str(error)) not in self._told:
            self._told.add((source, str(error)))
            LOG.warning("mirror %s can't be used: %s", source, error)

    def _in_mirror(self, search: Search, here: Place | None, there: Place) -> Found:
        lacking = search.cache.lacking(there.sight)
        if lacking or here is None:
            fetch = tuple(
                (os.path.join(search.cache.root, file.path), 0 if there.linked else file.size)
                for file in lacking
            )
            return self._judged(search.state, Found(there.where, fetch), [there])
        # both have the same content, whatever each of them says of how it was made
        return self._judged(search.state, Found(CACHE), [here, there])

    # -- how it was made ---------------------------------------------------------------------

    def _judged(self, state: State, found: Found, places: list[Place]) -> Found:
        """Return what was found, or that it was made by another recipe, if that counts."""
        maker = self._lookup.maker(state)
        mode = recipe_mode(maker.params) if maker else IGNORE
        if maker is None or mode == IGNORE:
            return found
        texts = [self._otherwise(state, place.sight) for place in places]
        if not all(texts):
            return found
        if mode == REBUILD:
            return Found(found.where, problem=texts[0])
        return replace(found, note=f"{texts[0]}; recipe = rebuild makes it anew")

    def _otherwise(self, state: State, sight: Sight) -> str:
        """Return which part of a state's chain would be made otherwise now, empty for none."""
        infos = {file.path: file.info for file in sight.files}
        for file in sight.files:
            made = _state_of(file.path)
            parent = infos.get(replace(made, name=file.parent).path) if file.parent else None
            found = self._compare(sight.root, made, file.info, parent)
            if found:
                by = f"made by another recipe: {told(found)}"
                return f"was {by}" if made == state else f"stands on {made}, {by}"
        return ""

    def _compare(
        self, root: str, state: State, info: FileInfo | None, parent: FileInfo | None
    ) -> tuple[Change, ...]:
        """Return what would be different of one file if it was made now, found out once."""
        key = root, state
        if key not in self._changes:
            maker = self.maker(state)
            self._changes[key] = ()
            if maker is not None and info is not None:
                self._changes[key] = self._recipes.changes(state, info, parent, maker)
        return self._changes[key]

    def maker(self, state: State) -> Reading | None:
        """Return the test that sets a state, None if none or several do."""
        return self._lookup.maker(state)

    def changes(self, state: State, sight: Sight) -> tuple[Change, ...]:
        """Return what would be different if a state was made now; nothing if that is not known."""
        parent = sight.parent.info if sight.parent else None
        return self._compare(sight.root, state, sight.info, parent)


def _state_of(path: str) -> State:
    """Return the state whose file has a path below a cache or pool."""
    owner, *image, name = path.split(os.sep)
    suffix = IMAGE_SUFFIX if image else VM_SUFFIX
    return State(owner, image[0] if image else None, name.removesuffix(suffix))


def _is_ours(backend: Any) -> bool:
    """Tell whether a backend keeps states as files in cache and pools, in the usual way."""
    return (
        isinstance(backend, type)
        and issubclass(backend, SourcedStateBackend)
        and backend.transport is QCOW2ImageTransfer
        and backend.transport.ops is TransferOps
    )


def _ask(backend: Any, state: State, owner: Owner) -> Found:
    """Ask a backend that keeps states in its own way."""
    asked = owner.params.copy()
    asked["show_location"] = " ".join(mirrors(owner.verb, asked))
    if hasattr(backend, "has"):
        there = backend.has(owner.verb, asked, None)
    else:
        there = state.name in backend.show(asked, None)
    return Found(f"backend {asked['states']}" if there else "")
