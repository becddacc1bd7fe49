"""Remote pools while this process, programs over there or the connection die at any moment."""

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, locks, resume
from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    LockTimeout,
    PoolSilent,
    PoolUnreachable,
)
from avocado_pool_plugin.ssh import login, session
from tests.support import forked
from tests.support.agents import noise
from tests.support.images import MIB
from tests.support.places import put
from tests.support.remote import KINDS, server
from tests.support.remote_faults import (
    Case,
    Line,
    Scene,
    Steps,
    during,
    free,
    gone,
    left,
    make_templates,
    processes_with,
    steps_of_calls,
)
from tests.support.sshd import Sshd

#: What is interrupted, and on which kind of host.
CASES = [
    (Case("publish", "known", "image"), "python"),
    (Case("publish", "unknown"), "plain"),
    (Case("fetch", "known", "image"), "python"),
    (Case("fetch"), "rsync"),
    (Case("remove"), "plain"),
]
BIG = noise(12 * MIB)


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> Path:
    return make_templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> Iterator[None]:
    """Attempts follow each other without delay, and steps can be watched."""
    with steps_of_calls(monkeypatch):
        yield


@pytest.fixture
def scenes(file_systems, templates) -> Iterator[Callable[[Case], Scene]]:
    """Return what makes a scene in a directory of its own."""
    with tempfile.TemporaryDirectory(dir=file_systems["tmpfs"]) as directory:

        def make(case: Case) -> Scene:
            return Scene(case, Path(tempfile.mkdtemp(dir=directory)), templates)

        yield make


def said_in(scene: Scene, line: Line) -> list[str]:
    """Return the steps of an operation that nothing happens to."""
    store = line.store()
    assert store.session.abilities
    with during(Steps()) as steps:
        scene.do(store, steps)
    scene.check_done("dry run")
    return steps.said


def tried_again(caplog) -> int:
    return sum("is tried again in" in record.getMessage() for record in caplog.records)


# -- programs over there -------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "kind"), CASES, ids=str)
def test_programs_over_there_die_at_any_step(case, kind, scenes, caplog):
    with Line(server(kind)) as line:
        said = said_in(scenes(case), line)
        store = line.store()
        assert store.session.abilities
        points = [
            (number, bool(number % 2) and what != "content") for number, what in enumerate(said, 1)
        ][:: 1 if kind == "python" else 2]
        for number, lost in points:
            where = f"{case} on {kind}: {said[number - 1]}, step {number}, answer lost: {lost}"
            scene = scenes(case)
            with during(Steps(number, line.kill_programs, lost)) as steps:
                scene.do(store, steps)
            scene.check_done(where)
            scene.drop()
        assert tried_again(caplog) > 0.6 * len(points)
        assert store.session.alive, "one login was enough"


# -- the connection ------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "kind"), CASES[:4], ids=str)
@pytest.mark.parametrize("way", ["up", "down"])
def test_the_connection_is_cut_after_any_byte(case, kind, way, scenes, caplog):
    shares = (0.1, 0.6, 0.97) if kind == "python" else (0.4, 0.995)
    with Line(server(kind)) as line:
        dry = line.store()
        assert dry.session.abilities
        before = line.proxy.moved()
        scenes(case).do(dry)
        whole = getattr(line.proxy.moved(), way) - getattr(before, way)
        for share in shares:
            store = line.store()
            assert store.session.abilities
            scene = scenes(case)
            line.proxy.cut_after(**{way: int(whole * share)})
            scene.do(store)
            line.proxy.cut_after()
            scene.check_done(f"{case} on {kind}: cut after {share:.1%} {way}")
            scene.drop()
            store.session.close()
    assert tried_again(caplog) >= len(shares) // 2


