"""What a row of the table says, and what those who make rows are asked for."""

import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.support.memory import MEMORY

T = TypeVar("T")
#: So many failures of a row are told in full.
TOLD = 5


@dataclass(frozen=True)
class Wish:
    """
    What is to be run.

    :param seed: of all that is random; the same seed does the same
    :param short: a small part of each row, as it is part of the tests
    :param scratch: a directory for everything that is written, on a disk
    :param progress: is told what is at work, and how far it is
    """

    seed: int
    short: bool
    scratch: Path
    progress: Callable[[str], None] = lambda _: None

    def dice(self, *what: object) -> random.Random:
        """Return dice of one's own, which fall alike with the same seed."""
        return random.Random(":".join(map(str, (self.seed, *what))))

    def few(self, all_of_them: int, some: int) -> int:
        """Return how many of something to do: ``some`` in a short run."""
        return min(all_of_them, some) if self.short else all_of_them

    def sample(self, points: Iterable[T], some: int, *what: object) -> list[T]:
        """Return all points, in their order; ``some`` of them, spread evenly, in a short run."""
        found = list(points)
        if not self.short or len(found) <= some:
            return found
        start = self.dice("sample", *what).random()
        step = len(found) / some
        return [found[int((number + start) * step) % len(found)] for number in range(some)]

    @contextmanager
    def directory(self, name: str, memory: bool = False) -> Iterator[Path]:
        """
        Give an empty directory, which is removed afterwards.

        :param memory: where fsync costs nothing, if there is such a place
        """
        where = (memory and MEMORY) or self.scratch
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=where))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@dataclass
class Row:
    """
    One kind of hardship.

    :param work: what is done, and how it is hurt
    :param right: what has to be right afterwards
    :ivar tried: how often it was tried
    :ivar wrong: each time that something was not right: where, and what
    :ivar counted: what came of the tries, for the reader
    """

    work: str
    right: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    def count(self, what: str, times: int = 1) -> None:
        """Note what came of a try."""
        self.counted[what] += times

    @contextmanager
    def trying(self, where: str) -> Iterator[None]:
        """Try once; an error is what was not right."""
        self.tried += 1
        try:
            yield
        except Exception as error:
            said = "".join(traceback.format_exception(error)) if len(self.wrong) < TOLD else error
            self.wrong.append(f"{where}: {said}")

    @property
    def held(self) -> int:
        """How often all was right."""
        return self.tried - len(self.wrong)

    @property
    def outcome(self) -> str:
        """What came of the tries, as one line."""
        return ", ".join(f"{what} {times:,}" for what, times in self.counted.items())

    def __str__(self) -> str:
        verdict = "held" if not self.wrong else f"WRONG {len(self.wrong)} times"
        return f"{self.work}: {self.tried:,} tries, {verdict}; {self.outcome}"


#: A module of rows: yields them once they are through.
Rows = Callable[[Wish], Iterator[Row]]
