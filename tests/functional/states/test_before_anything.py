"""What can't work is refused before anything is changed or a test has run for hours."""

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import (
    BackendUnknown,
    NameRefused,
    SettingRefused,
    StateNeeded,
)
from avocado_pool_plugin.states import requests, setup
from tests.support.states import get, made, other, pop, put, unset
from tests.support.vms import holds, write


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"set_state_images": "a/b"}, NameRefused),
        ({"get_state_images": ".."}, NameRefused),
        ({"set_state_images": "s", "set_mode": "zz"}, exceptions.TestError),
        ({"push_state_images": "s", "push_mode": "x"}, exceptions.TestError),
        ({"pop_state_images": "s", "pop_mode": "fa"}, exceptions.TestError),
        ({"unset_state_images": "s", "unset_mode": "ai"}, exceptions.TestError),
        ({"set_state_images": "s", "set_location": "x"}, SettingRefused),
        ({"set_state_images": "s", "set_location": "h:/x", "nets_shell_port": "a"}, SettingRefused),
        ({"set_state_images": "s", "set_cascade": "perhaps"}, SettingRefused),
        ({"set_state_images": "s", "update_pool_timeout": "soon"}, SettingRefused),
        ({"set_state_images": "s", "states_images": "tape"}, BackendUnknown),
        ({"get_state_vms": "s", "states_vms": "tape", "skip_types": ""}, BackendUnknown),
    ],
)
def test_requests_are_checked_before_a_test(lab, params, error):
    with pytest.raises(error):
        setup.check_requests(lab.params(**params), *requests.VERBS)


def test_requests_that_make_sense(lab):
    far = {"set_location": f"far:/x :{lab.pool}", "nets_host_far": "elsewhere"}
    for params in ({"set_state_images": "s", **far}, {"pop_state_images": "s", "pop_mode": "ri"}):
        setup.check_requests(lab.params(**params), *requests.VERBS)


def test_a_state_missing_for_one_image_leaves_the_other_alone(lab):
    made(lab, "s")
    lab.make_image(image="image2")
    write(lab.image(), 77, "3M")
    with pytest.raises(exceptions.TestAbortError, match="vm1/image2"):
        get(lab, "s", images="image1 image2")
    assert holds(lab.image(), 77, "3M")


@pytest.mark.parametrize("verb", [unset, pop])
def test_a_removal_that_the_pool_would_refuse_is_not_begun(lab, verb):
    made(lab, "a", "b")
    far = other(lab)
    get(far, "a")
    with pytest.raises(StateNeeded, match=r"b\.qcow2"):
        verb(far, "a")
    assert far.state("a").exists() and lab.shared("a").exists()


def test_a_rerun_with_an_empty_cache_and_equal_content_in_the_pool(lab):
    made(lab, "a", "b")
    before = lab.shared("a").read_bytes()
    far = other(lab)
    far.make_image()
    write(far.image(), 1)
    put(far, "a")
    assert lab.shared("a").read_bytes() == before
    get(far, "b")
    assert holds(far.image(), 1) and holds(far.image(), 2, "1M")
