"""The backend ``qcow2``: image states as internal snapshots of the image that the vm runs on."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import layout, locks
from avocado_pool_plugin.core.durable import sync_file, typed_failures, unlink, write_whole
from avocado_pool_plugin.core.errors import ImageRefused, PoolError, StateMissing
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.qcow2 import check_movable, read_header
from avocado_pool_plugin.core.snapshots import (
    Snapshot,
    deleted_by,
    image_states,
    new_tag,
    read_snapshots,
)
from avocado_pool_plugin.states import images, report
from avocado_pool_plugin.states.imageroot import ImageRoot, require_closed, require_off, title
from avocado_pool_plugin.states.rooted import replaced

LOG = logging.getLogger("avocado." + __name__)


class QCOW2Backend(ImageRoot):
    """
    Image states that are internal snapshots; the root is the image itself.

    They never leave the image. With a pool in scope it is the image that is fetched and published,
    as a root state; an image that is missing here is fetched for a get, with the states in it.
    """

    needs_root = False
    inside = True
    replaces = True

    @classmethod
    def show(cls, params: Any, object: Any = None) -> list[str]:
        """Return the states in all images, or in those that a get would fetch."""
        return _shown([cls._file(own) for own in images.image_params(params)])

    @classmethod
    def has(cls, do: str, params: Any, object: Any = None) -> bool:
        """Tell whether ``<do>_state`` exists; what is in the pool only counts for a get."""
        if do == "get":
            return params["get_state"] in cls.show(params, object)
        each = images.image_params(params)
        return params[f"{do}_state"] in _shown([_local(own) for own in each])

    @classmethod
    def places(cls, do: str, params: Any) -> list[str]:
        """Return the images, and what is in the pool if one is missing and a verb would look."""
        each = images.image_params(params)
        here = [images.image_path(own) for own in each]
        if do != "get" or all(map(os.path.exists, here)):
            return here
        return here + [pool for own in each for pool in cls._roots(own)]

    # -- verbs -------------------------------------------------------------------------------

    @classmethod
    def get(cls, params: Any, object: Any = None) -> None:
        """
        Make the image hold what it held when the state was set; what it holds now is gone.

        :raises StateMissing: the image or one of its states is not there
        :raises ImageInUse: a QEMU has the image open
        :raises ImageRefused: it is of a kind without states
        """
        state = params["get_state"]
        with contextlib.ExitStack() as stack:
            work = []
            for own in images.image_params(params):
                started = time.monotonic()
                cls._bring(own)
                path = stack.enter_context(closed_image(own))
                found = image_states(read_snapshots(path)).get(state)
                if not found:
                    raise StateMissing(
                        f"state {state!r} of {title(own)} does not exist, image {path} has no "
                        f"such internal snapshot; run a test that sets it"
                    )
                work.append((own, path, found[-1], started))
            for own, path, snapshot, started in work:
                with changing(path, own):
                    qemu.apply_snapshot(path, snapshot.number)
                _forget_older(path, own, state)
                _report("got", state, own, started)

    @classmethod
    def set(cls, params: Any, object: Any = None) -> None:
        """
        Keep what the image holds now as the state; an older one goes when the new one is there.

        :raises StateMissing: there is no image
        :raises ImageInUse: a QEMU has the image open
        :raises ImageRefused: it is of a kind without states
        """
        state = params["set_state"]
        require_off(params, object)
        for own in images.image_params(params):
            started = time.monotonic()
            with closed_image(own) as path:
                tag = new_tag(state, {one.tag for one in read_snapshots(path) if one.of_vm})
                with changing(path, own):
                    qemu.create_snapshot(path, tag)
                _forget_older(path, own, state)
            _report("set", state, own, started)

    @classmethod
    def unset(cls, params: Any, object: Any = None) -> None:
        """
        Remove the state; what the image holds now stays.

        :raises ImageInUse: a QEMU has the image open
        :raises ImageRefused: a snapshot of a vm is in the way
        """
        state = params["unset_state"]
        if replaced(params):
            LOG.debug("state %r stays until a set replaces it", state)
            return
        for own in images.image_params(params):
            started = time.monotonic()
            if _local(own) is None:
                continue
            with closed_image(own) as path:
                remove(path, own, image_states(read_snapshots(path)).get(state, []))
            _report("unset", state, own, started)

    # -- images in the pool ------------------------------------------------------------------

    @classmethod
    def _roots(cls, own: Any) -> Iterator[str]:
        """Yield where an image's root would be in the pool, if that is in scope."""
        if set(settings.scopes(own)) != {"own"} and settings.shared_pools(own):
            yield from (pool for _, pool, _ in cls.transport.pool_roots(own))

    @classmethod
    def _file(cls, own: Any) -> str | None:
        """Return the image, else the one in the pool that would be fetched, None for neither."""
        path = _local(own)
        if path is not None:
            return path
        places = (Location.parse(pool) for pool in cls._roots(own))
        files = (place.path for place in places if not place.remote)
        return next(filter(os.path.isfile, files), None)

    @classmethod
    def _bring(cls, own: Any) -> None:
        """Fetch an image that is missing, if the pool has one."""
        if _local(own) is None and any(cls._roots(own)) and cls.check_root(own):
            cls.get_root(own)


