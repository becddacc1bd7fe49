"""The backend ``ramfile``: states of running vms as a RAM file and a state of each image."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core import knowledge, locks, since, trash, used, vmstate
from avocado_pool_plugin.core.dependents import refuse_open, states_on
from avocado_pool_plugin.core.durable import typed_failures
from avocado_pool_plugin.core.errors import StateMissing, StateNeeded, VmStateRefused
from avocado_pool_plugin.core.names import VM_SUFFIX, State, state_name
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.states import images, machine, recipes, report, restoring
from avocado_pool_plugin.states.imagecache import ImageCache
from avocado_pool_plugin.states.live import Live
from avocado_pool_plugin.states.monitor import Monitor
from avocado_pool_plugin.states.ops import TransferOps
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from avocado_pool_plugin.states.rooted import RootSourcedStateBackend, replaced
from avocado_pool_plugin.states.running import RunningRoot, end, is_alive, writable_images
from avocado_pool_plugin.states.sourced import SourcedStateBackend
from avocado_pool_plugin.states.vmsave import Order, save

LOG = logging.getLogger("avocado." + __name__)


class RamfileBackend(RunningRoot, SourcedStateBackend, RootSourcedStateBackend):
    """Vm states from cache and pools; the root is the running vm."""

    needs_root = False
    #: A get comes before the vm is started, which then starts from the RAM file.
    before_start = True
    #: What gets and unsets the states of the images.
    image_state_backend: Any = QCOW2ExtBackend

    @classmethod
    def _show(cls, params: Any, object: Any = None) -> list[str]:
        """Return the states that have a RAM file and a state of each image."""
        works = _works(params, "show")
        found = [set(work.show()) for work in works.values()]
        files = TransferOps.list_local(os.path.dirname(_ram(params, "any")), params)
        names = filter(None, (state_name(file, VM_SUFFIX) for file in files))
        return sorted(name for name in names if all(name in one for one in found))

    @classmethod
    def permitted(cls, do: str, params: Any) -> Iterator[tuple[str, Any]]:
        """Yield mirrors, and params to use them with: read-only images are no part of a state."""
        for mirror, own in super().permitted(do, params):
            own["images"] = " ".join(one["images"] for one in writable_images(own))
            yield mirror, own

    # -- get ---------------------------------------------------------------------------------

    @classmethod
    def _get(cls, params: Any, object: Any = None) -> None:
        """
        Start the vm from the state; what it does now is lost.

        With ``start_later = yes`` it is only made ready, see restoring.py: the vm is not started
        here, but by Avocado-VT.
        """
        watch, state = report.watch(), params["get_state"]
        restoring.require_startable(params, object)
        info = _recorded(params, state)
        reason = cls._reason_against(params, object, info)
        if reason and settings.vm_state_mismatch(params) != settings.BOOT:
            raise VmStateRefused(
                f"vm state {state!r} of {_title(params)} can't be resumed: {reason}; set the state "
                f"again for this machine, or boot from its images with vm_state_mismatch = boot"
            )
        if is_alive(object):
            LOG.info("ending what runs in vm %r, it is to be in state %r", params["vms"], state)
            end(object)
        used.touch(_ram(params, state))
        cls._get_images(params)
        if reason:
            title = _title(params)
            LOG.warning("vm state %r of %s is booted, not resumed: %s", state, title, reason)
            restoring.boot(params, object)
            return
        restoring.start(_ram(params, state), params, object, watch)

    @classmethod
    def _reason_against(cls, params: Any, vm: Any, info: FileInfo | None) -> str:
        """Return why a state can't be resumed, empty if it can."""
        if info is None or info.passport is None:
            LOG.warning(
                "vm state %r of %s says nothing of the machine and images that it was saved with, "
                "so neither can be checked",
                *(params["get_state"], _title(params)),
            )
            return ""
        ram, known = _ram(params, params["get_state"]), dict(info.passport.images)
        unknown = set(_works(params, "get")) - set(known)
        strange = unknown.union(vmstate.strangers(ram, info.passport))
        problems = [
            f"image {name!r} is in another state than the one that belongs to the RAM file"
            for name in sorted(strange)
        ]
        again = None if settings.flag(params, restoring.LATER_PARAM) else vm
        expected = machine.to_be_started(params, again, restoring.directory(vm))
        return "; ".join([*problems, *info.passport.mismatches(expected)])

    @classmethod
    def _get_images(cls, params: Any) -> None:
        for own in writable_images(params):
            own["get_state"] = params["get_state"]
            cls.image_state_backend._get(own)

    # -- set and unset -----------------------------------------------------------------------

    @classmethod
    def _set(cls, params: Any, object: Any = None) -> bool:
        """Return False if a state was kept because others stand on it."""
        monitor = Monitor.of(object, params["vms"])
        started, state = time.monotonic(), params["set_state"]
        ram, works = _ram(params, state), _works(params, "set")
        for work in works.values():
            work.recover()
        order = Order(
            state=state,
            ram=ram,
            works=works,
            machine=machine.running(object, monitor),
            size=machine.used_memory(object),
            policy=settings.policy(params, "set"),
            test=recipes.test_name(params),
            parts=recipes.noted_parts(params),
            seconds=since.seconds(),
        )
        paused = save(order, Live(monitor))
        if paused is None:
            return False
        where = f"from the running vm, which was paused for {paused:.2f} s"
        _report("set", params, report.size_of(ram), started, where)
        return True

    @classmethod
    def unset(cls, params: Any, object: Any = None) -> None:
        """
        Remove the state here and from every permitted mirror, RAM files first.

        :raises StateNeeded: one of the images' states is needed; nothing is removed
        """
        if not replaced(params):
            cls._require_unneeded(params)
        super().unset(params, object)

    @classmethod
    def _require_unneeded(cls, params: Any) -> None:
        state, policy = params["unset_state"], settings.policy(params, "unset")
        mirrors = [mirror for mirror, _ in cls.permitted("unset", params)]
        for own in writable_images(params):
            work = images.image_cache(own, "unset", mirrors, cls.transport.ops)
            tops = work.needed_in_pools(work.file_of(state), along=state)
            if "own" in settings.scopes(params):
                work.recover()
                here = _on(work.file_of(state), state)
                refuse_open(here if _runs_on(work, state) else [*here, work.file_of(state)], None)
                tops = [*here, *tops]
            if tops and not policy.cascade:
                raise StateNeeded(
                    f"vm state {state!r} of {_title(params)} is not removed, others stand on its "
                    f"images: {', '.join(tops)}; remove these first, or have them removed along "
                    f"(unset_cascade=yes)"
                )

    @classmethod
    def _unset(cls, params: Any, object: Any = None) -> None:
        """Remove the RAM file, then the states of the images; one that the vm runs on stays."""
        started, state = time.monotonic(), params["unset_state"]
        policy, ram = settings.policy(params, "unset"), _ram(params, state)
        with typed_failures(ram), locks.hold(ram, policy.timeout):
            if os.path.lexists(ram):
                size = report.size_of(ram)
                with contextlib.suppress(FileNotFoundError):  # without locks others may be quicker
                    trash.throw(ram, policy.fsync)
                _report("unset", params, size, started, ram)
        for work in _works(params, "unset").values():
            if _runs_on(work, state):
                LOG.info("%s stays, vm %r runs on it", work.file_of(state), params["vms"])
            else:
                work.unset(state)


