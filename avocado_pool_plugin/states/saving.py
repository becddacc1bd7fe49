"""
A vm's state on its way into the cache: its RAM file and a state of each image, as one unit.

The guest runs on fresh overlays as soon as its RAM is in a file. From there on its images can no
longer be put back without loss, so what was noted is carried out, by whoever comes next if need be.
Before that, whatever was begun is taken back.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, durable, knowledge, layout, locks, typed, vmstate
from avocado_pool_plugin.core.errors import ImageInUse, VmStateRefused
from avocado_pool_plugin.core.passport import Mark, Passport
from avocado_pool_plugin.core.place import new_info, place
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.qcow2 import in_use, read_header
from avocado_pool_plugin.states import intents
from avocado_pool_plugin.states.imagecache import ImageCache
from avocado_pool_plugin.states.intents import Owner, inode
from avocado_pool_plugin.states.recipes import complete
from avocado_pool_plugin.states.workplace import backing_name

LOG = logging.getLogger("avocado." + __name__)

#: How an image becomes a state: its file is renamed, copied, or merged with the old state under it.
MOVE, COPY, MERGE = "move", "copy", "merge"
#: How far a save got: images may have been touched; the RAM file is whole, the guest goes on; the
#: RAM file would survive a power cut, images become states.
BEGUN, SAVED, SAFE = "begun", "saved", "safe"


@dataclass(frozen=True)
class Disk:
    """
    An image of the vm.

    :param name: the image
    :param image: its working image, a file
    :param state: file of the state that it becomes
    :param part: where it is on the way there
    :param overlay: the fresh image that the guest goes on with
    :param way: ``move``, ``copy`` or ``merge``
    :param parent: state that the new state stands on, empty for none
    :param undo_backing: backing name that the image had
    :param undo_format: format of that backing file
    :param inode: of the image
    :param mode: its permission bits
    :param generation: of the new state
    """

    name: str
    image: str
    state: str
    part: str
    overlay: str
    way: str
    parent: str
    undo_backing: str
    undo_format: str
    inode: int
    mode: int
    generation: str

    @property
    def backing(self) -> str:
        """Backing name of the state, empty for none."""
        return backing_name(self.parent)

    @property
    def unfinished(self) -> str:
        """What the overlay is called while it is made."""
        return self.overlay.removesuffix(layout.PART) + ".tmp"

    @property
    def unmoved(self) -> bool:
        """Whether the working image is where it was."""
        return inode(self.image) == self.inode

    @property
    def saved_as(self) -> str:
        """The file that holds what the image was when the state was saved."""
        return self.image if self.unmoved else self.part

    @property
    def placed(self) -> bool:
        """Whether the state is in place."""
        known = knowledge.peek(self.state)
        return known is not None and known.info.generation == self.generation


@dataclass(frozen=True)
class Saving:
    """
    The note of a save.

    :param ram: the RAM file
    :param part: where it is on the way there
    :param machine: entries of the passport
    :param disks: all images
    :param by: the process that does it
    :param reached: ``begun``, ``saved`` or ``safe``
    :param test: test on whose behalf, empty for none
    :param parts: what it knows of the state's recipe
    :param seconds: for how long it had been at work
    """

    ram: str
    part: str
    machine: Mapping[str, str]
    disks: tuple[Disk, ...]
    by: Owner
    reached: str = BEGUN
    test: str = ""
    parts: Mapping[str, str] | None = None
    seconds: float = 0.0

    @property
    def path(self) -> str:
        """Where it is noted."""
        return intents.note_path(self.ram, self.part)

    @property
    def stands(self) -> bool:
        """Whether the RAM file can be trusted, so that the save is completed."""
        return self.reached == SAFE or (self.reached == SAVED and self.by.same_boot)

    def note(self, fsync: bool) -> None:
        """Write it down."""
        intents.note(self.path, self, fsync)


def carry_out(saving: Saving, works: Mapping[str, ImageCache], policy: Policy) -> None:
    """
    Make the states of all images and then the RAM file visible.

    :param works: by image, the cached states of each
    """
    if saving.reached != SAFE:
        if policy.fsync:
            durable.sync_file(saving.part)
            durable.sync_dir(os.path.dirname(saving.part))
        saving = replace(saving, reached=SAFE)
        saving.note(policy.fsync)
    for disk in saving.disks:
        _commit(works[disk.name], disk)
    if os.path.exists(saving.part):
        marks = {disk.name: _mark_of(disk.state) for disk in saving.disks}
        info = new_info(
            0,
            test=saving.test,
            recipe=complete(saving.parts, "", None),
            seconds=saving.seconds,
        )
        info = replace(info, passport=Passport.of(saving.machine, marks))
        place(saving.part, saving.ram, info, policy)
    intents.drop(saving.path)


def _mark_of(state: str) -> Mark:
    known = knowledge.peek(state)
    if known is None:
        raise VmStateRefused(f"{state} vanished while its vm was saved; save the vm again")
    return vmstate.mark_of(known)


def _commit(work: ImageCache, disk: Disk) -> None:
    """Make an image's state visible, and put the overlay that the guest runs on in its place."""
    if not disk.placed:
        if disk.way == MOVE:
            disk = _move(disk)
        if disk.way == MERGE:
            below = list(chain.walk(work.state_of(disk.state), chain.parent_in(work.home)))
            work.merge(disk.state, below, disk.generation)
        elif disk.way == COPY:
            with work.copied(disk.state, disk.parent) as (part, digest):
                info = replace(work.info_on(disk.parent), digest=digest, generation=disk.generation)
                place(part, disk.state, info, work.policy)
        else:
            info = replace(work.info_on(disk.parent), generation=disk.generation)
            place(disk.part, disk.state, info, work.policy)
    if os.path.exists(disk.overlay) and (disk.unmoved or not os.path.exists(disk.image)):
        work.register(disk.state, disk.overlay)
        os.rename(disk.overlay, disk.image)
    if work.policy.fsync:
        durable.sync_dir(os.path.dirname(disk.image))


