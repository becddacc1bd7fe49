"""
A running vm's disks and RAM, as its QEMU is asked to save them.

What is renamed while QEMU has it open stays the file that QEMU reads and writes, but QEMU may open
a file by its name again when its use changes. So no node that may do so is left with an old name.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.errors import ImageRefused, MonitorRefused
from avocado_pool_plugin.states.monitor import Monitor

#: Seconds between two looks at something that is under way: at first, and at most.
_POLL_FIRST, _POLL_MOST = 0.005, 0.1
#: How names of nodes begin that are made here.
_OURS = "pool-"
#: Bytes that QEMU may write in a second while a vm is saved: all it can.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Drive:
    """
    A disk of a running vm.

    :param node: block node that the guest's disk writes to
    :param file: node of its file
    :param file_name: what that node was opened by
    :param backing: node that it stands on, empty for none
    """

    node: str
    file: str
    file_name: str
    backing: str

    @property
    def ours(self) -> bool:
        """Whether it was put on top here; its file's node is never opened by name again."""
        return self.node.startswith(_OURS)


@dataclass(frozen=True)
class Live:
    """
    A running vm.

    :param monitor: of its QEMU
    """

    monitor: Monitor

    def status(self) -> str:
        """Return QEMU's word for what the guest does: running, paused, inmigrate, ..."""
        return str(self.monitor.ask("query-status")["status"])

    def stop(self) -> None:
        """Pause the guest."""
        self.monitor.ask("stop")

    def resume(self) -> None:
        """Let the guest go on."""
        self.monitor.go_on()

    # -- disks -------------------------------------------------------------------------------

    def drive(self, image: str, path: str) -> Drive:
        """
        Return the disk of an image.

        :param image: its name, which Avocado-VT gives to the disk
        :param path: its file
        :raises ImageRefused: the vm has no such disk, or not as a QCOW2 image in a plain file
        """
        graph = _Graph(self.monitor.ask("x-debug-query-block-graph"))
        answer = self.monitor.ask("query-named-block-nodes", {"flat": True})
        nodes = {node["node-name"]: node for node in answer}
        for block in self.monitor.ask("query-block"):
            node = block.get("inserted", {}).get("node-name", "")
            if node in nodes and image in _names(block) and nodes[node]["drv"] == "qcow2":
                file = graph.child(node, "file")
                drive = Drive(node, file, nodes[file]["file"], graph.child(node, "backing"))
                if drive.ours or _same_file(drive.file_name, path):
                    return drive
        raise ImageRefused(
            f"image {image!r} ({path}) is no disk of the running vm {self.monitor.vm!r} that is a "
            f"plain QCOW2 file; a vm state holds all its images, take this one out of the vm's "
            f"images or mark it image_readonly = yes"
        )

    def name_backing(self, node: str, name: str) -> None:
        """Write another name for the same backing file into the image of a node."""
        which = {"device": node, "image-node-name": node}
        self.monitor.ask("change-backing-file", {**which, "backing-file": name})

    def open_overlay(self, path: str) -> str:
        """Open an empty overlay that is to be put on top of a disk, and return its node."""
        node = f"{_OURS}{durable.new_token()}"
        file = {"driver": "file", "node-name": f"{node}-file", "filename": path}
        self.monitor.ask("blockdev-add", {**file, "auto-read-only": False})
        image = {"driver": "qcow2", "node-name": node, "file": f"{node}-file", "backing": None}
        try:
            self.monitor.ask("blockdev-add", image)
        except MonitorRefused:
            self._delete(f"{node}-file")
            raise
        return node

    def close_overlay(self, node: str) -> None:
        """Close an overlay that is on top of nothing."""
        self._delete(node)
        self._delete(f"{node}-file")

    def _delete(self, node: str) -> None:
        self.monitor.ask("blockdev-del", {"node-name": node})

    def put_on(self, overlays: dict[str, str]) -> None:
        """
        Put overlays on disks: all of them or none; from then on guests write to these only.

        :param overlays: the overlay's node by the disk's
        """
        actions = [
            {"type": "blockdev-snapshot", "data": {"node": node, "overlay": overlay}}
            for node, overlay in overlays.items()
        ]
        self.monitor.ask("transaction", {"actions": actions})

    def take_off(self, node: str, overlay: str, timeout: float) -> None:
        """
        Write what is in an overlay into the disk under it, and take it off; it can be closed then.

        :param timeout: seconds
        :raises MonitorRefused: it can't be done; the guest goes on with the overlay
        """
        job = f"{_OURS}{durable.new_token()}"
        what = {"job-id": job, "device": overlay, "base-node": node, "auto-dismiss": False}
        self.monitor.ask("block-commit", what)
        for _ in _looks(timeout, f"taking overlay {overlay} off"):
            jobs = (one for one in self.monitor.ask("query-jobs") if one["id"] == job)
            found = next(jobs, None)
            if found is None:
                raise MonitorRefused(f"overlay {overlay} stays where it is: its job is gone")
            if found["status"] == "ready":
                self.monitor.ask("job-complete", {"id": job})
            if found["status"] == "concluded":
                self.monitor.ask("job-dismiss", {"id": job})
                if "error" in found:
                    raise MonitorRefused(f"overlay {overlay} stays where it is: {found['error']}")
                return

    def keep_by_descriptor(self, drive: Drive, path: str) -> None:
        """
        Let a disk under an overlay be read through a descriptor, whatever becomes of its name.

        :param path: its file
        """
        if drive.ours:
            return
        node = f"{_OURS}{durable.new_token()}"
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            given = self.monitor.ask("add-fd", fd=fd)["fdset-id"]
        finally:
            os.close(fd)
        file = {"driver": "file", "node-name": node, "filename": f"/dev/fdset/{given}"}
        self.monitor.ask("blockdev-add", {**file, "read-only": True})
        # the node has its own; the one in the set would keep locks of it for ever
        self.monitor.ask("remove-fd", {"fdset-id": given})
        options = {"driver": "qcow2", "node-name": drive.node, "file": node, "read-only": True}
        if drive.backing:
            options["backing"] = drive.backing
        self.monitor.ask("blockdev-reopen", {"options": [options]})
        with contextlib.suppress(MonitorRefused):  # one that QEMU made by itself is gone by itself
            self._delete(drive.file)

    # -- RAM ---------------------------------------------------------------------------------

    def save_ram(self, fd: int, progress: Progress, timeout: float) -> None:
        """
        Write RAM and devices of a paused guest into an open file.

        :param timeout: seconds in which nothing is written
        :raises MonitorRefused: it failed, such as for lack of room or a device that can't be saved
        """
        name = f"{_OURS}{durable.new_token()}"
        before = self.monitor.ask("query-migrate-parameters").get("max-bandwidth", 128 << 20)
        self._set_speed(_UNLIMITED)
        try:
            self.monitor.ask("getfd", {"fdname": name}, fd=fd)
            self.monitor.ask("migrate", {"uri": f"fd:{name}"})
            self._wait_saved(progress, timeout)
        finally:
            self._set_speed(before)

    def _set_speed(self, bandwidth: int) -> None:
        self.monitor.ask("migrate-set-parameters", {"max-bandwidth": bandwidth})

    def _wait_saved(self, progress: Progress, timeout: float) -> None:
        written, deadline = 0, time.monotonic() + timeout
        for _ in _looks():
            answer = self.monitor.ask("query-migrate")
            if answer["status"] == "completed":
                return
            if answer["status"] in ("failed", "cancelled"):
                raise MonitorRefused(
                    f"QEMU could not save the RAM of vm {self.monitor.vm!r}: "
                    f"{answer.get('error-desc', answer['status'])}"
                )
            done = answer.get("ram", {}).get("transferred", 0)
            if done > written:
                progress(done - written)
                written, deadline = done, time.monotonic() + timeout
            elif time.monotonic() > deadline:
                self.monitor.ask("migrate_cancel")
                raise MonitorRefused(
                    f"QEMU wrote nothing of the RAM of vm {self.monitor.vm!r} for {timeout:.0f} s; "
                    f"look after the disk that it writes to"
                )


class _Graph:
    """Which block node stands on which."""

    def __init__(self, answer: Any) -> None:
        names = {node["id"]: node["name"] for node in answer["nodes"]}
        self._children = {
            (names[edge["parent"]], edge["name"]): names[edge["child"]] for edge in answer["edges"]
        }

    def child(self, node: str, role: str) -> str:
        """Return the node that another one has in a role (``file``, ``backing``), else empty."""
        return str(self._children.get((node, role), ""))


def _names(block: Any) -> list[str]:
    """Return the names that a disk may go by: ``image1`` of ``/machine/peripheral/image1/...``."""
    device = str(block.get("device", "")).removeprefix("drive_")
    return [*str(block.get("qdev", "")).split("/"), device]


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _looks(timeout: float | None = None, what: str = "") -> Iterator[None]:
    """
    Yield for each look at something under way, soon again at first.

    :raises MonitorRefused: time is up
    """
    pause, deadline = _POLL_FIRST, time.monotonic() + (timeout or 0)
    while timeout is None or time.monotonic() < deadline:
        yield
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL_MOST)
    raise MonitorRefused(f"{what} was not done within {timeout:.0f} s")