def _on(path: str, state: str) -> list[str]:
    """Return what stands on an image state that is removed with its RAM file."""
    return states_on(path, along=state) if os.path.isfile(path) else []


def _runs_on(work: ImageCache, state: str) -> bool:
    """Tell whether a running vm has its image on a state."""
    return work.stands_on(work.file_of(state)) and in_use(work.image)


def _title(params: Any) -> str:
    return str(params.get("object_name") or images.object_id(params))


def _ram(params: Any, state: str) -> str:
    """
    Return the RAM file of a state in the cache.

    :raises NameRefused: the state could not be a file name
    """
    path = State(images.object_id(params), None, state).path
    return os.path.join(settings.cache_dir(params), path)


def _works(params: Any, do: str) -> dict[str, ImageCache]:
    """Return the cached states of each image that the vm writes to."""
    return {own["images"]: images.image_cache(own, do) for own in writable_images(params)}


def _recorded(params: Any, state: str) -> FileInfo | None:
    """
    Return what is recorded of a RAM file.

    :raises StateMissing: there is none
    :raises FileCorrupt: it is not what was recorded
    """
    path = _ram(params, state)
    info = knowledge.identify(path, settings.policy(params), settings.seen_dir(params))
    if info is None:
        raise StateMissing(f"vm state {state!r} of {_title(params)} is not in the cache ({path})")
    return info


def _report(verb: str, params: Any, size: int, started: float, where: str) -> None:
    seconds, owner = time.monotonic() - started, images.object_id(params)
    report.record(report.Event(verb, params[f"{verb}_state"], owner, size, seconds, where))
