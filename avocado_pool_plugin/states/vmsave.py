"""
Saving a running vm without restarting it: the guest is paused while its RAM is written, no longer.

All that needs time or may be refused comes before the pause or after it. In the pause each image
gets a fresh overlay on top, so that what it holds stays as it is, and the RAM goes into a file.
"""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, durable, layout, locks, trash, users
from avocado_pool_plugin.core.copy import allocated, can_clone, free_space, require_space
from avocado_pool_plugin.core.dependents import refuse_open, states_on
from avocado_pool_plugin.core.errors import (
    ImageRefused,
    MonitorRefused,
    PoolError,
    SpaceMissing,
    StateNeeded,
)
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.progress import reported
from avocado_pool_plugin.states import intents, saving
from avocado_pool_plugin.states.imagecache import ImageCache
from avocado_pool_plugin.states.intents import Owner
from avocado_pool_plugin.states.live import Drive, Live
from avocado_pool_plugin.states.moves import backing_format
from avocado_pool_plugin.states.saving import COPY, MERGE, MOVE, SAVED, Disk, Saving

LOG = logging.getLogger("avocado." + __name__)

#: Bytes below which a disk that a RAM file could not be written to was full.
_NOTHING_LEFT = 1 << 20


@dataclass(frozen=True)
class Order:
    """
    What is to be saved.

    :param state: its name
    :param ram: the RAM file that it gets
    :param works: by image, the cached states of each
    :param machine: entries of the passport
    :param size: bytes of RAM that the guest uses, at most
    :param policy: how careful and patient to be
    :param test: test on whose behalf, empty for none
    :param parts: what it knows of the state's recipe
    :param seconds: for how long it has been at work
    """

    state: str
    ram: str
    works: Mapping[str, ImageCache]
    machine: Mapping[str, str]
    size: int
    policy: Policy
    test: str = ""
    parts: Mapping[str, str] | None = None
    seconds: float = 0.0


def save(order: Order, live: Live) -> float | None:
    """
    Save a running vm as a state, and let it go on.

    If it fails, the vm goes on as it was, and so does an old state of that name.

    :returns: seconds for which the guest was paused; None if there is another such state that
        others stand on, which was kept
    :raises StateMissing: there is no image
    :raises ImageRefused: an image can't be a state
    :raises StateNeeded: the old state is in use
    :raises SpaceMissing: too little room
    :raises MonitorRefused: QEMU refused something; the text says what
    """
    for work in order.works.values():
        work.usable_header()
    durable.make_dirs(os.path.dirname(order.ram), order.policy.fsync)
    durable.make_meta(order.ram, order.policy.fsync)
    files = sorted([order.ram, *(work.file_of(order.state) for work in order.works.values())])
    with ExitStack() as held:
        held.enter_context(durable.typed_failures(order.ram))
        for path in files:
            durable.make_meta(path, order.policy.fsync)
            held.enter_context(locks.hold(path, order.policy.timeout))
        needed = _needed_by(order)
        if needed:
            LOG.warning(
                "vm state %s is kept as it is, others stand on it: %s; set_cascade=yes replaces it "
                "and sends them to the trash",
                *(order.ram, ", ".join(needed)),
            )
            return None
        require_space(os.path.dirname(order.ram), order.size, f"vm state {order.ram}")
        drives = {name: live.drive(name, work.image) for name, work in order.works.items()}
        disks = tuple(_prepare(order, name, work) for name, work in order.works.items())
        images = sum(_needed_for(order.works[disk.name], disk) for disk in disks)
        require_space(os.path.dirname(order.ram), order.size + images, f"vm state {order.ram}")
        return _Save(order, live, drives).run(disks)


def _needed_by(order: Order) -> list[str]:
    """
    Return what keeps the old state from being replaced, in words; nothing does if it is to cascade.

    :raises StateNeeded: it would be replaced, and another vm runs on it
    """
    found: list[str] = []
    for work in order.works.values():
        path = work.file_of(order.state)
        tops, overlays = states_on(path, along=order.state), users.users_of(path, work.image)
        if not tops or order.policy.cascade:
            opened = [str(overlay) for overlay in overlays if overlay.open]
            if opened:
                raise StateNeeded(f"{path} is in use by {'; '.join(opened)}; end what runs on it")
            # the vm itself may stand on the old state
            refuse_open(tops if _stands_on(work, order.state) else [path, *tops], work.image)
        found += [*tops, *map(str, overlays)]
    return [] if order.policy.cascade else found


def _stands_on(work: ImageCache, state: str) -> bool:
    """Tell whether an image stands on a state, directly or further up."""
    below = chain.backing_of(work.image, work.home).state
    return bool(below) and state in chain.walk(below, chain.parent_in(work.home))


def _prepare(order: Order, name: str, work: ImageCache) -> Disk:
    """Look at an image, bring what it stands on into the cache, and say what becomes of it."""
    header = work.usable_header()
    if header.snapshots:
        raise ImageRefused(
            f"image {work.image} of {work.title} holds internal snapshots, a state of the running "
            f"vm would lose them; delete them with qemu-img snapshot -d"
        )
    parent, path = work.bring_parent(header), work.file_of(order.state)
    below = list(chain.walk(parent, chain.parent_in(work.home))) if parent else []
    way = MERGE if order.state in below else MOVE if work.can_move(header) else COPY
    image = os.stat(work.image)
    return Disk(
        name=name,
        image=work.image,
        state=path,
        part=layout.part_path(path, durable.new_token()),
        overlay=layout.part_path(work.image, durable.new_token()),
        way=way,
        parent=parent,
        undo_backing=header.backing,
        undo_format=backing_format(work.image, header),
        inode=image.st_ino,
        mode=image.st_mode & 0o7777,
        generation=durable.new_token(),
    )