@pytest.mark.parametrize(
    ("case", "kind", "how"),
    [
        (*CASES[0], "server stopped"),
        (*CASES[0], "frozen"),
        (*CASES[1], "server stopped"),
        (*CASES[2], "frozen"),
        (*CASES[2], "server killed"),
        (*CASES[4], "server stopped"),
    ],
    ids=str,
)
def test_the_connection_hangs_or_is_killed(case, kind, how, scenes, tmp_path):
    """Hanging costs a timeout; locks that the old one holds over there don't stay in the way."""
    with Line(server(kind)) as line:
        said = said_in(scenes(case), line)

    def one(number: int) -> None:
        own = Sshd(tmp_path / f"sshd{number}", programs=KINDS[kind])
        with own, Line(own) as line:
            store = line.store(timeout=2.0)
            assert store.session.abilities
            scene = scenes(case)
            with during(Steps(number, lambda: _break(line, how), lost=bool(number % 2))) as steps:
                scene.do(store, steps)
            scene.check_done(f"{case}: {how} at {said[number - 1]}, step {number}")

    last = len(said)
    numbers = {last // 2, last - 2, last - 1}
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(one, numbers)) == {None}


def _break(line: Line, how: str) -> None:
    if how == "frozen":
        line.proxy.freeze()
        threading.Timer(2.3, line.proxy.thaw).start()
    elif how == "server stopped":
        line.stop_connections()
    else:
        line.server.kill_connections()


@pytest.mark.parametrize(
    ("verb", "kind", "how"),
    [
        ("publish", "python", "cut"),
        ("publish", "python", "cut twice"),
        ("publish", "python", "server stopped"),
        ("publish", "rsync", "server stopped"),
        ("publish", "plain", "cut"),
        ("publish", "plain", "frozen"),
        ("publish", "plain", "server stopped"),
        ("fetch", "python", "cut"),
        ("fetch", "python", "frozen"),
        ("fetch", "python", "cut twice"),
        ("fetch", "rsync", "cut"),
        ("fetch", "plain", "cut"),
    ],
)
def test_what_travelled_does_not_travel_again(kind, verb, how, scenes, monkeypatch):
    monkeypatch.setattr("tests.support.remote_faults.NEW", BIG)
    with Line(server(kind)) as line:
        store = line.store(timeout=2.0)
        assert store.session.abilities
        scene = scenes(Case(verb))
        breaking = line.proxy.cut if "cut" in how else lambda: _break(line, how)
        shares = (0.4, 1.2) if how == "cut twice" else (0.75,)
        before = line.proxy.moved()
        scene.do(store, _At(breaking, *shares))  # type: ignore[arg-type]
        after = line.proxy.moved()
        scene.check_done(f"{verb} on {kind}, {how}")
    moved = sum(after) - sum(before)
    assert moved < 1.4 * len(BIG), f"{moved / len(BIG):.2f} times the file"


class _At:
    """Does something each time that so much was told of in all, as a share of the big file."""

    def __init__(self, do: Callable[[], object], *shares: float) -> None:
        self._do, self._shares = do, list(shares)
        self._done = 0

    def progress(self, done: int) -> None:
        self._done += done
        if self._shares and self._done >= self._shares[0] * len(BIG):
            del self._shares[0]
            self._do()