def _local(own: Any) -> str | None:
    """Return the path of an image that exists, after what was cut short with it was completed."""
    images.image_cache(own).recover()
    path = images.image_path(own)
    return path if os.path.exists(path) else None


def _shown(files: list[str | None]) -> list[str]:
    """Return the states that all files have."""
    found = [set(image_states(read_snapshots(file))) if file else set() for file in files]
    return sorted(set.intersection(*found)) if found else []


@contextlib.contextmanager
def closed_image(own: Any) -> Iterator[str]:
    """
    Give the path of an image that nobody uses, while its lock is held.

    :param own: params of one image of one vm
    :raises StateMissing: there is no image
    :raises ImageInUse: a QEMU has it open
    :raises ImageRefused: it is of a kind without states
    """
    path = _local(own)
    if path is None:
        raise StateMissing(
            f"image {images.image_path(own)} of {title(own)} does not exist, so no state is in it; "
            f"get or make the image first (get_state = root, create_image = yes)"
        )
    with locks.hold(path, settings.policy(own).timeout):
        check_movable(path, read_header(path))
        require_closed(path)
        if os.path.exists(layout.unfinished_path(path)):
            LOG.warning("a change of the internal snapshots of %s was cut short, repairing", path)
            _repair(path)
        yield path


@contextlib.contextmanager
def changing(path: str, own: Any) -> Iterator[None]:
    """
    Note that a closed image's snapshots are being changed, and make them safe on the disk.

    Cut short, that leaves wrong reference counts behind: of no consequence for now, but an image
    that is not sound. The next one to use it finds the note and repairs it.
    """
    note, fsync = layout.unfinished_path(path), settings.policy(own).fsync
    with typed_failures(path):
        write_whole(note, b"", fsync)
        try:
            yield
        except PoolError:
            with contextlib.suppress(PoolError):  # the next one to use it tries again, and says so
                _repair(path)
            raise
        if fsync:
            sync_file(path)
        unlink(note)


def _repair(path: str) -> None:
    qemu.repair(path)
    unlink(layout.unfinished_path(path))


def _forget_older(path: str, own: Any, state: str) -> None:
    """
    Remove the snapshots of a state that a newer one replaced.

    Whatever can't be removed is garbage, and is tried again at the next occasion.
    """
    try:
        remove(path, own, image_states(read_snapshots(path)).get(state, [])[:-1])
    except PoolError as error:
        LOG.warning("an older snapshot of state %r stays in %s for now: %s", state, path, error)


def remove(path: str, own: Any, old: list[Snapshot]) -> None:
    """
    Remove snapshots of a closed image, the oldest first: a cut leaves the newest one.

    :raises ImageRefused: another snapshot would go instead
    :raises ToolFailed: qemu-img failed
    """
    for snapshot in old:
        require_removable(path, read_snapshots(path), snapshot)
        with changing(path, own):
            qemu.delete_snapshot(path, snapshot.tag)


def require_removable(path: str, table: Sequence[Snapshot], snapshot: Snapshot) -> None:
    """
    Make sure that a snapshot can be removed by its tag.

    :param table: the snapshots of the image
    :raises ImageRefused: another snapshot would go instead
    """
    if deleted_by(table, snapshot.tag) != snapshot:
        raise ImageRefused(
            f"image {path} has several internal snapshots with the tag {snapshot.tag!r} and QEMU "
            f"would remove another one than that of id {snapshot.number}; remove one of them with "
            f"'qemu-img snapshot -d'"
        )


def _report(verb: str, state: str, own: Any, started: float) -> None:
    where = f"in image {images.image_path(own)}"
    report.record(report.Event(verb, state, title(own), 0, time.monotonic() - started, where))
