"""
What the sourced backends add to local hooks that users write: each row of the documented interface.

Two vms with two images each, as plain chains and inside of nets.
"""

import pytest

from avocado_pool_plugin.core.errors import SettingRefused, StateMissing
from avocado_pool_plugin.states import setup
from tests.support.hooks import Hooks, ImageHooks, RunningHooks
from tests.support.hosts import Hosts, installed
from tests.support.states import OWN, SHARED
from tests.support.vms import holds, tool, write

BOTH = {"pool_scope": "own shared"}
IMAGES = [(vm, image) for vm in ("vm1", "vm2") for image in ("image1", "image2")]
MACHINES = ("vm1", "vm2")


class Env:
    """An environment of a test, with vms."""

    def get_vm(self, name):
        return f"the {name}"


class Suite:
    """Objects of a chain of types, whose states are those of small hooks in cache and pool."""

    def __init__(self, lab, chain, monkeypatch):
        self.lab, self.chain = lab, chain
        self.above = "net1/" if chain.startswith("nets") else ""
        self.hosts = Hosts(lab.root / "hosts")
        self.images = installed(self.hosts, monkeypatch, "image-hooks", ImageHooks)
        self.machines = installed(self.hosts, monkeypatch, "running-hooks", RunningHooks)
        self.env = Env()
        (lab.root / "machines").mkdir()

    def params(self, kind, **more):
        given = {
            **{"nets": "net1", "states_chain": self.chain, "machines": f"{self.lab.root}/machines"},
            **{"states_images": "image-hooks", "states_vms": "running-hooks"},
            **{"skip_types": " ".join({"nets", "vms", "images"} - {kind}), "pool_fsync": "no"},
            **{"set_mode": "ff", "check_mode": "rr"},
        }
        return self.lab.params(**{"vms": "vm1 vm2", "images": "image1 image2", **given, **more})

    def do(self, verb, kind, state, **more):
        """Ask for a state of all objects of a type."""
        params = self.params(kind, **{f"{verb}_state_{kind}": state}, **more)
        before = dict(params)
        found = getattr(setup, f"{verb}_states")(params, self.env)
        assert dict(params) == before
        return found

    def objects(self, kind, **more):
        """Return the params of each object as a backend gets them."""
        return list(setup.stateful_objects(self.params(kind, **more)))

    def start(self):
        """Make images and vms, each with content of its own."""
        for number, place in enumerate(IMAGES):
            write(self.lab.make_image(*place), 10 + number)
        for vm in MACHINES:
            self.memory(vm).write_bytes(vm.encode())

    def memory(self, vm):
        return self.lab.root / "machines" / f"{self.above}{vm}".replace("/", "-")

    def names(self, kind):
        if kind == "vms":
            return [f"{self.above}{vm}" for vm in MACHINES]
        return [f"{self.above}{vm}/{image}" for vm, image in IMAGES]

    def hooks(self, *names):
        """Return the hooks that were called since the last time, with their objects."""
        found = [(hook, name, thing) for hook, name, thing in Hooks.called if hook in names]
        Hooks.called.clear()
        return found

    def verbs(self, *names):
        """Return the file operations since the last time, with the ends of their locations."""
        pool = f":{self.lab.pool}/"
        found = [(verb, at.removeprefix(pool)) for verb, at in self.hosts.calls if verb in names]
        self.hosts.calls.clear()
        return found


@pytest.fixture(params=["vms images", "nets vms images"])
def suite(request, lab, monkeypatch):
    Hooks.called.clear()
    return Suite(lab, request.param, monkeypatch)


@pytest.fixture
def filled(suite):
    """State a of all images, and state r of all vms with their images, in cache and pool."""
    suite.start()
    suite.do("set", "images", "a", **BOTH)
    suite.do("set", "vms", "r", **BOTH)
    suite.hooks()
    suite.hosts.calls.clear()
    return suite


def files(name, places=IMAGES):
    return [f"{vm}/{image}/{name}.qcow2" for vm, image in places]


# -- set -----------------------------------------------------------------------------------------


