"""Backing files that are no states of an image yet, brought into its chain of states once."""

import logging
import os
from dataclasses import replace

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, durable, knowledge, locks, records
from avocado_pool_plugin.core.copy import allocated, can_clone, copy_file, require_space
from avocado_pool_plugin.core.errors import ChainBroken, ImageRefused, StateMissing
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.place import new_info, place
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.qcow2 import check_movable, is_qcow2, read_header
from avocado_pool_plugin.states.recipes import BASE_GENERATION

LOG = logging.getLogger("avocado." + __name__)


def bring_in(path: str, image_format: str, home: str, policy: Policy, seen_dir: str) -> str:
    """
    Make a base image, with what it stands on, states of an image, unless they are already.

    :param path: the base image; it is only read
    :param image_format: its format as written in the image on it, empty if it is not
    :param home: directory of the image's states
    :returns: the state's name, ``base-<12 hex digits of the base's digest>``
    :raises StateMissing: there is no such base image
    :raises ImageRefused: it is neither QCOW2 nor raw, or can't be a state
    :raises ChainBroken: it stands on itself, or is written to
    """
    _require_end(path)
    if not os.path.isfile(path):
        raise StateMissing(f"base image {path} of a state to be set does not exist")
    raw = not is_qcow2(path)
    if image_format not in ("", "raw" if raw else "qcow2"):
        raise ImageRefused(
            f"base image {path} is {image_format}; only QCOW2 and raw images can be the base of "
            f"states, convert it with qemu-img"
        )
    digest = _digest(path, seen_dir)
    name = "base-" + digest.partition(":")[2][:12]
    target = chain.state_file(home, name)
    durable.make_meta(target, policy.fsync)
    with locks.hold(target, policy.timeout):
        if not _is_there(target, digest, policy, seen_dir):
            _bring(path, target, digest, policy, seen_dir)
    return name


def _require_end(path: str) -> None:
    """Make sure that what a base image stands on comes to an end."""
    names: list[str] = []
    while path and os.path.isfile(path):
        if path in names:
            raise ChainBroken(
                f"base image {path} stands on itself: "
                f"{' -> '.join([*names[names.index(path) :], path])}; make one of them anew"
            )
        names.append(path)
        path, _ = _below(path)


def _below(path: str) -> tuple[str, str]:
    """Return what a base image stands on and the format of that, both empty for nothing."""
    if not is_qcow2(path):
        return "", ""
    header = read_header(path)
    check_movable(path, header)
    if not header.backing:
        return "", ""
    below = os.path.normpath(os.path.join(os.path.dirname(path), header.backing))
    return below, header.backing_format


def _digest(path: str, seen_dir: str) -> str:
    known = knowledge.identify_working(path, seen_dir)
    if known is None or known.digest is None:
        raise StateMissing(f"base image {path} was removed while it was read; put it back")
    return known.digest


def _is_there(target: str, digest: str, policy: Policy, seen_dir: str) -> bool:
    record = records.read_record(target)
    if record is None or not os.path.exists(target):
        return False
    info = knowledge.identify(target, policy, seen_dir)
    return info is not None and digest in (info.digest, info.source_digest)


def _bring(path: str, target: str, digest: str, policy: Policy, seen_dir: str) -> None:
    home = os.path.dirname(target)
    parent, found = "", None
    raw = not is_qcow2(path)
    below, below_format = _below(path)
    if below:
        parent = bring_in(below, below_format, home, policy, seen_dir)
        found = knowledge.peek(chain.state_file(home, parent))
    if raw or not can_clone(path, target):
        require_space(home, allocated(path), f"base image {path}")
    with durable.new_part(target, policy.fsync) as part:
        info = new_info(0, parent=parent, parent_info=found.info if found else None)
        if raw:
            qemu.convert(path, part, "raw")
        if digest != (_digest(path, seen_dir) if raw else copy_file(path, part).digest):
            raise ChainBroken(f"base image {path} was written to while it was read; try again")
        if parent:
            qemu.rename_backing(part, parent + IMAGE_SUFFIX)
        own = None if raw or parent else digest
        # two who bring it in at once make the same: what stands on the one stands on the other
        generation = BASE_GENERATION + digest.partition(":")[2][:16]
        info = replace(info, digest=own, source_digest=digest, generation=generation)
        place(part, target, info, policy)
    LOG.info("base image %s is state %s now, for all that will stand on it", path, target)


def bring_chain(directory: str, name: str, home: str, policy: Policy) -> None:
    """
    Bring a chain of states of the same image from another cache into this one.

    :raises ChainBroken: this cache has another state of one of the names
    """
    store = LocalStore(policy, rename=qemu.rename_backing)
    names = list(chain.walk(name, chain.parent_in(directory)))
    for current in reversed(names):
        source, target = chain.state_file(directory, current), chain.state_file(home, current)
        here, there = store.info(target), store.info(source)
        if here and there and not here.same_content(there):
            raise ChainBroken(
                f"the image stands on {source}, which differs from {target}; get {current!r} and "
                f"run again, so that the image stands on the state in this cache"
            )
        if here is None:
            store.fetch(source, target)
