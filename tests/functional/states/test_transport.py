"""Transport as users extend it: their own file operations, dependencies and backends."""

import shutil
from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import PoolError, StateMissing
from avocado_pool_plugin.states import setup
from avocado_pool_plugin.states.pool import QCOW2ImageTransfer, TransferOps
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from tests.support.states import OWN, get, made, other, put
from tests.support.vms import Lab, holds, write


class Counting(TransferOps):
    """Notes each call with what it is given."""

    calls: list[tuple[str, ...]] = []  # noqa: RUF012

    @classmethod
    def _note(cls, verb, *paths):
        cls.calls.append((verb, *(str(path).rpartition("/")[2] for path in paths)))

    @classmethod
    def list_paths(cls, pool_path, params):
        cls._note("list", pool_path)
        return super().list_paths(pool_path, params)

    @classmethod
    def compare(cls, cache_path, pool_path, params):
        cls._note("compare", cache_path, pool_path)
        return super().compare(cache_path, pool_path, params)

    @classmethod
    def download(cls, cache_path, pool_path, params):
        cls._note("download", cache_path, pool_path)
        return super().download(cache_path, pool_path, params)

    @classmethod
    def upload(cls, cache_path, pool_path, params):
        cls._note("upload", cache_path, pool_path)
        return super().upload(cache_path, pool_path, params)

    @classmethod
    def delete(cls, pool_path, params):
        cls._note("delete", pool_path)
        return super().delete(pool_path, params)


class Transfer(QCOW2ImageTransfer):
    ops = Counting


class FiveVerbs:
    """No base class, no planning: what a user of avocado-i2n wrote for an object store."""

    calls: list[str] = []  # noqa: RUF012

    @classmethod
    def list_paths(cls, pool_path, params):
        directory = Path(pool_path.lstrip(":"))
        return [entry.name for entry in directory.iterdir()] if directory.is_dir() else []

    @classmethod
    def compare(cls, cache_path, pool_path, params):
        one, two = Path(cache_path), Path(pool_path.lstrip(":"))
        return one.exists() and two.exists() and one.read_bytes() == two.read_bytes()

    @classmethod
    def download(cls, cache_path, pool_path, params):
        cls._copy(pool_path.lstrip(":"), cache_path)

    @classmethod
    def upload(cls, cache_path, pool_path, params):
        cls._copy(cache_path, pool_path.lstrip(":"))

    @classmethod
    def delete(cls, pool_path, params):
        cls.calls.append(f"delete {Path(pool_path).stem}")
        Path(pool_path.lstrip(":")).unlink()

    @classmethod
    def _copy(cls, source, target):
        cls.calls.append(Path(target).stem)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


@pytest.fixture(autouse=True)
def fresh():
    Counting.calls.clear()
    FiveVerbs.calls.clear()


def of_image(lab: Lab, **more):
    """Params as the policies hand them to a backend."""
    found = lab.params(object_id="vm1", object_type="vms/images", **more).object_params("vm1")
    found["object_name"] = "vm1/image1"
    return found


def where(lab):
    return {f"{do}_location": f":{lab.pool}" for do in ("show", "get", "set", "unset")}


@pytest.fixture
def chain(lab):
    """States a, b on it and c on that, in cache and pool."""
    return made(lab, "a", "b", "c")


def moved(verb, *names):
    return [(verb, f"{name}.qcow2", f"{name}.qcow2") for name in names]


def test_transfers_go_from_the_base_up_one_call_a_file(chain):
    far = other(chain)
    params = of_image(far, get_state="c", set_state="c", **where(far))
    before = dict(params)
    Transfer.get(params)
    assert Counting.calls == moved("download", "a", "b", "c")
    Counting.calls.clear()
    Transfer.set(params, None)
    assert Counting.calls == moved("upload", "a", "b", "c")
    assert dict(params) == before


def test_compare_goes_from_the_state_down_and_stops_at_the_first_difference(chain):
    params = of_image(chain)
    sides = (str(chain.cache), f":{chain.pool}", params)
    assert Transfer.compare_chain("c", *sides) is True
    assert Counting.calls == moved("compare", "c", "b", "a")
    Counting.calls.clear()
    get(chain, "a", **OWN)
    write(chain.image(), 9, "1M")
    put(chain, "b", set_cascade="yes", **OWN)
    assert Transfer.compare_chain("b", *sides) is False
    assert Counting.calls == moved("compare", "b")
    assert Transfer.compare_chain("c", *sides) is False
    assert Transfer.compare_chain("a", *sides) is True
    assert Transfer.compare_chain("nowhere", *sides) is False


def test_chains_that_differ_below_are_different(chain):
    """The same top file on another base."""
    lone = made(Lab(chain.root / "lone", "states"), "a", first=50, **OWN)
    chain.shared("a").unlink()
    shutil.copy(lone.state("a"), chain.shared("a"))
    (chain.pool / "vm1" / "image1" / ".pool" / "a.qcow2.json").unlink()
    assert Transfer.compare_chain("c", str(chain.cache), f":{chain.pool}", of_image(chain)) is False
    assert Counting.calls == moved("compare", "c", "b", "a")


def test_show_and_unset(chain):
    params = of_image(chain, unset_state="c", **where(chain))
    assert Transfer.show(params) == ["a", "b", "c"]
    Transfer.unset(params)
    assert Counting.calls == [("list", "image1"), ("delete", "c.qcow2")]
    assert Transfer.show(params, None) == ["a", "b"]
    assert chain.state("c").exists()


