"""Mirrors that fail: the next one for a get, what was reached and what not for a set or unset."""

import logging
import os
import time

import pytest

from avocado_pool_plugin.core import answers
from avocado_pool_plugin.core.errors import (
    FileCorrupt,
    LockTimeout,
    MirrorsFailed,
    PoolError,
    PoolSilent,
    PoolUnreachable,
    SettingRefused,
    SpaceMissing,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.states import requests, setup
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from tests.support.hosts import Hosts, hung, inside, installed
from tests.support.images import edit
from tests.support.processes import lock_holder
from tests.support.states import OWN, SHARED, get, made, other, put, show, unset
from tests.support.vms import holds, write

NAMES = ("near", "middle", "far")


class Pools:
    """Three local pools, the nearest first, behind file operations that can be made to fail."""

    def __init__(self, lab, monkeypatch):
        self.mirrors = [f":{lab.root}/{name}" for name in NAMES]
        self.where = {"shared_pool": " ".join(self.mirrors)}
        self.hosts = Hosts(lab.root / "hosts")
        self.backend = installed(self.hosts, monkeypatch)

    def fail(self, number, error, *verbs):
        """Let operations on a pool fail from now on."""
        self.hosts.fail(error, self.mirrors[number], *verbs)

    def verbs(self, number):
        """Return the operations on a pool."""
        return [verb for verb, place in self.hosts.calls if inside(place, self.mirrors[number])]

    def asked(self):
        """Return the pools that were touched."""
        return self.hosts.asked(*self.mirrors)


@pytest.fixture
def pools(lab, monkeypatch):
    return Pools(lab, monkeypatch)


@pytest.fixture
def worker(lab, pools):
    """A worker without any cached state; all pools hold state a with 1."""
    made(lab, "a", **pools.where)
    pools.hosts.calls.clear()
    return other(lab, "worker")


def file(worker, name, state="a"):
    return worker.root.parent / name / "vm1" / "image1" / f"{state}.qcow2"


def narrowed(lab, **more):
    own = lab.params(object_type="vms/images", object_name="vm1/image1", object_id="vm1", **more)
    return own.object_params("vm1").object_params("image1")


def warnings(caplog, text):
    """Return the warnings about something, of which a problem is to make one."""
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in found if text in record.getMessage()]


def lock_timeout():
    error = LockTimeout("/there/a.qcow2 is locked by host x")
    error.path = "/there/a.qcow2"
    return error


#: What file operations may raise for a mirror that fails, and as what it reaches users.
FAULTS = {
    "timeout": (lambda: TimeoutError("timed out"), PoolSilent),
    "network": (lambda: ConnectionResetError(104, "Connection reset by peer"), PoolUnreachable),
    "system": (lambda: OSError(5, "Input/output error"), PoolUnreachable),
    "protocol": (lambda: RuntimeError("session died"), MirrorsFailed),
    "missing": (lambda: StateMissing("/there/a.qcow2 does not exist"), StateMissing),
    "lock": (lock_timeout, LockTimeout),
    "lock of who knows what": (lambda: LockTimeout("locked by host x"), LockTimeout),
}


# -- get -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["list", "download"])
@pytest.mark.parametrize("fault", FAULTS)
def test_get_goes_on_to_the_next_mirror(worker, pools, fault, verb, caplog):
    error, _ = FAULTS[fault]
    pools.fail(0, error, verb)
    get(worker, "a", **pools.where)
    assert holds(worker.image(), 1)
    assert pools.asked() == pools.mirrors[:2]
    [warning] = warnings(caplog, pools.mirrors[0])
    cause = error()
    # without the number that the system has for it
    assert (getattr(cause, "strerror", None) or str(cause)) in warning or "timed out" in warning


def test_get_goes_on_if_the_cached_chain_can_not_be_compared(worker, pools):
    get(worker, "a", **pools.where)
    pools.hosts.calls.clear()
    pools.fail(0, FAULTS["timeout"][0], "compare")
    get(worker, "a", **pools.where)
    assert pools.asked() == pools.mirrors[:2]


