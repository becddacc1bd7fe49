"""Several mirrors for one verb: order and scope, what became of each, and how that is told."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core import mirrors
from avocado_pool_plugin.core.durable import typed_failures
from avocado_pool_plugin.core.errors import (
    FileCorrupt,
    LocationRefused,
    LockTimeout,
    MirrorsFailed,
    NameRefused,
    PoolError,
    SettingRefused,
    SpaceMissing,
    StateNeeded,
    combined,
)
from avocado_pool_plugin.core.knowledge import identify
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX
from avocado_pool_plugin.states import images, telling

#: What is asked for makes no sense, whichever mirror is asked.
_NO_MIRRORS_FAULT = (LocationRefused, SettingRefused, NameRefused)

# -- which ---------------------------------------------------------------------------------------


def _seat(path: str, params: Any) -> mirrors.Seat:
    return mirrors.Seat(params.get("nets_gateway", ""), params.get("nets_host", ""), path)


def nearest_first(locations: Iterable[str], params: Any) -> list[str]:
    """Return locations in the order in which they are asked; equally near ones as they were."""
    here = _seat(settings.cache_dir(params), params)

    def nearness(location: str) -> int:
        place = Location.parse(location)
        own = params.object_params(place.label) if place.remote else params
        return mirrors.nearness(_seat(place.path, own), here)

    return sorted(locations, key=nearness, reverse=True)


def scope(path: str, source_params: Any, own_params: Any) -> str:
    """
    Return the scope of a mirror: own, shared, swarm or cluster.

    :param path: of its location
    :param source_params: params of its host
    :param own_params: params of this one
    """
    shared = [place.path for place in settings.shared_pools(own_params)]
    here = _seat(settings.cache_dir(own_params), own_params)
    return mirrors.scope_of(_seat(Location.from_setting(path).path, source_params), here, shared)


# -- what became of each -------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """
    What became of a verb on one mirror.

    :param mirror: its location
    :param result: what the verb returned; of a get, whether the mirror has the state
    :param problem: why it failed, None if it did not
    """

    mirror: str
    result: Any = None
    problem: PoolError | None = None

    def __str__(self) -> str:
        return f"{self.mirror} ({self.problem or 'does not have it'})"


def attempt(
    mirror: str,
    work: Callable[[], Any],
    doing: str,
    timeout: float,
    ours: Callable[[PoolError], bool] = lambda _: False,
) -> Attempt:
    """
    Do something with a mirror; that it fails is a result, and told as a warning.

    One that gave no answer before in the same operation is not waited for again.

    :param doing: what is done, for the warning
    :param timeout: seconds that its file system may take to answer
    :param ours: whether an error is none of the mirror's, and raised
    """
    try:
        telling.require_answer(mirror, timeout)
        with failures_of(mirror):
            return Attempt(mirror, work())
    except _NO_MIRRORS_FAULT:
        raise
    except PoolError as error:
        if ours(error):
            raise
        telling.warn(error, mirror, doing)
        telling.keep_silence(mirror, error)
        return Attempt(mirror, problem=error)


@contextlib.contextmanager
def failures_of(mirror: str) -> Iterator[None]:
    """
    Make what file operations of other packages raise errors of ours.

    :raises PoolSilent: of a ``TimeoutError``
    :raises PoolUnreachable: of any other ``OSError``
    :raises MirrorsFailed: of a ``RuntimeError``
    """
    try:
        with typed_failures(mirror):
            yield
    except PoolError:
        raise
    except RuntimeError as error:
        raise MirrorsFailed(
            f"{mirror} failed: {error}; see the log of what moves files there"
        ) from error


def cache_failed(error: PoolError, params: Any) -> bool:
    """Tell whether it is the cache that keeps a state from being fetched, from wherever."""
    if isinstance(error, LockTimeout):
        cache = os.path.join(os.path.abspath(settings.cache_dir(params)), "")
        return os.path.abspath(error.path).startswith(cache) if error.path else False
    return isinstance(error, (StateNeeded, SpaceMissing))


def as_recorded(error: FileCorrupt, params: Any) -> bool:
    """Tell whether the cache holds what a corrupt file of a mirror was recorded to be."""
    directory, name = os.path.split(error.path)
    state, suffix = os.path.splitext(name)
    cache, path = settings.cache_dir(params), ""
    if suffix == VM_SUFFIX:
        path = os.path.join(cache, images.object_id(params), name)
    for own in images.image_params(params):
        if suffix == IMAGE_SUFFIX and own["images"] == os.path.basename(directory):
            path = images.state_path(cache, own, state)
    info = identify(path, settings.policy(params)) if path else None
    known = {info.digest, info.source_digest} if info else set()
    return bool(path) and (error.expected is None or error.expected in known)


# -- how it is told ------------------------------------------------------------------------------


def problems(attempts: Iterable[Attempt]) -> list[PoolError]:
    """Return what went wrong."""
    return [tried.problem for tried in attempts if tried.problem]


def failure(what: str, attempts: Sequence[Attempt], advice: str) -> PoolError:
    """
    Return the error for mirrors that failed; the only mirror's own one, else one that names all.

    :param what: what did not succeed
    :param attempts: each is told with its problem, or that it does not have the state
    """
    found = problems(attempts)
    if len(attempts) == 1:
        return found[0]
    return combined(f"{what}: {', '.join(map(str, attempts))}; {advice}", found)


def incomplete(do: str, state: str, cache: str, attempts: Sequence[Attempt]) -> PoolError:
    """
    Return the error for a set or unset that failed on mirrors; it says which ones were reached.

    :param state: the state and its object, in words
    :param cache: the cache's directory if the state was set or removed there, else empty
    """
    failed = [tried for tried in attempts if tried.problem]
    if len(attempts) == 1:
        return problems(failed)[0]
    done = [cache, *(tried.mirror for tried in attempts if not tried.problem)]
    reached = ", ".join(filter(None, done))
    if do == "set":
        start = f"{state} is in {reached} but" if reached else f"{state}"
        what = f"{start} did not reach"
        advice = "publish it again, or let one mirror be enough (set_mirrors = any)"
    else:
        start = f"{state} is gone from {reached} but" if reached else f"{state}"
        what = f"{start} may be left in"
        advice = "unset it again"
    told = ", ".join(map(str, failed))
    return combined(f"{what} {told}; mend these mirrors and {advice}", problems(failed))