def test_each_of_several_images_has_its_own_chain(lab):
    for number, image in enumerate(("image1", "image2")):
        write(lab.make_image(image=image), 1 + number)
    put(lab, "a", images="image1", **OWN)
    put(lab, "top", images="image1 image2", **OWN)
    params = of_image(lab, images="image1 image2", set_state="top", **where(lab))
    Transfer.set(params)
    assert Counting.calls == moved("upload", "a", "top", "top")
    far = other(lab)
    Counting.calls.clear()
    Transfer.get(of_image(far, images="image1 image2", get_state="top", **where(far)))
    assert Counting.calls == moved("download", "a", "top", "top")
    assert Transfer.show(params) == ["top"], "what all images have"
    assert holds(far.state("top", image="image2"), 2)


@pytest.mark.parametrize("kind", ["vms", "nets/vms"])
def test_vm_states_have_one_more_file_for_the_top_only(chain, kind):
    for name in ("b", "c"):
        (chain.cache / "vm1" / f"{name}.state").write_bytes(name.encode() * 1000)
    params = of_image(chain, set_state="c", unset_state="c", **where(chain))
    params["object_type"] = kind
    Transfer.set(params)
    ram = ("c.state", "c.state")
    assert Counting.calls == [*moved("upload", "a", "b", "c"), ("upload", *ram)]
    assert Transfer.show(params) == ["c"]
    Counting.calls.clear()
    assert Transfer.compare_chain("c", str(chain.cache), f":{chain.pool}", params) is True
    assert Counting.calls == [*moved("compare", "c", "b", "a"), ("compare", *ram)]
    (chain.cache / "vm1" / "c.state").unlink()
    assert Transfer.compare_chain("c", str(chain.cache), f":{chain.pool}", params) is False
    Transfer.unset(params)
    assert Transfer.show(params) == [] and not chain.shared("c").exists()


def test_get_dependency_is_asked_with_two_arguments_and_a_copy(chain):
    asked = []

    class Own(Transfer):
        @classmethod
        def get_dependency(cls, *args, **kwargs):
            assert len(args) == 2 and not kwargs
            asked.append((args[0], args[1]["images"]))
            found = super().get_dependency(*args)
            args[1]["vms"] = args[1]["object_id"] = "spoiled"
            return found

    far = other(chain)
    params = of_image(far, get_state="c", set_state="c", **where(far))
    before = dict(params)
    Own.get(params)
    assert asked == [("c", "image1"), ("b", "image1"), ("a", "image1")]
    assert Own.compare_chain("c", str(far.cache), f":{far.pool}", params) is True
    Own.set(params)
    assert [name for name, _ in asked] == ["c", "b", "a"] * 3
    assert dict(params) == before


def test_get_dependency_decides_what_is_moved(chain):
    class Shallow(Transfer):
        @classmethod
        def get_dependency(cls, state, params):
            return {"c": "a"}.get(state, "")

    chain.shared("b").unlink()
    far = other(chain)
    Shallow.set(of_image(chain, set_state="c", **where(chain)))
    assert Counting.calls == moved("upload", "a", "c")
    Counting.calls.clear()
    with pytest.raises(PoolError):
        QCOW2ImageTransfer.get(of_image(far, get_state="c", **where(far)))
    Shallow.get(of_image(far, get_state="c", **where(far)))
    assert Counting.calls == moved("download", "a", "c")


def test_get_dependency_reads_the_cache_by_default(chain):
    params = of_image(chain)
    assert [QCOW2ImageTransfer.get_dependency(name, params) for name in "cba"] == ["b", "a", ""]
    with pytest.raises(StateMissing):
        QCOW2ImageTransfer.get_dependency("nowhere", params)


def test_operations_with_only_the_five_verbs(lab):
    class Bare(QCOW2ImageTransfer):
        ops = FiveVerbs

    class Backend(QCOW2ExtBackend):
        transport = Bare

    made(lab, "a", "b", **OWN)
    own = of_image(lab, set_state="b", pool_scope="shared")
    Backend.set(own)
    assert FiveVerbs.calls == ["a", "b"]
    far = other(lab)
    FiveVerbs.calls.clear()
    own = of_image(far, get_state="b", unset_state="b")
    assert Backend.show(own) == ["a", "b"]
    Backend.get(own)
    assert FiveVerbs.calls == ["a", "b"]
    assert holds(far.image(), 1) and holds(far.image(), 2, "1M")
    FiveVerbs.calls.clear()
    Backend.get(own)
    assert FiveVerbs.calls == [], "compared and found equal"
    far.image().unlink()
    Backend.unset(own)
    assert FiveVerbs.calls == ["delete b"]
    assert not far.shared("b").exists()


def test_a_backend_of_ones_own_in_the_policies(lab, monkeypatch):
    class Backend(QCOW2ExtBackend):
        transport = Transfer

    monkeypatch.setitem(setup.BACKENDS, "mine", Backend)
    made(lab, "a", states_images="mine")
    assert ("upload", "a.qcow2", "a.qcow2") in Counting.calls
    get(other(lab), "a", states_images="mine")
    assert ("download", "a.qcow2", "a.qcow2") in Counting.calls
