"""Running vms that are brought into a state, or not, for a reason that is told."""

import os
from pathlib import Path

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import FileCorrupt, VmNotRunning, VmStateRefused
from avocado_pool_plugin.states import machine, restoring
from tests.support.bare import BareVm
from tests.support.images import edit
from tests.support.states import OWN
from tests.support.vms import holds
from tests.support.vmstates import be, get, is_, put, ram, show, unset


def test_a_state_that_does_not_exist(lab, bare):
    put(lab, bare, "s")
    be(bare, 2)
    with pytest.raises(exceptions.TestAbortError, match="'nosuch' of vm1 does not exist"):
        get(lab, bare, "nosuch")
    assert is_(bare, 2)
    ram(lab, "s").unlink()
    with pytest.raises(exceptions.TestAbortError, match="'s' of vm1 does not exist"):
        get(lab, bare, "s", **OWN)
    assert is_(bare, 2)


def test_a_damaged_ram_file_is_not_used(lab, bare):
    put(lab, bare, "s", **OWN)
    be(bare, 2)
    edit(ram(lab, "s"), 4096, b"damage")
    with pytest.raises(FileCorrupt, match=r"s\.state is corrupt"):
        get(lab, bare, "s", **OWN)
    assert is_(bare, 2), "nothing was touched"


def test_a_ram_file_that_qemu_does_not_understand(lab, bare):
    """One without a record, such as another tool may have left."""
    be(bare, 1)
    put(lab, bare, "s", **OWN)
    ram(lab, "s").unlink()
    (ram(lab, "s").parent / ".pool" / "s.state.json").unlink()
    ram(lab, "s").write_bytes(b"no RAM at all")
    with pytest.raises((VmStateRefused, VmNotRunning), match="vm1"):
        get(lab, bare, "s", **OWN)
    bare.stop()
    assert show(lab, **OWN) == ["s"] and holds(lab.state("s"), 1)


def test_a_vm_that_is_off_is_started(lab, bare):
    be(bare, 1)
    put(lab, bare, "s")
    bare.stop()
    get(lab, bare, "s")
    assert is_(bare, 1) and bare.destroyed == []


def test_without_an_environment(lab, bare):
    put(lab, bare, "s")
    be(bare, 2)
    bare.stop()
    with pytest.raises(VmNotRunning, match="without a running test's environment"):
        get(lab, None, "s")
    assert holds(lab.image(), 2), "the image is not got either"


@pytest.fixture
def told(monkeypatch):
    """What Avocado-VT would start is what a test's own vm would."""

    def command(asked, *_):
        return BareVm(asked).make_create_command("vm1", asked, "/")[0].cmdline()

    monkeypatch.setattr(machine, "_command", command)


def test_before_a_test_avocado_vt_starts_it(lab, bare, told):
    """It is told how by params; the hooks let the guest go on when it was started."""
    be(bare, 1)
    put(lab, bare, "s")
    bare.stop()
    for _ in range(2):
        get(lab, bare, "s", start_later="yes")
    assert not bare.is_alive()
    (one,) = restoring.waiting()
    assert restoring.waiting() == []
    how = dict(one.params())
    assert how["migration_mode_vm1"] == "fd"
    unset(lab, None, "s", **OWN)  # what is open can be read to its end
    bare.create(migration_mode="fd", migration_fd=how["migration_fd_vm1"])
    os.close(one.fd)
    restoring.resume(bare, one)
    assert is_(bare, 1)


@pytest.mark.parametrize("there", [True, False])
def test_a_vm_that_avocado_vt_does_not_start(lab, bare, told, there):
    put(lab, bare, "s")
    bare.stop()
    get(lab, bare, "s", start_later="yes")
    (one,) = restoring.waiting()
    os.close(one.fd)
    with pytest.raises(VmNotRunning, match=r"vm1.*'s'.*start_vm = yes"):
        restoring.resume(bare if there else None, one)


def test_a_qemu_that_ends_instead_of_going_on(lab, bare, told, monkeypatch):
    put(lab, bare, "s")
    bare.stop()
    get(lab, bare, "s", start_later="yes")
    (one,) = restoring.waiting()
    bare.create(migration_mode="fd", migration_fd=one.fd)
    os.close(one.fd)
    resume = bare.resume
    monkeypatch.setattr(
        bare, "resume", lambda: (bare.process.kill(), bare.process.wait(), resume())
    )
    with pytest.raises(VmStateRefused, match=r"'s'.*unharmed"):
        restoring.resume(bare, one)


def test_a_get_that_boots_forgets_one_that_resumes(lab, bare, told):
    put(lab, bare, "s")
    bare.stop()
    get(lab, bare, "s", start_later="yes")
    more = {"mem": "48", "vm_state_mismatch": "boot", "start_later": "yes"}
    get(lab, bare, "s", **more)
    assert restoring.waiting() == [] and not bare.is_alive()


def test_no_descriptor_is_left_open(lab, bare):
    def held(process):
        links = list(Path(f"/proc/{process}/fd").iterdir())
        found = [os.readlink(link) for link in links if os.path.lexists(link)]
        return [name for name in found if name.startswith(str(lab.root))]

    put(lab, bare, "first")
    get(lab, bare, "first")
    put(lab, bare, "second")
    before = held(bare.get_pid())
    for state in ("a", "b", "c"):
        put(lab, bare, state)
    assert len(held(bare.get_pid())) == len(before) + 3, "one for each overlay"
    assert [one["fds"] for one in bare.monitor.cmd("query-fdsets")] == [[]], "it would be locked"
    get(lab, bare, "first")
    assert held("self") == []
    assert not [name for name in held(bare.get_pid()) if name.endswith(".state")]
