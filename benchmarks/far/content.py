"""A chain published and fetched, cold and warm, beside scp, rsync and avocado-i2n."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.far.chains import Chain, Copy, Move, copies, log_out
from benchmarks.far.place import Far
from benchmarks.lab import MIB
from benchmarks.measure import Contender, Samples, alternate, ratio, start_over
from benchmarks.table import SLACK, Row
from tests.support.sshd import Sshd

_SIZES = (100 * MIB,) * 3
#: GiB of memory that a copy of the chain takes, and some more.
_ROOM = 1
_LIMIT = 1.1
_WARM = 0.05
#: What has none is further information.
_NO_AIM = "none"


def rows(far: Far) -> Iterator[Row]:
    """Yield the rows of each kind of host."""
    chain = Chain.make(far.disk / "chain", _SIZES)
    chain.move(far.usual, chain.pool).publish()
    for name, server in far.servers.items():
        kind = _Kind(far, chain, name, server)
        yield kind.publish()
        yield kind.fetch()
        yield kind.again()
        kind.clear()
    log_out()
    shutil.rmtree(chain.lab.root)


@dataclass(frozen=True)
class _Kind:
    """
    The rows of one kind of host.

    :param name: the best that it has to move content with
    """

    far: Far
    chain: Chain
    name: str
    server: Sshd

    @property
    def aimed(self) -> bool:
        """Whether there is something to be reached."""
        return self.server is self.far.usual

    @property
    def new(self) -> Path:
        """What we fetch or publish to."""
        return self.chain.lab.root / "new"

    @property
    def copy(self) -> Path:
        """What others copy to."""
        return self.chain.lab.root / "copy"

    def clear(self) -> None:
        """Remove what was moved, and make a directory for those who need one."""
        start_over(_ROOM, self.new, self.copy, self.chain.lab.root / "peer-cache")
        self.copy.mkdir()

    def publish(self) -> Row:
        """From a cache to a host that has nothing."""
        chain = self.chain
        move = chain.move(self.server, self.new)
        others = copies(self.far.usual, chain.files(chain.lab.cache), self.copy)
        note = ""
        if self.aimed:
            self.clear()
            there = self.new / "vm1" / "image1"
            there.mkdir(parents=True)
            for directory in (there, *there.parents[:2]):
                directory.chmod(0o777)
            told = self.far.ask("publish", **self._plain(chain.lab.cache, self.new))
            note = f"avocado-i2n fails: {told['text'] if 'error' in told else 'no, it does not'}"
        return self._cold("published", move, Move.publish, others, {}, note)

    def fetch(self) -> Row:
        """From a host to an empty cache."""
        chain = self.chain
        move = chain.move(self.server, chain.pool, self.new)
        others = copies(self.far.usual, chain.files(chain.pool), self.copy, down=True)
        peer = {"avocado-i2n": Contender(self._peer, self.clear)} if self.aimed else {}
        return self._cold("fetched", move, Move.fetch, others, peer, "")

    def again(self) -> Row:
        """A comparison and a fetch with nothing to do."""
        move = self.chain.move(self.server, self.chain.pool)
        contenders = {"ours": Contender(move.again, move.log_in)}
        if self.aimed:
            self.clear()
            self._peer()
            contenders["avocado-i2n"] = Contender(self._peer)
        found = alternate(contenders, self.far.runs)
        ours, peer = found["ours"], found.get("avocado-i2n")
        return Row(
            f"the same, nothing changed, with a live session ({self.name})",
            f"<= {_WARM * 1000:.0f} ms" if self.aimed else _NO_AIM,
            str(ours),
            f"avocado-i2n, with its login, {peer}" if peer else "",
            f"{ratio(ours, peer):.3f} x avocado-i2n" if peer else "",
            self.aimed and ours.median > SLACK * _WARM,
            found,
        )

    def _cold(  # noqa: PLR0917
        self,
        done: str,
        move: Move,
        work: Callable[[Move], None],
        others: Mapping[str, Copy],
        peer: Mapping[str, Contender],
        note: str,
    ) -> Row:
        def new() -> None:
            log_out()
            self.clear()

        def live() -> None:
            move.log_in()
            self.clear()

        hasty = move.hasty()
        found = alternate(
            {
                "ours": Contender(lambda: work(move), new),
                "live": Contender(lambda: work(move), live),
                **({"hasty": Contender(lambda: work(hasty), new)} if self.aimed else {}),
                **{name: Contender(copy.run, self.clear) for name, copy in others.items()},
                **peer,
            },
            self.far.runs if self.aimed else self.far.few,
        )
        return self._row(done, found, others, peer, note)

    def _row(
        self,
        done: str,
        found: Mapping[str, Samples],
        others: Mapping[str, Copy],
        peer: Iterable[str],
        note: str,
    ) -> Row:
        best = min(others, key=lambda name: found[name].median)
        times = ratio(found["ours"], found[best])
        hurried = {name: copy.hasty for name, copy in others.items()}
        if self.aimed:
            hurried = {"ours": found["hasty"], **hurried}
        parts = [
            f"{times:.2f} x {best}",
            f"with a live session {found['live']}, {ratio(found['live'], found[best]):.2f} x",
            *(f"{name} {found[name]}" for name in others if name != best),
            "without fsync " + ", ".join(f"{name} {each}" for name, each in hurried.items()),
            *(f"{name} (by password, no fsync, not verified) {found[name]}" for name in peer),
            note,
        ]
        return Row(
            f"{len(_SIZES)} states of {_SIZES[0] // MIB} MiB {done}, cold ({self.name})",
            f"<= {_LIMIT} x the better of scp and rsync" if self.aimed else _NO_AIM,
            str(found["ours"]),
            f"{best} {found[best]}",
            "; ".join(filter(None, parts)),
            self.aimed and times > SLACK * _LIMIT,
            found,
            f"300 MiB {done} by ssh" if self.aimed else "",
        )

    def _peer(self) -> float:
        cache = self.chain.lab.root / "peer-cache"
        return self.far.timed("fetch", **self._plain(cache, self.chain.pool))

    def _plain(self, cache: Path, pool: Path) -> dict[str, str]:
        """Return what the peer has to know."""
        return {
            "root": str(self.chain.lab.root),
            "cache": str(cache),
            "pool": str(pool),
            "state": self.chain.state,
        }
