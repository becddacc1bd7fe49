"""A new version of a state that differs in a few places from the one that a host has."""

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from benchmarks.far.chains import KIB, Chain, Move, copies, log_out, write
from benchmarks.far.place import Far
from benchmarks.lab import MIB, Lab, tool
from benchmarks.measure import Contender, alternate, ratio, start_over
from benchmarks.table import SLACK, Row
from tests.support.proxy import Proxy
from tests.support.sshd import Sshd

_SIZE = 300 * MIB
_SPOT = 64 * KIB
_SPOTS = _SIZE // 100 // _SPOT
_ROOM = 1
_LIMIT, _WIRE_LIMIT = 0.2, 0.05


def rows(far: Far) -> Iterator[Row]:
    """Yield the row of each kind of host, and of the best one on both kinds of file system."""
    yield from _on(far, far.reflinks, "XFS", {"python3": far.usual})
    yield from _on(far, far.disk, "ext4", far.servers)


def _on(far: Far, disk: Path, kind: str, servers: Mapping[str, Sshd]) -> Iterator[Row]:
    old = Chain.make(disk / "old", [_SIZE])
    new = _changed(old, disk / "newer")
    for name, server in servers.items():
        yield _row(far, disk, kind, name, server, old, new)
    log_out()
    for chain in (old, new):
        shutil.rmtree(chain.lab.root)


def _changed(old: Chain, root: Path) -> Chain:
    """Make a state of the same name in another cache, with other data here and there."""
    lab = Lab(root)
    lab.image.parent.mkdir(parents=True)
    (file,) = old.files(old.lab.cache)
    tool("cp", "--no-preserve=mode", file, lab.image)
    step = _SIZE // _SPOTS // _SPOT * _SPOT
    write(lab.image, [(number * step, _SPOT) for number in range(_SPOTS)])
    new = Chain(lab, old.names)
    new.save(new.state)
    return new


def _row(  # noqa: PLR0917
    far: Far, disk: Path, kind: str, name: str, server: Sshd, old: Chain, new: Chain
) -> Row:
    pool, copy = disk / "pool", disk / "copy"
    first, second = old.move(server, pool), new.move(server, pool)
    aimed = server is far.usual

    def ours(live: bool) -> None:
        start_over(0, pool, copy)
        first.publish()
        start_over(_ROOM)
        if live:
            second.log_in()
        else:
            log_out()

    def theirs() -> None:
        start_over(0, pool, copy)
        copy.mkdir()
        tool("cp", *old.files(old.lab.cache), copy)
        start_over(_ROOM)

    others = copies(far.usual, new.files(new.lab.cache), copy, how="-aI")
    found = alternate(
        {
            "ours": Contender(second.publish, partial(ours, True)),
            "new": Contender(second.publish, partial(ours, False)),
            **{who: Contender(one.run, theirs) for who, one in others.items()},
        },
        far.runs if aimed else far.few,
    )
    live, scp = found["ours"], found["scp"]
    with Proxy(server.port) as proxy:
        ours(False)
        moved = _counted(proxy, new.move(server, pool, port=proxy.port))
    times, share = ratio(live, scp), moved / _SIZE
    return Row(
        f"300 MiB of which 1 % changed, published again, with a live session ({name}, {kind})",
        f"<= {_LIMIT} x scp, <= {_WIRE_LIMIT:.0%} of the bytes" if aimed else "none",
        str(live),
        f"scp of the whole {scp}",
        f"{times:.2f} x scp; {moved / MIB:.1f} MiB on the wire with a login, {share:.1%}; "
        f"with a login {found['new']}, {ratio(found['new'], scp):.2f} x; rsync {found['rsync']}",
        aimed and (times > SLACK * _LIMIT or share > SLACK * _WIRE_LIMIT),
        # with a login, as scp and rsync have one
        {**found, "ours": found["new"], "live": live},
        f"1 % changed, published by ssh, {kind}" if aimed else "",
    )


def _counted(proxy: Proxy, move: Move) -> int:
    """Return the bytes that a publication takes, login included, in both directions."""
    move.publish()
    log_out()
    return sum(proxy.moved())
