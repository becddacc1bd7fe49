"""What is to be done to take over a place, file by file; nothing is changed to find out."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from avocado_pool_plugin.core import chain, layout, records, typed
from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.errors import ChainBroken, ImageRefused
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX
from avocado_pool_plugin.core.qcow2 import Header, check_movable, parse_header, without_directory
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.upkeep import holders
from avocado_pool_plugin.upkeep.adopt.steps import (
    BASE,
    CHECK,
    KEEP,
    LEAVE,
    RECORD,
    RENAME,
    Bases,
    Lock,
    Plan,
    Step,
)
from avocado_pool_plugin.upkeep.naming import is_root_image, state_at
from avocado_pool_plugin.upkeep.site import Entry, Item, Site

#: The ending of locks of avocado-i2n.
_LOCK = ".lock"


def make(site: Site, bases: Bases | None) -> Plan:
    """
    Return what is to be done to take over a place.

    :param bases: brings backing files into chains, None where that can't be done
    """
    items = site.items(known=True)
    others = site.hands.others()
    planner = _Planner(site, items, bases)
    steps = [planner.step(item) for item in items]
    own = {item.path for item in items}
    lost = [e for e in others if e.path not in own and e.path.endswith((IMAGE_SUFFIX, VM_SUFFIX))]
    return Plan(
        (*sorted(steps, key=planner.order), *(_lost(site, entry) for entry in lost)),
        tuple(locks_of(site, others)),
    )


def _lost(site: Site, entry: Entry) -> Step:
    title = os.path.relpath(entry.path, site.root)
    if state_at(site.root, entry.path) or is_root_image(site.root, entry.path):
        return Step(entry.path, title, LEAVE, "it came while the place was looked at; look again")
    return Step(
        entry.path,
        title,
        LEAVE,
        "by its name or where it is no state; those are OBJECT_ID/IMAGE/STATE.qcow2 and "
        "OBJECT_ID/STATE.state, without ';', ':' and control characters",
    )


def locks_of(site: Site, entries: Iterable[Entry]) -> list[Lock]:
    """Return which of some files are locks that avocado-i2n left."""
    found = [entry for entry in entries if entry.path.endswith(_LOCK)]
    known = holders.held_locks(site) if found else None
    return [
        Lock(entry.path, known is None or any(lock.is_on(entry) for lock in known))
        for entry in found
    ]


class _Planner:
    """
    Decides for each file of a place.

    :param items: all there are
    """

    def __init__(self, site: Site, items: list[Item], bases: Bases | None) -> None:
        self._site = site
        self._bases = bases
        self._items = {item.path: item for item in items}
        notes = site.notes()
        self._users = holders.registered(site, notes)
        self._noted = {entry.path for entry in notes}
        self._pending = _pending(self._noted)
        plain = [i.path for i in items if i.entry.stamp and i.path.endswith(IMAGE_SUFFIX)]
        self._starts = site.hands.starts(plain)
        bare = (layout.record_path(i.path) for i in items if i.peek and not i.peek.recorded)
        self._texts = site.read(path for path in bare if path in self._noted)
        self._depths: dict[str, int] = {}

    def order(self, step: Step) -> tuple[int, int, str]:
        """Return what steps are sorted by: parents first, RAM files after all images."""
        return (step.path.endswith(VM_SUFFIX), self._depth(step.path), step.path)

    def step(self, item: Item) -> Step:
        """Return what is to be done to a file."""
        step = Step(item.path, item.title, KEEP, item=item)
        try:
            if item.entry.link:
                raise ImageRefused(f"it is a link to {item.entry.link}; adopt the place that is in")
            if item.path.endswith(IMAGE_SUFFIX):
                step = self._image(step, item)
            if step.action == KEEP:
                step = self._plain(step, item)
        except (ImageRefused, ChainBroken) as error:
            return replace(step, action=LEAVE, what=str(error), size=0)
        return step

    def _plain(self, step: Step, item: Item) -> Step:
        """Decide on a file whose header may stay as it is."""
        stale = self._damaged(item.path)
        known, size = item.peek, item.entry.allocated
        if known is None or not known.recorded:
            what = "record anew, what there is is damaged" if stale else "record"
            return replace(step, action=RECORD, what=what, size=size, stale=stale)
        if item.path in self._pending and not known.fresh:
            return replace(step, action=RECORD, what="record, that was interrupted", size=size)
        if known.fresh or known.untouched:
            return step
        return replace(step, action=CHECK, what="compare with its record", size=size)

    def _damaged(self, path: str) -> tuple[str, ...]:
        """
        Return the record of a file if it is damaged.

        :raises ImageRefused: it is of a later version
        """
        name = layout.record_path(path)
        text = self._texts.get(name)
        if text is None or records.decode(text) is not None:
            return ()
        if not records.damaged(text):
            version = typed.mapping(text)["format"]
            raise ImageRefused(
                f"its record has format {version} of a later version of this package; use that one"
            )
        return (name,)

    def _image(self, step: Step, item: Item) -> Step:
        start = self._starts.get(item.path)
        if start is None:
            raise ImageRefused("it can't be read; check its permissions")
        title = self._site.title(item.path)
        header = parse_header(title, start, lambda at, size: start[at : at + size])
        check_movable(title, header)
        if item.state is None:
            return step  # of a vm's own image all that is wanted is what it contains
        home = os.path.dirname(item.path)
        backing = chain.named_backing(header, item.path, home)
        step = replace(step, header=header)
        if backing.outside:
            return self._outside(step, item, header, backing)
        if not backing.state:
            return step
        parent = chain.state_file(home, backing.state)
        self._check_below(parent)
        step = replace(step, parent=parent)
        if backing.relative:
            return step
        self._check_unused(item.path)
        return replace(
            step,
            action=RENAME,
            what=f"backing {header.backing} -> {os.path.basename(parent)}",
            size=item.entry.allocated,
            change=without_directory(title, start),
            stale=self._damaged(item.path),
        )

    def _outside(self, step: Step, item: Item, header: Header, backing: Backing) -> Step:
        """Decide on a state whose backing file is no state."""
        size = self._bases.size(backing.outside) if self._bases else None
        if self._bases is None:
            raise ImageRefused(
                f"it stands on {backing.outside}, which is no state; adopt it on its own host, or "
                f"set it again"
            )
        if size is None:
            raise ImageRefused(f"it stands on {backing.outside}, which does not exist")
        self._check_unused(item.path)
        return replace(
            step,
            action=BASE,
            what=f"base outside: {backing.outside} is brought into the chain",
            base=backing.outside,
            size=size + item.entry.allocated,
            stale=self._damaged(item.path),
        )

    def _check_below(self, parent: str) -> None:
        """
        Make sure that a state's chain is whole.

        :raises ChainBroken: it is a circle, or a state of it is missing
        """
        home, name = os.path.dirname(parent), os.path.basename(parent).removesuffix(IMAGE_SUFFIX)
        for below in chain.walk(name, lambda state: self._parent(home, state)):
            if chain.state_file(home, below) not in self._items:
                raise ChainBroken(
                    f"{below!r}, which it stands on, is not beside it; publish or set that first"
                )

    def _parent(self, home: str, state: str) -> str:
        item = self._items.get(chain.state_file(home, state))
        return item.parent if item else ""

    def _check_unused(self, path: str) -> None:
        """
        Make sure that nobody works on an image.

        :raises ImageRefused: somebody does
        """
        refuse_used(self._site, path, self._users.get(path, []))

    def _depth(self, path: str) -> int:
        """Return how many states a state stands on; no matter how many if that is a circle."""
        if path not in self._depths:
            home, name = os.path.dirname(path), os.path.basename(path).removesuffix(IMAGE_SUFFIX)
            walked = chain.walk(name, lambda state: self._parent(home, state))
            try:
                self._depths[path] = sum(1 for _ in walked)
            except ChainBroken:
                self._depths[path] = 0
        return self._depths[path]


def refuse_used(site: Site, path: str, noted: Iterable[User]) -> None:
    """
    Refuse to change an image that overlays stand on, or that a QEMU has open.

    :param noted: the overlays that are registered with it
    :raises ImageRefused: so it is; the text says by what
    """
    known = {user.path: user for user in noted}
    standing = site.hands.standing(path, known.values()) if known else {}
    if standing:
        names = "; ".join(str(known[overlay]) for overlay in sorted(standing))
        raise ImageRefused(f"it is in use by {names}; remove that, or adopt it when it is gone")
    if site.hands.in_use(path):
        raise ImageRefused("it is in use by a running QEMU; end what runs on it first")


def _pending(noted: Iterable[str]) -> Mapping[str, list[str]]:
    """Return by file the records of writers that did not commit."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in noted:
        meta, name = os.path.split(path)
        state, mark, token = name.rpartition(".next-")
        if mark and os.path.basename(meta) == layout.META and "." not in token:
            found[os.path.join(os.path.dirname(meta), state)].append(path)
    return found
