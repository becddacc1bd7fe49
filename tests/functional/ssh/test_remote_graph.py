"""Graph runs with pools on another host: what a plan sees there, and at what cost."""

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import HostUnreachable, PoolUnreachable, SettingRefused
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.plan import Found
from avocado_pool_plugin.graph.why import why
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.talk import Talk
from avocado_pool_plugin.states import far, setup
from tests.functional.states.test_graph_exists import (
    CASES,
    OWN_ONLY,
    RAM,
    A,
    B,
    C,
    damage,
    finder,
    lose,
    params_of_vm,
    touch,
)
from tests.functional.states.test_recipes import found, recorded, run_all, suite
from tests.support.graphs import GraphWorker
from tests.support.images import image as make_qcow2
from tests.support.sshd import ADDRESS, Sshd, free_port
from tests.support.states import OWN, contents, made, other, put
from tests.support.vms import Lab


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
        session.close_all()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A cache, a pool and no images yet."""
    return Lab(tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What shells over there are told to do, each a round trip."""
    done: list[str] = []
    real = Talk.call

    def counting(self, function, *args):
        done.append(function)
        return real(self, function, *args)

    monkeypatch.setattr(Talk, "call", counting)
    return done


def there(sshd: Sshd, lab: Lab, **more: str) -> dict[str, str]:
    """Return params by which the pool is on another host."""
    return {"shared_pool": f"lab:{lab.pool}", **sshd.params(), **more}


def as_here(seen: Found) -> Found:
    """Return what was found in words of a pool on this host."""
    return Found(
        seen.where.removeprefix("lab").replace(" lab:", " :"),
        seen.fetch,
        seen.problem.replace(" lab:", " :"),
        seen.note,
    )


# what is seen


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].more != OWN_ONLY])
def test_a_remote_pool_is_seen_as_it_would_be_here(lab, sshd, name):
    made(lab, "a", "b", "c")
    CASES[name].spoil(lab)
    seeing, remote = finder(lab), finder(lab, **there(sshd, lab))
    for state in (C, B, A):
        assert as_here(remote(state)) == seeing(state)
    assert remote(C).good == CASES[name].good
    assert [(p.where.removeprefix("lab"), p.sight.problem) for p in remote.places(C)] == [
        (p.where, p.sight.problem) for p in seeing.places(C)
    ]


def test_what_is_to_be_fetched_is_told_with_its_size(lab, sshd):
    made(lab, "a", "b", "c")
    worker = other(lab)
    seen = finder(worker, **there(sshd, lab))(B)
    assert seen.where == f"lab:{lab.pool}"
    assert dict(seen.fetch) == {
        str(worker.state(name)): lab.shared(name).stat().st_blocks * 512 for name in "ab"
    }


@pytest.mark.parametrize("spoil", [damage, touch])
def test_a_changed_stamp_is_looked_into(lab, sshd, spoil):
    made(lab, "a", "b", "c")
    spoil(lab.shared("a"))
    seen = finder(other(lab), **there(sshd, lab))(C)
    assert seen.good == (spoil is touch)
    told = "" if spoil is touch else f"stands on 'a', which is corrupt in lab:{lab.pool}"
    assert seen.problem == told