def _needed_for(work: ImageCache, disk: Disk) -> int:
    """Return how many bytes are written to make an image a state, after the guest has gone on."""
    if disk.way == MOVE or (disk.way == COPY and can_clone(disk.image, disk.state)):
        return 0
    files = [disk.image]
    if disk.way == MERGE:
        below = list(chain.walk(disk.parent, chain.parent_in(work.home)))
        merged = below[: below.index(work.state_of(disk.state)) + 1]
        files += map(work.file_of, merged)
    return sum(map(allocated, files))


def _make_overlay(work: ImageCache, disk: Disk) -> None:
    """Make the image that the guest goes on with; what has its name is whole."""
    durable.make_meta(disk.image, work.policy.fsync)
    size = work.usable_header().virtual_size
    qemu.create_overlay_unseen(disk.unfinished, disk.state, size)
    if work.policy.fsync:
        durable.sync_file(disk.unfinished)
    os.replace(disk.unfinished, disk.overlay)


def _clear_away(disk: Disk, state: str) -> None:
    """
    Send what stood on the old state of an image to the trash.

    That none of it is open was made sure before; the state itself is, if the vm runs on it.
    """
    for top in reversed(states_on(disk.state, along=state)):
        LOG.warning("%s goes to the trash with the state it stands on: %s", top, trash.throw(top))
    for user in users.users_of(disk.state, disk.image):
        LOG.warning("%s is invalid now, the state %s under it is another", user, disk.state)


class _Save:
    """One save: what was done so far, and how it is undone."""

    def __init__(self, order: Order, live: Live, drives: Mapping[str, Drive]) -> None:
        self._order, self._live, self._drives = order, live, drives
        self._renamed: list[Disk] = []
        self._opened: dict[str, str] = {}
        self._on_top = False
        self._was_running = False
        self._reached = saving.BEGUN

    def run(self, disks: tuple[Disk, ...]) -> float:
        order, token = self._order, durable.new_token()
        note = Saving(
            ram=order.ram,
            part=layout.part_path(order.ram, token),
            machine=order.machine,
            disks=disks,
            by=Owner.here(),
            test=order.test,
            parts=order.parts,
            seconds=order.seconds,
        )
        note.note(order.policy.fsync)
        try:
            # on the disk before the guest is paused: to wait for it then would take too long, and a
            # note that a power cut leaves empty would say of renamed images that they are not
            intents.prepare(note.path, replace(note, reached=SAVED), order.policy.fsync)
            for disk in disks:
                _make_overlay(order.works[disk.name], disk)
            paused = self._pause(note)
            for disk in disks:
                self._live.keep_by_descriptor(self._drives[disk.name], disk.image)
        except BaseException:
            self._undo(note)
            raise
        try:
            saving.carry_out(replace(note, reached=SAVED), order.works, order.policy)
            if order.policy.cascade:
                for disk in disks:
                    _clear_away(disk, order.state)
        finally:
            intents.leave(note.path)
        return paused

    def _pause(self, note: Saving) -> float:
        """Save the RAM and put the overlays on while the guest is paused; return for how long."""
        self._was_running = self._live.status() == "running"
        started = time.monotonic()
        self._live.stop()
        for disk in note.disks:
            if disk.way == MOVE and disk.undo_backing != disk.backing:
                self._live.name_backing(self._drives[disk.name].node, disk.backing)
                self._renamed.append(disk)
        for disk in note.disks:
            self._opened[disk.name] = self._live.open_overlay(disk.overlay)
        nodes = {self._drives[name].node: node for name, node in self._opened.items()}
        self._live.put_on(nodes)
        self._on_top = True
        self._save_ram(note.part)
        # the guest writes to the overlays from here on
        intents.reach(note.path)
        self._reached = SAVED
        self._live.resume()
        paused = time.monotonic() - started
        if not self._was_running:
            self._live.stop()
        return paused

    def _save_ram(self, part: str) -> None:
        timeout = max(self._order.policy.timeout, 1.0)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with reported("saving", part) as progress:
                self._live.save_ram(fd, progress, timeout)
        except MonitorRefused as error:
            if free_space(os.path.dirname(part)) < _NOTHING_LEFT:
                raise SpaceMissing(
                    f"no room left for {self._order.ram} ({error}); free space on its file system, "
                    f"the vm goes on as before"
                ) from error
            raise
        finally:
            os.close(fd)

    def _undo(self, note: Saving) -> None:
        """Let the vm go on as it was; what can't be undone now is left to the next operation."""
        try:
            try:
                if self._reached != note.reached:
                    # the images are about to change: nobody may complete the save any more
                    note.note(self._order.policy.fsync)
                self._put_back(note)
                saving.forget(note)
            finally:
                if self._was_running:
                    self._live.resume()
        except (PoolError, OSError) as error:
            LOG.error(
                "vm can't be brought back to what it was before its save (%s); end it, the next "
                "operation on its states gives its images back",
                error,
            )
            intents.leave(note.path)

    def _put_back(self, note: Saving) -> None:
        """Let the paused guest have its images again as they are, without overlays."""
        if self._live.status() == "postmigrate":
            # with the RAM QEMU gave the images away, it has them back when the guest goes on
            self._live.resume()
        if self._on_top:
            self._live.stop()
        timeout = max(self._order.policy.timeout, 1.0)
        for disk in note.disks:
            overlay = self._opened.get(disk.name)
            if overlay and self._on_top:
                self._live.take_off(self._drives[disk.name].node, overlay, timeout)
                # it is not what the guest wrote last, as soon as the guest goes on
                durable.unlink(disk.overlay)
            if overlay:
                self._live.close_overlay(overlay)
        for disk in self._renamed:
            self._live.name_backing(self._drives[disk.name].node, disk.undo_backing)
