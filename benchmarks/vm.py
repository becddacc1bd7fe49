"""States of running vms beside what Avocado-VT and avocado-i2n do, with real guests."""

import contextlib
import statistics
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.guests import Guests, Measured, kvm_works
from benchmarks.lab import MIB
from benchmarks.measure import Samples, ratio, show
from benchmarks.program import Options, Program
from benchmarks.table import SLACK, Row, versus

#: How much longer a guest may be paused than writing its RAM takes, in seconds.
_PAUSE_AIM = 0.5
#: How large a RAM file may be beside the memory in use.
_SIZE_AIM = 1.1
#: Counted runs at most: each takes some ten seconds, and they differ little.
_RUNS = 3
_RESTORE, _PEER = "restore_from_file", "avocado-i2n"


def get_rows(guests: Guests) -> Iterator[Row]:
    """Yield the rows for a get, before a test and in one, from files in the page cache."""
    guests.leave_state()
    ways = ("ours", "virttest", "i2n", "virttest_once")
    found = guests.measure("before", False, *ways)
    once = found.samples("virttest_once")
    note = f"not started before (start_vm = no) {once}, {ratio(found.samples('ours'), once):.2f} x"
    work = "vm state got before a test, to a shell"
    yield _get_row(work, "vm state got before a test", found, note)
    found = guests.measure("midway", False, "ours", "virttest", "i2n")
    work = "vm state got by a test, its vm runs, to a shell"
    yield _get_row(work, "vm state got by a test", found)


def _get_row(work: str, short: str, found: Measured, *more: str) -> Row:
    beside = {"ours": found.samples("ours"), _RESTORE: found.samples("virttest")}
    note = "; ".join([*more, _peer(found)])
    row = versus(work, f"<= 0.8 x {_RESTORE}", beside, 0.8, note=note, elsewhere=True)
    return replace(row, found=_drawn(found), short=short)


def _drawn(found: Measured) -> dict[str, Samples]:
    """Return what the plot shows, by whose way it is."""
    ways = {"ours": "ours", "Avocado-VT": "virttest", _PEER: "i2n"}
    return {name: found.samples(way) for name, way in ways.items()}


def _peer(found: Measured) -> str:
    ours, theirs = found.samples("ours"), found.samples("i2n")
    return f"{_PEER} {theirs}, {ratio(ours, theirs):.2f} x"


def set_rows(guests: Guests) -> Iterator[Row]:
    """Yield the rows for a set: how long it takes, how long the guest is paused, what it leaves."""
    small = guests.measure("save", True, "ours", "virttest", "i2n")
    beside = {"ours": small.samples("ours"), "save_to_file": small.samples("virttest")}
    work = "set of a vm state, until the guest goes on and all is saved"
    row = versus(work, "none", beside, 1, note=_peer(small), elsewhere=True)
    yield replace(row, found=_drawn(small), short="vm state set")
    others = (f"{name} {show(small.samples(way, 'paused').median)}"
              for name, way in (("save_to_file", "virttest"), (_PEER, "i2n")))  # fmt: skip
    guest = "192 MiB, idle"
    yield _pause_row(guest, small, *others)
    yield _size_row(guest, small)


def large_rows(guests: Guests) -> Iterator[Row]:
    """Yield the rows for a guest with more in its memory."""
    found = guests.measure("save_large", True, "ours")
    guest = "1 GiB, 300 MiB of random data in a tmpfs"
    yield _pause_row(guest, found)
    yield _size_row(guest, found)


def _pause_row(guest: str, found: Measured, *others: str) -> Row:
    paused, written = found.samples("ours", "paused"), found.samples("ours", "written")
    cached = found.samples("ours", "written_to_cache")
    more = statistics.median(
        mine - other for mine, other in zip(paused.seconds, written.seconds, strict=True)
    )
    parts = [f"{more * 1000:+.0f} ms", f"dd without fsync {show(cached.median)}", *others]
    return Row(
        f"pause of the guest by a set, {guest}",
        f"<= dd of the RAM file with fsync + {_PAUSE_AIM} s",
        str(paused),
        f"dd {written}",
        "; ".join(parts),
        more > _PAUSE_AIM * SLACK,
        {"ours": paused, "dd": written},
    )


def _size_row(guest: str, found: Measured) -> Row:
    size, used, told = (
        statistics.median(found.all("ours", name)) for name in ("allocated", "not_zero", "used")
    )
    return Row(
        f"RAM file, allocated, {guest}",
        "<= memory in use + 10 %",
        f"{size / MIB:.1f} MiB",
        f"in use {used / MIB:.1f} MiB",
        f"{size / used:.2f} x; MemTotal - MemFree of the guest {told / MIB:.1f} MiB",
        size / used - 1 > (_SIZE_AIM - 1) * SLACK,
    )


GROUPS = {
    "get": get_rows,
    "set": set_rows,
    "large": large_rows,
}


@contextlib.contextmanager
def place(options: Options) -> Iterator[Guests]:
    """Give a suite with guests."""
    guests = Guests.below(options.build / "vm", min(options.runs, _RUNS))
    try:
        yield guests
    finally:
        guests.close()


def _notes() -> tuple[str, ...]:
    return (f"guests run with {'KVM' if kvm_works() else 'TCG, without KVM'}",)


PROGRAM = Program(GROUPS, place, _notes)
