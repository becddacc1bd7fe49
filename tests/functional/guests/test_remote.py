"""A pool on another host, through ``avocado run`` with real guests: set by one, got by another."""

from pathlib import Path

import pytest

from tests.functional.guests.test_stock import suite
from tests.support.guests import whole
from tests.support.jobs import EXAMPLES, Worker
from tests.support.sshd import PasswordUser, Sshd
from tests.support.vms import backing, sound

pytestmark = pytest.mark.guest

#: The first leaves a running guest and its disk as it is after shutdown; the second goes on from
#: the running one.
TESTS = f"""\
type = guest_memory
memory_module = {EXAMPLES / "suite" / "qemu" / "tests" / "guest_memory.py"}
image_name = images/guest
variants:
    - make:
        image_chain = golden image1
        create_image = yes
        memory_written = answer
        set_state_vms = ready
        set_state_images = made
    - use:
        get_state_vms = ready
        memory_wanted = answer
"""


def worker(root: Path, pool: Path, params: dict[str, str]) -> Worker:
    """Return a worker whose only pool is on a host that the params of its tests describe."""
    more = "".join(f'{name} = "{value}"\n' for name, value in params.items())
    configs = suite(root.with_suffix(".cfg"), TESTS, more=more)
    return Worker(root, f"lab:{pool}").with_configs(configs)


def test_set_by_one_and_got_by_another_with_an_empty_cache(tmp_path: Path) -> None:
    """The first logs in by a password, the second by a key; neither has more than ssh there."""
    with Sshd(tmp_path / "sshd") as host, PasswordUser() as user:
        known = {
            **host.params(),
            "nets_username_lab": user.name,
            "nets_password_lab": user.password,
        }
        first = worker(tmp_path / "first", user.home / "states", known)
        made = first.run("make").passed()
        states = user.home / "states" / "vm1"
        published = [e["state"] for e in made.events("make") if e["verb"] == "published"]
        base = backing(states / "image1" / "ready.qcow2").removesuffix(".qcow2")
        assert published == [base, "ready", "ready", "made"] and base.startswith("base-")
        assert whole(states / "ready.state")
        for name in (base, "ready", "made"):
            sound(states / "image1" / f"{name}.qcow2")
        assert host.log().count("Accepted password") == 1, "one login for the whole test"
        assert host.connections() == []
        told = [line for line in made.log("make").splitlines() if user.password in line]
        assert all("nets_password" in line for line in told), "only where Avocado-VT lists params"

        second = worker(tmp_path / "second", user.home / "states", host.params())
        used = second.run("use").passed()
        fetched = [e["state"] for e in used.events("use") if e["verb"] == "fetched"]
        assert fetched == [base, "ready", "ready"] and "-incoming" in used.log("use")
        assert (second.cache / "vm1" / "ready.state").read_bytes() == (
            states / "ready.state"
        ).read_bytes()
        assert host.log().count("Accepted publickey") == 1
        assert host.connections() == []
