"""The backend ``qcow2vt``: states of running vms as internal snapshots of their images."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.copy import require_space
from avocado_pool_plugin.core.durable import sync_file, typed_failures
from avocado_pool_plugin.core.errors import (
    ImageRefused,
    MonitorRefused,
    NotBegun,
    PoolError,
    StateMissing,
)
from avocado_pool_plugin.core.snapshots import (
    Snapshot,
    VMState,
    loaded_by,
    new_tag,
    read_snapshots,
    state_of,
    vm_states,
)
from avocado_pool_plugin.states import images, machine, report
from avocado_pool_plugin.states.monitor import Monitor
from avocado_pool_plugin.states.rooted import RootSourcedStateBackend, replaced
from avocado_pool_plugin.states.running import RunningRoot, is_alive, writable_images
from avocado_pool_plugin.states.snapshots import closed_image, remove, require_removable

LOG = logging.getLogger("avocado." + __name__)


class QCOW2VTBackend(RunningRoot, RootSourcedStateBackend):
    """
    Vm states that are internal snapshots of all images that a vm writes to; one holds the RAM.

    They never leave the images. The root is the running vm.
    """

    needs_root = False
    inside = True
    replaces = True

    @classmethod
    def show(cls, params: Any, object: Any = None) -> list[str]:
        """Return the states that are whole."""
        return sorted(vm_states(_Disks.of(params).tables()))

    @classmethod
    def places(cls, do: str, params: Any) -> list[str]:
        """Return the images."""
        return list(_Disks.of(params).paths)

    @classmethod
    def get(cls, params: Any, object: Any = None) -> None:
        """
        Bring the running vm into the state; what it does now is lost.

        :raises StateMissing: there is no such state; the vm goes on as it was
        :raises VmNotRunning: the vm does not run
        :raises MonitorRefused: QEMU can't do it; the text says whether the vm is stopped
        """
        name, started = params["get_state"], time.monotonic()
        monitor, disks = Monitor.of(object, params["vms"]), _Disks.of(params)
        state = disks.require(name)
        nodes = monitor.nodes(disks.paths)
        was_running = monitor.pause()
        try:
            monitor.run_job(
                "snapshot-load", tag=state.tag, vmstate=nodes[state.holder], devices=nodes
            )
        except NotBegun:
            if was_running:
                monitor.go_on()
            raise
        except PoolError as error:
            raise MonitorRefused(
                f"state {name!r} of {disks.title} could not be got: {error}; the vm is stopped, "
                f"parts of it may be of that state already - get a state that is whole or end it"
            ) from error
        monitor.go_on()
        disks.report("got", state, started)

    @classmethod
    def set(cls, params: Any, object: Any = None) -> None:
        """
        Save the running vm as the state, and let it go on; an older one goes last.

        :raises VmNotRunning: the vm does not run
        :raises SpaceMissing: there is no room for its RAM
        :raises MonitorRefused: QEMU can't do it; the vm and an older state are as they were
        """
        name, started = params["set_state"], time.monotonic()
        monitor, disks = Monitor.of(object, params["vms"]), _Disks.of(params)
        nodes = monitor.nodes(disks.require_any())
        directory = os.path.dirname(disks.paths[0])
        require_space(directory, machine.used_memory(object), f"state {name!r} of {disks.title}")
        taken = {snapshot.tag for table in disks.tables() for snapshot in table}
        # to load a tag that is only digits, QEMU would look for one of that id
        tag = new_tag(name, taken | {name} if name.isascii() and name.isdigit() else taken)
        was_running = monitor.pause()
        try:
            monitor.run_job("snapshot-save", tag=tag, vmstate=nodes[0], devices=nodes)
        finally:
            if was_running:
                monitor.go_on()
        state = vm_states(disks.tables()).get(name)
        if state is None or state.tag != tag:
            raise MonitorRefused(
                f"state {name!r} of {disks.title} was saved by its QEMU, but is not whole in "
                f"{', '.join(disks.paths)}; check these images with 'qemu-img check'"
            )
        disks.sync()
        try:
            _remove(disks, disks.others(name, tag), monitor)
        except PoolError as error:
            LOG.warning("an older snapshot of state %r stays for now: %s", name, error)
        disks.report("set", state, started)

    @classmethod
    def unset(cls, params: Any, object: Any = None) -> None:
        """
        Remove the state, of a vm that runs or not.

        :raises ImageInUse: the vm does not run and another QEMU has its images open
        :raises ImageRefused: an image state is in the way
        """
        name, started = params["unset_state"], time.monotonic()
        if replaced(params):
            LOG.debug("state %r of %s stays until a set replaces it", name, params["vms"])
            return
        disks = _Disks.of(params)
        state = vm_states(disks.tables()).get(name)
        if state is None:
            return
        monitor = Monitor.of(object, params["vms"]) if is_alive(object) else None
        _remove(disks, [*disks.others(name, state.tag), state.tag], monitor)
        disks.report("unset", state, started)


@dataclass(frozen=True)
class _Disks:
    """
    The images that a vm writes to.

    :param title: what the vm is called in messages
    :param each: params of each image
    :param paths: of each
    """

    title: str
    each: tuple[Any, ...]
    paths: tuple[str, ...]

    @classmethod
    def of(cls, params: Any) -> "_Disks":
        each = tuple(writable_images(params))
        name = params.get("object_name") or params["vms"]
        return cls(name, each, tuple(map(images.image_path, each)))

    def tables(self) -> list[tuple[Snapshot, ...]]:
        """Return the snapshots of each image; one that is missing has none."""
        return [_table(path) for path in self.paths]

    def require_any(self) -> tuple[str, ...]:
        """
        Return the paths.

        :raises ImageRefused: there are none
        """
        if not self.paths:
            raise ImageRefused(
                f"{self.title} has no image that it writes to, and so none that can hold a state; "
                f"give it one that is not read-only"
            )
        return self.paths

    def require(self, name: str) -> VMState:
        """
        Return a state that a QEMU can find.

        :raises StateMissing: it does not exist
        :raises ImageRefused: a QEMU would take another snapshot for it
        """
        tables = self.tables()
        state = vm_states(tables).get(name)
        if state is None:
            raise StateMissing(
                f"state {name!r} of {self.title} does not exist, there is no such internal "
                f"snapshot of a running vm in all of: {', '.join(self.paths) or 'no image'}; run a "
                f"test that sets it"
            )
        for path, table, part in zip(self.paths, tables, state.parts, strict=True):
            if loaded_by(table, state.tag) != part:
                raise ImageRefused(
                    f"image {path} has another internal snapshot that QEMU would take for "
                    f"{state.tag!r}, by its id or tag; set the state again under another name"
                )
        return state

    def others(self, name: str, tag: str) -> list[str]:
        """Return the other tags of a state, the oldest first: older ones, and parts of some."""
        snapshots = (snapshot for table in self.tables() for snapshot in table if snapshot.of_vm)
        found = {one.tag: None for one in snapshots if state_of(one.tag) == name}
        return [other for other in found if other != tag]

    def holding(self, tag: str) -> Iterator[tuple[int, Snapshot]]:
        """
        Yield number and snapshot of each image that has a tag of a running vm.

        :raises ImageRefused: a QEMU would remove another snapshot there
        """
        for number, table in enumerate(self.tables()):
            mine = next((one for one in table if one.tag == tag and one.of_vm), None)
            if mine is None:
                continue
            require_removable(self.paths[number], table, mine)
            yield number, mine

    def sync(self) -> None:
        """Make the images safe on the disk."""
        for own, path in zip(self.each, self.paths, strict=True):
            if settings.policy(own).fsync:
                with typed_failures(path):
                    sync_file(path)

    def report(self, verb: str, state: VMState, started: float) -> None:
        where = f"in image {self.paths[state.holder]}"
        seconds = time.monotonic() - started
        report.record(report.Event(verb, state.name, self.title, state.ram, seconds, where))


def _table(path: str) -> tuple[Snapshot, ...]:
    try:
        return read_snapshots(path)
    except FileNotFoundError:
        return ()


def _remove(disks: _Disks, tags: list[str], monitor: Monitor | None) -> None:
    """Remove snapshots of all images, one tag after the other: by the running vm or without it."""
    with ExitStack() as stack:
        if monitor is None:
            for own in disks.each:
                stack.enter_context(closed_image(own))
        for tag in tags:
            holding = list(disks.holding(tag))
            if monitor is None:
                for number, snapshot in holding:
                    remove(disks.paths[number], disks.each[number], [snapshot])
            else:
                nodes = monitor.nodes(disks.paths[number] for number, _ in holding)
                monitor.run_job("snapshot-delete", tag=tag, devices=nodes)
