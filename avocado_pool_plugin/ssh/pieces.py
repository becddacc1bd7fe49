"""Comparing two versions of a file, one here and one over there, by the digests of their pieces."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from avocado_pool_plugin.core.digest import BLOCK, Spans, count, data_blocks
from avocado_pool_plugin.core.parallel import in_parallel, in_runs
from avocado_pool_plugin.ssh.far_files import PIECE, SUM
from avocado_pool_plugin.ssh.frames import ANSWER, SUMS, Wire

#: Blocks that are compared at once.
_WINDOW = 16
_ALL = BLOCK // PIECE * SUM
#: The digests of the pieces of a block of zeros.
NOTHING = bytes(_ALL)


@dataclass(frozen=True)
class Look:
    """
    A block that has data here.

    :param spans: where in the file
    :param sums: the digests of its pieces, None if it need not be compared
    """

    number: int
    spans: Spans
    sums: bytes | None


@dataclass
class Window:
    """What is compared at once: blocks, and the stretches in which there is nothing here."""

    blocks: list[Look] = field(default_factory=list)
    gaps: Spans = field(default_factory=list)


def looks(
    fd: int, size: int, look: Callable[[int, bytearray], bytes | None], few: bool = False
) -> Iterator[Look]:
    """
    Yield each block with data of an open file here.

    :param look: given a block's number and a buffer for it, returns the digests of its pieces or
        None; called by several threads
    :param few: whether only pieces of few blocks are looked at: with pieces as small as these,
        threads would mostly wait for each other
    """

    def work(run: list[tuple[int, Spans]]) -> list[Look]:
        buffer = bytearray(BLOCK)
        return [Look(number, spans, look(number, buffer)) for number, spans in run]

    runs = in_runs(data_blocks(fd, size))
    for run in map(work, runs) if few else in_parallel(work, runs, size):
        yield from run


def windows(blocks: Iterable[Look], size: int) -> Iterator[Window]:
    """Yield all of a file of so many bytes; the last part may come with no blocks."""
    window = Window()
    following = 0
    for look in blocks:
        if look.number > following:
            window.gaps.append((following * BLOCK, look.number * BLOCK))
        following = look.number + 1
        if look.sums is not None:
            window.blocks.append(look)
        if len(window.blocks) == _WINDOW:
            yield window
            window = Window()
    if following < count(size):
        window.gaps.append((following * BLOCK, size))
    yield window


def stretch(number: int, size: int) -> tuple[int, int]:
    """Return start and end of a block of a file."""
    return number * BLOCK, min(size, (number + 1) * BLOCK)


def length(spans: Spans) -> int:
    """Return how many bytes some stretches have."""
    return sum(end - start for start, end in spans)


def hear_sums(wire: Wire, numbers: Collection[int]) -> dict[int, bytearray]:
    """Receive the digests of the pieces of some blocks until the answer; zero where none comes."""
    found = {number: bytearray(_ALL) for number in numbers}
    while True:
        kind, at, size = wire.next()
        if kind == ANSWER:
            return found
        number, offset = divmod(at, BLOCK)
        first = offset // PIECE * SUM
        if kind != SUMS or number not in found or first + size > _ALL:
            raise wire.nonsense()
        found[number][first : first + size] = wire.body(size)


def differing(here: bytes, there: bytes | bytearray, size: int) -> Iterator[tuple[int, int]]:
    """
    Yield start and end of each stretch in which a block differs.

    :param size: bytes of the block
    """
    start = -1
    for at in range(0, size, PIECE):
        place = at // PIECE * SUM
        if here[place : place + SUM] != there[place : place + SUM]:
            start = at if start < 0 else start
        elif start >= 0:
            yield start, at
            start = -1
    if start >= 0:
        yield start, size
