"""Which objects a test's params ask about: chains of types, suffixes, several vms and images."""

import pytest
from avocado.core import exceptions
from virttest.utils_params import Params

from avocado_pool_plugin.core.errors import BackendUnknown, NameRefused, PoolError
from avocado_pool_plugin.states import setup
from tests.support.states import OWN, ask, get, made, put, show, unset
from tests.support.vms import backing, holds, sound, write


@pytest.fixture
def asked(monkeypatch):
    """Names of the objects that a backend was asked about, with type, vm, image and state."""
    found = []

    class Listener(setup.StateBackend):
        needs_root = False

        @classmethod
        def show(cls, params, object=None):
            return [params.get("get_state", "")]

        @classmethod
        def get(cls, params, object=None):
            found.append(
                (params["object_name"], params["object_type"], params["get_state"], object)
            )

    monkeypatch.setitem(setup.BACKENDS, "listener", Listener)
    return found


def go(**more):
    params = Params({"states": "listener", "vms": "vm1", "images": "image1", **more})
    before = dict(params)
    setup.get_states(params, more.pop("env", None))
    assert dict(params) == before


def names(asked):
    return [f"{name}:{state}" for name, _, state, _ in asked]


def test_the_default_chain_is_vms_and_images_innermost_first(asked):
    go(get_state="s", vms="vm1 vm2", images="image1 image2")
    assert [(name, kind) for name, kind, _, _ in asked] == [
        ("vm1/image1", "vms/images"),
        ("vm1/image2", "vms/images"),
        ("vm1", "vms"),
        ("vm2/image1", "vms/images"),
        ("vm2/image2", "vms/images"),
        ("vm2", "vms"),
    ]


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("images", ["image1"]),
        ("vms", ["vm1"]),
        ("nets", ["net1"]),
        ("vms images", ["vm1/image1", "vm1"]),
        ("nets vms images", ["net1/vm1/image1", "net1/vm1", "net1"]),
    ],
)
def test_states_chain(asked, chain, expected):
    go(get_state="s", states_chain=chain, nets="net1")
    assert [name for name, *_ in asked] == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (
            {"get_state_images": "a"},
            ["vm1/image1:a", "vm1/image2:a", "vm2/image1:a", "vm2/image2:a"],
        ),
        ({"get_state_vms": "a"}, ["vm1:a", "vm2:a"]),
        ({"get_state_image1_vm1": "a"}, ["vm1/image1:a"]),
        ({"get_state_image2": "a"}, ["vm1/image2:a", "vm2/image2:a"]),
        ({"get_state_images_vm2": "a"}, ["vm2/image1:a", "vm2/image2:a"]),
        ({"get_state_vms_vm2": "a"}, ["vm2:a"]),
        ({"get_state_images_vm1": "a", "get_state_vms": "b"},
         ["vm1/image1:a", "vm1/image2:a", "vm1:b", "vm2:b"]),
        # as in avocado-i2n, what is said of a type wins over what is said of an object
        ({"get_state_images": "a", "get_state_image1_vm1": "b"},
         ["vm1/image1:a", "vm1/image2:a", "vm2/image1:a", "vm2/image2:a"]),
    ],
)  # fmt: skip
def test_suffixes(asked, params, expected):
    go(**params, vms="vm1 vm2", images="image1 image2")
    assert names(asked) == expected


@pytest.mark.parametrize(
    ("skip", "expected"),
    [
        ("images", ["net1/vm1", "net1"]),
        ("nets/vms/images", ["net1/vm1", "net1"]),
        ("vms/images", ["net1/vm1/image1", "net1/vm1", "net1"]),
        ("vms", ["net1/vm1/image1", "net1"]),
        ("nets/vms nets", ["net1/vm1/image1"]),
        ("nets vms images", []),
    ],
)
def test_skip_types_by_the_whole_type_or_its_last_part(asked, skip, expected):
    go(get_state="s", states_chain="nets vms images", nets="net1", skip_types=skip)
    assert [name for name, *_ in asked] == expected


@pytest.mark.parametrize(("skip", "left"), [("nets/vms/images", "vm1"), ("nets/vms", "vm1/image1")])
def test_skip_types_with_nets_in_a_suite_without(asked, skip, left):
    """As the control files of avocado-i2n have them."""
    go(get_state="s", skip_types=skip)
    assert [name for name, *_ in asked] == [left]


def test_readonly_images_have_no_states(asked):
    go(get_state_images="s", images="image1 cd", image_readonly_cd="yes")
    assert names(asked) == ["vm1/image1:s"]


