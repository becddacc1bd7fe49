"""Every combination of scopes, with a mirror of each: which places a verb uses, and which not."""

import itertools

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import StateMissing
from avocado_pool_plugin.params.values import SCOPES
from avocado_pool_plugin.states import requests, setup
from tests.support.hosts import Hosts, installed
from tests.support.states import OWN, get, put, unset
from tests.support.vms import Lab, holds, write

COMBINATIONS = [
    scopes for number in range(1, 5) for scopes in itertools.combinations(SCOPES, number)
]
#: What each place's state holds.
PATTERNS = dict(zip(SCOPES, (40, 41, 42, 43), strict=True))
MIRRORS = SCOPES[1:]


class Places:
    """A worker with a place of each scope: the cache, a directory and two hosts."""

    def __init__(self, lab: Lab, hosts: Hosts) -> None:
        self.lab, self.hosts = lab, hosts
        self.mirrors = {
            "own": f":{lab.cache}",
            "shared": f":{lab.pool}",
            "swarm": "near:/states",
            "cluster": "far:/states",
        }
        # the farthest first: the order is to come from nearness
        where = " ".join(reversed(self.mirrors.values()))
        self.params = {
            **{f"{do}_location": where for do in ("get", "set", "unset", "show")},
            **{"nets_gateway": "gw1", "nets_host": "h1"},
            **{"nets_gateway_near": "gw1", "nets_host_near": "h2"},
            **{"nets_gateway_far": "gw2", "nets_host_far": "h1"},
        }

    def file(self, scope: str, state: str):
        """Return the file of a state in the place of a scope."""
        return self.hosts.directory(self.mirrors[scope]) / "vm1" / "image1" / f"{state}.qcow2"

    def used(self) -> list[str]:
        """Return the scopes of the mirrors that transport touched."""
        asked = self.hosts.asked(*self.mirrors.values())
        return [scope for scope in SCOPES if self.mirrors[scope] in asked]

    def asking(self, scopes: tuple[str, ...]) -> dict[str, str]:
        return {**self.params, "pool_scope": " ".join(scopes)}


@pytest.fixture
def hosts(tmp_path):
    return Hosts(tmp_path / "hosts")


@pytest.fixture
def backend(hosts, monkeypatch):
    return installed(hosts, monkeypatch)


@pytest.fixture
def places(lab, hosts, backend):
    """State a is another one in each place."""
    found = Places(lab, hosts)
    for scope, pattern in PATTERNS.items():
        maker = Lab(lab.root / f"maker {scope}", "states")
        maker.cache = found.file(scope, "a").parents[2]
        write(maker.make_image(), pattern)
        put(maker, "a", **OWN)
    hosts.calls.clear()
    hosts.params.clear()
    return found


def narrowed(lab, **more):
    own = lab.params(object_type="vms/images", object_name="vm1/image1", object_id="vm1", **more)
    return own.object_params("vm1").object_params("image1")


@pytest.mark.parametrize("scopes", COMBINATIONS, ids="+".join)
def test_get_takes_the_nearest_permitted_place(places, lab, scopes):
    write(lab.make_image(), 9)
    get(lab, "a", **places.asking(scopes))
    nearest = next((scope for scope in MIRRORS if scope in scopes), "own")
    assert holds(places.file("own", "a"), PATTERNS[nearest]), "validated, and fetched if it differs"
    assert holds(lab.image(), PATTERNS[nearest] if "own" in scopes else 9)
    for scope in MIRRORS:
        assert holds(places.file(scope, "a"), PATTERNS[scope]), "a get changes no mirror"
    assert places.used() == [scope for scope in MIRRORS if scope == nearest]


@pytest.mark.parametrize("scopes", COMBINATIONS, ids="+".join)
def test_set_reaches_every_permitted_place(places, lab, scopes):
    write(lab.make_image(), 9)
    if "own" in scopes:
        put(lab, "b", **places.asking(scopes))
    else:
        with pytest.raises(StateMissing, match=r"'b' of vm1/image1 is not in the cache"):
            put(lab, "b", **places.asking(scopes))
        assert places.used() == []
        put(lab, "b", **OWN)
        put(lab, "b", **places.asking(scopes))
    for scope in SCOPES:
        there = places.file(scope, "b").exists()
        assert there == (scope in scopes or scope == "own")
        assert not there or holds(places.file(scope, "b"), 9)
    assert places.used() == [scope for scope in MIRRORS if scope in scopes]


