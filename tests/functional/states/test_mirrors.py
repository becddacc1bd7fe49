"""Several pools: the nearest first, the next if one fails, all of them for a set."""

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import FileCorrupt, PoolError, PoolUnreachable
from avocado_pool_plugin.states import setup
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from avocado_pool_plugin.states.sourced import SourcedStateBackend
from tests.support.images import edit
from tests.support.states import OWN, SHARED, doing, get, made, other, put, show, unset
from tests.support.vms import holds, write


@pytest.fixture
def three(lab):
    """Locations of three pools, and their files of a state."""
    roots = [lab.root / name for name in ("near", "middle", "far")]
    return " ".join(f":{root}" for root in roots), [
        root / "vm1" / "image1" / "a.qcow2" for root in roots
    ]


@pytest.fixture
def worker(lab, three):
    """A worker without any cached state, and the pools all holding state a."""
    made(lab, "a", shared_pool=three[0])
    assert all(path.exists() for path in three[1])
    return other(lab, "worker")


def break_it(path, how):
    if how == "lacks it":
        path.unlink()
    elif how == "lacks its parent":
        from tests.support.vms import tool

        path.chmod(0o644)
        tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "p.qcow2", "-F", "qcow2", path)
    elif how == "corrupt":
        edit(path, 390_000, b"damaged", keep_mtime=True)
    elif how == "no image":
        path.chmod(0o644)
        path.write_bytes(b"no image at all")
    elif how == "unreachable":
        directory = path.parent
        directory.rename(directory.with_name("gone"))
        directory.symlink_to(directory.name)  # as a mount that has gone stale: can't be listed
    elif how == "a directory":
        path.unlink()
        path.mkdir()


BROKEN = ["lacks it", "lacks its parent", "corrupt", "no image", "unreachable", "a directory"]


@pytest.mark.parametrize("how", BROKEN)
def test_the_next_mirror_if_one_fails(worker, three, how):
    where, files = three
    break_it(files[0], how)
    with doing() as done:
        get(worker, "a", shared_pool=where)
    assert holds(worker.image(), 1)
    assert done == ["fetched a", "got a"]


@pytest.mark.parametrize("how", BROKEN)
def test_the_cached_state_if_all_fail(worker, three, how, caplog):
    where, files = three
    get(worker, "a", shared_pool=where)
    for path in files:
        break_it(path, how)
    write(worker.image(), 9)
    get(worker, "a", shared_pool=where)
    assert holds(worker.image(), 1)
    assert how == "lacks it" or "the cached state 'a' is used" in caplog.text


@pytest.mark.parametrize("how", BROKEN[1:])
def test_an_error_if_all_fail_and_nothing_is_cached(worker, three, how):
    where, files = three
    for path in files:
        break_it(path, how)
    with pytest.raises((PoolError, exceptions.TestAbortError)) as caught:
        get(worker, "a", shared_pool=where)
    assert "vm1/image1" in str(caught.value), "which file or object"
    assert not worker.state("a").exists() and not worker.image().exists()


def test_missing_in_all_names_all(worker, three):
    with pytest.raises(exceptions.TestAbortError) as caught:
        get(worker, "b", shared_pool=three[0])
    assert all(part in str(caught.value) for part in [*three[0].split(), str(worker.cache)])


def test_missing_in_one_and_another_unreachable_is_not_just_missing(worker, three):
    """Nobody can say whether the state exists."""
    break_it(three[1][2], "unreachable")
    with pytest.raises(PoolUnreachable, match="far"):
        get(worker, "b", shared_pool=three[0])


def test_show_unites_the_cache_with_what_all_mirrors_have(worker, three):
    where, files = three
    made(worker, "mine", **OWN)
    assert show(worker, shared_pool=where) == ["a", "mine"]
    files[1].unlink()
    assert show(worker, shared_pool=where) == ["mine"]
    with pytest.raises(PoolUnreachable):
        break_it(files[0], "unreachable")
        show(worker, shared_pool=where)


def test_set_and_unset_reach_all(worker, three):
    where, files = three
    get(worker, "a", shared_pool=where)
    write(worker.image(), 9)
    put(worker, "a", shared_pool=where)
    assert all(holds(path, 9) for path in files)
    unset(worker, "a", shared_pool=where)
    assert not any(path.exists() for path in files)


@pytest.mark.parametrize("verb", [put, unset])
def test_one_failing_mirror_does_not_keep_it_from_the_others(worker, three, verb):
    where, files = three
    get(worker, "a", shared_pool=where)
    write(worker.image(), 9)
    break_it(files[0], "unreachable")
    with pytest.raises(PoolError, match="near"):
        verb(worker, "a", shared_pool=where)
    for path in files[1:]:
        assert holds(path, 9) if verb is put else not path.exists()


def test_locations_of_a_verb_win_over_shared_pool(worker, three):
    where, files = three
    get(worker, "a", get_location=f":{worker.root.parent}/far", shared_pool="/nowhere")
    write(worker.image(), 9)
    put(worker, "a", set_location=where.split()[1], shared_pool=where)
    assert [holds(path, 9) for path in files] == [False, True, False]
    assert show(worker, show_location=where.split()[1], **SHARED) == ["a"]


