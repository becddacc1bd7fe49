"""State backends whose states are in a cache and in pools; what is local they leave to others."""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core import since
from avocado_pool_plugin.core.errors import FileCorrupt, LinkRefused, PoolError, StateMissing
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.states import handmade, mirroring, pinning, report, telling
from avocado_pool_plugin.states.backends import StateBackend
from avocado_pool_plugin.states.mirroring import Attempt
from avocado_pool_plugin.states.rooted import RootSourcedStateBackend, replaced
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

__all__ = ["RootSourcedStateBackend", "SourcedStateBackend"]

LOG = logging.getLogger("avocado." + __name__)


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
    def get_sources(cls, do: str, params: Any) -> list[str]:
        """Return the mirrors of a verb, nearest first."""
        return mirroring.nearest_first(settings.mirrors(do, params), params)

    @classmethod
    def get_source_scope(cls, source_path: str, source_params: Any, own_params: Any) -> str:
        """Return the scope that a mirror belongs to: own, shared, swarm or cluster."""
        return mirroring.scope(source_path, source_params, own_params)

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
            if scope == "own" and place.remote and not own.get("nets_host"):
                scope = "shared"  # the same path, but nobody said that it is the same host
            if scope != "own" and scope in scopes:
                yield source, own
            else:
                LOG.debug("mirror %s is left out, it is of scope %s", source, scope)

    @classmethod
    def places(cls, do: str, params: Any) -> list[str]:
        """Return cache and permitted mirrors."""
        own = [settings.cache_dir(params)] if "own" in settings.scopes(params) else []
        return own + [source for source, _ in cls.permitted(do, params)]

    @classmethod
    def _attempts(
        cls,
        do: str,
        params: Any,
        work: Callable[[str, Any], Any],
        ours: Callable[[PoolError], bool] = lambda _: False,
    ) -> Iterator[Attempt]:
        """
        Do something with one permitted mirror after the other, and yield what became of it.

        :param work: is given a mirror and the params to use it with
        :param ours: see :func:`mirroring.attempt`
        """
        timeout = settings.policy(params).timeout
        doing = f"{do} of {cls._title(do, params)}"
        for mirror, own in cls.permitted(do, params):
            use = functools.partial(work, mirror, own)
            yield mirroring.attempt(mirror, use, doing, timeout, ours)

    @classmethod
    def _title(cls, do: str, params: Any) -> str:
        """Return what a verb is about, in words."""
        name = params.get("object_name") or params["vms"]
        return (
            f"the states of {name}"
            if do == "show"
            else f"state {params[f'{do}_state']!r} of {name}"
        )

    # -- show --------------------------------------------------------------------------------

    @classmethod
    def show(cls, params: Any, object: Any = None) -> list[str]:
        """
        Return the states in the cache and those that all permitted mirrors have.

        :raises PoolError: a mirror can't be asked, so that nobody knows what all have
        """
        found = set(cls._show(params, object)) if "own" in settings.scopes(params) else set()
        attempts = list(
            cls._attempts("show", params, lambda _, own: cls.transport.show(own, object))
        )
        if mirroring.problems(attempts):
            failed = [tried for tried in attempts if tried.problem]
            what = f"{cls._title('show', params)} can't be told"
            raise mirroring.failure(what, failed, "mend these mirrors, or leave them out")
        shared = [set(tried.result) for tried in attempts]
        return sorted(found | (set.intersection(*shared) if shared else set()))

    @classmethod
    def has(cls, do: str, params: Any, object: Any = None) -> bool:
        """
        Tell whether a state is in the cache or in any permitted mirror.

        :raises PoolError: it is nowhere, but a mirror could not be asked
        """
        state = params[f"{do}_state"]
        if "own" in settings.scopes(params) and cls._cached(do, params, object):
            return True
        attempts: list[Attempt] = []
        for tried in cls._attempts(
            do, params, lambda _, own: state in cls.transport.show(own, object)
        ):
            if tried.result:
                return True
            attempts.append(tried)
        if mirroring.problems(attempts):
            what = f"whether there is {cls._title(do, params)} is not known"
            raise mirroring.failure(what, attempts, "mend these mirrors, or leave them out")
        return False

    @classmethod
    def _cached(cls, do: str, params: Any, object: Any) -> bool:
        """Tell whether the cache has a state; one that is out of its place now is waited for."""
        state = params[f"{do}_state"]
        if state in cls._show(params, object):
            return True
        return pinning.may_be_back(do, params) and state in cls._show(params, object)

    # -- get ---------------------------------------------------------------------------------

    @classmethod
    @telling.one_operation()
    @report.one_get()
    def get(cls, params: Any, object: Any = None) -> None:
        """Validate the cached state against the nearest mirror that has it, or fetch it."""
        with since.spared(), pinning.got(params):
            cls._got(params, object)

    @classmethod
    def _got(cls, params: Any, object: Any) -> None:
        attempts = cls._fetch(params, object)
        problems = mirroring.problems(attempts)
        own = "own" in settings.scopes(params)
        if not any(tried.result for tried in attempts):
            if problems and not (own and cls._usable(params, object, problems)):
                raise cls._not_got(params, object, attempts)
            if not own or not cls._cached("get", params, object):
                raise StateMissing(
                    f"{cls._title('get', params)} does not exist, looked at: "
                    f"{', '.join(cls.places('get', params))}"
                )
        if own:
            cls._get(params, object)

    @classmethod
    def _fetch(cls, params: Any, object: Any) -> list[Attempt]:
        """
        Make the cache equal to the first good mirror that has the state.

        :returns: what became of each mirror; the last one has true as result if there is such a one
        """
        cached = params["get_state"] in cls._show(params, object)
        attempts: list[Attempt] = []
        for tried in cls._attempts(
            "get",
            params,
            lambda mirror, own: cls._fetch_from(mirror, own, object, cached),
            lambda error: mirroring.cache_failed(error, params),
        ):
            attempts.append(tried)
            if tried.result:
                break
        return attempts

    @classmethod
    def _fetch_from(cls, mirror: str, params: Any, object: Any, cached: bool) -> bool:
        """Make the cache equal to a mirror; return False if that does not have the state."""
        state = params["get_state"]
        if state not in cls.transport.show(params, object):
            LOG.debug("mirror %s does not have state %r", mirror, state)
            return False
        cache = settings.cache_dir(params)
        if not (cached and cls.transport.compare_chain(state, cache, mirror, params)):
            cls.transport.get(params, object)
        return True

    @classmethod
    def _usable(cls, params: Any, object: Any, problems: list[PoolError]) -> bool:
        """Tell whether the cached state can be used although mirrors that have it failed."""
        state = params["get_state"]
        if not cls._cached("get", params, object):
            return False
        for error in problems:
            if isinstance(error, FileCorrupt) and not cls.as_recorded(error, params):
                return False
            if isinstance(error, LinkRefused):
                return False  # the cached state is another one
        LOG.warning("the cached state %r is used, no mirror could give it", state)
        return True

    @classmethod
    def _not_got(cls, params: Any, object: Any, attempts: list[Attempt]) -> PoolError:
        advice = "mend one of these mirrors, or run a test that sets the state"
        if "own" in settings.scopes(params) and params["get_state"] in cls._show(params, object):
            advice = f"the cache has another version, which does not take its place; {advice}"
        what = f"{cls._title('get', params)} can't be had"
        return mirroring.failure(what, attempts, advice)

    @classmethod
    def as_recorded(cls, error: FileCorrupt, params: Any) -> bool:
        """
        Tell whether the cache holds what a corrupt file of a mirror was recorded to be.

        If it does not, the cached state is another one, and a get does not use it in its place.
        """
        return mirroring.as_recorded(error, params)

    # -- set and unset -----------------------------------------------------------------------

    @classmethod
    @telling.one_operation()
    def set(cls, params: Any, object: Any = None) -> None:
        """
        Set the state in the cache and publish it to every permitted mirror.

        :raises PoolError: a mirror failed; with ``set_mirrors = any`` none was reached
        """
        enough = settings.one_mirror_is_enough(params)
        if "own" in settings.scopes(params):
            with handmade.noticed("set", params):
                kept = cls._set(params, object) is False
            if kept:
                return
        elif params["set_state"] not in cls._show(params, object):
            raise StateMissing(
                f"{cls._title('set', params)} is not in the cache and so can't be published; add "
                f"'own' to pool_scope to set it"
            )
        attempts = cls._on_all("set", params, object)
        if not (enough and any(tried.problem is None for tried in attempts)):
            cls._require_all("set", params, attempts)

    @classmethod
    @telling.one_operation()
    def unset(cls, params: Any, object: Any = None) -> None:
        """
        Remove the state from the cache and from every permitted mirror.

        :raises PoolError: a mirror failed
        """
        if cls.replaces and replaced(params):
            LOG.debug("%s stays until a set replaces it", cls._title("unset", params))
            return
        if "own" in settings.scopes(params):
            with handmade.noticed("unset", params):
                cls._unset(params, object)
        cls._require_all("unset", params, cls._on_all("unset", params, object))

    @classmethod
    def _on_all(cls, do: str, params: Any, object: Any) -> list[Attempt]:
        """Do something on every mirror; a failing one does not keep it from the others."""
        act = getattr(cls.transport, do)
        return list(cls._attempts(do, params, lambda _, own: act(own, object)))

    @classmethod
    def _require_all(cls, do: str, params: Any, attempts: list[Attempt]) -> None:
        if mirroring.problems(attempts):
            cache = settings.cache_dir(params) if "own" in settings.scopes(params) else ""
            raise mirroring.incomplete(do, cls._title(do, params), cache, attempts)