def test_backends_get_the_vm_or_the_env(asked):
    class Env:
        def get_vm(self, name):
            return f"the vm {name}"

    env = Env()
    params = {"states": "listener", "nets": "net1", "vms": "vm1", "images": "image1"}
    setup.get_states(Params({**params, "states_chain": "nets vms images", "get_state": "s"}), env)
    assert [thing for *_, thing in asked] == ["the vm vm1", "the vm vm1", env]


def test_unknown_backend(lab):
    with pytest.raises(BackendUnknown, match=r"'nosuch'.*qcow2ext"):
        ask(lab, "get", "s", states_images="nosuch")
    with pytest.raises(PoolError, match="net1"):
        setup.get_states(Params({"states_chain": "nets", "nets": "net1", "get_state": "s"}))


@pytest.mark.parametrize("name", ["../up", "a/b", "a;b", "a:b", "n" * 300, "new\nline", ".hidden"])
@pytest.mark.parametrize("verb", ["get", "set", "unset", "check", "push", "pop"])
def test_bad_names_are_refused_before_anything_is_done(lab, verb, name):
    lab.make_image()
    before = sorted(lab.root.rglob("*"))
    with pytest.raises(NameRefused) as caught:
        ask(lab, verb, name)
    assert isinstance(caught.value, ValueError)
    assert sorted(lab.root.rglob("*")) == before


@pytest.mark.parametrize("what", ["object_id", "images"])
def test_bad_names_of_objects(lab, what):
    lab.make_image()
    more = {"object_id": "../vm1"} if what == "object_id" else {"images": ".."}
    before = sorted(lab.root.rglob("*"))
    with pytest.raises(PoolError):
        put(lab, "s", **more)
    assert sorted(lab.root.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["two words", "o'clock", 'a "b"', "näme", "$(touch x)", "-rf", "x.y", "a&b"]
)
def test_odd_names_work(lab, name):
    made(lab, name)
    lab.image().unlink()
    get(lab, name)
    assert holds(lab.image(), 1)
    assert show(lab) == [name]
    unset(lab, name)
    assert show(lab) == []


def test_two_vms_with_two_images_each(lab):
    everything = {"vms": "vm1 vm2", "images": "image1 image2"}
    places = [(vm, image) for vm in ("vm1", "vm2") for image in ("image1", "image2")]
    for number, place in enumerate(places):
        write(lab.make_image(*place), 10 + number)
    put(lab, "install", **everything)
    for number, place in enumerate(places):
        write(lab.image(*place), 20 + number, "1M")
    put(lab, "custom", **everything)
    for place in places:
        lab.image(*place).unlink()
    get(lab, "custom", **everything)
    for number, place in enumerate(places):
        sound(lab.image(*place))
        assert holds(lab.image(*place), 10 + number)
        assert holds(lab.image(*place), 20 + number, "1M")
        assert lab.shared("custom", *place).exists()
    assert show(lab, **everything) == ["custom", "install"] * 4


def test_only_the_image_that_is_named(lab):
    both = {"images": "image1 image2"}
    for image in ("image1", "image2"):
        lab.make_image(image=image)
    params = lab.params(**both, set_state_image2_vm1="s")
    setup.set_states(params)
    assert lab.state("s", image="image2").exists() and not lab.state("s").exists()
    with pytest.raises(exceptions.TestAbortError, match="vm1/image1"):
        get(lab, "s", **both)
    setup.get_states(lab.params(**both, get_state_image2_vm1="s"))
    assert backing(lab.image(image="image2")) == str(lab.state("s", image="image2"))


def test_a_vm_with_two_images_as_one_object(lab):
    """states_chain = vms with an image backend: the state is there if all images have it."""
    for number, image in enumerate(("image1", "image2")):
        write(lab.make_image(image=image), 1 + number)
    whole = {
        "images": "image1 image2",
        "states_chain": "vms",
        "states_vms": "qcow2ext",
        "skip_types": "",
    }
    whole |= OWN
    put(lab, "half", images="image1", **OWN)
    assert setup.show_states(lab.params(**whole)) == []
    setup.set_states(lab.params(**whole, set_state_vms="s"))
    assert setup.show_states(lab.params(**whole)) == ["s"]
    for image in ("image1", "image2"):
        lab.image(image=image).unlink()
    setup.get_states(lab.params(**whole, get_state_vms="s"))
    assert holds(lab.image(image="image1"), 1) and holds(lab.image(image="image2"), 2)
    setup.unset_states(lab.params(**whole, unset_state_vms="s"))
    assert not lab.state("s").exists() and not lab.state("s", image="image2").exists()


def test_variants_of_a_vm_do_not_see_each_other(lab):
    lab.make_image()
    put(lab, "s", object_id="vm1.fedora")
    assert (lab.cache / "vm1.fedora" / "image1" / "s.qcow2").exists()
    assert show(lab) == [] and show(lab, object_id="vm1.fedora") == ["s"]