def test_set_of_images(suite):
    suite.start()
    suite.do("set", "images", "a", **BOTH)
    assert suite.hooks("set") == [
        ("set", name, f"the {name.split('/')[-2]}") for name in suite.names("images")
    ]
    assert suite.verbs("upload") == [("upload", file) for file in files("a")]
    for number, place in enumerate(IMAGES):
        for file in (suite.lab.state("a", *place), suite.lab.shared("a", *place)):
            assert holds(file, 10 + number)


def test_set_of_vms(suite):
    """The RAM and the states of all images: in the pool the RAM comes last, as others need it."""
    suite.start()
    suite.do("set", "vms", "r", **BOTH)
    assert suite.hooks("set") == [
        ("set", name, f"the {vm}") for name, vm in zip(suite.names("vms"), MACHINES, strict=True)
    ]
    assert suite.verbs("upload") == [
        ("upload", file)
        for number, vm in enumerate(MACHINES)
        for file in [*files("r", IMAGES[2 * number : 2 * number + 2]), f"{vm}/r.state"]
    ]
    for vm in MACHINES:
        assert (suite.lab.pool / vm / "r.state").read_bytes() == vm.encode()


@pytest.mark.parametrize("kind", ["images", "vms"])
def test_set_only_here(suite, kind):
    suite.start()
    suite.do("set", kind, "a", **OWN)
    assert len(suite.hooks("set")) == len(suite.names(kind))
    assert suite.hosts.calls == [] and not suite.lab.pool.exists()


@pytest.mark.parametrize("kind", ["images", "vms"])
def test_set_only_there_publishes_what_is_here(suite, kind):
    suite.start()
    with pytest.raises(RuntimeError, match=r"is not in the cache and so can't be published"):
        suite.do("set", kind, "a", **SHARED)
    assert suite.hosts.calls == [] or suite.verbs("upload") == []
    suite.do("set", kind, "a", **OWN)
    suite.hooks()
    suite.start()
    suite.do("set", kind, "a", **SHARED)
    assert suite.hooks("set") == []
    for number, place in enumerate(IMAGES):
        assert holds(suite.lab.shared("a", *place), 10 + number)


def test_set_again_by_hooks_that_know_of_no_records(filled):
    """What they write is the state: it is not taken for a damaged one."""
    for place in IMAGES:
        write(filled.lab.image(*place), 77)
    for vm in MACHINES:
        filled.memory(vm).write_bytes(b"another")
    filled.do("set", "images", "a", **BOTH)
    filled.do("set", "vms", "r", **BOTH)
    for place in IMAGES:
        assert holds(filled.lab.shared("a", *place), 77)
    assert (filled.lab.pool / "vm2" / "r.state").read_bytes() == b"another"
    filled.do("unset", "vms", "r", **OWN)
    filled.memory("vm1").write_bytes(b"a third")
    filled.do("set", "vms", "r", **BOTH)
    assert (filled.lab.pool / "vm1" / "r.state").read_bytes() == b"a third"


# -- get -----------------------------------------------------------------------------------------


def lose(suite):
    """Remove all that is in the cache, and change what is there now."""
    for path in [p for p in suite.lab.cache.rglob("*") if p.suffix in (".qcow2", ".state")]:
        path.unlink()
    for place in IMAGES:
        write(suite.lab.image(*place), 99)
    for vm in MACHINES:
        suite.memory(vm).write_bytes(b"lost")


def test_get_of_images_that_are_only_there(filled):
    lose(filled)
    filled.do("get", "images", "a", **BOTH)
    assert filled.verbs("compare", "download") == [("download", file) for file in files("a")]
    assert [name for _, name, _ in filled.hooks("get")] == filled.names("images")
    for number, place in enumerate(IMAGES):
        assert holds(filled.lab.image(*place), 10 + number)


def test_get_of_vms_that_are_only_there(filled):
    lose(filled)
    filled.do("get", "vms", "r", **BOTH)
    assert len(filled.verbs("download")) == 6
    for number, place in enumerate(IMAGES):
        assert holds(filled.lab.image(*place), 10 + number)
    assert [filled.memory(vm).read_bytes() for vm in MACHINES] == [b"vm1", b"vm2"]


@pytest.mark.parametrize(("kind", "state"), [("images", "a"), ("vms", "r")])
def test_get_of_what_is_here_and_equal_moves_nothing(filled, kind, state):
    filled.do("get", kind, state, **BOTH)
    assert filled.verbs("download") == []
    assert [name for _, name, _ in filled.hooks("get")] == filled.names(kind)


