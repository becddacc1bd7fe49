"""What a test asks of the states of running vms, through the documented functions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.passport import Passport
from avocado_pool_plugin.states import setup
from tests.support.bare import MACHINE, BareVm, bare_vm
from tests.support.machines import Env
from tests.support.states import contents, leftovers
from tests.support.vms import Lab, holds, sound

TWO = {"images": "image1 image2"}
#: Where a lab's pool may be: on this host, or on one of the kinds of hosts.
HERE = "here"
#: For what is the same with a pool of this host and with one of another.
anywhere = pytest.mark.parametrize("lab", [HERE, "python"], indirect=True)


@pytest.fixture
def twin(lab: Lab) -> Iterator[BareVm]:
    """A running vm with two images."""
    for image in TWO["images"].split():
        lab.make_image(image=image)
    with bare_vm(params(lab, **TWO)) as vm:
        yield vm


@pytest.fixture
def far(lab: Lab) -> Iterator[Lab]:
    """Another worker: a cache, images and a vm of its own that is off, the same pool."""
    found = lab.elsewhere()
    found.vm = BareVm(params(found, **TWO).object_params("vm1"))
    yield found
    found.vm.stop()


def params(lab: Lab, **more: str) -> Any:
    """Return params of a test with a vm that can be started."""
    return lab.params(**{**MACHINE, "skip_types": "", "pool_fsync": "no", **more})


def do(lab: Lab, vm: BareVm | None, verb: str, state: str, **more: str) -> Any:
    """Do a verb for the state of a vm, as the hooks around a test do."""
    asked = params(lab, **{f"{verb}_state_vms": state, **more})
    return getattr(setup, f"{verb}_states")(asked, Env(vm) if vm else None)


def put(lab: Lab, vm: BareVm | None, state: str, **more: str) -> None:
    do(lab, vm, "set", state, **more)


def get(lab: Lab, vm: BareVm | None, state: str, **more: str) -> None:
    do(lab, vm, "get", state, **more)


def unset(lab: Lab, vm: BareVm | None, state: str, **more: str) -> None:
    do(lab, vm, "unset", state, **more)


def pop(lab: Lab, vm: BareVm | None, state: str, **more: str) -> None:
    do(lab, vm, "pop", state, **more)


def show(lab: Lab, **more: str) -> list[str]:
    """Return the states of the vm."""
    found: list[str] = setup.show_states(params(lab, **{"skip_types": "images", **more}))
    return found


def shown(lab: Lab, **more: str) -> list[str]:
    """Return the states of the vm's images."""
    return show(lab, **{"skip_types": "vms", **more})


def ram(lab: Lab, state: str) -> Path:
    """Return the RAM file of a state in the cache."""
    return lab.cache / "vm1" / f"{state}.state"


def shared_ram(lab: Lab, state: str) -> Path:
    """Return the RAM file of a state in the pool."""
    return lab.pool / "vm1" / f"{state}.state"


def passport(path: Path) -> Passport:
    """Return the passport of a RAM file."""
    known = knowledge.peek(str(path))
    assert known is not None and known.info.passport is not None, path
    return known.info.passport


def be(vm: BareVm, pattern: int, at: str = "0") -> None:
    """Write to all disks and to a device's memory."""
    for disk in range(disks(vm)):
        vm.write(pattern, disk, at)
    vm.remember(pattern)


def is_(vm: BareVm, pattern: int, at: str = "0") -> bool:
    """Tell whether a running vm has on its disks and in its device what it had once."""
    found = [vm.holds(pattern, disk, at) for disk in range(disks(vm))]
    assert len(set(found)) == 1 and found[0] == (vm.remembers() == pattern), "all or nothing"
    return vm.status() == "running" and found[0]


def disks(vm: BareVm) -> int:
    return len(vm.params.objects("images"))


def ended(lab: Lab, vm: BareVm, pattern: int, at: str = "0") -> None:
    """End a vm, and make sure of its images: they are sound and hold what it wrote last."""
    vm.stop()
    for name in vm.params.objects("images"):
        sound(lab.image(image=name))
        assert holds(lab.image(image=name), pattern, at), f"{name} lost what was written"
    assert leftovers(lab.root) == []


def writes_to(vm: BareVm) -> dict[str, str]:
    """Return the block node that each disk writes to."""
    found = vm.monitor.cmd("query-block")
    return {block["qdev"].split("/")[3]: block["inserted"]["node-name"] for block in found}


def files(lab: Lab) -> dict[Path, tuple[int, ...]]:
    """Return stamps of all in the cache but notes on who uses or has seen what."""
    found, notes = contents(lab.cache), (".users", ".seen")
    return {
        path: stamp
        for path, stamp in found.items()
        if path.suffix not in notes and path.parent.suffix not in notes
    }
