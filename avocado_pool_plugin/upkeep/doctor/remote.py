"""A pool on another host: the login, what there is over there, and all probes of its directory."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.errors import HostUnreachable, LockTimeout, PoolSilent
from avocado_pool_plugin.core.host import ACCEPT_NEW, Host
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.ssh import login, session
from avocado_pool_plugin.ssh.probe import Place, Probe
from avocado_pool_plugin.ssh.session import Session
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.talk import Abilities
from avocado_pool_plugin.upkeep.doctor import access, judge, workplace
from avocado_pool_plugin.upkeep.doctor.finding import BAD, NOTE, OK, WARN, Finding, Round

#: Seconds of a login, and of a way there and back, that are worth a word.
_SLOW_LOGIN, _SLOW_TRIP = 5.0, 0.2
#: How often the way is measured, and bytes that are moved to measure the rate.
_TRIPS, _SAMPLE = 7, 4 << 20
#: How often times are asked for until some differ, and how many differences are enough.
_ASKS, _ENOUGH = 30, 3
#: What this host's processes say of themselves in locks of the probe.
_HOLDER = "the doctor, which tries locks"


def examine(pool: Location, host: Host, any_mirror: bool = False) -> list[Finding]:
    """
    Probe a pool on another host; a directory that does not exist is not made.

    :param any_mirror: whether a set may fail on a mirror
    """
    place, far = str(pool), session.of(host)
    # every wait for a host has a limit of its own
    done = Round(place, None)
    if done.do("login", lambda: _login(place, far)):
        done.do("connection", lambda: _connection(place, far))
        done.do("connection", lambda: _directory(pool, far, any_mirror, done))
    return done.findings


def _login(place: str, far: Session) -> Iterator[Finding]:
    begin = time.monotonic()
    with far.shell() as shell:
        seconds, able = time.monotonic() - begin, shell.abilities
    told = f"{seconds:.2f} s to {far.host}, which calls itself {able.name}"
    if seconds > _SLOW_LOGIN:
        advice = "often a name server that does not answer: 'UseDNS no' in its sshd_config"
        yield Finding(place, "login", NOTE, told, advice)
    else:
        yield Finding(place, "login", OK, told)
    yield from _programs(place, able)


def _programs(place: str, able: Abilities) -> Iterator[Finding]:
    """Judge what there is over there besides what has to be."""
    if able.python:
        version = ".".join(map(str, able.version))
        found = f"{able.python} {version}: only what differs travels"
        yield Finding(place, "python3", OK, found)
    elif able.rsync:
        found = "none that works: files travel by rsync"
        yield Finding(place, "python3", NOTE, found, "install python3 (3.6 or later) there")
    else:
        found = "none that works, and no rsync: files travel as a whole"
        yield Finding(place, "python3", NOTE, found, "install python3 (3.6 or later) there")
    if able.rsync:
        yield Finding(place, "rsync", OK, able.rsync)
    if not able.flock:
        found = "none: writers of several hosts are not kept from doing work twice"
        yield Finding(place, "flock", WARN, found, "install util-linux there")


def _connection(place: str, far: Session) -> Iterator[Finding]:
    host = far.host
    ours = login.cipher(host)
    how = "aes128-gcm first, the fastest on this processor" if ours else "as ssh is configured"
    yield Finding(place, "cipher", OK, how)
    if host.host_keys == ACCEPT_NEW:
        found = "accept-new: a key not seen before is kept, one that changed is refused"
        advice = "once all hosts are known, ssh_host_keys = strict refuses unknown ones"
        yield Finding(place, "host key", OK, found, advice)
    else:
        yield Finding(place, "host key", OK, "strict: only known keys")
    with far.shell() as shell:
        probe, trips = Probe(shell, ""), []
        for _ in range(_TRIPS):
            begin = time.monotonic()
            probe.nothing()
            trips.append(time.monotonic() - begin)
    middle = statistics.median(trips)
    found = f"{middle * 1000:.1f} ms there and back"
    if middle > _SLOW_TRIP:
        advice = "each file costs some of these; a pool that is nearer, first in the list, helps"
        yield Finding(place, "latency", NOTE, found, advice)
    else:
        yield Finding(place, "latency", OK, found)
    if host.timeout < 20 * middle:
        found = f"ssh_timeout = {host.timeout:g} is short for that"
        longer = f"{max(60.0, 50 * middle):.0f}"
        advice = f"raise it: ssh_timeout = {longer}"
        yield Finding(place, "timeout", WARN, found, advice, (("ssh_timeout", longer),))


def _directory(pool: Location, far: Session, any_mirror: bool, done: Round) -> Iterator[Finding]:
    place, root = str(pool), pool.path
    with far.shell() as shell:
        probe = Probe(shell, workplace.new(root))
        there = probe.place(root)
        if not there.there:
            yield from judge.absent(place, False, there.above, there.above_writable)
            return
        if not there.directory:
            yield Finding(place, "directory", BAD, "is no directory", "correct the location")
            return
        yield from _described(place, there)
        try:
            cause = probe.make()
            if cause:
                yield judge.refused(place, cause, False, "Read-only" in cause, any_mirror)
                return
            done.do("locks", lambda: _locks(place, shell, far, probe.work))
            done.do("files", lambda: _files(place, probe))
            done.do("time stamps", lambda: _times(place, probe, shell))
            done.do("transfers", lambda: _transfers(place, probe.work, far))
        finally:
            _clear(far, probe)
        yield from access.sharing(place, there.mode, there.group, there.umask)


def _clear(far: Session, probe: Probe) -> None:
    """Remove the working directory, over a new connection if that one broke."""
    broken = (HostUnreachable, PoolSilent)
    try:
        probe.drop()
    except broken:
        with contextlib.suppress(*broken), far.shell() as shell:
            Probe(shell, probe.work).drop()


def _described(place: str, there: Place) -> Iterator[Finding]:
    if there.empty:
        yield judge.empty(place)
    yield from judge.kind(place, there.kind)
    yield from judge.room(place, judge.Room(*there.room))


def _locks(place: str, one: Shell, far: Session, work: str) -> Iterator[Finding]:
    """Let one shell over there hold a lock while another one tries to take it."""
    if not one.abilities.flock:
        return
    path = os.path.join(work, "locked")
    one.lock(path, 0, _HOLDER)
    told = ""
    try:
        with far.shell() as other:
            try:
                other.lock(path, 0, _HOLDER)
                other.unlock()
            except LockTimeout as error:
                told = str(error)
    finally:
        one.unlock()
    advice = "nothing gets corrupted, but work may be done twice; check the file system over there"
    if not told:
        yield Finding(place, "locks", WARN, "two shells held one lock at the same time", advice)
    elif _HOLDER not in told:
        found = "two shells keep each other out; who holds one is not told"
        yield Finding(place, "locks", NOTE, found)
    else:
        yield Finding(place, "locks", OK, "two shells over there keep each other out")


def _files(place: str, probe: Probe) -> Iterator[Finding]:
    yield from judge.torn(place, *probe.rename())
    able = probe.files()
    yield from judge.reflink(place, able.reflink)
    if able.sparse:
        yield from judge.sparse(place, *able.sparse)
    if able.links:
        yield Finding(place, "hard links", OK, "work")
    else:
        found = "don't work: a state that is replaced may not be kept"
        yield Finding(place, "hard links", NOTE, found)


def _times(place: str, probe: Probe, shell: Shell) -> Iterator[Finding]:
    apart: list[int] = []
    last = 0
    for _ in range(_ASKS):
        for now in probe.times():
            if last and now != last:
                apart.append(abs(now - last))
            last = now
        if len(apart) >= _ENOUGH:
            break
    between = min(apart, default=None)
    yield from judge.granularity(place, between)
    yield from judge.stamps(place, *probe.stamps((between or 2_000_000_000) * 2 / 1e9 + 0.01))
    before = time.time_ns()
    there = shell.clock(probe.work)
    after = time.time_ns()
    ahead = max(there - after, 0) or min(there + (between or 0) - before, 0)
    yield from judge.skew(place, ahead / 1e9, "the clock over there")


def _transfers(place: str, work: str, far: Session) -> Iterator[Finding]:
    """Move some MiB there and back."""
    part = layout.part_path(os.path.join(work, "sample"), durable.new_token())
    with tempfile.TemporaryDirectory(prefix="pool-doctor-") as directory, far.bulk() as bulk:
        source, target = (os.path.join(directory, name) for name in ("sent", "received"))
        with open(source, "wb") as file:
            file.write(os.urandom(_SAMPLE))
        with open(source, "rb") as file:
            begin = time.monotonic()
            sent = bulk.upload(file.fileno(), _SAMPLE, part)
            up = time.monotonic() - begin
        bulk.release()
        with open(target, "w+b") as file:
            begin = time.monotonic()
            back = bulk.download(part, file.fileno(), target_path=target)
            down = time.monotonic() - begin
        bulk.release()
    if back.digest != sent.digest:
        found = "what came back differs from what was sent"
        advice = "check memory and disks of both hosts before states are trusted to them"
        yield Finding(place, "transfer", BAD, found, advice)
        return
    yield judge.rate(place, "upload", _SAMPLE, up)
    yield judge.rate(place, "download", _SAMPLE, down)
