"""A plain Avocado-VT suite that knows nothing of us: defaults, and only get and set params."""

import re
from pathlib import Path

import pytest

from tests.support.jobs import Worker
from tests.support.vms import backing, sound

pytestmark = pytest.mark.guest

#: What every suite says about its guest; nothing of kill_vm, remove_image, states or pools.
STOCK = """\
include paths.cfg
provider = pool_example
vm_type = qemu
machine_type = pc
cpu_model = max
smp = 1
mem = 192
display = nographic
monitors = qmp1
monitor_type = qmp
start_vm = yes
nics =
vms = {vms}
main_vm = vm1
images = {images}
image_format = qcow2
image_size = 64M
drive_format = virtio
kernel_params = "console=ttyS0"
serials = serial0
serial_type = isa-serial
shell_prompt = "guest# $"
status_test_command = echo $?
shutdown_command = poweroff
verify_guest_dmesg = no
verify_host_dmesg = no
type = guest_files
{more}
"""


def suite(
    directory: Path, subtests: str, *, vms: str = "vm1", images: str = "image1", more: str = ""
) -> Path:
    directory.mkdir()
    text = STOCK.format(vms=vms, images=images, more=more)
    (directory / "tests.cfg").write_text(text + "include subtests.cfg\n")
    (directory / "subtests.cfg").write_text(subtests)
    return directory


def ten_lines(worker: Worker) -> None:
    """Make sure that the avocado.conf of a user is short: Avocado's directories and the pool."""
    text = (worker.env.venv / "etc" / "avocado" / "avocado.conf").read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 10


MAKE_AND_USE = """\
variants:
    - make:
        image_chain = golden image1
        create_image = yes
        files_written = /root/made
        set_state_images = made
    - use:
        get_state_images = made
        files_wanted = /root/made
"""


def test_defaults_of_avocado_vt(tmp_path: Path) -> None:
    configs = suite(tmp_path / "cfg", MAKE_AND_USE, more="image_name = images/guest")
    worker = Worker(tmp_path / "w", tmp_path / "pool").with_configs(configs)
    ten_lines(worker)
    job = worker.run("make", "use").passed()
    assert [event["verb"] for event in job.events("use")] == ["got"]
    assert (tmp_path / "pool" / "vm1" / "image1" / "made.qcow2").exists()


TWO_IMAGES = """\
variants:
    - make:
        image_chain_image1 = golden image1
        create_image = yes
        files_written = /root/made /data/second
        set_state_images = made
    - use:
        get_state_images = made
        files_wanted = /root/made /data/second
"""


def test_two_images(tmp_path: Path) -> None:
    more = "image_name_image1 = images/first\nimage_name_image2 = images/second"
    more += "\nimage_size_image2 = 32M"
    configs = suite(tmp_path / "cfg", TWO_IMAGES, images="image1 image2", more=more)
    worker = Worker(tmp_path / "w", tmp_path / "pool").with_configs(configs)
    worker.run("make", "use").passed()
    states = tmp_path / "pool" / "vm1"
    assert re.match(r"base-[0-9a-f]{12}\.qcow2", backing(states / "image1" / "made.qcow2"))
    assert backing(states / "image2" / "made.qcow2") == ""
    for image in ("image1", "image2"):
        sound(states / image / "made.qcow2")


TWO_VMS = """\
variants:
    - make:
        image_chain = golden image1
        create_image = yes
        files_written_vm1 = /root/one
        files_written_vm2 = /root/two
        set_state_images_vm1 = made
        set_state_images_vm2 = other
    - use:
        get_state_images_vm1 = made
        get_state_images_vm2 = other
        files_wanted_vm1 = /root/one
        files_wanted_vm2 = /root/two
        files_unwanted_vm1 = /root/two
        files_unwanted_vm2 = /root/one
"""


def test_two_vms(tmp_path: Path) -> None:
    more = "image_name_image1_vm1 = images/one\nimage_name_image1_vm2 = images/two"
    configs = suite(tmp_path / "cfg", TWO_VMS, vms="vm1 vm2", more=more)
    worker = Worker(tmp_path / "w", tmp_path / "pool").with_configs(configs)
    worker.run("make", "use").passed()
    assert (tmp_path / "pool" / "vm1" / "image1" / "made.qcow2").exists()
    assert (tmp_path / "pool" / "vm2" / "image1" / "other.qcow2").exists()


NO_STATES = """\
variants:
    - plain:
        image_chain = golden image1
        create_image = yes
        files_written = /root/made
"""


def test_nothing_asked_nothing_changed(tmp_path: Path) -> None:
    more = "image_name = images/guest\nkill_vm = yes"
    configs = suite(tmp_path / "cfg", NO_STATES, more=more)
    worker = Worker(tmp_path / "w", tmp_path / "pool").with_configs(configs)
    job = worker.run("plain").passed()
    assert "POOL" not in job.output
    assert job.events("plain") == []
    log = job.log("plain")
    assert "pool_test_pre_hook" not in log and "swarm_pool" not in log
    assert not list(worker.cache.iterdir()) and not list((tmp_path / "pool").iterdir())