@pytest.mark.parametrize("fault", FAULTS)
def test_get_from_none_names_all_with_their_reasons(worker, pools, fault, caplog):
    error, kind = FAULTS[fault]
    for mirror in pools.mirrors:
        pools.hosts.fail(error, mirror, "download")
    with pytest.raises(kind) as caught:
        get(worker, "a", **pools.where)
    assert type(caught.value) is kind and isinstance(caught.value, PoolError)
    text = str(caught.value)
    assert text.startswith("state 'a' of vm1/image1 can't be had: ")
    assert all(f"{mirror} (" in text for mirror in pools.mirrors)
    assert len(caught.value.problems) == 3
    assert all(f"({problem})" in text for problem in caught.value.problems)
    assert [len(warnings(caplog, f"mirror {mirror} ")) for mirror in pools.mirrors] == [1, 1, 1]
    assert not worker.state("a").exists() and not worker.image().exists()


def test_errors_of_several_kinds_have_one_of_their_own(worker, pools):
    pools.fail(0, FAULTS["timeout"][0], "download")
    edit(file(worker, "middle"), 390_000, b"damaged", keep_mtime=True)
    pools.fail(2, FAULTS["system"][0], "list")
    with pytest.raises(MirrorsFailed) as caught:
        get(worker, "a", **pools.where)
    assert [type(problem) for problem in caught.value.problems] == [
        PoolSilent,
        FileCorrupt,
        PoolUnreachable,
    ]
    for part in ("timed out", f"{file(worker, 'middle')} is corrupt", "Input/output error"):
        assert part in str(caught.value)


def test_what_errors_have_in_common_can_be_caught(worker, pools):
    pools.fail(0, FAULTS["timeout"][0], "download")
    pools.fail(1, FAULTS["system"][0], "download")
    file(worker, "far").unlink()
    with pytest.raises(PoolUnreachable) as caught:
        get(worker, "a", **pools.where)
    assert not isinstance(caught.value, TimeoutError)
    assert f"{pools.mirrors[2]} (does not have it)" in str(caught.value)


def test_the_only_mirror_fails_with_its_own_error(worker, pools):
    edit(file(worker, "near"), 390_000, b"damaged", keep_mtime=True)
    with pytest.raises(FileCorrupt) as caught:
        get(worker, "a", shared_pool=pools.mirrors[0])
    assert caught.value.path == str(file(worker, "near")) and caught.value.expected
    assert caught.value.problems == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_cached_state_if_all_fail(worker, pools, fault, caplog):
    get(worker, "a", **pools.where)
    write(worker.image(), 9)
    for mirror in pools.mirrors:
        pools.hosts.fail(FAULTS[fault][0], mirror)
    get(worker, "a", **pools.where)
    assert holds(worker.image(), 1)
    for mirror in pools.mirrors:
        assert len(warnings(caplog, f"mirror {mirror} ")) == 1
    assert len(warnings(caplog, "the cached state 'a' is used")) == 1


def test_another_cached_state_is_not_used_in_place_of_a_corrupt_one(worker, pools):
    made(worker, "a", first=60, **OWN)
    for name in NAMES:
        edit(file(worker, name), 390_000, b"damaged", keep_mtime=True)
    with pytest.raises(FileCorrupt, match="the cache has another version"):
        get(worker, "a", **pools.where)


def test_a_corrupt_mirror_is_told_once(worker, pools, caplog):
    """It is compared with the cached state first, and then it is to be fetched."""
    made(worker, "a", first=60, **OWN)
    edit(file(worker, "near"), 390_000, b"damaged", keep_mtime=True)
    get(worker, "a", **pools.where)
    assert holds(worker.image(), 1)
    assert len(warnings(caplog, f"{file(worker, 'near')} is corrupt")) == 1
    get(worker, "a", **pools.where)
    assert len(warnings(caplog, f"{file(worker, 'near')} is corrupt")) == 2, "once for each get"


def test_the_caches_own_lock_is_no_mirrors_fault(worker, pools, caplog):
    with (
        lock_holder(worker.state("a")) as holder,
        pytest.raises(LockTimeout, match=f"process {holder.pid}") as caught,
    ):
        get(worker, "a", update_pool_timeout="0.2", **pools.where)
    assert caught.value.path == str(worker.state("a"))
    assert pools.asked() == [], "no mirror could help"
    assert warnings(caplog, "mirror") == []


@pytest.mark.parametrize("error", [SpaceMissing, StateNeeded])
def test_what_the_cache_lacks_is_no_mirrors_fault(worker, pools, error):
    pools.fail(0, lambda: error("no"), "download")
    with pytest.raises(error, match=r"^no$"):
        get(worker, "a", **pools.where)
    assert pools.asked() == pools.mirrors[:1]


