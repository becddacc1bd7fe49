"""Which states of a cache or pool live processes need, as its keeper asks; see core/pins.py."""

import os
from collections.abc import Mapping

from avocado_pool_plugin.core import layout, pins
from avocado_pool_plugin.core.names import VM_SUFFIX
from avocado_pool_plugin.upkeep.site import Entry, Site


def live(site: Site) -> dict[str, str]:
    """Return the files that live pins name, by path, each with who needs it."""
    return among(site, site.ours(layout.pins_dir(site.root)))


def among(site: Site, entries: list[Entry]) -> dict[str, str]:
    """Return the same, of pins that were listed already."""
    home = layout.pins_dir(site.root)
    touched = {
        entry.path: entry.stamp.mtime_ns / 1e9
        for entry in entries
        if entry.stamp and entry.path.endswith(".json") and os.path.dirname(entry.path) == home
    }
    if not touched:
        return {}
    now = site.clock()
    known = {path: pins.decode(text) for path, text in site.read(touched).items()}
    read = {path: pin for path, pin in known.items() if pin is not None}
    if any(now - touched[path] > pin.lease for path, pin in read.items()):
        # a network file system may have told when they were touched before they were opened
        again = site.eyes.stamps(read).items()
        touched.update((path, stamp.mtime_ns / 1e9) for path, stamp in again)
    found: dict[str, str] = {}
    for path, pin in read.items():
        if now - touched[path] <= pin.lease:
            found.update((os.path.join(site.root, file), pin.by) for file in pin.files)
    return found


def needs(found: Mapping[str, str], path: str) -> str:
    """
    Return who needs a state's file, empty for nobody.

    :param found: what is pinned, as of :func:`live`

    A pinned vm state needs the states of that name of its images, whether they are pinned or not.
    """
    directory, file = os.path.split(path)
    ram = os.path.join(os.path.dirname(directory), os.path.splitext(file)[0] + VM_SUFFIX)
    return found.get(path) or found.get(ram, "")
