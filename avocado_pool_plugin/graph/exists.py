"""Which states exist and can be used, found out with as little reading as a plan needs."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from avocado_pool_plugin.core.durable import typed_failures
from avocado_pool_plugin.core.errors import LocationRefused, PoolError
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX, State
from avocado_pool_plugin.core.recipe import Change
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.graph.plan import Found
from avocado_pool_plugin.graph.read import Owner, Reading, saved_images
from avocado_pool_plugin.graph.recipe import Recipes, told
from avocado_pool_plugin.graph.sight import Eyes, Sight
from avocado_pool_plugin.graph.working import quick
from avocado_pool_plugin.params import (
    IGNORE,
    REBUILD,
    cache_dir,
    mirrors,
    policy,
    recipe_mode,
    scopes,
)
from avocado_pool_plugin.states.images import seen_dir
from avocado_pool_plugin.states.ops import TransferOps
from avocado_pool_plugin.states.setup import BACKENDS, DEFAULT_BACKENDS
from avocado_pool_plugin.states.sourced import SourcedStateBackend
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

LOG = logging.getLogger("avocado." + __name__)

#: What a plan calls the local cache.
CACHE = "cache"


@dataclass(frozen=True)
class Lookup:
    """
    What is known of states from the tests.

    :param owner: returns whose state one is, None if no test names it
    :param maker: returns the test that sets a state, None if none or several do
    """

    owner: Callable[[State], Owner | None]
    maker: Callable[[State], Reading | None]

    @classmethod
    def of(cls, readings: Iterable[Reading], defaults: Mapping[str, str] | None = None) -> "Lookup":
        """
        Return what some tests know; those that get a state know best where it is got from.

        :param defaults: a job's settings as params, to look for states that no test names
        """
        named: dict[State, Reading] = {}
        got: dict[State, Reading] = {}
        makers: dict[State, list[Reading]] = {}
        for reading in readings:
            for want in reading.node.gets:
                got.setdefault(want.state, reading)
            for made in reading.node.sets:
                makers.setdefault(made.state, []).append(reading)
            for state in reading.owners:
                named.setdefault(state, reading)

        def owner(state: State) -> Owner | None:
            reading = got.get(state) or named.get(state)
            if reading is None:
                return None if defaults is None else _plain_owner(state, defaults)
            return reading.owners[state]

        def maker(state: State) -> Reading | None:
            found = makers.get(state, [])
            return found[0] if len(found) == 1 else None

        return cls(owner, maker)


def _plain_owner(state: State, defaults: Mapping[str, str]) -> Owner:
    """Return how a get without any test would look for a state."""
    own = {"vms": state.object_id, "object_id": state.object_id, "images": state.image or ""}
    own["object_name"] = "/".join(filter(None, (state.object_id, state.image)))
    own["object_type"] = "vms/images" if state.image else "vms"
    own["states"] = DEFAULT_BACKENDS["images" if state.image else "vms"]
    return Owner(quick({**defaults, **own, "get_state": state.name}), "get")


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
class _Search:
    """
    The look for one state.

    :param images: of the vm whose state it is
    :param root: directory of the cache
    :param own: whether the cache may be used
    """

    state: State
    images: tuple[str, ...]
    root: str
    own: bool
    eyes: Eyes

    def cached(self) -> Place | None:
        """Return the state in the cache, None if it is not there or the cache is not used."""
        sight = self._look(self.root, self.root) if self.own else None
        if sight is None:
            return None
        if not sight.problem and any(file.stray for file in sight.files):
            sight = replace(sight, problem="names its parent by another path")
        return Place(CACHE, sight)

    def mirrored(self, source: str) -> Place | None:
        """Return the state in a local mirror, None if it is not there."""
        place = Location.parse(source)
        sight = self._look(place.path, source)
        return Place(source, sight, place.link) if sight else None

    def _look(self, root: str, title: str) -> Sight | None:
        with typed_failures(title):
            return self.eyes.look(root, self.state, self.images)


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
        self._eyes: dict[Any, Eyes] = {}
        self._changes: dict[tuple[str, State], tuple[Change, ...]] = {}

    @classmethod
    def of(cls, readings: Iterable[Reading], defaults: Mapping[str, str] | None = None) -> "Finder":
        """Return the finder of some tests; see :meth:`Lookup.of`."""
        return cls(Lookup.of(readings, defaults))

    def __call__(self, state: State) -> Found:
        """
        Return where a state is, and whether it can be used.

        :raises BackendUnknown: its backend is not installed
        :raises LocationRefused: it may be on a remote host, which can't be reached
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
        """Return all local places that have a state, the cache first; see :meth:`__call__`."""
        owner = self._lookup.owner(state)
        if owner is None or not _is_ours(BACKENDS[owner.params.get("states", "")]):
            return []
        backend, search = BACKENDS[owner.params["states"]], self._search(state, owner.params)
        mirrors = (source for source, _ in backend.permitted(owner.verb, owner.params))
        local = (source for source in mirrors if not Location.parse(source).remote)
        return [place for place in (search.cached(), *map(search.mirrored, local)) if place]

    # -- where it is -------------------------------------------------------------------------

    def _search(self, state: State, own: Any) -> "_Search":
        key = policy(own, "get"), seen_dir(own)
        if key not in self._eyes:
            self._eyes[key] = Eyes(*key)
        images = tuple(saved_images(own)) if state.image is None else ()
        return _Search(state, images, cache_dir(own), "own" in scopes(own), self._eyes[key])

    def _find(self, backend: Any, owner: Owner, search: "_Search") -> Found:
        state, here = search.state, search.cached()
        bad = [here] if here and here.problem else []
        failed: PoolError | None = None
        for source, mirror in backend.permitted(owner.verb, owner.params):
            try:
                if Location.parse(source).remote:
                    if state.name in backend.transport.show(mirror, None):
                        return Found(source)
                    continue
                there = search.mirrored(source)
            except LocationRefused:
                raise
            except PoolError as error:
                LOG.warning("mirror %s can't be used: %s", source, error)
                failed = failed or error
                continue
            if there and not there.problem:
                return self._in_mirror(search, here, there)
            bad += [there] if there else []
        corrupt = [error for place in bad for error in place.sight.corrupt if place is not here]
        as_recorded = (backend.as_recorded(error, owner.params) for error in corrupt)
        if here and not here.problem and all(as_recorded):
            return self._judged(state, Found(CACHE), [here])
        if failed:
            raise failed
        where = bad[0].where if bad else ""
        return Found(where, problem=" and ".join(place.problem for place in bad))

    def _in_mirror(self, search: "_Search", here: Place | None, there: Place) -> Found:
        lacking = search.eyes.lacking(search.root, there.sight, there.linked)
        if lacking or here is None:
            return self._judged(search.state, Found(there.where, lacking), [there])
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