@pytest.mark.parametrize("scopes", COMBINATIONS, ids="+".join)
def test_unset_reaches_every_permitted_place(places, lab, scopes):
    unset(lab, "a", **places.asking(scopes))
    assert [scope for scope in SCOPES if places.file(scope, "a").exists()] == [
        scope for scope in SCOPES if scope not in scopes
    ]
    assert set(places.used()) == set(scopes) - {"own"}


@pytest.mark.parametrize("scopes", COMBINATIONS, ids="+".join)
def test_show_unites_the_cache_with_what_all_permitted_mirrors_have(places, lab, backend, scopes):
    everywhere = ["+".join(where) for where in COMBINATIONS]
    for name, where in zip(everywhere, COMBINATIONS, strict=True):
        for scope in where:
            places.file(scope, name).touch()
    for scope in SCOPES:
        places.file(scope, "a").unlink()
    mirrors = set(scopes) - {"own"}
    expected = [
        name
        for name, where in zip(everywhere, COMBINATIONS, strict=True)
        if ("own" in scopes and "own" in where) or (mirrors and mirrors <= set(where))
    ]
    assert setup.show_states(lab.params(**places.asking(scopes))) == sorted(expected)
    assert set(places.used()) == mirrors


@pytest.mark.parametrize("scopes", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("where", SCOPES)
def test_what_is_in_no_permitted_place_does_not_exist(places, lab, backend, scopes, where):
    places.file(where, "only").touch()
    params = narrowed(lab, get_state="only", **places.asking(scopes))
    assert backend.has("get", params) is (where in scopes)
    if where not in scopes:
        lab.make_image()
        with pytest.raises(exceptions.TestAbortError) as caught:
            get(lab, "only", **places.asking(scopes))
        looked = str(caught.value).partition("looked at: ")[2].partition("; ")[0].split(", ")
        assert looked == [
            str(lab.cache) if scope == "own" else places.mirrors[scope]
            for scope in SCOPES
            if scope in scopes
        ]


def test_own_never_goes_through_transport(places, lab):
    write(lab.make_image(), 9)
    everything = places.asking(SCOPES)
    get(lab, "a", **everything)
    put(lab, "b", **everything)
    setup.show_states(lab.params(**everything))
    unset(lab, "b", **everything)
    assert places.used() == list(MIRRORS)
    assert not places.hosts.asked(places.mirrors["own"])


def test_each_mirror_gets_params_of_its_host(places, lab):
    write(lab.make_image(), 9)
    put(lab, "b", **places.asking(SCOPES))
    told = {
        (location.partition(":")[0], params["nets_host"], params["nets_gateway"])
        for (_, location), params in zip(places.hosts.calls, places.hosts.params, strict=True)
    }
    assert told == {("", "h1", "gw1"), ("near", "h2", "gw1"), ("far", "h1", "gw2")}


def test_a_host_that_file_operations_of_ones_own_reach_is_no_bad_request(places, lab):
    setup.check_requests(lab.params(get_state_images="a", **places.asking(SCOPES)), *requests.VERBS)


def test_nearness_and_scope_depend_on_where_the_cache_is(places, lab):
    """From a host in the far network the near one is the far one."""
    there = {**places.params, "nets_gateway": "gw2", "nets_host": "h9"}
    lab.make_image()
    for scope, expected in (("cluster", "swarm"), ("swarm", "cluster")):
        get(lab, "a", **there, pool_scope=f"own {scope}")
        assert holds(lab.image(), PATTERNS[expected])
    get(lab, "a", **there, pool_scope="own swarm cluster")
    assert holds(lab.image(), PATTERNS["cluster"]), "it is in the network of this one"