# -- order and scope -----------------------------------------------------------------------------


def params(lab, **more):
    more = {"nets_gateway": "gw1", "nets_host": "h1", **more}
    found = lab.params(**more)
    return found.object_params("vm1").object_params("image1")


def test_sources_by_nearness(lab):
    labels = {
        "nets_gateway_lan": "gw1", "nets_host_lan": "h2",
        "nets_gateway_wan": "gw2", "nets_host_wan": "h1",
        "nets_gateway_same": "gw1", "nets_host_same": "h1",
    }  # fmt: skip
    sources = f"wan:/x :/b lan:/x :{lab.cache} same:/y :/c; wan:{lab.cache} :/a"
    found = SourcedStateBackend.get_sources("get", params(lab, get_location=sources, **labels))
    assert found == [f":{lab.cache}", ":/b", "same:/y", ":/c;", ":/a", "lan:/x",
                     f"wan:{lab.cache}", "wan:/x"]  # fmt: skip
    assert SourcedStateBackend.get_sources("set", params(lab)) == [f":{lab.pool}"]
    several = params(lab, shared_pool=":/one two :/three")
    assert SourcedStateBackend.get_sources("show", several) == [":/one two", ":/three"]


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("/any", {"nets_gateway": "gw2", "nets_host": "h1"}, "cluster"),
        ("/any", {"nets_gateway": "gw1", "nets_host": "h2"}, "swarm"),
        ("POOL", {"nets_gateway": "gw1", "nets_host": "h1"}, "shared"),
        (":POOL", {"nets_gateway": "gw1", "nets_host": "h1"}, "shared"),
        ("CACHE", {"nets_gateway": "gw1", "nets_host": "h1"}, "own"),
        ("/any", {"nets_gateway": "gw1", "nets_host": "h1"}, "shared"),
    ],
)
def test_source_scope(lab, path, source, expected):
    path = path.replace("POOL", str(lab.pool)).replace("CACHE", str(lab.cache))
    own = params(lab, shared_pool=f":{lab.pool}")
    assert SourcedStateBackend.get_source_scope(path, source, own) == expected


def test_own_never_goes_through_transport(lab):
    """A mirror that is the cache itself."""
    called = []

    class Transport:
        show = classmethod(lambda cls, params, object: called.append(params["show_location"]) or [])

    class Backend(QCOW2ExtBackend):
        transport = Transport

    everywhere = {"show_location": f":{lab.cache} :{lab.pool} :/elsewhere"}
    Backend.show(params(lab, **everywhere))
    assert called == [f":{lab.pool}", ":/elsewhere"]
    called.clear()
    Backend.show(params(lab, **everywhere, pool_scope="own"))
    Backend.show(params(lab, **everywhere, pool_scope="own swarm cluster"))
    assert called == []


def test_transport_gets_copies_with_one_mirror_each(lab):
    seen = []

    class Transport:
        @classmethod
        def show(cls, params, object):
            seen.append(dict(params))
            params["vms"] = "spoiled"
            return ["s"]

        @classmethod
        def set(cls, params, object):
            seen.append(dict(params))

    class Backend(SourcedStateBackend):
        transport = Transport
        _show = classmethod(lambda cls, params, object=None: ["s"])

    own = params(lab, set_location=":/x :/y", set_state="s", pool_scope="shared")
    before = dict(own)
    Backend.set(own)
    assert [told["set_location"] for told in seen] == [":/x", ":/y"]
    seen.clear()
    Backend.show(params(lab, show_location=":/x :/y", pool_scope="shared"))
    assert [(told["show_location"], told["vms"]) for told in seen] == [
        (":/x", "vm1"),
        (":/y", "vm1"),
    ]
    assert dict(own) == before


def test_a_corrupt_mirror_is_reported(worker, three, caplog):
    where, files = three
    for path in files[:2]:
        break_it(path, "corrupt")
    get(worker, "a", shared_pool=where)
    for path in files[:2]:
        assert f"{path} is corrupt" in caplog.text
    break_it(files[2], "corrupt")
    with pytest.raises(FileCorrupt):
        get(other(worker, "w2"), "a", shared_pool=where)


@pytest.mark.parametrize(
    "name", ["two words", "semi;colon", "co:lon", "a b:c;d e", "quo'te\"", "percent%20", "ümlaut"]
)
@pytest.mark.parametrize("marker", ["", ";"])
def test_odd_paths(lab, name, marker):
    lab.pool = lab.root / name / "pool"
    lab.cache = lab.root / f"cache {name}"
    where = f":{lab.pool}{marker} :{lab.root}/second {name}{marker}"
    made(lab, "a", "b", shared_pool=where)
    far = other(lab, f"work {name}")
    get(far, "b", shared_pool=where)
    assert holds(far.image(), 1) and holds(far.image(), 2, "1M")
    assert far.state("b").is_symlink() == bool(marker)
    assert (lab.root / f"second {name}" / "vm1" / "image1" / "b.qcow2").exists()
    assert setup.show_states(far.params(shared_pool=where)) == ["a", "b"]
