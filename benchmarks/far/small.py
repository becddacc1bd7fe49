"""What is nearly nothing: a file that is nearly all hole, small states over a slow link."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.far.chains import KIB, Chain, copies, log_out
from benchmarks.far.place import Far
from benchmarks.measure import GIB, Contender, alternate, blocks, ratio, start_over
from benchmarks.table import SLACK, Row
from tests.support.proxy import Proxy

#: Seconds of a link for each direction.
_DELAY = 0.025
_STATES, _SIZE = 5, 200 * KIB


def sparse(far: Far) -> Iterator[Row]:
    """Yield the rows about a file of 2 GiB with 4 KiB of data."""
    from avocado_pool_plugin import qemu
    from avocado_pool_plugin.core.local import LocalStore
    from avocado_pool_plugin.core.policy import Policy
    from avocado_pool_plugin.ssh import session
    from avocado_pool_plugin.ssh.store import RemoteStore

    root = far.disk / "sparse"
    root.mkdir()
    source, there, here = root / "source", root / "there" / "a.state", root / "here" / "a.state"
    with source.open("wb") as file:
        file.truncate(2 * GIB)
        file.seek(GIB)
        file.write(os.urandom(4 * KIB))
    here.parent.mkdir()

    def store() -> RemoteStore:
        local = LocalStore(Policy(), qemu.rename_backing, str(root / "seen"))
        return RemoteStore(session.of(far.usual.host()), local)

    def publish() -> None:
        store().publish(str(source), str(there))

    def fetch() -> None:
        store().fetch(str(there), str(here))

    yield _sparse_row(far, "published", publish, source, there)
    publish()
    yield _sparse_row(far, "fetched", fetch, there, here)
    log_out()
    shutil.rmtree(root)


def _sparse_row(far: Far, done: str, work: Callable[[], None], source: Path, target: Path) -> Row:
    seconds_aim = 0.5
    copy = far.disk / "sparse" / "copy"

    def before(live: bool) -> None:
        if not live:
            log_out()
        start_over(0, target, target.parent / ".pool", copy)
        copy.mkdir()

    rsync = copies(far.usual, [source], copy, down=done == "fetched", how="-aS")["rsync"]
    found = alternate(
        {
            "ours": Contender(work, partial(before, False)),
            "live": Contender(work, partial(before, True)),
            "rsync": Contender(rsync.run, partial(before, True)),
        },
        far.few,
    )
    ours = found["ours"]
    before(False)
    work()
    return Row(
        f"2 GiB with 4 KiB of data {done}",
        f"<= {seconds_aim} s",
        str(ours),
        f"rsync --sparse {found['rsync']}",
        f"with a live session {found['live']}; {blocks(target) // KIB} KiB on the disk",
        ours.median > SLACK * seconds_aim,
        found,
        f"2 GiB of holes {done} by ssh",
    )


def slow(far: Far) -> Iterator[Row]:
    """Yield the rows about small states on a host that is 50 ms away."""
    chain = Chain.make(far.disk / "small", [_SIZE] * _STATES)
    new, copy = chain.lab.root / "new", chain.lab.root / "copy"
    chain.move(far.usual, chain.pool).publish()
    with Proxy(far.usual.port, _DELAY) as link:
        up = chain.move(far.usual, new, port=link.port)
        down = chain.move(far.usual, chain.pool, new, port=link.port)
        for done, work, there, files in (
            ("published", up.publish, False, chain.files(chain.lab.cache)),
            ("fetched", down.fetch, True, chain.files(chain.pool)),
        ):
            scp = copies(far.usual, files, copy, down=there, port=link.port)["scp"]
            yield _slow_row(far, done, work, scp.run, (new, copy), up.log_in)
    log_out()
    shutil.rmtree(chain.lab.root)


def _slow_row(  # noqa: PLR0917
    far: Far,
    done: str,
    work: Callable[[], None],
    scp: Callable[[], float],
    made: tuple[Path, Path],
    log_in: Callable[[], None],
) -> Row:
    limit = 2

    def before(live: bool) -> None:
        start_over(0, *made)
        made[1].mkdir()
        if live:
            log_in()
        else:
            log_out()

    found = alternate(
        {
            "ours": Contender(work, partial(before, False)),
            "live": Contender(work, partial(before, True)),
            "scp": Contender(scp, partial(before, False)),
        },
        far.runs,
    )
    ours, other = found["ours"], found["scp"]
    times = ratio(ours, other)
    return Row(
        f"{_STATES} states of {_SIZE // KIB} KiB {done} over a link of "
        f"{2 * _DELAY * 1000:.0f} ms there and back",
        f"<= {limit} x one scp of all files",
        str(ours),
        f"scp {other}",
        f"{times:.2f} x scp; with a live session {found['live']}",
        times > SLACK * limit,
        found,
        f"5 small states {done}, 50 ms away",
    )