def test_the_cache_that_can_not_be_read_is_no_mirrors_fault(worker, pools):
    home = worker.cache / "vm1" / "image1"
    home.parent.mkdir(parents=True)
    home.symlink_to(home.name)
    with pytest.raises((PoolError, OSError)) as caught:
        get(worker, "a", **pools.where)
    assert not any(mirror in str(caught.value) for mirror in pools.mirrors)
    assert pools.asked() == []


@pytest.mark.parametrize("verb", ["get", "set", "unset", "show"])
def test_a_host_whose_params_make_no_sense_is_an_error_at_once(worker, pools, verb, monkeypatch):
    """It is no mirror that fails, but one that never can work."""
    monkeypatch.setitem(setup.BACKENDS, "qcow2ext", QCOW2ExtBackend)
    made(worker, "b", **OWN)
    asked = {
        "shared_pool": f"host:/x {pools.mirrors[0]}",
        "nets_shell_port_host": "many",
        "set_mirrors": "any",
        "pool_scope": "shared",
    }
    with pytest.raises(SettingRefused, match="nets_shell_port = 'many' for host 'host'"):
        if verb == "show":
            show(worker, **asked)
        else:
            {"get": get, "set": put, "unset": unset}[verb](worker, "b", **asked)
    with pytest.raises(SettingRefused, match="nets_shell_port = 'many' for host 'host'"):
        setup.check_requests(worker.params(get_state_images="b", **asked), *requests.VERBS)


# -- waiting -------------------------------------------------------------------------------------


def test_a_mirror_without_an_answer_is_asked_once(worker, pools, caplog):
    """Not again by the get, after the policy waited for it to find out what exists."""
    pools.fail(0, FAULTS["timeout"][0], "list")
    get(worker, "a", **pools.where)
    assert pools.verbs(0) == ["list"]
    assert len(warnings(caplog, pools.mirrors[0])) == 1
    pools.hosts.faults.clear()
    pools.hosts.calls.clear()
    get(worker, "a", **pools.where)
    assert pools.asked() == pools.mirrors[:1], "the next get asks it anew"


def test_a_mirror_that_fails_otherwise_is_tried_again_and_told_once(worker, pools, caplog):
    pools.fail(0, FAULTS["system"][0], "list")
    get(worker, "a", **pools.where)
    assert pools.verbs(0) == ["list", "list"]
    assert len(warnings(caplog, pools.mirrors[0])) == 1


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(answers, "LEAST", 0.3)
    return {"update_pool_timeout": "0.3"}


def test_a_mount_that_hangs_is_left_for_the_next_mirror(worker, pools, impatient, caplog):
    made(worker, "b", first=5, **pools.where)
    started = time.monotonic()
    with hung(worker.root.parent / "near"):
        get(worker, "a", **pools.where, **impatient)
        assert time.monotonic() - started < 10
        assert holds(worker.image(), 1)
        [warning] = warnings(caplog, "near")
        assert "does not answer, waited 0.3 seconds" in warning
        write(worker.image(), 9)
        with pytest.raises(PoolSilent, match="does not answer") as caught:
            put(worker, "a", **pools.where, **impatient)
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(PoolSilent, match=f"^{worker.root.parent}/near does not answer"):
            show(worker, **pools.where, **impatient)
        with pytest.raises(PoolSilent, match=r"may be left in .*near"):
            unset(worker, "b", **pools.where, **impatient)
        put(worker, "c", **pools.where, **impatient, set_mirrors="any")
    assert [holds(file(worker, name), 9) for name in NAMES] == [False, True, True]
    assert [file(worker, name, "b").exists() for name in NAMES] == [True, False, False]
    assert [file(worker, name, "c").exists() for name in NAMES] == [False, True, True]


def test_a_mount_that_answers_late_is_waited_for(worker, pools):
    """As long as the lock timeout, and a few seconds even if nobody wants to wait for locks."""
    assert answers.LEAST >= 1
    get(worker, "a", **pools.where, update_pool_timeout="0")
    assert holds(worker.image(), 1)


# -- whether it exists, and what there is ----------------------------------------------------------


