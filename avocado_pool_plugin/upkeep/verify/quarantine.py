"""Where corrupt files go that nobody has a good copy of: out of the way, but not away."""

import os

from avocado_pool_plugin.core import layout, trash
from avocado_pool_plugin.core.dependents import refuse_open
from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.trashcan import RECORD
from avocado_pool_plugin.upkeep.verify.mirrors import stamp_of


def put_aside(site: Site, path: str, stamp: Stamp, pending: tuple[str, ...] = ()) -> str:
    """
    Move a corrupt file with a copy of its record into quarantine, and return where it is now.

    The file goes before its record does: cut in between, a record is left without a file, which
    means nothing.

    :param stamp: of the corrupt file
    :param pending: records of writers of it that died
    :raises StateNeeded: a QEMU has it open
    :raises FileChanging: it is another file by now
    """
    with site.store.lock(path, site.policy.timeout):
        _require(site, path, stamp)
        refuse_open([path], None, site.shelf(path))
        kept = os.path.join(layout.quarantine_dir(path), trash.name_of(path))
        # an empty record makes the directory even where there is none to keep
        record = layout.record_path(path)
        site.write(kept + RECORD, site.read([record]).get(record, b""))
        if not site.move_new(path, kept):
            raise FileChanging(f"{kept} is there already; try again")
        moved = stamp_of(site, kept)
        if moved is None or not moved.same_file(stamp):
            # a writer that heeds no lock replaced it meanwhile
            site.move_new(kept, path)
            site.drop([kept + RECORD])
            raise _changed(site, path)
        gone = record, layout.seen_path(path), layout.leaves_path(path), layout.used_path(path)
        if stamp_of(site, path) is None:
            site.drop([*gone, *pending])
    return kept


def _require(site: Site, path: str, stamp: Stamp) -> None:
    now = stamp_of(site, path)
    if now is None or now != stamp:
        raise _changed(site, path)


def _changed(site: Site, path: str) -> FileChanging:
    return FileChanging(f"{site.title(path)} was replaced meanwhile; run the check again")
