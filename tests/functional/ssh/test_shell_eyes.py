"""What only who checks a pool looks at, over shells of several kinds."""

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.ssh import survey
from avocado_pool_plugin.upkeep.eyes import LocalEyes
from tests.support.images import image
from tests.support.places import local_store
from tests.support.shells import ODD, SHELLS, far


@pytest.fixture(params=SHELLS)
def shell(request):
    with far(SHELLS[request.param]) as found:
        yield found


def test_what_is_no_file_is_found_whatever_it_is_called(shell, tmp_path):
    home = tmp_path / "vm's 1" / "image $1"
    home.mkdir(parents=True)
    for name in ODD:
        (home / f"{name}.qcow2").mkdir()
        (home / f"file {name}.qcow2").write_text("")
        (home.parent / f"{name}.state").mkdir()
    (home / "link.qcow2").symlink_to(home)
    (home / "dangling.qcow2").symlink_to("nowhere")
    (home / ".hidden.qcow2").mkdir()
    eyes = LocalEyes(str(tmp_path), local_store())
    for below, wanted in (("", 2), ("vm's 1", 2), ("vm's 1/image $1", 1), ("vm2", 0)):
        found = survey.strays(shell, str(tmp_path), below)
        assert found == eyes.strays(below), below
        assert len(found) == wanted * len(ODD) + (wanted > 0)
    assert survey.strays(shell, str(tmp_path / "none"), "") == []


def test_an_image_is_checked_by_itself_whatever_it_is_called(shell, tmp_path):
    for name in ODD:
        path = image(tmp_path / f"{name}.qcow2", size="1M")
        assert survey.check_image(shell, qemu.alone(str(path))) == (0, "")
        assert qemu.damage(str(path)) == ""
    top = image(tmp_path / "top.qcow2", backing=f"{ODD[0]}.qcow2")
    (tmp_path / f"{ODD[0]}.qcow2").unlink()
    assert survey.check_image(shell, qemu.alone(str(top))) == (0, "")
    top.write_bytes(top.read_bytes()[:70])
    status, said = survey.check_image(shell, qemu.alone(str(top))) or (0, "")
    assert status == 1
    told = qemu.told(str(top), said)
    assert told == qemu.damage(str(top)) and str(top) in told and "json:" not in told
