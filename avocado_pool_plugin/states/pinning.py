"""Pins around what is done with states, wherever they are; see core/pins.py."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core import pins
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.states import images, recipes
from avocado_pool_plugin.states.ops import TransferOps


def pinned(
    root: str, files: Iterable[str], params: Any, ops: Any = TransferOps, by: str = ""
) -> contextlib.AbstractContextManager[Any]:
    """
    Keep states in a cache or pool from being removed to make room, as long as the body runs.

    :param root: location of the cache or pool
    :param files: paths relative to it, which need not exist
    :param ops: what moves files to and from hosts; if that is not ours, nothing is pinned there
    :param by: who needs them; default: the params' test
    """
    place, test = Location.parse(root), recipes.test_name(params)
    by = by or (f"test {test}" if test else "")
    if not place.remote:
        return pins.hold(place.path, files, by=by)
    if not (isinstance(ops, type) and issubclass(ops, TransferOps) and ops.moves_remotely()):
        return contextlib.nullcontext()
    from avocado_pool_plugin.ssh import pins as far_pins

    session = ops.get_session(place.label, params.object_params(place.label))
    return far_pins.hold(session, place.path, files, by=by)


@contextlib.contextmanager
def transfer(
    files: list[Any], cache_dir: str, pool_dir: str, params: Any, ops: Any
) -> Iterator[None]:
    """
    Pin what is moved between cache and pool in both.

    :param files: path in the cache first, of each file
    """
    if getattr(ops, "dry", False):  # nothing is moved then
        yield
        return
    names = [os.path.relpath(file[0], cache_dir) for file in files]
    with pinned(f":{cache_dir}", names, params), pinned(pool_dir, names, params, ops):
        yield


def got(params: Any) -> contextlib.AbstractContextManager[Any]:
    """Keep a state in the cache between its fetch and its use, and so all that it stands on."""
    if not params.get("vms"):
        return contextlib.nullcontext()
    return pinned(f":{settings.cache_dir(params)}", _files("get", params), params)


def may_be_back(do: str, params: Any) -> bool:
    """
    Tell whether a state that was not found in the cache has to be looked for once more.

    Who makes room may have had a file of it out of its place for a moment.

    :raises LockTimeout: they held a file's lock all the time
    """
    if not params.get("vms"):
        return False
    cache, timeout = settings.cache_dir(params), settings.policy(params, do).timeout
    paths = [os.path.join(cache, file) for file in _files(do, params)]
    absent = [path for path in paths if not os.path.exists(path)]
    return not any(pins.is_absent(path, timeout) for path in absent)


def _files(do: str, params: Any) -> list[str]:
    """Return the files of a verb's state itself, relative to the cache."""
    owner, state = images.object_id(params), params[f"{do}_state"]
    files = [State(owner, own["images"], state).path for own in images.image_params(params)]
    if params.get("object_type") in settings.VM_TYPES:
        files.append(State(owner, None, state).path)
    return files