# -- a host that stays away ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "silent"])
@pytest.mark.parametrize("case", [Case("publish", "known"), Case("fetch", "known")], ids=str)
def test_a_host_that_stays_away_is_an_error_in_time(case, how, scenes, monkeypatch):
    monkeypatch.setattr(session, "_PAUSES", (0.1, 0.2, 0.3))
    with Line(server()) as line:
        said = said_in(scenes(case), line)
        store = line.store(timeout=1.0)
        assert store.session.abilities
        scene = scenes(case)

        def leave() -> None:
            if how == "gone":
                line.proxy.refuse()
                line.proxy.cut()
            else:
                line.proxy.freeze()

        begin = time.monotonic()
        kind = HostUnreachable if how == "gone" else PoolSilent
        with pytest.raises(kind) as caught, during(Steps(len(said) // 2, leave)) as steps:
            scene.do(store, steps)
        # a further attempt, each with its timeout, and the end of each connection
        assert time.monotonic() - begin < 8
        text = str(caught.value)
        path = scene.source if case.verb != "publish" else scene.target
        doing = {"publish": "publishing", "fetch": "fetching", "remove": "removing"}[case.verb]
        for part in (f"{doing} ", f"lab:{path}", "host lab", "check "):
            assert part in text, text
        assert text.count(" failed: ") == 1, text
        scene.check("while it is away")
        assert scene.found() == scene.old
        line.proxy.thaw()
        line.proxy.allow()
        scene.do(line.store())
        scene.check_done("it is back")


# -- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["python", "plain"])
def test_a_lock_goes_with_its_connection(kind, tmp_path):
    path = tmp_path / "s.state"
    put(path, b"content")
    with Line(server(kind)) as line:
        for end in (line.proxy.cut, line.kill_programs, lambda: _break(line, "server killed")):
            store = line.store()
            with contextlib.suppress(PoolUnreachable), store.lock(str(path), 5):
                with pytest.raises(LockTimeout, match="over ssh: shell"), locks.hold(str(path), 0):
                    pass
                end()
                free(path)
            free(path)
            store.session.close()


# -- what nobody came back for ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["python", "plain"])
def test_old_parts_over_there_are_removed(kind, scenes):
    """Of transfers that were never tried again; a younger one may still be."""
    with Line(server(kind)) as line:
        scene = scenes(Case("publish", "known"))
        meta = scene.target.parent / layout.META
        for name, age in (("old", 2 * resume.KEEP), ("young", 60.0)):
            part = meta / f"x.state.{name}.resume.part"
            part.write_bytes(b"part")
            os.utime(part, (time.time() - age,) * 2)
        scene.do(line.store())
        assert left(scene.pool.root, layout.PART) == ["x.state.young.resume.part"]


# -- this process --------------------------------------------------------------------------------


@pytest.fixture
def ours(monkeypatch) -> Iterator[Callable[[], list[int]]]:
    """Return what finds the ssh processes of children; they end soon without a user."""
    session.close_all()
    for kind in KINDS:
        server(kind)  # which is to be there before its files would be among the children's
    with tempfile.TemporaryDirectory(prefix="pool-t-", dir="/tmp") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        monkeypatch.setattr(login, "PERSIST", 5)
        try:
            yield lambda: processes_with(directory)
        finally:
            for pid in processes_with(directory):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("case", "kind"), CASES[:3], ids=str)
def test_this_process_is_killed_at_any_call(case, kind, scenes, ours, tmp_path):
    with Line(server(kind)) as line:

        def work(scene: Scene) -> Callable[[], object]:
            def do() -> None:
                store = line.store()
                scene.do(store)
                store.session.close()

            return do

        found = forked.points(work(scenes(case)), tmp_path)
        chosen = found[:: max(1, len(found) // 10)]

        def one(point: tuple[str, int]) -> bool:
            scene = scenes(case)
            scratch = Path(tempfile.mkdtemp(dir=tmp_path))
            before = set(line.programs())
            outcome = forked.killed(work(scene), scratch, *point)
            # what it had started over there may do one more thing
            gone(lambda: sorted(set(line.programs()) - before))
            where = f"{case} on {kind}: killed at {point}"
            assert outcome.status in (0, -9), outcome
            scene.check(where)
            free(scene.source)
            free(scene.target)
            scene.do(again)
            scene.check_done(where)
            scene.drop()
            return outcome.status == -9

        again = line.store()
        died = [one(point) for point in chosen]
        assert sum(died) > 0.7 * len(chosen), "the sweep mostly missed"
        again.session.close()
        gone(line.programs)
    gone(ours)


@pytest.mark.parametrize("kind", ["python", "rsync", "plain"])
def test_the_next_process_goes_on_where_a_killed_one_was(kind, scenes, ours, monkeypatch):
    monkeypatch.setattr("tests.support.remote_faults.NEW", BIG)
    with Line(server(kind)) as line:
        scene = scenes(Case("publish"))
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                scene.do(line.store(), _At(lambda: os.kill(os.getpid(), 9), 0.75))  # type: ignore[arg-type]
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        assert not scene.target.exists() and len(left(scene.directory)) == 1
        gone(line.programs)
        before = line.proxy.moved()
        scene.do(line.store())
        moved = line.proxy.moved().up - before.up
        scene.check_done(f"publish on {kind}")
    assert moved < 0.6 * len(BIG)
    gone(ours)