def test_not_known_whether_it_exists_names_all(worker, pools):
    pools.fail(0, FAULTS["system"][0])
    pools.fail(2, FAULTS["system"][0])
    with pytest.raises(PoolUnreachable) as caught:
        get(worker, "b", **pools.where)
    text = str(caught.value)
    assert text.startswith("whether there is state 'b' of vm1/image1 is not known: ")
    assert f"{pools.mirrors[1]} (does not have it)" in text
    assert text.count("Input/output error") == 2


@pytest.mark.parametrize("fault", ["timeout", "system", "protocol"])
def test_show_names_all_that_can_not_be_asked(worker, pools, fault, caplog):
    error, kind = FAULTS[fault]
    made(worker, "mine", **OWN)
    for mirror in pools.mirrors[1:]:
        pools.hosts.fail(error, mirror)
    with pytest.raises(kind) as caught:
        show(worker, **pools.where)
    text = str(caught.value)
    assert text.startswith("the states of vm1/image1 can't be told: ")
    assert pools.mirrors[0] not in text and all(
        f"{mirror} (" in text for mirror in pools.mirrors[1:]
    )
    assert show(worker, pool_scope="own", **pools.where) == ["mine"], "nobody has to be asked"
    assert show(worker, shared_pool=pools.mirrors[0]) == ["a", "mine"]


# -- set -----------------------------------------------------------------------------------------


@pytest.fixture
def ready(worker, pools):
    """It started from state a and wrote 9 over it."""
    get(worker, "a", **pools.where)
    write(worker.image(), 9)
    return worker


@pytest.mark.parametrize("fault", FAULTS)
def test_set_tells_what_was_reached_and_what_not(ready, pools, fault, caplog):
    error, kind = FAULTS[fault]
    pools.fail(0, error, "upload")
    with pytest.raises(kind) as caught:
        put(ready, "a", **pools.where)
    text = str(caught.value)
    reached = ", ".join([str(ready.cache), *pools.mirrors[1:]])
    assert text.startswith(
        f"state 'a' of vm1/image1 is in {reached} but did not reach {pools.mirrors[0]} "
        f"({caught.value.problems[0]})"
    )
    assert "set_mirrors = any" in text
    assert len(warnings(caplog, f"mirror {pools.mirrors[0]} ")) == 1
    assert [holds(file(ready, name), 9) for name in NAMES] == [False, True, True]
    assert holds(ready.state("a"), 9) and holds(ready.image(), 9)


def test_set_that_reaches_none(ready, pools):
    pools.fail(0, FAULTS["system"][0], "upload")
    pools.fail(1, lambda: SpaceMissing("no room left"), "upload")
    pools.fail(2, FAULTS["lock"][0], "upload")
    put(ready, "a", **OWN)
    with pytest.raises(MirrorsFailed) as caught:
        put(ready, "a", **pools.where, **SHARED)
    text = str(caught.value)
    assert text.startswith("state 'a' of vm1/image1 did not reach ")
    for mirror, reason in zip(
        pools.mirrors, ("Input/output error", "no room", "locked"), strict=True
    ):
        assert reason in text.partition(f"{mirror} (")[2].partition(")")[0]


def test_full_pool_is_a_full_disk(ready, pools):
    pools.fail(1, lambda: OSError(28, "No space left on device"), "upload")
    with pytest.raises(SpaceMissing, match="did not reach"):
        put(ready, "a", **pools.where)


def test_the_only_mirror_of_a_set_fails_with_its_own_error(ready, pools):
    pools.fail(0, FAULTS["missing"][0], "upload")
    with pytest.raises(StateMissing, match=r"^/there/a\.qcow2 does not exist$"):
        put(ready, "a", shared_pool=pools.mirrors[0])


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scope", ["own shared", "shared"])
def test_any_mirror_is_enough_if_asked(ready, pools, fault, scope, caplog):
    if scope == "shared":
        put(ready, "a", **OWN)
    for mirror in pools.mirrors[:2]:
        pools.hosts.fail(FAULTS[fault][0], mirror, "upload")
    put(ready, "a", **pools.where, set_mirrors="any", pool_scope=scope)
    assert [holds(file(ready, name), 9) for name in NAMES] == [False, False, True]
    assert [len(warnings(caplog, f"mirror {mirror} ")) for mirror in pools.mirrors] == [1, 1, 0]


def test_none_is_not_any(ready, pools):
    for mirror in pools.mirrors:
        pools.hosts.fail(FAULTS["system"][0], mirror, "upload")
    with pytest.raises(PoolUnreachable, match=f"is in {ready.cache} but did not reach"):
        put(ready, "a", **pools.where, set_mirrors="any")
    with pytest.raises(PoolUnreachable):
        put(ready, "a", shared_pool=pools.mirrors[0], set_mirrors="any")
    put(ready, "a", **OWN, set_mirrors="any")


