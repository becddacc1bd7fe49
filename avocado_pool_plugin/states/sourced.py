"""State backends whose states are in a cache and in pools; what is local they leave to others."""

import logging
import os
from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core import mirrors
from avocado_pool_plugin.core.durable import typed_failures
from avocado_pool_plugin.core.errors import (
    FileCorrupt,
    LinkRefused,
    LocationRefused,
    LockTimeout,
    PoolError,
    SettingRefused,
    SpaceMissing,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.core.knowledge import identify
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import state_name
from avocado_pool_plugin.states import images
from avocado_pool_plugin.states.backends import StateBackend
from avocado_pool_plugin.states.transfer import VM_TYPES, QCOW2ImageTransfer

LOG = logging.getLogger("avocado." + __name__)


class RootSourcedStateBackend(StateBackend):
    """
    Root states from cache and pool.

    Subclasses supply the local part: ``_check_root _get_root _set_root _unset_root``.
    """

    transport: Any = QCOW2ImageTransfer

    @classmethod
    def _check_root(cls, params: Any, object: Any = None) -> bool:
        raise NotImplementedError(f"{cls.__name__} has no _check_root")

    @classmethod
    def _get_root(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _get_root")

    @classmethod
    def _set_root(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _set_root")

    @classmethod
    def _unset_root(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _unset_root")

    @classmethod
    def check_root(cls, params: Any, object: Any = None) -> bool:
        """Tell whether the root exists here or, for images, in the pool."""
        here = cls._check_root(params, object)
        if set(settings.scopes(params)) == {"own"}:
            return here
        there = cls.transport.check_root(params, object)
        return here or (there and params.get("object_type") not in VM_TYPES)

    @classmethod
    def get_root(cls, params: Any, object: Any = None) -> None:
        """Make sure that the root here is the pool's, if the pool has one."""
        scopes = set(settings.scopes(params))
        if "own" not in scopes:
            cls.transport.get_root(params, object)
            return
        if scopes != {"own"} and cls.transport.check_root(params, object):
            valid = cls._check_root(params, object) and all(
                cls.transport.ops.compare(local, pool, own)
                for local, pool, own in cls.transport.pool_roots(params)
            )
            if not valid:
                cls.transport.get_root(params, object)
        elif not cls._check_root(params, object):
            raise StateMissing(
                f"root state of {params.get('object_name') or params['vms']} does not exist, "
                f"looked at: {', '.join(cls.root_places(params))}; make it with set_state = root"
            )
        cls._get_root(params, object)

    @classmethod
    def root_places(cls, params: Any) -> list[str]:
        places = [cls.transport.get_image_path(own) for own in images.image_params(params)]
        if set(settings.scopes(params)) != {"own"} and settings.shared_pools(params):
            places += [pool for _, pool, _ in cls.transport.pool_roots(params)]
        return places

    @classmethod
    def set_root(cls, params: Any, object: Any = None) -> None:
        """Make the root here (scope ``own``), or publish it (scope ``shared``)."""
        scope = cls._one_scope(params)
        if scope == "own":
            cls._set_root(params, object)
            return
        if not cls._check_root(params, object):
            raise StateMissing(
                f"root state of {params.get('object_name') or params['vms']} can't be published, "
                f"it does not exist locally; set it with pool_scope = own first"
            )
        cls.transport.set_root(params, object)

    @classmethod
    def unset_root(cls, params: Any, object: Any = None) -> None:
        """Remove the root here (scope ``own``), or from the pool (scope ``shared``)."""
        if cls._one_scope(params) == "own":
            cls._unset_root(params, object)
        else:
            cls.transport.unset_root(params, object)

    @classmethod
    def _one_scope(cls, params: Any) -> str:
        scopes = set(settings.scopes(params))
        if scopes not in ({"own"}, {"shared"}):
            raise SettingRefused(
                f"pool_scope is {' '.join(sorted(scopes))!r}, a root state is set or unset either "
                f"with pool_scope = own (here) or with pool_scope = shared (in the pool)"
            )
        return scopes.pop()


class SourcedStateBackend(StateBackend):
    """
    States from cache and mirrors.

    Subclasses supply the local part: ``_show _get _set _unset``. A ``_set`` that returns False kept
    an old state, which then is not published either.
    """

    transport: Any = QCOW2ImageTransfer
    replaces = True

    @classmethod
    def _show(cls, params: Any, object: Any = None) -> list[str]:
        raise NotImplementedError(f"{cls.__name__} has no _show")

    @classmethod
    def _get(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _get")

    @classmethod
    def _set(cls, params: Any, object: Any = None) -> bool | None:
        raise NotImplementedError(f"{cls.__name__} has no _set")

    @classmethod
    def _unset(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _unset")

    # -- mirrors -----------------------------------------------------------------------------

    @classmethod
    def _seat(cls, path: str, params: Any) -> mirrors.Seat:
        return mirrors.Seat(params.get("nets_gateway", ""), params.get("nets_host", ""), path)

    @classmethod
    def get_sources(cls, do: str, params: Any) -> list[str]:
        """Return the mirrors of a verb, nearest first."""
        here = cls._seat(settings.cache_dir(params), params)

        def nearness(source: str) -> int:
            place = Location.parse(source)
            own = params.object_params(place.label) if place.remote else params
            return mirrors.nearness(cls._seat(place.path, own), here)

        return sorted(settings.mirrors(do, params), key=nearness, reverse=True)

    @classmethod
    def get_source_scope(cls, source_path: str, source_params: Any, own_params: Any) -> str:
        """Return the scope that a mirror belongs to: own, shared, swarm or cluster."""
        shared = [place.path for place in settings.shared_pools(own_params)]
        here = cls._seat(settings.cache_dir(own_params), own_params)
        there = cls._seat(Location.from_setting(source_path).path, source_params)
        return mirrors.scope_of(there, here, shared)

    @classmethod
    def permitted(cls, do: str, params: Any) -> Iterator[tuple[str, Any]]:
        """
        Yield each mirror that transport may use, nearest first, and params to use it with.

        :param do: the verb: get, set, unset or show
        """
        scopes = settings.scopes(params)
        for source in cls.get_sources(do, params):
            place = Location.parse(source)
            own = params.object_params(place.label) if place.remote else params.copy()
            own[f"{do}_location"] = own["show_location"] = source
            scope = cls.get_source_scope(place.path, own, params)
            if scope != "own" and scope in scopes:
                yield source, own

    @classmethod
    def places(cls, do: str, params: Any) -> list[str]:
        """Return cache and permitted mirrors."""
        own = [settings.cache_dir(params)] if "own" in settings.scopes(params) else []
        return own + [source for source, _ in cls.permitted(do, params)]

    # -- verbs -------------------------------------------------------------------------------

    @classmethod
    def show(cls, params: Any, object: Any = None) -> list[str]:
        """Return the states in the cache and those that all permitted mirrors have."""
        found = set(cls._show(params, object)) if "own" in settings.scopes(params) else set()
        shared = [set(cls.transport.show(own, object)) for _, own in cls.permitted("show", params)]
        return sorted(found | (set.intersection(*shared) if shared else set()))

    @classmethod
    def has(cls, do: str, params: Any, object: Any = None) -> bool:
        """Tell whether a state is in the cache or in any permitted mirror."""
        state = params[f"{do}_state"]
        if "own" in settings.scopes(params) and state in cls._show(params, object):
            return True
        problem: PoolError | None = None
        for source, own in cls.permitted(do, params):
            try:
                with typed_failures(source):
                    there = state in cls.transport.show(own, object)
                if there:
                    return True
            except LocationRefused:
                raise
            except PoolError as error:
                LOG.warning("mirror %s can't be used: %s", source, error)
                problem = problem or error
        if problem is not None:
            raise problem
        return False

    @classmethod
    def get(cls, params: Any, object: Any = None) -> None:
        """Validate the cached state against the nearest mirror that has it, or fetch it."""
        state = params["get_state"]
        problems: list[PoolError] = []
        fetched = cls._fetch(state, params, object, problems)
        own = "own" in settings.scopes(params)
        if not fetched:
            if problems and not (own and cls._usable(state, params, object, problems)):
                raise problems[0]
            if not own or state not in cls._show(params, object):
                raise StateMissing(
                    f"state {state!r} of {params.get('object_name') or params['vms']} does not "
                    f"exist, looked at: {', '.join(cls.places('get', params))}"
                )
        if own:
            cls._get(params, object)

    @classmethod
    def _fetch(cls, state: str, params: Any, object: Any, problems: list[PoolError]) -> bool:
        """Make the cache equal to the first good mirror that has the state, if one has."""
        cache = settings.cache_dir(params)
        for source, own in cls.permitted("get", params):
            try:
                with typed_failures(source):
                    if state not in cls.transport.show(own, object):
                        LOG.debug("mirror %s does not have state %r", source, state)
                        continue
                    valid = state in cls._show(params, object) and cls.transport.compare_chain(
                        state, cache, source, own
                    )
                    if not valid:
                        cls.transport.get(own, object)
                    return True
            except (StateNeeded, SpaceMissing, LockTimeout, LocationRefused):
                raise  # nothing that another mirror could cure
            except PoolError as error:
                LOG.warning("mirror %s can't give state %r: %s", source, state, error)
                problems.append(error)
        return False

    @classmethod
    def _usable(cls, state: str, params: Any, object: Any, problems: list[PoolError]) -> bool:
        """Tell whether the cached state can be used although mirrors that have it failed."""
        if state not in cls._show(params, object):
            return False
        for error in problems:
            if isinstance(error, FileCorrupt) and not cls.as_recorded(error, params):
                return False
            if isinstance(error, LinkRefused):
                return False  # the cached state is another one
        LOG.warning("the cached state %r is used, no mirror could give it", state)
        return True

    @classmethod
    def as_recorded(cls, error: FileCorrupt, params: Any) -> bool:
        """
        Tell whether the cache holds what a corrupt file of a mirror was recorded to be.

        If it does not, the cached state is another one, and a get does not use it in its place.
        """
        name = state_name(os.path.basename(error.path))
        for own in images.image_params(params):
            path = images.state_path(settings.cache_dir(params), own, name) if name else ""
            if path and os.path.basename(os.path.dirname(error.path)) == own["images"]:
                info = identify(path, settings.policy(params))
                known = {info.digest, info.source_digest} if info else set()
                return error.expected is None or error.expected in known
        return False

    @classmethod
    def set(cls, params: Any, object: Any = None) -> None:
        """Set the state in the cache and publish it to every permitted mirror."""
        state = params["set_state"]
        if "own" in settings.scopes(params):
            if cls._set(params, object) is False:
                return
        elif state not in cls._show(params, object):
            raise StateMissing(
                f"state {state!r} of {params.get('object_name') or params['vms']} is not in the "
                f"cache and so can't be published; add 'own' to pool_scope to set it"
            )
        cls._on_all("set", params, object)

    @classmethod
    def unset(cls, params: Any, object: Any = None) -> None:
        """Remove the state from the cache and from every permitted mirror."""
        if "own" in settings.scopes(params):
            cls._unset(params, object)
        cls._on_all("unset", params, object)

    @classmethod
    def _on_all(cls, do: str, params: Any, object: Any) -> None:
        """Do something on every mirror; a failing one does not keep it from the others."""
        problems: list[PoolError] = []
        for source, own in cls.permitted(do, params):
            try:
                with typed_failures(source):
                    getattr(cls.transport, do)(own, object)
            except PoolError as error:
                LOG.error("%s failed on mirror %s: %s", do, source, error)
                problems.append(error)
        if problems:
            raise problems[0]
