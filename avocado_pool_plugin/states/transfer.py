"""The transport of the documented interface: chains of states between cache and pool."""

import logging
import os
from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, durable
from avocado_pool_plugin.core.errors import ParentChanged, SettingRefused
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import VM_SUFFIX, State, state_name
from avocado_pool_plugin.core.qcow2 import is_qcow2, read_header
from avocado_pool_plugin.states import images, pinning
from avocado_pool_plugin.states.backends import StateBackend
from avocado_pool_plugin.states.ops import TransferOps

LOG = logging.getLogger("avocado." + __name__)

#: Attempts at a chain that is replaced in the pool while it is fetched.
_ATTEMPTS = 3
#: Where get_dependency reads, in the copy of the params that it is given; default: the cache.
_WHERE = "dependency_location"


class QCOW2ImageTransfer(StateBackend):
    """Moves chains of image states, and the files of vm states, between cache and pool."""

    #: The file operations; a subclass or replacement of TransferOps.
    ops: Any = TransferOps

    @classmethod
    def get_image_path(cls, params: Any) -> str:
        """Return the absolute path of an image."""
        return images.image_path(params)

    # -- roots -------------------------------------------------------------------------------

    @classmethod
    def pool_roots(cls, params: Any) -> Iterator[tuple[str, str, Any]]:
        """Yield path in the cache, location in the pool and params of each root image."""
        pools = settings.shared_pools(params)
        if not pools:
            raise SettingRefused(
                "no shared_pool is set, a root image can't be in the pool; set shared_pool in "
                "avocado.conf or pool_scope = own"
            )
        for own in images.image_params(params):
            local = cls.get_image_path(own)
            pool = os.path.join(str(pools[0]), params["vms"], os.path.basename(local))
            yield local, pool, own

    @classmethod
    def check_root(cls, params: Any, object: Any = None) -> bool:
        """Tell whether the pool has the root images."""
        if not settings.shared_pools(params):
            return False
        return all(
            os.path.basename(pool) in cls.ops.list_paths(os.path.dirname(pool), own)
            for _, pool, own in cls.pool_roots(params)
        )

    @classmethod
    def get_root(cls, params: Any, object: Any = None) -> None:
        """Fetch the root images."""
        for local, pool, own in cls.pool_roots(params):
            cls.ops.download(local, pool, own)

    @classmethod
    def set_root(cls, params: Any, object: Any = None) -> None:
        """Publish the root images, each as one file without backing files."""
        for local, pool, own in cls.pool_roots(params):
            if not os.path.exists(local) or not is_qcow2(local) or not read_header(local).backing:
                cls.ops.upload(local, pool, own)
                continue
            with durable.new_part(local) as flat:
                qemu.convert(local, flat, "qcow2")
                cls.ops.upload(flat, pool, own)

    @classmethod
    def unset_root(cls, params: Any, object: Any = None) -> None:
        """Remove the root images from the pool."""
        for _, pool, own in cls.pool_roots(params):
            cls.ops.delete(pool, own)

    # -- chains ------------------------------------------------------------------------------

    @classmethod
    def get_dependency(cls, state: str, params: Any) -> str:
        """
        Return the state that an image's state stands on, empty at the end of the chain.

        :param params: of one image
        :raises StateMissing: there is no such state
        :raises ChainBroken: it stands on something that is no state
        """
        where = params.get(_WHERE) or f":{settings.cache_dir(params)}"
        read = getattr(cls.ops, "get_parent", TransferOps.get_parent)
        parent: str = read(images.state_path(where, params, state), params)
        return parent

    @classmethod
    def _chain(cls, state: str, where: str, params: Any) -> Iterator[str]:
        """Yield a state of an image and what it stands on, down to its base."""

        def parent_of(name: str) -> str:
            asked = params.copy()
            asked[_WHERE] = where
            return cls.get_dependency(name, asked)

        return chain.walk(state, parent_of)

    @classmethod
    def _vm_files(cls, state: str, cache_dir: str, pool_dir: str, params: Any) -> list[Any]:
        """Return path, location and params of a vm state's RAM file, if it is about one."""
        if params.get("object_type") not in settings.VM_TYPES:
            return []
        path = State(images.object_id(params), None, state).path
        return [(os.path.join(cache_dir, path), os.path.join(pool_dir, path), params)]

    @classmethod
    def compare_chain(cls, state: str, cache_dir: str, pool_dir: str, params: Any) -> bool:
        """Tell whether cache and pool have the same chain; stops at the first difference."""
        for own in images.image_params(params):
            for name in cls._chain(state, pool_dir, own):
                cache_path = images.state_path(cache_dir, own, name)
                pool_path = images.state_path(pool_dir, own, name)
                if _leads_away(cache_path) or not cls.ops.compare(cache_path, pool_path, own):
                    LOG.info("%s and %s differ", cache_path, pool_path)
                    return False
        files = cls._vm_files(state, cache_dir, pool_dir, params)
        return all(cls.ops.compare(*file) for file in files)

    @classmethod
    def transfer_chain(
        cls, state: str, cache_dir: str, pool_dir: str, params: Any, down: bool = True
    ) -> None:
        """
        Move a state with all that it stands on, parents first; what is equal is left alone.

        :param down: from pool to cache, else from cache to pool
        """
        where = pool_dir if down else f":{cache_dir}"
        files: list[Any] = []
        for own in images.image_params(params):
            names = list(cls._chain(state, where, own))
            files += [
                (images.state_path(cache_dir, own, n), images.state_path(pool_dir, own, n), own)
                for n in reversed(names)
            ]
        files += cls._vm_files(state, cache_dir, pool_dir, params)
        with pinning.transfer(files, cache_dir, pool_dir, params, cls.ops):
            cls._move(files, state, params, down)

    @classmethod
    def _move(cls, files: list[Any], state: str, params: Any, down: bool) -> None:
        planner = getattr(cls.ops, "plan", None)
        if planner is not None:
            planner([(cache_path, pool_path) for cache_path, pool_path, _ in files], params, down)
        move = cls.ops.download if down else cls.ops.upload
        for cache_path, pool_path, own in files:
            if not down and _name(cache_path) != state and _linked(cache_path, pool_path):
                continue  # it stands on the pool's own file, there is nothing to send
            move(cache_path, pool_path, own)

    # -- states ------------------------------------------------------------------------------

    @classmethod
    def show(cls, params: Any, object: Any = None) -> list[str]:
        """Return the states in ``show_location``: of the vm, or that all of the images have."""
        pool_dir, owner = _location("show", params), images.object_id(params)
        if params.get("object_type") in settings.VM_TYPES:
            names = cls.ops.list_paths(os.path.join(pool_dir, owner), params)
            return sorted(filter(None, (state_name(name, VM_SUFFIX) for name in names)))
        found = []
        for own in images.image_params(params):
            names = cls.ops.list_paths(os.path.join(pool_dir, owner, own["images"]), own)
            found.append({state_name(name) for name in names} - {None})
        return sorted(filter(None, set.intersection(*found))) if found else []

    @classmethod
    def get(cls, params: Any, object: Any = None) -> None:
        """Fetch ``get_state`` with its chain from ``get_location``."""
        for attempt in range(_ATTEMPTS):
            try:
                cls.transfer_chain(
                    params["get_state"],
                    settings.cache_dir(params),
                    _location("get", params),
                    params,
                )
                return
            except ParentChanged as error:
                if attempt + 1 == _ATTEMPTS:
                    raise
                LOG.warning("fetching again, the pool may have changed meanwhile: %s", error)

    @classmethod
    def set(cls, params: Any, object: Any = None) -> None:
        """Publish ``set_state`` with its chain to ``set_location``."""
        cls.transfer_chain(
            params["set_state"],
            settings.cache_dir(params),
            _location("set", params),
            params,
            down=False,
        )

    @classmethod
    def unset(cls, params: Any, object: Any = None) -> None:
        """Remove ``unset_state`` from ``unset_location``; what it stands on stays."""
        state, pool_dir = params["unset_state"], _location("unset", params)
        for _, pool_path, own in cls._vm_files(state, "", pool_dir, params):
            cls.ops.delete(pool_path, own)
        for own in images.image_params(params):
            cls.ops.delete(images.state_path(pool_dir, own, state), own)


def _name(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _linked(cache_path: str, pool_path: str) -> bool:
    """Tell whether the cache's file is a symlink to the pool's."""
    place = Location.parse(pool_path)
    return (
        not place.remote
        and os.path.islink(cache_path)
        and os.path.realpath(cache_path) == os.path.realpath(place.path)
    )


def _location(do: str, params: Any) -> str:
    """Return the one location of a verb; transport works on one at a time."""
    found = settings.mirrors(do, params)
    if len(found) != 1:
        raise SettingRefused(
            f"{do}_location names {len(found)} locations ({' '.join(found) or 'none'}), transport "
            f"needs one; set {do}_location or shared_pool to one"
        )
    return found[0]


def _leads_away(cache_path: str) -> bool:
    """Tell whether a cached file names a parent in another cache, as avocado-i2n's may."""
    real = os.path.isfile(cache_path) and not os.path.islink(cache_path)
    return real and chain.leads_away(cache_path)
