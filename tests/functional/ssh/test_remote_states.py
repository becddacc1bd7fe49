"""Image states with pools on other hosts, through the documented functions and classes."""

import os
import subprocess
from pathlib import Path

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.errors import (
    FileCorrupt,
    HostUnreachable,
    LoginRefused,
    PoolError,
    SettingRefused,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.talk import Talk
from avocado_pool_plugin.states import requests, setup
from avocado_pool_plugin.states.pool import QCOW2ImageTransfer
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from tests.functional.states.test_recipes import CUSTOMIZE, code, recorded, run_all  # noqa: F401
from tests.support.images import edit
from tests.support.places import remove_tree
from tests.support.remote import KINDS, server
from tests.support.remote_labs import Logins, RemoteLab
from tests.support.sshd import Sshd, free_port
from tests.support.states import (
    OWN,
    SHARED,
    ask,
    contents,
    doing,
    get,
    leftovers,
    made,
    pop,
    put,
    show,
    stamp,
    trash,
    unset,
)
from tests.support.vms import backing, holds, sound, write

#: A label where nobody listens.
GONE = {"nets_shell_host_gone": "127.0.0.1"}


@pytest.fixture
def lab(tmp_path: Path) -> RemoteLab:
    return RemoteLab(tmp_path, server())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What shells over there are told to do, each a round trip."""
    done: list[str] = []
    real = Talk.call

    def counting(self, function, *args, **more):
        done.append(function)
        return real(self, function, *args, **more)

    monkeypatch.setattr(Talk, "call", counting)
    return done


def of_image(lab, **more):
    """Params as the policies hand them to a backend."""
    found = lab.params(object_id="vm1", object_type="vms/images", **more).object_params("vm1")
    found["object_name"] = "vm1/image1"
    return found


def gone() -> dict[str, str]:
    return {**GONE, "nets_shell_port_gone": str(free_port())}


# set, get, unset


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_goes_there_and_comes_back(tmp_path, kind):
    lab = RemoteLab(tmp_path, server(kind))
    with doing() as done:
        made(lab, "a", "b", "c")
    assert [what for what in done if "published" in what] == [f"published {n}" for n in "abc"]
    for name in "abc":
        sound(lab.shared(name))
    assert (backing(lab.shared("c")), backing(lab.shared("a"))) == ("b.qcow2", "")
    far = lab.elsewhere()
    with doing() as done:
        get(far, "c")
    assert done == ["fetched a", "fetched b", "fetched c", "got c"], "parents first"
    for number, name in enumerate("abc"):
        assert holds(far.image(), 1 + number, f"{number}M")
        assert far.state(name).read_bytes() == lab.state(name).read_bytes()
        assert recorded(far.state(name)).generation == recorded(lab.state(name)).generation
    with doing() as done:
        get(far, "c")
        put(far, "d")
    assert done == ["got c", "set d", "published d"]
    assert show(lab) == ["a", "b", "c", "d"]
    unset(lab, "d")
    assert show(far, **SHARED) == ["a", "b", "c"] and trash(lab.shared("d").parent) == ["d.qcow2"]
    assert leftovers(tmp_path) == []


def test_only_what_is_missing_travels(lab):
    made(lab, "a", "b", "c")
    far = lab.elsewhere()
    get(far, "b")
    with doing() as done:
        get(far, "c")
    assert done == ["fetched c", "got c"]
    far.state("a").unlink()
    with doing() as done:
        get(far, "c")
    assert done == ["fetched a", "got c"]


def test_a_version_replaced_there_is_fetched_by_those_who_have_the_old_one(lab):
    made(lab, "a")
    far = lab.elsewhere()
    get(far, "a")
    write(lab.image(), 9)
    put(lab, "a")
    with doing() as done:
        get(far, "a")
    assert done == ["fetched a", "got a"] and holds(far.image(), 9)
    assert trash(far.state("a").parent) == ["a.qcow2"] == trash(lab.shared("a").parent)


def test_several_images(lab):
    two = {"images": "image1 image2"}
    for number, image in enumerate(two["images"].split()):
        write(lab.make_image(image=image), 1 + number)
    put(lab, "a", images="image1")
    put(lab, "top", **two)
    assert (
        backing(lab.shared("top")) == "a.qcow2" and backing(lab.shared("top", image="image2")) == ""
    )
    far = lab.elsewhere()
    with doing() as done:
        get(far, "top", **two)
    assert done == ["fetched a", "fetched top", "got top", "fetched top", "got top"]
    assert [holds(far.image(image=f"image{n}"), n) for n in (1, 2)] == [True, True]
    lab.shared("top", image="image2").unlink()
    far = lab.elsewhere("third")
    far.make_image()
    write(far.image(), 77, "3M")
    with pytest.raises(exceptions.TestAbortError, match="vm1/image2"):
        get(far, "top", **two)
    assert holds(far.image(), 77, "3M"), "a state missing for one image leaves the other alone"


def test_push_and_pop(lab):
    made(lab, "a")
    write(lab.image(), 5, "4M")
    ask(lab, "push", "before")
    with pytest.raises(exceptions.TestAbortError, match="exists already"):
        ask(lab.elsewhere(), "push", "before")
    far = lab.elsewhere()
    pop(far, "before")
    assert holds(far.image(), 1) and holds(far.image(), 5, "4M")
    assert not lab.shared("before").exists() and not far.state("before").exists()
    assert show(far) == ["a"]


def test_how_a_state_was_made_travels_with_it(lab):
    run_all(lab)
    far = lab.elsewhere()
    get(far, "customize")
    for name in ("install", "customize"):
        here, there, copied = map(recorded, (lab.state(name), lab.shared(name), far.state(name)))
        assert here.recipe == there.recipe == copied.recipe is not None
        assert here.made_by == there.made_by == copied.made_by
        assert here.made == there.made == copied.made and f"test {name}" in here.made_by
        assert here.generation == there.generation == copied.generation
        assert there.digest == copied.digest is not None
    assert recorded(far.state("customize")).parent == "install"
    assert CUSTOMIZE.name in show(far)


# what stands on states over there


def test_what_others_stand_on_is_not_replaced_or_removed(lab, caplog):
    made(lab, "a", "b")
    far = lab.elsewhere()
    get(far, "a")
    for verb in (unset, pop):
        with pytest.raises(StateNeeded, match=r"b\.qcow2"):
            verb(far, "a")
        assert lab.shared("a").exists() and far.state("a").exists(), "a removal is not begun"
    write(far.image(), 9)
    before = stamp(lab.shared("a"))
    put(far, "a")
    assert f"is kept as it is, others stand on it: lab:{lab.shared('b')};" in caplog.text
    assert stamp(lab.shared("a")) == before and holds(far.state("a"), 1)
    caplog.clear()
    get(far, "a", **OWN)
    put(far, "a")
    assert not [record for record in caplog.records if record.levelname == "WARNING"], "the same"
    fresh = lab.elsewhere("fresh")
    write(fresh.make_image(), 9)
    put(fresh, "a")
    assert not fresh.state("a").exists(), "the pool's stays and the cache gets none"
    get(far, "b")
    assert holds(far.image(), 1) and holds(far.image(), 2, "1M")
    get(far, "a", **OWN)
    write(far.image(), 9)
    put(far, "a", set_cascade="yes")
    assert holds(lab.shared("a"), 9) and not lab.shared("b").exists()
    assert trash(lab.shared("a").parent) == ["a.qcow2", "b.qcow2"]


def test_a_child_of_another_parent_is_not_published(lab):
    made(lab, "a")
    far = lab.elsewhere()
    made(far, "a", first=50, **OWN)
    write(far.image(), 60, "1M")
    put(far, "b", **OWN)
    with pytest.raises(PoolError, match="the pool has another"):
        put(far, "b", **SHARED)
    assert show(lab, **SHARED) == ["a"] and holds(lab.shared("a"), 1)


def test_a_corrupt_state_over_there_counts_as_absent(lab, caplog):
    made(lab, "a", "b")
    edit(lab.shared("a"), 390_000, b"damaged")
    far = lab.elsewhere()
    with pytest.raises(FileCorrupt, match=rf"lab:{lab.shared('a')} is corrupt"):
        get(far, "b")
    assert not far.state("a").exists() and not far.state("b").exists()
    get(lab, "b")
    assert "the cached state 'b' is used" in caplog.text and holds(lab.image(), 2, "1M")
    put(lab, "b", **SHARED)
    get(far, "b")
    assert holds(far.image(), 1), "publishing what it should be has repaired it"


# mirrors


def test_a_local_and_two_remote_mirrors(lab, tmp_path):
    """Labels with params of their own: the second is another server."""
    with Sshd(tmp_path / "second") as second:
        logins, more = Logins(lab.host), Logins(second)
        everywhere = {
            "shared_pool": f":{tmp_path}/here lab:{tmp_path}/one two:{tmp_path}/other one",
            **second.params("two"),
        }
        made(lab, "a", "b", **everywhere)
        files = [tmp_path / home / "vm1" / "image1" for home in ("here", "one", "other one")]
        for home in files:
            assert holds(home / "a.qcow2", 1) and holds(home / "b.qcow2", 2, "1M")
            (home / "only.qcow2").touch()
        files[0].joinpath("only.qcow2").unlink()
        assert show(lab, **everywhere) == ["a", "b"], "what all have"
        for number, home in enumerate(files):
            far = lab.elsewhere(f"worker{number}")
            get(far, "b", **everywhere)
            assert holds(far.image(), 1) and holds(far.image(), 2, "1M")
            # the next one gets it from the next mirror
            home.joinpath("a.qcow2").unlink()
        with pytest.raises(PoolError) as caught:
            get(lab.elsewhere("last"), "b", **everywhere)
        for place in everywhere["shared_pool"].replace("other one", "other").split():
            assert place in str(caught.value)
        assert (logins(), more()) == (1, 1)
        unset(lab, "b", **everywhere)
        assert not [home for home in files if home.joinpath("b.qcow2").exists()]


def test_a_host_that_is_gone_is_one_mirror_that_fails(lab, tmp_path, caplog):
    made(lab, "a")
    mirrors = {**gone(), "shared_pool": f"gone:/x lab:{lab.pool}"}
    far = lab.elsewhere()
    get(far, "a", **mirrors)
    assert holds(far.image(), 1)
    told = [
        r.getMessage()
        for r in caplog.records
        if r.levelname == "WARNING" and "gone" in r.getMessage()
    ]
    assert len(told) == 1 and told[0].startswith("mirror gone:/x failed, get of state 'a'")
    write(far.image(), 2)
    with pytest.raises(HostUnreachable) as caught:
        put(far, "a", **mirrors)
    assert "is in" in str(caught.value) and f"lab:{lab.pool} but did not reach gone:/x" in str(
        caught.value
    )
    assert holds(lab.shared("a"), 2)
    write(far.image(), 3)
    put(far, "a", set_mirrors="any", **mirrors)
    assert holds(lab.shared("a"), 3)
    with pytest.raises(HostUnreachable, match="gone"):
        show(far, **mirrors)
    with pytest.raises(HostUnreachable, match=r"is gone from .* but may be left in gone:/x"):
        unset(far, "a", **mirrors)
    assert not lab.shared("a").exists() and not far.state("a").exists()
    with pytest.raises(HostUnreachable, match="gone"):
        get(lab.elsewhere("empty"), "nowhere", **mirrors)


def test_who_lets_nobody_in_is_asked_once_for_a_whole_test(lab):
    """Hosts shut out who tries too often."""
    two = {"images": "image1 image2", "set_mirrors": "any"}
    for image in two["images"].split():
        lab.make_image(image=image)
    put(lab, "a", **two)
    session.close_all()
    nobody = lab.host.client_config("nobody", IdentityFile="/dev/null")
    mirrors = {"shared_pool": f":{lab.root}/local lab:{lab.pool}", "ssh_config_lab": str(nobody)}
    shut_out = lab.host.log().count("preauth")
    put(lab, "a", **mirrors, **two)
    assert lab.host.log().count("preauth") == shut_out + 1
    get(lab, "a", **mirrors, **two)
    assert lab.host.log().count("preauth") == shut_out + 1, "the nearer one has it"
    with pytest.raises(LoginRefused, match="host lab"):
        show(lab, **mirrors, **two)


def test_the_cached_state_is_used_when_no_host_answers(lab, caplog):
    made(lab, "a")
    write(lab.image(), 9)
    get(lab, "a", **gone(), shared_pool="gone:/x")
    assert holds(lab.image(), 1)


@pytest.mark.parametrize(
    ("where", "scope"),
    [
        ({"nets_gateway_lab": "gw1", "nets_host_lab": "h2"}, "swarm"),
        ({"nets_gateway_lab": "gw2", "nets_host_lab": "h1"}, "cluster"),
        ({"nets_gateway_lab": "gw1", "nets_host_lab": "h1"}, "shared"),
    ],
)
def test_scopes(lab, where, scope):
    here = {"nets_gateway": "gw1", "nets_host": "h1", **where}
    logins = Logins(lab.host)
    made(lab, "a", pool_scope="own", **here)
    others = " ".join({"own", "shared", "swarm", "cluster"} - {scope})
    put(lab, "a", pool_scope=others, **here)
    assert logins() == 0 and not lab.pool.exists(), "what is out of scope is left alone"
    put(lab, "a", pool_scope=scope, **here)
    assert lab.shared("a").exists() and show(lab, pool_scope=scope, **here) == ["a"]
    far = lab.elsewhere()
    with pytest.raises(exceptions.TestAbortError, match="'a' of vm1/image1 does not exist"):
        get(far, "a", pool_scope=others, **here)
    get(far, "a", pool_scope=f"own {scope}", **here)
    assert holds(far.image(), 1)


def test_the_nearest_host_is_asked_first(lab, tmp_path):
    """As avocado-i2n's swarms are: caches of other workers, each with its seat."""
    for number, name in enumerate(("near", "far")):
        worker = RemoteLab(tmp_path / name, lab.host, "states")
        made(worker, "a", first=10 * (1 + number), **OWN)
    seats = {
        **lab.host.params("near"), **lab.host.params("far"),
        "nets_gateway": "gw1", "nets_host": "h1",
        "nets_gateway_near": "gw1", "nets_host_near": "h2",
        "nets_gateway_far": "gw2", "nets_host_far": "h3",
        "get_location": f"far:{tmp_path}/far/states near:{tmp_path}/near/states",
        "pool_scope": "own swarm cluster",
    }  # fmt: skip
    get(lab, "a", **seats)
    assert holds(lab.image(), 10)
    get(lab, "a", **{**seats, "pool_scope": "own cluster"})
    assert holds(lab.image(), 20)


def test_the_same_path_on_another_host_is_not_the_cache(lab, tmp_path):
    """Workers whose caches have the same path, and params that say nothing of hosts."""
    there = lab.elsewhere("host2")
    made(there, "a", **OWN)
    # what is /…/states over there would be the cache's own path here
    lab.cache = there.cache
    scope = QCOW2ExtBackend.permitted("get", of_image(lab, get_location=f"lab:{lab.cache}"))
    assert [place for place, _ in scope] == [f"lab:{lab.cache}"]
    known = {"nets_host": "h1", "nets_host_lab": "h1", "get_location": f"lab:{lab.cache}"}
    assert list(QCOW2ExtBackend.permitted("get", of_image(lab, **known))) == []


# roots


def test_roots(lab):
    far, there = lab.elsewhere(), lab.pool / "vm1" / "vm1-image1.qcow2"
    made(lab, "a", **OWN)
    put(lab, "root", **SHARED)
    assert holds(there, 1) and backing(there) == "", "flattened"
    assert backing(lab.image()) == str(lab.state("a")), "the image here is as it was"
    get(far, "root")
    assert holds(far.image(), 1)
    write(far.image(), 2)
    assert far.image().stat().st_mode & 0o200, "a working image can be written to"
    get(far, "root")
    assert holds(far.image(), 1), "validated: what was written is not the root"
    before = stamp(far.image())
    get(far, "root")
    assert stamp(far.image()) == before
    write(far.image(), 3)
    put(far, "root", **SHARED)
    assert holds(there, 3)
    assert [
        QCOW2ExtBackend.check_root(of_image(lab.elsewhere("third"), **scope))
        for scope in (OWN, SHARED)
    ] == [False, True]
    unset(lab, "root", **SHARED)
    assert not there.exists() and far.image().exists()
    with pytest.raises(exceptions.TestAbortError, match=rf"lab:{there}"):
        get(lab.elsewhere("fourth"), "root")
    assert leftovers(lab.root) == []


# the transport by itself


def test_transport(lab):
    made(lab, "a", "b", "c")
    far = lab.elsewhere()
    where = {f"{do}_location": f"lab:{lab.pool}" for do in ("show", "get", "set", "unset")}
    params = of_image(far, get_state="b", set_state="b", unset_state="c", **where)
    before, sides = dict(params), (str(far.cache), f"lab:{lab.pool}", params)
    assert QCOW2ImageTransfer.show(params) == ["a", "b", "c"]
    assert QCOW2ImageTransfer.compare_chain("b", *sides) is False
    QCOW2ImageTransfer.get(params)
    assert QCOW2ImageTransfer.compare_chain("b", *sides) is True
    assert QCOW2ImageTransfer.compare_chain("c", *sides) is False
    assert QCOW2ImageTransfer.compare_chain("nowhere", *sides) is False
    QCOW2ImageTransfer.transfer_chain("c", *sides)
    assert QCOW2ImageTransfer.compare_chain("c", *sides) is True
    edit(lab.shared("a"), 390_000, b"damaged")
    assert QCOW2ImageTransfer.compare_chain("c", *sides) is False, "down to the base"
    QCOW2ImageTransfer.transfer_chain("b", *sides, down=False)
    assert QCOW2ImageTransfer.compare_chain("c", *sides) is True
    remove_tree(lab.pool)
    QCOW2ImageTransfer.set(params)
    assert QCOW2ImageTransfer.show(params) == ["a", "b"]
    QCOW2ImageTransfer.unset(params)
    params["unset_state"] = "b"
    QCOW2ImageTransfer.unset(params, None)
    assert QCOW2ImageTransfer.show(params) == ["a"] and dict(params) == {
        **before,
        "unset_state": "b",
    }
    params["get_state"] = "b"
    with pytest.raises(StateMissing, match=rf"lab:{lab.shared('b')}"):
        QCOW2ImageTransfer.get(params)


def test_a_chain_that_does_not_fit_is_refused_before_its_first_file(lab, tmp_path):
    made(lab, "a", "b", **OWN)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1280k", "tmpfs", str(small)], check=True)
    try:
        # each of them fits, both do not
        with pytest.raises(PoolError, match=r"a chain of 2 states needs .* in lab:.*small"):
            put(lab, "b", shared_pool=f"lab:{small}", **SHARED)
        assert not list(small.rglob("*.qcow2"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


# cost


def test_a_login_for_a_whole_test(lab):
    made(lab, "a", "b")
    far = lab.elsewhere()
    params = far.params(
        get_state_images="b", set_state_images="c", unset_state_images="c", pool_fsync="no"
    )
    logins = Logins(lab.host)
    setup.check_requests(params, *requests.VERBS)
    assert logins() == 0
    setup.get_states(params)
    setup.set_states(params)
    setup.show_states(params)
    setup.unset_states(params)
    assert logins() == 1


def test_no_login_without_remote_scope(lab):
    logins = Logins(lab.host)
    made(lab, "a", "b", **OWN)
    get(lab, "a", **OWN)
    show(lab, **OWN)
    unset(lab, "b", **OWN)
    local = {"shared_pool": f":{lab.root}/local"}
    put(lab, "a", **local)
    get(lab, "a", **local)
    assert logins() == 0


def test_a_warm_get_asks_little(lab, calls):
    names = [f"s{number}" for number in range(8)]
    made(lab, *names)
    far = lab.elsewhere()
    get(far, names[-1])
    del calls[:]
    with doing() as done:
        get(far, names[-1])
    assert done == [f"got {names[-1]}"]
    # which states the mirror has, and all files of the chain at once
    assert calls == ["pool_names", "pool_look"], calls
    del calls[:]
    put(lab, names[-1], **SHARED)
    assert len(calls) <= 4, calls


def test_nothing_is_read_or_changed_by_a_warm_get(lab):
    made(lab, "a", "b")
    far = lab.elsewhere()
    get(far, "b")
    get(far, "b")
    before = contents(lab.pool)
    get(far, "b")
    show(far)
    assert contents(lab.pool) == before
    # under a digest that nobody has found out yet the host says what it is
    assert knowledge.peek(str(far.state("b"))).info.digest


# before anything


@pytest.mark.parametrize("verb", ["get", "set", "unset", "push", "pop"])
def test_a_wrong_param_is_found_before_a_test(lab, verb):
    wrong = {"nets_shell_port_lab": "many"}
    params = lab.params(**{f"{verb}_state_images": "s"}, **wrong)
    with pytest.raises(SettingRefused, match=r"nets_shell_port.*'many'.*'lab'"):
        setup.check_requests(params, *requests.VERBS)
    logins = Logins(lab.host)
    setup.check_requests(lab.params(**{f"{verb}_state_images": "s"}), *requests.VERBS)
    assert logins() == 0
    # where the host has no part in it, it does not matter
    setup.check_requests(
        lab.params(**{f"{verb}_state_images": "s", **wrong, **OWN}), *requests.VERBS
    )


@pytest.mark.parametrize("where", ["lab:x", "la b:/x", "lab:"])
def test_what_is_no_location(lab, where):
    with pytest.raises(SettingRefused):
        setup.check_requests(lab.params(get_state_images="s", shared_pool=where), "get")


def test_file_operations_of_ones_own_for_a_host(lab, monkeypatch):
    """As users have them for hosts that no ssh reaches."""

    class Ops(QCOW2ImageTransfer.ops):
        @classmethod
        def list_remote(cls, pool_path, params):
            return cls.list_local(Location.parse(pool_path).path, params)

        @classmethod
        def compare_remote(cls, cache_path, pool_path, params):
            return cls.compare_local(cache_path, Location.parse(pool_path).path, params)

        @classmethod
        def download_remote(cls, cache_path, pool_path, params):
            return cls.download_local(cache_path, Location.parse(pool_path).path, params)

        @classmethod
        def upload_remote(cls, cache_path, pool_path, params):
            return cls.upload_local(cache_path, Location.parse(pool_path).path, params)

        @classmethod
        def parent_remote(cls, pool_path, params):
            return cls.parent_local(Location.parse(pool_path).path, params)

    transport = type("Transport", (QCOW2ImageTransfer,), {"ops": Ops})
    mine = type("Mine", (QCOW2ExtBackend,), {"transport": transport})
    monkeypatch.setitem(setup.BACKENDS, "mine", mine)
    logins = Logins(lab.host)
    made(lab, "a", "b", states_images="mine")
    far = lab.elsewhere()
    get(far, "b", states_images="mine")
    assert holds(far.image(), 2, "1M") and os.path.exists(lab.shared("b"))
    assert logins() == 0
