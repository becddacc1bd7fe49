"""avocado-i2n's own ``states.setup`` with our backend in its ``BACKENDS``."""

import pytest

from tests.support.i2n import Answered, Suite, recorded
from tests.support.images import held_open
from tests.support.mounts import mounted
from tests.support.states import leftovers
from tests.support.vms import backing, holds, sound, tool, write

CHAINS = {
    "images": {"states_chain": "images", "object_id": "vm1-f33-64"},
    "nets vms images": {"skip_types": "nets nets/vms"},
}


@pytest.fixture
def filled(suite, policy):
    """The image holds 2 on a state that holds 1, in cache and pool."""
    write(suite.make_image(), 1)
    policy("set", set_state_images="s1")
    write(suite.image, 2)
    return suite


@pytest.fixture
def rooted(suite):
    """The pool has an image that holds 1; the one here holds 2 and is another one by now."""
    root = suite.pool / "vm1" / "image.qcow2"
    root.parent.mkdir(parents=True)
    write(suite.make_image(), 1)
    tool("cp", suite.image, root)
    write(suite.image, 2)
    return suite


@pytest.mark.parametrize("chain", CHAINS)
def test_all_verbs(suite, policy, chain):
    how = CHAINS[chain]
    write(suite.make_image(), 1)
    assert policy("set", set_state_images="s1", **how)["done"] == ["set s1", "published s1"]
    assert recorded(suite.state("s1")) and recorded(suite.shared("s1"))
    write(suite.image, 2)
    policy("set", set_state_images="s2", **how)
    assert backing(suite.shared("s2")) == "s1.qcow2"
    assert policy("show", **how)["found"] == ["s1", "s2"]
    assert policy("check", check_state_images="s1", **how)["found"] is True
    assert policy("check", check_state_images="s3", **how)["found"] is False
    assert policy("get", get_state_images="s1", **how)["done"] == ["got s1"]
    assert holds(suite.image, 1)
    policy("unset", unset_state_images="s2", unset_mode="fi", **how)
    assert not suite.state("s2").exists() and not suite.shared("s2").exists()
    assert policy("show", **how)["found"] == ["s1"]


def test_states_of_vms_where_no_vm_can_run(filled, policy):
    for memory in filled.memory("s1"):
        memory.write_bytes(b"memory")
    off = {"use_env_vms_vm1": "no"}
    assert policy("check", check_state_vms="s1", **off)["found"] is True
    assert policy("check", check_state_vms="s2", **off)["found"] is False
    other, away = Suite(filled.root, "host2"), "swarm cluster shared"
    policy("get", other, get_state_vms="s1", pool_scope=away, **off)
    assert recorded(other.memory("s1")[0])
    policy("unset", unset_state_vms="s1", unset_mode="fi", **off)
    gone = [filled.state("s1"), filled.shared("s1"), *filled.memory("s1")]
    assert not [path for path in gone if path.exists()]


def test_push_and_pop(suite, policy):
    write(suite.make_image(), 1)
    assert policy("push", push_state_images="s1")["done"] == ["set s1", "published s1"]
    write(suite.image, 2)
    assert policy("pop", pop_state_images="s1")["done"] == ["got s1", "unset s1"]
    assert holds(suite.image, 1)
    assert not suite.state("s1").exists() and not suite.shared("s1").exists()


def test_another_worker(filled, policy):
    """It has neither image nor cache: ``check_mode = rf`` makes a blank image to get over."""
    other = Suite(filled.root, "host2")
    done = policy("get", other, get_state_images="s1")["done"]
    assert done == ["fetched s1", "got s1"]
    assert holds(other.image, 1)


def test_set_over_a_state(filled, policy):
    """The old one is in the trash as the new one replaces it, not before."""
    policy("set", set_state_images="s1")
    for path in (filled.state("s1"), filled.shared("s1")):
        sound(path)
        assert holds(path, 2)
    assert backing(filled.state("s1")) == "" and holds(filled.image, 2)


def test_set_over_a_state_by_another_image(filled, policy):
    """It stands on nothing: the state is replaced, nothing is merged."""
    filled.image.unlink()
    write(filled.make_image(), 3, "1M")
    policy("set", set_state_images="s1")
    assert holds(filled.shared("s1"), 3, "1M") and holds(filled.shared("s1"), 0)


REFUSED = {
    "encrypted": (
        *("--object", "secret,id=key,data=x"),
        *("-o", "encrypt.format=aes,encrypt.key-secret=key"),
    ),
    "data file": ("-o", "data_file={directory}/data.raw"),
}


def intact(suite):
    """Make sure that the state of before is where it was and nothing was left behind."""
    for path in (suite.state("s1"), suite.shared("s1")):
        sound(path)
        assert recorded(path) and holds(path, 1)
    return not leftovers(suite.root)


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_image_costs_no_state(filled, policy, kind):
    filled.image.unlink()
    how = [option.format(directory=filled.image.parent) for option in REFUSED[kind]]
    tool("qemu-img", "create", "-q", "-f", "qcow2", *how, filled.image, "16M")
    content = filled.image.read_bytes()
    with pytest.raises(Answered) as error:
        policy("set", set_state_images="s1")
    assert "ImageRefused" in error.value.kinds
    assert intact(filled) and filled.image.read_bytes() == content


