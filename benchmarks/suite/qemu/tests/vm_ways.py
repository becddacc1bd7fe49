"""Whose way it is to get and set the state of a running vm: ours, virttest's, avocado-i2n's."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock


class Way:
    """
    A vm and a cache, and how states get from one to the other.

    :param params: of the test
    :param env: Avocado-VT's environment
    """

    #: Whether a state that the test's params ask for is there when the test begins.
    before_test = True

    def __init__(self, params: Any, env: Any) -> None:
        self.params, self.env = params, env
        self.vm = env.get_vm(params["main_vm"])

    @property
    def _directory(self) -> Path:
        return Path(self.params["swarm_pool"]) / self.params["object_id"]

    def ram(self, state: str) -> Path:
        """Return the RAM file of a state."""
        return self._directory / f"{state}.state"

    def get(self, state: str) -> None:
        """Have the guest go on from a state; what it does now is lost."""
        raise NotImplementedError

    def set(self, state: str) -> None:
        """Make a state of the guest, and let it go on."""
        raise NotImplementedError


class Ours(Way):
    """The way of avocado_pool_plugin."""

    def __init__(self, params: Any, env: Any) -> None:
        super().__init__(params, env)
        from avocado_pool_plugin.states import setup

        self._setup = setup

    def get(self, state: str) -> None:
        params = self.params.copy()
        params["get_state_vms"] = state
        self._setup.get_states(params, self.env)

    def set(self, state: str) -> None:
        params = self.params.copy()
        params["set_state_vms"] = state
        self._setup.set_states(params, self.env)


class Virttest(Way):
    """What a test can do with Avocado-VT alone; it has states of RAM, and images are left to it."""

    before_test = False

    def get(self, state: str) -> None:
        self.vm.destroy(gracefully=False)
        image = Path(self.params["images_base_dir"]) / "image.qcow2"
        below = self._directory / "image1" / f"{state}.qcow2"
        image.unlink()
        command = [self.params["qemu_img_binary"], "create", "-q", "-f", "qcow2", "-F", "qcow2"]
        subprocess.run([*command, "-b", str(below), str(image)], check=True)
        self.vm.restore_from_file(str(self.ram(state)))
        self.vm.resume()

    def set(self, state: str) -> None:
        # the image of that moment is not kept, which a usable state would need
        self._directory.mkdir(parents=True, exist_ok=True)
        self.vm.pause()
        self.vm.save_to_file(str(self.ram(state)))
        # that left the vm reset
        self.vm.restore_from_file(str(self.ram(state)))
        self.vm.resume()


class I2n(Way):
    """The way of avocado-i2n, with the hooks and backends of its own control file."""

    def __init__(self, params: Any, env: Any) -> None:
        super().__init__(params, env)
        from avocado_i2n.states import setup

        self._setup = setup

    def _asking(self, **what: str) -> Any:
        params = self.params.copy()
        # what its hooks for vms that run leave out
        params.update({"skip_types": "nets/vms/images nets", **what})
        return params

    def get(self, state: str) -> None:
        self._setup.get_states(self._asking(get_state_vms=state), self.env)

    def set(self, state: str) -> None:
        self._setup.set_states(self._asking(set_state_vms=state), self.env)


WAYS = {"ours": Ours, "virttest": Virttest, "i2n": I2n}


@contextlib.contextmanager
def heard(vm: Any) -> Iterator[list[Any]]:
    """Give what the vm's QEMU tells meanwhile, also that of one that is replaced by another."""
    events: list[Any] = []
    destroy = vm.destroy

    def listening(*arguments: Any, **named: Any) -> Any:
        if vm.monitor:
            events.extend(vm.monitor.get_events())
        return destroy(*arguments, **named)

    with mock.patch.object(vm, "destroy", listening):
        yield events
    events.extend(vm.monitor.get_events())