def test_get_of_one_that_differs_moves_that_one(filled):
    odd = IMAGES[2]
    filled.lab.state("a", *odd).unlink()
    tool("qemu-img", "create", "-q", "-f", "qcow2", filled.lab.state("a", *odd), "16M")
    filled.do("get", "images", "a", **BOTH)
    assert filled.verbs("download") == [("download", *files("a", [odd]))]
    assert holds(filled.lab.image(*odd), 12)


def test_get_of_a_vm_whose_memory_differs(filled):
    ram = filled.lab.cache / "vm2" / "r.state"
    ram.unlink()
    ram.write_bytes(b"another")
    filled.do("get", "vms", "r", **BOTH)
    assert ("download", "vm2/r.state") in filled.verbs("download")
    assert filled.memory("vm2").read_bytes() == b"vm2"


@pytest.mark.parametrize(("kind", "state"), [("images", "a"), ("vms", "r")])
def test_get_only_there_fetches_and_touches_no_object(filled, kind, state):
    lose(filled)
    filled.do("get", kind, state, **SHARED)
    assert filled.hooks("get") == []
    for number, place in enumerate(IMAGES):
        assert holds(filled.lab.state(state, *place), 10 + number)
        assert holds(filled.lab.image(*place), 99)


@pytest.mark.parametrize(("kind", "state"), [("images", "a"), ("vms", "r")])
def test_get_only_here_asks_nobody(filled, kind, state):
    filled.do("get", kind, state, **OWN)
    assert filled.hosts.calls == []
    lose(filled)
    for params in filled.objects(kind, **{f"get_state_{kind}": state}, **OWN):
        backend = setup.BACKENDS[params["states"]]
        with pytest.raises(StateMissing, match=f"'{state}' of {params['object_name']}"):
            backend.get(params)


def test_get_of_a_corrupt_memory_takes_the_one_here(filled):
    """It is true to what was recorded of the one in the pool."""
    ram = filled.lab.pool / "vm1" / "r.state"
    ram.chmod(0o644)
    ram.write_bytes(b"damaged")
    filled.memory("vm1").write_bytes(b"lost")
    filled.do("get", "vms", "r", **BOTH)
    assert filled.memory("vm1").read_bytes() == b"vm1"


# -- unset and show ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), [("images", "a"), ("vms", "r")])
@pytest.mark.parametrize("scope", [OWN, SHARED, BOTH], ids=lambda scope: scope["pool_scope"])
def test_unset(filled, kind, state, scope):
    filled.do("unset", kind, state, **scope)
    here, there = "own" in scope["pool_scope"], "shared" in scope["pool_scope"]
    assert len(filled.hooks("unset")) == (len(filled.names(kind)) if here else 0)
    for place in IMAGES:
        assert filled.lab.state(state, *place).exists() is not here
        assert filled.lab.shared(state, *place).exists() is not there
    if kind == "vms":
        for vm in MACHINES:
            assert (filled.lab.cache / vm / "r.state").exists() is not here
            assert (filled.lab.pool / vm / "r.state").exists() is not there
    other = "r" if state == "a" else "a"
    assert all(filled.lab.state(other, *place).exists() for place in IMAGES)


def shown(suite, kind, **more):
    found = {}
    for params in suite.objects(kind, **more):
        found[params["object_name"]] = setup.BACKENDS[params["states"]].show(params)
    return found


def test_show(filled):
    """Of each object its own states, from cache and pool, and a vm's are not its images'."""
    filled.lab.state("a", *IMAGES[0]).unlink()
    filled.lab.shared("a", *IMAGES[1]).unlink()
    (filled.lab.cache / "vm1" / "r.state").unlink()
    (filled.lab.pool / "vm2" / "r.state").unlink()
    images, vms = filled.names("images"), filled.names("vms")
    both, one = ["a", "r"], ["r"]
    assert shown(filled, "images", **BOTH) == dict.fromkeys(images, both)
    assert shown(filled, "images", **OWN) == dict(zip(images, (one, both, both, both), strict=True))
    assert shown(filled, "images", **SHARED) == dict(
        zip(images, (both, one, both, both), strict=True)
    )
    assert shown(filled, "vms", **BOTH) == dict.fromkeys(vms, one)
    assert shown(filled, "vms", **OWN) == dict(zip(vms, ([], one), strict=True))
    assert shown(filled, "vms", **SHARED) == dict(zip(vms, (one, []), strict=True))


