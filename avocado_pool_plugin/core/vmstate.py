"""A RAM file and the image states that it belongs to, in one directory of a cache or pool."""

import os
from collections.abc import Callable
from dataclasses import replace

from avocado_pool_plugin.core import chain, knowledge
from avocado_pool_plugin.core.errors import ParentChanged
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.names import VM_SUFFIX
from avocado_pool_plugin.core.passport import Mark, Passport

#: Tells what is known of a file, None if there is none.
Known = Callable[[str], Peek | None]


def image_file(ram: str, image: str) -> str:
    """Return the file of the image state that a RAM file needs beside it."""
    directory, name = os.path.split(ram)
    return chain.state_file(os.path.join(directory, image), name.removesuffix(VM_SUFFIX))


def belongs(mark: Mark, known: Peek) -> bool:
    """Tell whether an image state is the one that is meant."""
    info, stamp = known.info, known.stamp
    if mark.is_of(info.generation, {info.digest, info.source_digest}):
        return True
    return mark.stamp == (stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)


def mark_of(known: Peek) -> Mark:
    """Return what tells an image state from all others."""
    stamp = known.stamp
    times = (stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns)
    return Mark(known.info.generation, known.info.digest, times)


def strangers(ram: str, passport: Passport, seen_dir: str | None = None) -> list[str]:
    """Return the images whose states beside a RAM file are absent or others than its own."""
    found = []
    for image, mark in passport.images:
        known = knowledge.peek(image_file(ram, image), seen_dir)
        if known is None or not belongs(mark, known):
            found.append(image)
    return found


def moved(
    source: str,
    target: str,
    passport: Passport,
    from_there: Known = knowledge.peek,
    to_there: Known = knowledge.peek,
) -> Passport:
    """
    Return the passport of a RAM file for a place where its image states are already.

    Image states there may have the same content by another generation. Their digests are known by
    now, as they were read to be brought there.

    :param source: the RAM file
    :param target: where it is to be
    :param from_there: tells of files beside the source
    :param to_there: tells of files beside the target
    :raises ParentChanged: an image state there is absent or another one
    """
    marks = {}
    for image, mark in passport.images:
        there = to_there(image_file(target, image))
        here = from_there(image_file(source, image))
        if there is None or not (belongs(mark, there) or _same(mark, here, there)):
            raise ParentChanged(
                f"{target} belongs to another state of {image} than {image_file(target, image)}; "
                f"get or set the vm state again"
            )
        marks[image] = replace(mark_of(there), generation=there.info.generation or mark.generation)
    return replace(passport, images=tuple(sorted(marks.items())))


def _same(mark: Mark, here: Peek | None, there: Peek) -> bool:
    """Tell whether an image state has the content of the one that belongs to a RAM file."""
    return here is not None and belongs(mark, here) and here.info.same_content(there.info)