@pytest.mark.parametrize("value", ["some", "ALL", "all any"])
def test_another_word_than_all_and_any_is_refused_first(ready, pools, value):
    with pytest.raises(SettingRefused, match=f"set_mirrors = '{value}', expected one of all, any"):
        put(ready, "b", **pools.where, set_mirrors=value)
    assert not ready.state("b").exists()
    with pytest.raises(SettingRefused, match="set_mirrors"):
        setup.check_requests(ready.params(set_state_images="b", set_mirrors=value), *requests.VERBS)


def test_any_is_an_option_of_the_job_and_a_param_of_an_object(ready, pools):
    pools.fail(0, FAULTS["system"][0], "upload")
    put(ready, "a", **pools.where, **job_params({"pool.set_mirrors": "any"}))
    put(ready, "a", **pools.where, set_mirrors_vm1="any")
    with pytest.raises(PoolUnreachable):
        put(ready, "a", **pools.where, set_mirrors="any", set_mirrors_image1="all")


def test_a_locked_state_in_one_pool(ready, pools, caplog):
    with lock_holder(file(ready, "middle")) as holder:
        with pytest.raises(LockTimeout, match="did not reach") as caught:
            put(ready, "a", update_pool_timeout="0.2", **pools.where)
        assert f"{pools.mirrors[1]} ({file(ready, 'middle')} is locked by" in str(caught.value)
        assert f"process {holder.pid}" in str(caught.value)
        write(ready.image(), 10)
        put(ready, "a", update_pool_timeout="0.2", set_mirrors="any", **pools.where)
    assert [holds(file(ready, name), 10) for name in NAMES] == [True, False, True]
    assert len(warnings(caplog, f"mirror {pools.mirrors[1]} ")) == 2


# -- unset ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("enough", ["all", "any"])
@pytest.mark.parametrize("fault", FAULTS)
def test_unset_tells_where_a_state_may_be_left(ready, pools, fault, enough):
    """It comes back from there, so that one mirror is never enough."""
    error, kind = FAULTS[fault]
    pools.fail(1, error, "delete")
    with pytest.raises(kind) as caught:
        unset(ready, "a", **pools.where, set_mirrors=enough)
    reached = ", ".join([str(ready.cache), *pools.mirrors[::2]])
    assert str(caught.value).startswith(
        f"state 'a' of vm1/image1 is gone from {reached} but may be left in {pools.mirrors[1]} "
        f"({caught.value.problems[0]})"
    )
    assert [file(ready, name).exists() for name in NAMES] == [False, True, False]
    assert not ready.state("a").exists()
    pools.hosts.faults.clear()
    unset(ready, "a", **pools.where)
    assert not file(ready, "middle").exists()


def test_unset_that_reaches_none(ready, pools):
    for mirror in pools.mirrors:
        pools.hosts.fail(FAULTS["timeout"][0], mirror, "delete")
    with pytest.raises(PoolSilent, match=r"^state 'a' of vm1/image1 may be left in"):
        unset(ready, "a", **pools.where, **SHARED)


def test_others_stand_on_it_in_one_pool(ready, pools):
    lone = other(ready, "lone")
    lone.pool = ready.root.parent / "far"
    get(lone, "a")
    write(lone.image(), 8, "2M")
    put(lone, "b")
    with pytest.raises(StateNeeded, match=r"may be left in :.*far .*b\.qcow2"):
        unset(ready, "a", **pools.where, **SHARED)
    assert [file(ready, name).exists() for name in NAMES] == [False, False, True]


# -- roots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["timeout", "system", "protocol"])
def test_a_pool_of_roots_that_fails(lab, pools, fault):
    error, kind = FAULTS[fault]
    write(lab.make_image(), 1)
    pools.hosts.fail(error, f":{lab.pool}")
    for verb in ("check_root", "get_root", "set_root", "unset_root"):
        with pytest.raises(kind) as caught:
            getattr(pools.backend, verb)(narrowed(lab, **SHARED))
        assert f":{lab.pool}" in str(caught.value)
    assert holds(lab.image(), 1)
    assert os.path.realpath(lab.image()) == str(lab.image())