# -- roots ---------------------------------------------------------------------------------------


def shared_root(suite, vm, image):
    return suite.lab.pool / vm / f"{vm}-{image}.qcow2"


def roots(suite, here, there):
    """Make the images here hold 1, or ``other`` 2, and those in the pool 1."""
    for place in IMAGES:
        if there:
            write(suite.lab.make_image(*place), 1)
            shared_root(suite, *place).parent.mkdir(parents=True, exist_ok=True)
            suite.lab.image(*place).rename(shared_root(suite, *place))
        if here == "same":
            tool("cp", shared_root(suite, *place), suite.lab.image(*place))
        elif here:
            write(suite.lab.make_image(*place), 2)


SCOPES = {"own": OWN, "shared": SHARED, "own shared": BOTH}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("here", ["", "other"])
@pytest.mark.parametrize("scope", SCOPES)
def test_check_root(suite, scope, here, there):
    roots(suite, here, there)
    expected = bool(here) or (there and scope != "own")
    for params in suite.objects("images", **SCOPES[scope]):
        assert suite.images.check_root(params, "vm") is expected
        assert suite.hooks("check_root") == [("check_root", params["object_name"], "vm")]
        asked = suite.verbs("list")
        assert asked == ([] if scope == "own" else [("list", params["vms"])])


@pytest.mark.parametrize("scope", SCOPES)
def test_check_root_of_a_vm_is_never_the_pools(suite, scope):
    roots(suite, "other", there=True)
    suite.memory("vm2").write_bytes(b"runs")
    found = [suite.machines.check_root(p) for p in suite.objects("vms", **SCOPES[scope])]
    assert found == [False, True]


#: Per scope, what is here and whether it is in the pool: what is here then, None for an error.
GET_ROOT = {
    ("own", "", False): None,
    ("own", "", True): None,
    ("own", "other", False): "other",
    ("own", "other", True): "other",
    ("shared", "", False): None,
    ("shared", "", True): "same",
    ("shared", "other", False): None,
    ("shared", "other", True): "same",
    ("own shared", "", False): None,
    ("own shared", "", True): "same",
    ("own shared", "other", False): "other",
    ("own shared", "other", True): "same",
    ("own shared", "same", True): "same",
}


@pytest.mark.parametrize(("scope", "here", "there"), GET_ROOT)
def test_get_root(suite, scope, here, there):
    roots(suite, here, there)
    expected = GET_ROOT[scope, here, there]
    for params in suite.objects("images", get_state_images="root", **SCOPES[scope]):
        image = suite.lab.image(params["vms"], params["images"])
        if expected is None:
            with pytest.raises(StateMissing):
                suite.images.get_root(params)
            assert suite.hooks("get_root") == [] and image.exists() == bool(here)
            continue
        suite.images.get_root(params, "vm")
        assert holds(image, 1 if expected == "same" else 2)
        local = [("get_root", params["object_name"], "vm")]
        assert suite.hooks("get_root") == (local if "own" in scope else [])
        fetched = expected == "same" and not (here == "same" and "own" in scope)
        assert len(suite.verbs("download")) == fetched


def test_get_root_of_a_vm_leaves_its_images(suite):
    roots(suite, "other", there=True)
    for vm in MACHINES:
        suite.memory(vm).write_bytes(b"runs")
    for scope in SCOPES.values():
        for params in suite.objects("vms", get_state_vms="root", **scope):
            suite.machines.get_root(params)
    assert all(holds(suite.lab.image(*place), 2) for place in IMAGES)
    suite.memory("vm1").unlink()
    first = suite.objects("vms", **BOTH)[0]
    with pytest.raises(StateMissing, match=f"root state of {suite.above}vm1 does not exist"):
        suite.machines.get_root(first)


