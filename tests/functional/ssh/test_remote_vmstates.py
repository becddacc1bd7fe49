"""States of running vms with a pool on another host: what they share with those of their images."""

from pathlib import Path

import pytest

from avocado_pool_plugin.core.errors import StateNeeded
from avocado_pool_plugin.states import setup
from tests.support import states
from tests.support.machines import Env
from tests.support.remote import server
from tests.support.remote_labs import Logins, RemoteLab
from tests.support.states import SHARED
from tests.support.vmstates import TWO, far, params, put, show, shown, twin

__all__ = ["far", "twin"]


@pytest.fixture
def lab(tmp_path: Path) -> RemoteLab:
    return RemoteLab(tmp_path, server())


def test_an_image_state_that_a_ram_file_needs_stays(lab, twin, far):
    """By itself, an image's part of a vm state is like one that others stand on."""
    put(lab, twin, "s", **TWO)
    twin.stop()
    with pytest.raises(StateNeeded, match=r"s\.state"):
        states.unset(far, "s", **SHARED)
    states.unset(far, "s", **SHARED, unset_cascade="yes")
    assert show(far, **TWO) == [] and shown(far, images="image1") == []


def test_one_login_for_images_and_vms(lab, twin):
    asked = params(lab, set_state_vms="s", get_state_vms="s", unset_state_vms="s", **TWO)
    logins = Logins(lab.host)
    for do in (setup.set_states, setup.get_states):
        do(asked, Env(twin))
    twin.stop()
    setup.unset_states(asked, Env(twin))
    assert logins() == 1 and show(lab, **TWO) == []