def test_verify_always_reads_what_looks_good(lab, sshd, tmp_path):
    """A file whose times were put back is only found out by its content."""
    made(lab, "a")
    path = lab.shared("a")
    before = path.stat()
    damage(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    worker, record = other(lab), path.parent / META / "a.qcow2.json"
    text = record.read_text()
    record.write_text(
        text.replace(str(before.st_ctime_ns), str(path.stat().st_ctime_ns)), encoding="utf-8"
    )
    assert finder(worker, **there(sshd, lab))(A).good
    careful = finder(worker, pool_verify="always", **there(sshd, lab))(A)
    assert careful.problem == f"is corrupt in lab:{lab.pool}"


def test_looking_changes_nothing(lab, sshd):
    made(lab, "a", "b")
    before = contents(lab.pool)
    for state in (A, B, C):
        finder(other(lab), **there(sshd, lab))(state)
    assert contents(lab.pool) == before


def test_the_same_directory_of_two_hosts_is_two_places(lab, sshd):
    made(lab, "a")
    empty = {"shared_pool": f":{lab.root}/none lab:{lab.root}/none lab:{lab.pool}"}
    seeing = finder(other(lab), **{**there(sshd, lab), **empty})
    assert seeing(A).where == f"lab:{lab.pool}"
    made(other(lab, "third"), "a", first=9, shared_pool=f":{lab.root}/none")
    # what was looked at stays as it was for this plan, and is the first mirror for the next
    assert seeing(A).where == f"lab:{lab.pool}"
    assert finder(other(lab), **{**there(sshd, lab), **empty})(A).where == f":{lab.root}/none"


@pytest.mark.parametrize("spoiled", ["", "file", "image", "another"])
def test_states_of_vms(lab, sshd, monkeypatch, spoiled):
    monkeypatch.setitem(setup.BACKENDS, "ramfile", setup.BACKENDS["qcow2ext"])
    names = "image1 data"
    for image in names.split():
        lab.make_image(image=image)
    put(lab, "running", images=names)
    (lab.pool / RAM.path).write_bytes(b"memory" * 1000)
    if spoiled == "file":
        lose(lab.pool / RAM.path)
    elif spoiled == "image":
        lose(lab.shared("running", image="data"))
    elif spoiled == "another":
        damage(lab.shared("running", image="data"))
    worker = other(lab)
    here = params_of_vm(worker)(RAM)
    monkeypatch.setattr(
        worker,
        "params",
        lambda real=worker.params, **more: real(**{**more, **there(sshd, lab)}),
    )
    seen = params_of_vm(worker)(RAM)
    assert as_here(seen) == here
    assert seen.good == (not spoiled)
    assert len(seen.fetch) == (0 if spoiled else 3)


# recipes


@pytest.mark.parametrize("mode", ["ignore", "warn", "rebuild"])
def test_how_a_state_was_made_counts_wherever_it_is(lab, sshd, mode):
    run_all(lab)
    now = suite(other(lab), mem="512", recipe_mode=mode)
    remote = suite(other(lab), mem="512", recipe_mode=mode, **there(sshd, lab))
    for name in ("install", "customize"):
        state = State("vm1", "image1", name)
        seen = found(remote, state)
        assert as_here(seen) == found(now, state)
        assert (seen.good, bool(seen.note)) == (mode != "rebuild", mode == "warn")
    same = suite(other(lab), recipe_mode=mode, **there(sshd, lab))
    assert found(same, State("vm1", "image1", "customize")).note == ""


def test_why_tells_of_remote_pools(lab, sshd):
    made(lab, "a", "b")
    seeing = finder(lab, **there(sshd, lab))
    mine, remote = why(B, seeing)
    assert (mine.where, remote.where) == ("cache", f"lab:{lab.pool}")
    for told, path in ((mine, lab.state("b")), (remote, lab.shared("b"))):
        assert told.info is not None and told.info.made_by == recorded(path).made_by
        assert told.lines()[1:] == mine.lines()[1:]


# hosts that can't be reached


def gone(**more: str) -> dict[str, str]:
    """Return params of a host where nobody listens."""
    return {"nets_shell_host_gone": ADDRESS, "nets_shell_port_gone": str(free_port()), **more}


def test_an_unreachable_host_is_passed_by_and_told_once(lab, sshd, caplog):
    made(lab, "a", "b", "c")
    mirrors = {"shared_pool": f"gone:/x lab:{lab.pool}"}
    seeing = finder(other(lab), **{**there(sshd, lab), **gone(), **mirrors})
    assert [seeing(state).where for state in (A, B, C)] == [f"lab:{lab.pool}"] * 3
    [told] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert told.startswith("mirror gone:/x can't be used: ") and "Connection refused" in told
    assert [place.where for place in seeing.places(A)] == [f"lab:{lab.pool}"]


def test_a_cached_state_is_used_when_the_host_is_unreachable(lab):
    made(lab, "a", **OWN)
    seeing = finder(lab, **gone(shared_pool="gone:/x"))
    assert seeing(A) == Found("cache")
    assert [place.where for place in seeing.places(A)] == ["cache"]


def test_a_state_that_only_an_unreachable_host_may_have_is_an_error(lab):
    seeing = finder(lab, **gone(shared_pool="gone:/x"))
    for look in (seeing, seeing.places):
        with pytest.raises(HostUnreachable, match=r"looking at gone:/x.*host gone.*refused.*check"):
            look(A)


@pytest.fixture
def door() -> Iterator[tuple[int, list[object]]]:
    """A port where everybody is shown out at once, and who was."""
    guests: list[object] = []
    with socket.create_server((ADDRESS, 0)) as server:

        def greet() -> None:
            while True:
                try:
                    guest, name = server.accept()
                except OSError:
                    return
                guest.close()
                guests.append(name)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield server.getsockname()[1], guests
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_host_that_fails_is_tried_once_in_a_plan(lab, door):
    port, guests = door
    names = [f"s{number}" for number in range(20)]
    own = {"nets_shell_host_gone": ADDRESS, "nets_shell_port_gone": str(port)}
    seeing = finder(lab, *names, shared_pool="gone:/x", **own)
    for name in names:
        with pytest.raises(PoolUnreachable):
            seeing(State("vm1", "image1", name))
    assert len(guests) == 1


def test_a_setting_that_makes_no_sense_ends_the_plan(lab):
    made(lab, "a", **OWN)
    wrong = {"shared_pool": "far:/x", "nets_shell_port_far": "many"}
    with pytest.raises(SettingRefused, match="nets_shell_port"):
        finder(lab, **wrong)(A)


def test_one_directory_that_can_not_be_read_is_no_reason_to_do_without_others(lab, sshd):
    made(lab, "a", "b")
    (lab.pool / "vm2").symlink_to("vm2")
    worker = other(lab)
    for names in ("ab", "ba"):
        seeing = finder(worker, *names, vms="vm1 vm2", **there(sshd, lab))
        assert [seeing(State("vm1", "image1", name)).good for name in names] == [True, True]
        for name in names:
            with pytest.raises(PoolUnreachable, match=f"vm2/image1/.*{name}.qcow2.*symbolic links"):
                seeing(State("vm2", "image1", name))


# cost


def test_two_hundred_states_are_looked_at_in_a_few_round_trips(lab, sshd, calls):
    names, vms = [f"s{number}" for number in range(20)], [f"vm{number}" for number in range(10)]
    base = make_qcow2(lab.shared("base", "one"))
    top = make_qcow2(lab.shared("top", "one"), backing=base.name)
    for name in names:
        shutil.copy(top, lab.shared(name, "one"))
    for vm in vms:
        # each stands on one that no test names
        shutil.copytree(lab.pool / "one", lab.pool / vm)
    worker = other(lab)
    tests = {"vms": " ".join(vms)}
    local, remote = (
        finder(worker, *names, **tests),
        finder(worker, *names, **tests, **there(sshd, lab)),
    )
    wanted = [State(vm, "image1", name) for name in names for vm in vms]
    session.close_all()
    del calls[:]
    started = time.monotonic()
    seen = [as_here(remote(state)) for state in wanted]
    print(f"200 states of a remote pool: {time.monotonic() - started:.2f} s, {len(calls)} calls")
    assert seen == [local(state) for state in wanted]
    assert all(one.good and len(one.fetch) == 2 for one in seen)
    # one to say hello, then all of it at once
    assert len(calls) <= 4, calls


def test_what_is_looked_at_ahead_is_no_more_than_fits_an_answer(lab, sshd, calls, monkeypatch):
    monkeypatch.setattr(far, "BATCH", 3)
    made(lab, "a")
    names = ["a", *(f"s{number}" for number in range(8))]
    seeing = finder(other(lab), *names, **there(sshd, lab))
    assert seeing(A).good
    assert [seeing(State("vm1", "image1", name)) for name in names[1:]] == [Found()] * 8
    assert calls.count("pool_look") == 3


# real runs


@pytest.fixture
def worker(tmp_path: Path, sshd: Sshd) -> Iterator[GraphWorker]:
    """A worker whose only pool is on another host, as its ssh configuration has it."""
    yield GraphWorker(tmp_path, f"lab:{tmp_path}/far", ssh_config=sshd.lab("aliases"))


def masters() -> list[str]:
    """Return the command lines of all programs that hold connections."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].startswith("ssh") and "aliases" in " ".join(words):
            found.append(" ".join(words))
    return found


def test_states_made_in_one_run_are_had_from_the_host_in_the_next(worker, tmp_path):
    worker.graph("--disable-sysinfo", "--vt-only-filter", "plain").passed()
    assert worker.ran() == ["install", "plain"]
    assert masters() == [], "all connections were closed"
    assert [path.name for path in (tmp_path / "far/vm1/image1").glob("*.qcow2")] == [
        "install.qcow2"
    ]
    shutil.rmtree(worker.cache)
    second = worker.graph("--disable-sysinfo", "--vt-only-filter", "customize").passed()
    assert worker.ran() == ["customize"], "what it stands on was had from the host"
    verbs = [event["verb"] for event in second.events("customize")]
    assert verbs == ["fetched", "got", "set", "published"]
    assert masters() == []