def _move(disk: Disk) -> Disk:
    """Rename an image to be a state; one that can't be renamed from there to there is copied."""
    if disk.unmoved:
        try:
            os.rename(disk.image, disk.part)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return replace(disk, way=COPY)  # bind mounts of one file system
    return disk


def take_back(saving: Saving) -> None:
    """
    Give the vm its images back as they are now, and forget the save; no QEMU has them open.

    What the guest wrote since it was saved is in the overlays and goes into the images.
    """
    for disk in saving.disks:
        saved_as = disk.saved_as
        if inode(saved_as) != disk.inode:
            continue  # nothing is left to be given back
        written = disk.overlay if os.path.exists(disk.overlay) else disk.image
        if disk.way == MOVE and read_header(saved_as).backing != disk.undo_backing:
            qemu.rename_backing(saved_as, disk.undo_backing, disk.undo_format)
        if written != saved_as and os.path.exists(written):
            qemu.rename_backing(written, saved_as)
            qemu.commit(written)
        if saved_as != disk.image:
            os.chmod(saved_as, disk.mode)
            os.rename(saved_as, disk.image)
    forget(saving)


def forget(saving: Saving) -> None:
    """Drop a note and all temporary files it speaks of; the images are in their places."""
    for path in (saving.part, *(name for disk in saving.disks for name in _overlays(disk))):
        durable.unlink(path)
    intents.drop(saving.path)


def _overlays(disk: Disk) -> tuple[str, str]:
    return disk.unfinished, disk.overlay


def recover(work: ImageCache) -> list[str]:
    """
    Complete or take back what killed processes began on the vm of an image.

    :returns: what was done, in words
    :raises ImageInUse: the vm still runs
    """
    done = []
    for saving in found(os.path.dirname(work.home)):
        with locks.hold(saving.ram, work.policy.timeout):
            if not os.path.exists(saving.path):
                continue  # someone else did while we waited
            _require_closed(saving.disks)
            what = f"save of {saving.ram}"
            if saving.stands:
                works = {disk.name: _work_for(work, saving, disk) for disk in saving.disks}
                carry_out(saving, works, work.policy)
                LOG.warning("completed an interrupted %s", what)
            else:
                take_back(saving)
                LOG.warning("took an interrupted %s back", what)
        done.append(what)
    return done


def found(directory: str) -> Iterable[Saving]:
    """Return the saves noted in a vm's directory that nobody is working on any more."""
    for data in intents.noted(directory):
        with contextlib.suppress(ValueError):
            saving = typed.fill(Saving, data)
            if not _is_of(saving, directory):
                intents.tell_of_stranger(saving.ram, directory)
            elif not saving.by.works_on(saving.path):
                yield saving


def _is_of(saving: Saving, directory: str) -> bool:
    """Tell whether all that a note names is where our processes have it."""
    return (
        intents.is_in(saving.ram, directory)
        and os.path.dirname(saving.part) == layout.meta_dir(saving.ram)
        and all(
            intents.is_in(os.path.dirname(disk.state), directory)
            and os.path.isabs(disk.image)
            and os.path.dirname(disk.part) == layout.meta_dir(disk.state)
            and os.path.dirname(disk.overlay) == layout.meta_dir(disk.image)
            for disk in saving.disks
        )
    )


def _work_for(work: ImageCache, saving: Saving, disk: Disk) -> ImageCache:
    home = os.path.dirname(disk.state)
    title = f"{os.path.basename(os.path.dirname(home))}/{disk.name}"
    return replace(
        work,
        home=home,
        image=disk.image,
        title=title,
        pools=(),
        far=(),
        test=saving.test,
        parts=saving.parts,
        seconds=saving.seconds,
    )


def _require_closed(disks: Iterable[Disk]) -> None:
    for disk in disks:
        for path in (disk.image, disk.part, disk.overlay):
            if in_use(path):
                raise ImageInUse(
                    f"{path} is open in a running QEMU whose vm was being saved when its test was "
                    f"killed; end that QEMU, then the save is completed or taken back by itself"
                )