def test_image_in_use_costs_no_state(filled, policy):
    with held_open(filled.image), pytest.raises(Answered) as error:
        policy("set", set_state_images="s1")
    assert "ImageInUse" in error.value.kinds
    assert intact(filled) and holds(filled.image, 2)


@pytest.fixture
def tiny(tmp_path):
    """A file system of 4 MiB."""
    with mounted("tmpfs", tmp_path, 4) as point:
        yield point


def grown(suite, policy):
    """Set a state, and once more when it is larger than the file system."""
    write(suite.make_image(), 1)
    policy("set", set_state_images="s1")
    write(suite.image, 2, "1M", "8M")
    with pytest.raises(Answered) as error:
        policy("set", set_state_images="s1")
    assert "SpaceMissing" in error.value.kinds


def test_full_disk_costs_no_state(suite, policy, tiny):
    suite.cache = tiny / "swarm"
    grown(suite, policy)
    assert intact(suite) and holds(suite.image, 2, "1M", "8M")


def test_full_pool_is_told_and_costs_no_state(suite, policy, tiny):
    suite.pool = tiny / "shared"
    grown(suite, policy)
    sound(suite.shared("s1"))
    assert holds(suite.shared("s1"), 1) and holds(suite.shared("s1"), 0, "1M")
    assert holds(suite.state("s1"), 2, "1M", "8M")


def test_unset_in_a_test_that_sets_the_same_state(filled, policy):
    """avocado-i2n cleans up with the params of the test that makes the state."""
    policy("unset", set_state_images="s1", unset_state_images="s1", unset_mode="fi")
    assert not filled.state("s1").exists() and not filled.shared("s1").exists()
    assert holds(filled.image, 2)


def test_pop_in_a_test_that_sets_the_same_state(filled, policy):
    done = policy("pop", set_state_images="s1", pop_state_images="s1")["done"]
    assert done == ["got s1", "unset s1"]
    assert not filled.shared("s1").exists()


# -- check_mode: what becomes of the image -------------------------------------------------------


def test_missing_image_is_made_by_a_check(suite, policy):
    assert policy("check", check_state_images="s1")["found"] is False
    sound(suite.image)
    assert holds(suite.image, 0, "0", "16M")


def test_missing_image_is_not_made_if_the_mode_says_so(suite, policy):
    assert policy("check", check_state_images="s1", check_mode="rr")["found"] is False
    assert not suite.image.exists()
    assert policy("check", check_state_images="root", check_mode="rr")["found"] is False


def test_image_is_made_anew_if_the_mode_says_so(suite, policy):
    write(suite.make_image(), 1)
    assert policy("check", check_state_images="root", check_mode="ff")["found"] is True
    assert holds(suite.image, 0)


def test_image_of_the_pool_is_the_root(rooted, policy):
    """A worker without an image finds it in the pool instead of making a blank one."""
    other = Suite(rooted.root, "host2")
    assert policy("check", other, check_state_images="root")["found"] is True
    assert holds(other.image, 1)


BEFORE = {"nothing": {}, "the root": {"get_state_images": "root"}}


@pytest.mark.parametrize("got", BEFORE)
@pytest.mark.parametrize("backend", ["qcow2ext", "qcow2"])
def test_set_saves_the_image_here_and_not_that_of_the_pool(rooted, policy, backend, got):
    """The policies look at the root before each verb; the test may have begun with getting it."""
    policy("set", set_state_images="s1", states_images=backend, **BEFORE[got])
    assert holds(rooted.image, 2)
    policy("unset", unset_state_images="s2", states_images=backend, **BEFORE[got])
    assert holds(rooted.image, 2)
    write(rooted.image, 3)
    policy("get", get_state_images="s1", states_images=backend)
    assert holds(rooted.image, 2)


@pytest.mark.parametrize("backend", ["qcow2ext", "qcow2"])
def test_root_is_got_from_the_pool(rooted, policy, backend):
    policy("get", get_state_images="root", states_images=backend)
    assert holds(rooted.image, 1)


@pytest.mark.parametrize("got", BEFORE)
@pytest.mark.parametrize("backend", ["qcow2ext", "qcow2"])
def test_set_over_a_root_of_the_pool(rooted, policy, backend, got):
    how = {"pool_scope": "shared", "states_images": backend, **BEFORE[got]}
    policy("set", set_state_images="root", **how)
    assert holds(rooted.pool / "vm1" / "image.qcow2", 2) and holds(rooted.image, 2)


def test_set_over_a_root_makes_a_blank_image(suite, policy):
    write(suite.make_image(), 1)
    policy("set", set_state_images="root", pool_scope="own")
    assert holds(suite.image, 0)


def test_set_over_a_root_that_fails_costs_no_image(suite, policy):
    write(suite.make_image(), 1)
    with pytest.raises(Answered, match="image_size"):
        policy("set", set_state_images="root", pool_scope="own", image_size="")
    assert holds(suite.image, 1)


def test_set_needs_an_image(suite, policy):
    with pytest.raises(Answered, match="root state") as error:
        policy("set", set_state_images="s1", check_mode="rr")
    assert "TestError" in error.value.kinds


def test_abort_names_the_state(suite, policy):
    with pytest.raises(Answered, match="s1") as error:
        policy("get", get_state_images="s1")
    assert "TestAbortError" in error.value.kinds
