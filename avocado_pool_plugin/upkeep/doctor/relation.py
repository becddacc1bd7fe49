"""How cheap it is to move files between the cache, a pool and the working images."""

import os
from collections.abc import Iterator

from avocado_pool_plugin.core.copy import can_clone
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.upkeep.doctor.directory import Look
from avocado_pool_plugin.upkeep.doctor.finding import NOTE, OK, Finding
from avocado_pool_plugin.upkeep.doctor.workplace import workplace

_SIZE = 1 << 16


def to_cache(cache: str, pool: Location) -> Look:
    """
    Return the probe of a pool that tells what a fetch to the cache costs.

    :param cache: the cache's directory
    """

    def probe(place: str, work: str) -> Iterator[Finding]:
        if pool.link:
            yield Finding(place, "to the cache", OK, "states are symlinked, nothing is copied")
            return
        if not (os.path.isdir(cache) and os.access(cache, os.W_OK | os.X_OK)):
            return
        with workplace(cache) as near:
            cloned = can_clone(_made(work), os.path.join(near, "clone"))
        if cloned:
            found = "one file system with the cache, with reflinks: a fetch copies nothing"
            yield Finding(place, "to the cache", OK, found)
        elif os.stat(cache).st_dev == os.stat(work).st_dev:
            found = "one file system with the cache: each state lies there twice"
            advice = f"symlink states instead: ':{pool.path};'"
            yield Finding(place, "to the cache", NOTE, found, advice)
        else:
            found = "another file system than the cache's: a fetch copies the data"
            yield Finding(place, "to the cache", OK, found)

    return probe


def from_images(images: str) -> Look:
    """
    Return the probe of the cache that tells what setting a state of a working image costs.

    :param images: the directory of working images
    """

    def probe(place: str, work: str) -> Iterator[Finding]:
        if not (os.path.isdir(images) and os.access(images, os.W_OK | os.X_OK)):
            found = f"{images} is not there or can't be written, so it was not compared"
            yield Finding(place, "VM images", NOTE, found)
            return
        with workplace(images) as far:
            source, target = _made(far), os.path.join(work, "moved")
            cloned = can_clone(source, target)
            try:
                os.rename(source, target)
                moved = True
            except OSError:
                moved = False
        if moved:
            found = f"one file system with {images}: a set renames"
            yield Finding(place, "VM images", OK, found)
            return
        how = "copies nothing, but takes a moment" if cloned else "copies the whole image"
        found = f"not on the file system of {images}: each set {how}"
        better = os.path.join(os.path.dirname(images.rstrip("/")), "states")
        advice = f"put the cache there: swarm_pool = {better}"
        yield Finding(place, "VM images", NOTE, found, advice, (("swarm_pool", better),))

    return probe


def _made(directory: str) -> str:
    """Make a small file and return its path."""
    path = os.path.join(directory, "related")
    with open(path, "wb") as file:
        file.write(b"r" * _SIZE)
    return path
