"""The file operations behind the documented interface: ``TransferOps``."""

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import pins, plan
from avocado_pool_plugin.core.dependents import Guard
from avocado_pool_plugin.core.errors import ImageRefused
from avocado_pool_plugin.core.link import LinkStore
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.plan import Plan
from avocado_pool_plugin.core.store import Moved
from avocado_pool_plugin.states import images, onefile

if TYPE_CHECKING:
    from avocado_pool_plugin.ssh.store import RemoteStore

LOG = logging.getLogger("avocado." + __name__)


class TransferOps:
    """
    Verbs on single files between cache and pool; users may subclass or replace it.

    Each verb finds the kind of a location and calls ``<verb>_local``, ``<verb>_link`` (both with
    the plain path) or ``<verb>_remote`` (with the whole location). Errors: core/errors.py.
    """

    #: Sessions with remote hosts, by what they connect to.
    _session_cache: dict[Any, Any] = {}  # noqa: RUF012 - shared by all, as documented

    @classmethod
    def get_session(cls, host: str, params: Any) -> Any:
        """
        Return the session with a remote host; nothing is connected before it is used.

        :param host: label of the host's locations
        :param params: as the label sees them (``params.object_params(host)``)
        :raises SettingRefused: a param makes no sense
        """
        from avocado_pool_plugin.ssh import session

        found = session.of(settings.host(host, params))
        cls._session_cache[found.host.key] = found
        return found

    @classmethod
    def check_location(cls, pool_path: str, params: Any) -> None:
        """
        Make sure that what is known of a location's host makes sense; nothing is connected.

        :raises SettingRefused: a param makes no sense
        """
        location = Location.parse(pool_path)
        if location.remote:
            settings.host(location.label, _of_label(params, location.label))

    # -- verbs -------------------------------------------------------------------------------

    @classmethod
    def list_paths(cls, pool_path: str, params: Any) -> list[str]:
        """Return the names in a directory, none if it does not exist."""
        return cls._verb("list", pool_path)(_plain(pool_path), params)  # type: ignore[no-any-return]

    @classmethod
    def compare(cls, cache_path: str, pool_path: str, params: Any) -> bool:
        """Tell whether both files exist and have the same content."""
        verb = cls._verb("compare", pool_path)
        return verb(cache_path, _plain(pool_path), params)  # type: ignore[no-any-return]

    @classmethod
    def download(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """Make the cache's file equal to the pool's."""
        verb = cls._verb("download", pool_path)
        return verb(cache_path, _plain(pool_path), params)  # type: ignore[no-any-return]

    @classmethod
    def upload(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """Make the pool's file equal to the cache's."""
        verb = cls._verb("upload", pool_path)
        return verb(cache_path, _plain(pool_path), params)  # type: ignore[no-any-return]

    @classmethod
    def delete(cls, pool_path: str, params: Any) -> None:
        """Remove a file from the pool."""
        cls._verb("delete", pool_path)(_plain(pool_path), params)

    @classmethod
    def get_parent(cls, pool_path: str, params: Any) -> str:
        """Return the state that an image state stands on, empty for none."""
        return cls._verb("parent", pool_path)(_plain(pool_path), params)  # type: ignore[no-any-return]

    @classmethod
    def plan(cls, files: list[tuple[str, str]], params: Any, down: bool) -> Plan | None:
        """
        Make sure that a transfer can be done, before its first file is touched.

        :param files: path in the cache and location in the pool of each file, parents first
        :raises StateMissing: a file of the chain is not where it is to come from
        :raises SpaceMissing: the whole does not fit
        :raises LinkRefused: a file of the chain can't be linked
        :raises ChainBroken: the pool has another parent than the one that is to be published
        """
        if any(Location.parse(pool_path).remote for _, pool_path in files):
            return cls._plan_remote(files, params, down) if cls.moves_remotely() else None
        pairs = [(cache_path, _plain(pool_path)) for cache_path, pool_path in files]
        if down and any(Location.parse(pool_path).link for _, pool_path in files):
            for cache_path, path in pairs:
                cls._link(params, "get").linkable(path, cache_path)
            return None
        if down:
            pairs = [(path, cache_path) for cache_path, path in pairs]
            for path, _ in pairs:
                pins.is_absent(path, settings.policy(params, "get").timeout)
        else:
            onefile.check_parents(cls._local(params, "set"), pairs)
        end = plan.here(settings.seen_dir(params))
        found = plan.plan_transfer(pairs, end, end)
        if down:
            cls.make_room(found, params)
        plan.check_space(found)
        LOG.debug("planned:\n%s", found)
        return found

    @classmethod
    def make_room(cls, planned: Plan, params: Any) -> None:
        """Keep the cache under ``cache_limit`` though files are fetched; never fails that."""
        if settings.cache_limit(params) and planned.size:
            from avocado_pool_plugin.states import room

            room.make(planned, params)

    @classmethod
    def _verb(cls, name: str, pool_path: str) -> Any:
        location = Location.parse(pool_path)
        kind = "remote" if location.remote else "link" if location.link else "local"
        return getattr(cls, f"{name}_{kind}")

    # -- local directories -------------------------------------------------------------------

    @classmethod
    def _local(cls, params: Any, do: str) -> LocalStore:
        return LocalStore(*_store_arguments(params, do))

    @classmethod
    def list_local(cls, pool_path: str, params: Any) -> list[str]:
        """See :meth:`list_paths`."""
        return cls._local(params, "show").names(pool_path)

    @classmethod
    def compare_local(cls, cache_path: str, pool_path: str, params: Any) -> bool:
        """See :meth:`compare`."""
        return onefile.compare(cls._local(params, "get"), pool_path, cache_path)

    @classmethod
    def download_local(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`download`."""
        return onefile.fetch(cls._local(params, "get"), pool_path, cache_path, pool_path)

    @classmethod
    def upload_local(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`upload`."""
        return onefile.publish(cls._local(params, "set"), pool_path, cache_path, pool_path)

    @classmethod
    def delete_local(cls, pool_path: str, params: Any) -> None:
        """See :meth:`delete`."""
        cls._local(params, "unset").remove(pool_path)

    @classmethod
    def parent_local(cls, pool_path: str, params: Any) -> str:
        """See :meth:`get_parent`."""
        return cls._local(params, "get").parent(pool_path)

    # -- linked directories ------------------------------------------------------------------

    @classmethod
    def _link(cls, params: Any, do: str) -> LinkStore:
        return LinkStore(*_store_arguments(params, do))

    @classmethod
    def list_link(cls, pool_path: str, params: Any) -> list[str]:
        """See :meth:`list_paths`."""
        return cls.list_local(pool_path, params)

    @classmethod
    def compare_link(cls, cache_path: str, pool_path: str, params: Any) -> bool:
        """See :meth:`compare`."""
        store = cls._link(params, "get")
        equal = onefile.compare(store, pool_path, cache_path)
        if equal:
            store.note_link(pool_path, cache_path)
        return equal

    @classmethod
    def download_link(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`download`; the cache's file becomes a symlink."""
        return onefile.fetch(cls._link(params, "get"), pool_path, cache_path, pool_path)

    @classmethod
    def upload_link(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`upload`; a symlink is refused."""
        return onefile.publish(cls._link(params, "set"), pool_path, cache_path, pool_path)

    @classmethod
    def delete_link(cls, pool_path: str, params: Any) -> None:
        """See :meth:`delete`."""
        cls.delete_local(pool_path, params)

    @classmethod
    def parent_link(cls, pool_path: str, params: Any) -> str:
        """See :meth:`get_parent`."""
        return cls.parent_local(pool_path, params)

    # -- remote hosts ------------------------------------------------------------------------

    @classmethod
    def _remote(cls, pool_path: str, params: Any, do: str) -> "tuple[RemoteStore, str]":
        """Return the store on a location's host, and the path there."""
        from avocado_pool_plugin.ssh.store import RemoteStore

        location = Location.parse(pool_path)
        session = cls.get_session(location.label, _of_label(params, location.label))
        return RemoteStore(session, cls._local(params, do)), location.path

    @classmethod
    def list_remote(cls, pool_path: str, params: Any) -> list[str]:
        """See :meth:`list_paths`."""
        store, path = cls._remote(pool_path, params, "show")
        return store.names(path)

    @classmethod
    def compare_remote(cls, cache_path: str, pool_path: str, params: Any) -> bool:
        """See :meth:`compare`."""
        return onefile.compare(*cls._remote(pool_path, params, "get"), cache_path)

    @classmethod
    def download_remote(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`download`."""
        return onefile.fetch(*cls._remote(pool_path, params, "get"), cache_path, pool_path)

    @classmethod
    def upload_remote(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`upload`."""
        return onefile.publish(*cls._remote(pool_path, params, "set"), cache_path, pool_path)

    @classmethod
    def delete_remote(cls, pool_path: str, params: Any) -> None:
        """See :meth:`delete`."""
        store, path = cls._remote(pool_path, params, "unset")
        store.remove(path)

    @classmethod
    def parent_remote(cls, pool_path: str, params: Any) -> str:
        """See :meth:`get_parent`."""
        store, path = cls._remote(pool_path, params, "get")
        return store.parent(path)

    @classmethod
    def moves_remotely(cls) -> bool:
        """Tell whether it is us who move files from and to hosts, and not a subclass."""
        own = cls.__mro__[: cls.__mro__.index(TransferOps)]
        ways = ("download_remote", "upload_remote")
        return not any(way in vars(kind) for kind in own for way in ways)

    @classmethod
    def _plan_remote(cls, files: list[tuple[str, str]], params: Any, down: bool) -> Plan:
        store, _ = cls._remote(files[0][1], params, "get" if down else "set")
        pairs = [(cache_path, Location.parse(place).path) for cache_path, place in files]
        store.view.look_at_all(path for _, path in pairs)
        here = plan.here(settings.seen_dir(params))
        if down:
            store.wait_for(path for _, path in pairs)
            found = plan.plan_transfer([(b, a) for a, b in files], store.end, here)
            cls.make_room(found, params)
            plan.check_space(found)
        else:
            onefile.check_parents(store, pairs)
            found = plan.plan_transfer(files, here, store.end)
            store.check_space(found)
        LOG.debug("planned:\n%s", found)
        return found


def _of_label(params: Any, label: str) -> Any:
    """Return params as a host's label sees them."""
    narrow = getattr(params, "object_params", None)
    return narrow(label) if narrow else params


def _plain(pool_path: str) -> str:
    """Return what the functions of a kind are given: the path, for remote ones the location."""
    location = Location.parse(pool_path)
    return str(location) if location.remote else location.path


def _store_arguments(params: Any, do: str) -> tuple[Any, ...]:
    policy = settings.policy(params, do)
    own = None
    if params.get("image_name"):
        with contextlib.suppress(ImageRefused, KeyError):
            own = os.path.abspath(images.image_path(params))
    # the RAM file of a vm's state comes and goes with the states of its images
    whole = params.get("object_type") in settings.VM_TYPES
    along = params.get(f"{do}_state", "") if whole else ""
    guard = Guard(own=own, cascade=policy.cascade, along=along)
    return policy, qemu.rename_backing, settings.seen_dir(params), guard
