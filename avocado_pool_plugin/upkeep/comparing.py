"""Whether two copies of a state are the same, and what tells."""

from collections.abc import Callable
from dataclasses import dataclass

from avocado_pool_plugin.core.errors import FileCorrupt, ImageRefused
from avocado_pool_plugin.core.evidence import ADOPTED, Peek
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.progress import reported
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Item, Site
from avocado_pool_plugin.upkeep.stock import Stock, info_of

EQUAL, DIFFERENT, UNKNOWN = "equal", "different", "unknown"


@dataclass(frozen=True)
class Verdict:
    """
    What was found out about two copies of a state.

    :param kind: ``EQUAL``, ``DIFFERENT`` or ``UNKNOWN``
    :param reason: what told so
    """

    kind: str
    reason: str


def compare(one: Item, other: Item, same_host: bool = False) -> Verdict:
    """
    Compare two copies of a state by what is known without reading them.

    :param same_host: whether both are on one host, so that they may be the same file
    """
    if one.entry.stamp is None or other.entry.stamp is None:
        return Verdict(UNKNOWN, "one of them can't be looked at")
    if same_host and _file(one) == _file(other):
        return Verdict(EQUAL, "the same file")
    if one.parent != other.parent:
        return Verdict(DIFFERENT, f"another parent: {_named(one)} and {_named(other)}")
    if not (_sure(one.peek) and _sure(other.peek)):
        if one.entry.stamp.size != other.entry.stamp.size:
            return Verdict(DIFFERENT, "size")
        return Verdict(UNKNOWN, "not read since it changed, or never")
    return judge(info_of(one), info_of(other))


def judge(mine: FileInfo, other: FileInfo) -> Verdict:
    """Compare two copies by what they are."""
    if mine.same_content(other):
        return Verdict(EQUAL, "digest")
    if comparable(mine, other):
        parents = {mine.parent_digest, other.parent_digest}
        moved = bool(mine.parent) and None not in parents and len(parents) > 1
        return Verdict(DIFFERENT, f"made on another {mine.parent!r}" if moved else "digest")
    if mine.generation and mine.generation == other.generation:
        return Verdict(EQUAL, "generation")
    if given_generation(mine) and given_generation(other):
        return Verdict(DIFFERENT, "generation")
    if mine.size != other.size:
        return Verdict(DIFFERENT, "size")
    return Verdict(UNKNOWN, "no digest of both is known")


def _sure(peek: Peek | None) -> bool:
    """Tell whether what is recorded of a file is what it is now."""
    return peek is not None and (peek.fresh or peek.untouched or not peek.recorded)


def given_generation(info: FileInfo) -> str:
    """Return the generation if it was given when the content was made, empty if found later."""
    return "" if info.generation.startswith(ADOPTED) else info.generation


def comparable(one: FileInfo, other: FileInfo) -> bool:
    """Tell whether both have digests by the same algorithm."""
    algorithms = [
        {digest.partition(":")[0] for digest in (info.digest, *info.also) if digest}
        for info in (one, other)
    ]
    return bool(algorithms[0] & algorithms[1])


def _file(item: Item) -> tuple[int, int]:
    return item.entry.device, item.entry.stamp.inode if item.entry.stamp else 0


def _named(item: Item) -> str:
    return repr(item.parent) if item.parent else "none"


# -- all of two places -------------------------------------------------------------------------


#: What is only in the first place, or only in the second.
ONLY_HERE, ONLY_THERE = "only here", "only there"


@dataclass(frozen=True)
class Difference:
    """
    A state in two places.

    :param state: which
    :param title: what users call it
    :param kind: ``ONLY_HERE``, ``ONLY_THERE``, ``DIFFERENT``, ``EQUAL`` or ``UNKNOWN``
    :param reason: what told so
    """

    state: State | None
    title: str
    kind: str
    reason: str = ""


#: Reads two copies and tells whether they are the same.
Read = Callable[[Item, Item], Verdict]


def differences(here: Stock, there: Stock, read: Read | None = None) -> list[Difference]:
    """
    Compare the states of two places.

    :param read: asked about copies of which too little is known
    """
    mine = {here.key(item): item for item in here.items if item.state}
    other = {there.key(item): item for item in there.items if item.state}
    found = []
    for key in sorted({*mine, *other}):
        one, two = mine.get(key), other.get(key)
        if one is None or two is None:
            item = one or two
            assert item is not None
            kind = ONLY_THERE if one is None else ONLY_HERE
            found.append(Difference(item.state, item.title, kind))
            continue
        verdict = compare(one, two, here.host == there.host)
        if verdict.kind == UNKNOWN and read is not None and one.entry.stamp and two.entry.stamp:
            verdict = read(one, two)
        found.append(Difference(one.state, one.title, verdict.kind, verdict.reason))
    return found


def reader(here: Site, there: Site) -> Read:
    """
    Return what reads two copies, as far as what they are is not known, and compares them.

    It raises ``PoolUnreachable`` if one can't be read.
    """

    def read(one: Item, two: Item) -> Verdict:
        try:
            infos = [_read(here, one), _read(there, two)]
            if infos[0] is None or infos[1] is None:
                return Verdict(UNKNOWN, "one of them is gone")
            verdict = judge(infos[0], infos[1])
            mixed = here.place.remote != there.place.remote
            if mixed and verdict.kind != EQUAL and not comparable(infos[0], infos[1]):
                # a host that can't make our digests can make others
                near, far = (one, two) if there.place.remote else (two, one)
                store = there.store if there.place.remote else here.store
                return Verdict(EQUAL if store.equal(near.path, far.path) else DIFFERENT, "digest")
            return verdict
        except FileCorrupt as error:
            return Verdict(DIFFERENT, str(error))
        except ImageRefused as error:
            return Verdict(UNKNOWN, str(error))

    return read


def _read(site: Site, item: Item) -> FileInfo | None:
    with reported("reading", site.title(item.path), lambda: item.entry.allocated) as progress:
        return site.store.info(item.path, progress)
