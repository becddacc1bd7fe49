"""
Moves between a VM's image and a state's file, by rename, and their completion after a cut.

Both take the same time at any size. In between there is no image; an intent says so, and whoever
comes next carries it out. Every step may have been done already when it is carried out again.
"""

import errno
import logging
import os
from dataclasses import replace

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, durable, layout, locks, trash
from avocado_pool_plugin.core.errors import PoolError, StateMissing
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.place import place
from avocado_pool_plugin.core.qcow2 import Header, is_qcow2, read_header
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.states import intents
from avocado_pool_plugin.states.intents import Intent, inode
from avocado_pool_plugin.states.workplace import Workplace, backing_name, name_parent

LOG = logging.getLogger("avocado." + __name__)


def image_to_state(work: Workplace, path: str, header: Header, info: FileInfo) -> bool:
    """
    Rename the image to be a state, and put a fresh overlay on it in its place.

    :param path: file of the state; what was there goes to the trash
    :param info: of the image, with the parent that it was made on
    :returns: False if nothing was done, as a file can't be renamed from here to there
    """
    with durable.new_part(work.image, work.policy.fsync) as overlay:
        # all that needs room is done before anything is moved
        qemu.create_overlay_unseen(overlay, path, header.virtual_size)
        if work.policy.fsync:
            durable.sync_file(overlay)
        intent = intents.new_intent(
            verb="set",
            state=path,
            image=work.image,
            part=layout.part_path(path, durable.new_token()),
            backing=backing_name(info.parent),
            undo_backing=header.backing,
            undo_format=backing_format(work.image, header),
            overlay=overlay,
            test=work.test,
            parts=work.parts,
            seconds=work.seconds,
            parent_digest=info.parent_digest,
            parent_generation=info.parent_generation,
        )
        intents.note(intent.path, intent, work.policy.fsync)
        try:
            _carry_out_set(work, intent)
        except BaseException as error:
            _undo_set(work, intent)
            if _between_mounts(error):
                return False
            raise
        return True


def backing_format(image: str, header: Header) -> str:
    """Return the format of an image's backing file; empty if it has none."""
    if header.backing_format or not header.backing:
        return header.backing_format
    return "qcow2" if is_qcow2(os.path.join(os.path.dirname(image), header.backing)) else "raw"


def _between_mounts(error: BaseException) -> bool:
    """Tell whether a rename failed that bind mounts of one file system do not allow."""
    return isinstance(error, OSError) and error.errno == errno.EXDEV


def state_to_image(work: Workplace, path: str) -> bool:
    """
    Rename a state to be the image that stands on it and holds nothing of its own.

    :returns: False if nothing was done, as a file can't be renamed from here to there
    """
    durable.make_meta(work.image, work.policy.fsync)
    header = read_header(path)
    parent = chain.named_backing(header, path, work.home).state
    intent = intents.new_intent(
        verb="unset",
        state=path,
        image=work.image,
        part=layout.part_path(work.image, durable.new_token()),
        backing=work.file_of(parent) if parent else "",
        undo_backing=header.backing,
    )
    intents.note(intent.path, intent, work.policy.fsync)
    try:
        _carry_out_unset(work, intent)
    except BaseException as error:
        if inode(intent.state) == intent.inode:
            intents.drop(intent.path)
        if _between_mounts(error):
            return False
        raise
    finally:
        intents.leave(intent.path)
    return True


def _carry_out_set(work: Workplace, intent: Intent) -> None:
    if inode(intent.image) == intent.inode:
        os.rename(intent.image, intent.part)
        _sync(work, intent)
    if os.path.exists(intent.part):
        parent = intent.backing.removesuffix(IMAGE_SUFFIX)
        name_parent(intent.part, parent)
        place(intent.part, intent.state, _info(work, intent, parent), work.policy)
    elif not os.path.exists(intent.state) and not os.path.exists(intent.image):
        intents.drop(intent.path)
        raise StateMissing(
            f"the set of {intent.state} from {intent.image} was interrupted, and its file "
            f"{intent.part} was removed since; the image is lost, get or make it anew"
        )
    if os.path.exists(intent.image):
        pass
    elif os.path.exists(intent.overlay):
        work.register(intent.state, intent.overlay)
        os.rename(intent.overlay, intent.image)
    else:
        work.fresh_overlay(intent.state)
    _sync(work, intent)
    intents.drop(intent.path)


def _info(work: Workplace, intent: Intent, parent: str) -> FileInfo:
    """Return the info of an image on the parent that it was made on, not on what is there now."""
    info = work.info_on(parent)
    if not (intent.parent_digest or intent.parent_generation):
        return info  # nothing is known of it, or an earlier version began
    return replace(
        info, parent_digest=intent.parent_digest, parent_generation=intent.parent_generation
    )


def _undo_set(work: Workplace, intent: Intent) -> None:
    """
    See to it that there is an image after a failure, or leave that to the next operation.

    It is given back; where the failure came too late for that, the state is complete and the
    overlay takes the image's place.
    """
    try:
        if os.path.exists(intent.part) and not os.path.exists(intent.image):
            if read_header(intent.part).backing != intent.undo_backing:
                qemu.rename_backing(intent.part, intent.undo_backing, intent.undo_format)
            os.chmod(intent.part, intent.mode)
            os.rename(intent.part, intent.image)
        elif inode(intent.state) == intent.inode and not os.path.exists(intent.image):
            os.rename(intent.overlay, intent.image)
            work.register(intent.state, intent.image)
        if os.path.exists(intent.image):
            intents.drop(intent.path)
    except (OSError, PoolError) as error:
        LOG.error(
            "%s could not be given back (%s); the next operation on its states completes the set",
            intent.image,
            error,
        )
    finally:
        intents.leave(intent.path)


def _carry_out_unset(work: Workplace, intent: Intent) -> None:
    if inode(intent.state) == intent.inode:
        os.rename(intent.state, intent.part)
        _sync(work, intent)
    if os.path.exists(intent.part):
        os.chmod(intent.part, 0o644)
        if read_header(intent.part).backing != intent.backing:
            qemu.rename_backing(intent.part, intent.backing)
        os.rename(intent.part, intent.image)
    if intent.backing:
        work.register(intent.backing)
    if not os.path.lexists(intent.state):
        trash.forget(intent.state)
    _sync(work, intent)
    intents.drop(intent.path)


def _sync(work: Workplace, intent: Intent) -> None:
    if work.policy.fsync:
        durable.sync_dir(os.path.dirname(intent.image))
        durable.sync_dir(layout.meta_dir(intent.image))
        durable.sync_dir(os.path.dirname(intent.state))
        durable.sync_dir(layout.meta_dir(intent.state))


def recover(work: Workplace) -> list[str]:
    """
    Complete what a killed process began on the states of an image.

    :returns: what was done, in words
    """
    done = []
    for intent in intents.found(work.home):
        with locks.hold(intent.state, work.policy.timeout):
            if not os.path.exists(intent.path):
                continue  # someone else completed it while we waited
            own = replace(
                work,
                image=intent.image,
                test=intent.test,
                parts=intent.parts,
                seconds=intent.seconds,
            )
            moved = intent.image if intent.verb == "set" else intent.state
            if inode(moved) == intent.inode:
                intents.drop(intent.path)  # it was not moved yet: the set or unset never happened
            elif intent.verb == "unset":
                _carry_out_unset(own, intent)
            else:
                _carry_out_set(own, intent)
            durable.unlink(intent.overlay or intent.part)
        done.append(f"{intent.verb} of {intent.state} from {intent.image}")
        LOG.warning("completed an interrupted %s", done[-1])
    return done