@pytest.mark.parametrize("here", ["", "other"])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("scope", SCOPES)
def test_set_root(suite, scope, here, there):
    roots(suite, here, there)
    for params in suite.objects("images", set_state_images="root", **SCOPES[scope]):
        place = (params["vms"], params["images"])
        if scope == "own shared":
            with pytest.raises(SettingRefused, match="either"):
                suite.images.set_root(params)
        elif scope == "shared" and not here:
            with pytest.raises(RuntimeError, match="does not exist locally"):
                suite.images.set_root(params)
        else:
            suite.images.set_root(params, "vm")
        made = scope == "own"
        assert suite.hooks("set_root") == (
            [("set_root", params["object_name"], "vm")] if made else []
        )
        assert suite.lab.image(*place).exists() is (made or bool(here))
        published = scope == "shared" and bool(here)
        assert shared_root(suite, *place).exists() is (there or published)
        assert not published or holds(shared_root(suite, *place), 2)


@pytest.mark.parametrize("scope", SCOPES)
def test_unset_root(suite, scope):
    roots(suite, "other", there=True)
    for params in suite.objects("images", unset_state_images="root", **SCOPES[scope]):
        place = (params["vms"], params["images"])
        if scope == "own shared":
            with pytest.raises(SettingRefused, match="either"):
                suite.images.unset_root(params)
        else:
            suite.images.unset_root(params, "vm")
        assert suite.lab.image(*place).exists() is (scope != "own")
        assert shared_root(suite, *place).exists() is (scope != "shared")
        assert len(suite.hooks("unset_root")) == (scope == "own")


# -- how transport is called ---------------------------------------------------------------------


class Recorder:
    """A transport that takes down how it is called."""

    def __init__(self, states=()):
        self.states, self.calls = states, []

    def __getattr__(self, verb):
        def called(*args, **kwargs):
            assert not kwargs, "arguments are given by position"
            self.calls.append((verb, args))
            return {"show": list(self.states), "compare_chain": False, "check_root": True}.get(verb)

        return called


@pytest.fixture
def recorded(suite, monkeypatch):
    recorder = Recorder(["a"])
    monkeypatch.setattr(suite.images, "transport", recorder)
    return recorder


def test_transport_is_called_by_position(suite, recorded):
    suite.start()
    suite.do("set", "images", "a", **OWN)
    mirrors = {f"{do}_location": ":/one :/two" for do in ("show", "get", "set", "unset")}
    asked = {"get_state": "a", "set_state": "a", "unset_state": "b", **mirrors}
    params = suite.objects("images", **asked, **BOTH)[0]
    before = dict(params)
    for verb, expected in (
        ("show", [("show", ":/one"), ("show", ":/two")]),
        ("get", [("show", ":/one"), ("compare_chain", ":/one"), ("get", ":/one")]),
        ("set", [("set", ":/one"), ("set", ":/two")]),
        ("unset", [("unset", ":/one"), ("unset", ":/two")]),
    ):
        recorded.calls.clear()
        getattr(suite.images, verb)(params, "vm")
        seen = []
        for called, args in recorded.calls:
            if called == "compare_chain":
                state, cache, mirror, own = args
                assert (state, cache) == ("a", str(suite.lab.cache))
            else:
                own, thing = args
                mirror = own[f"{verb}_location"]
                assert thing == "vm"
            assert own is not params and own["object_name"] == params["object_name"]
            seen.append((called, mirror))
        assert seen == expected
    assert dict(params) == before


def test_transport_of_roots_is_called_by_position(suite, recorded):
    params = suite.objects("images", **SHARED)[0]
    suite.lab.make_image()
    for verb in ("check_root", "get_root", "set_root", "unset_root"):
        recorded.calls.clear()
        getattr(suite.images, verb)(params, "vm")
        assert [(called, args[1]) for called, args in recorded.calls] == [(verb, "vm")]


def test_objects_of_both_kinds_of_chain(suite):
    """The type is known by its last component; nets have states of their own."""
    kinds = {p["object_type"] for p in suite.objects("images")}
    assert kinds == {"nets/vms/images" if suite.above else "vms/images"}
    assert [p["object_id"] for p in suite.objects("images")] == ["vm1", "vm1", "vm2", "vm2"]
    assert [p["object_id"] for p in suite.objects("vms")] == ["vm1", "vm2"]
    nets = suite.objects("nets")
    assert [(p["object_name"], p["object_id"]) for p in nets] == (
        [("net1", "net1")] if suite.above else []
    )
