"""Leaves things in the memory of each guest, or finds them there after its state was resumed."""

import shlex
from typing import Any

from virttest import vt_console


def run(test: Any, params: Any, env: Any) -> None:
    """
    Check what each guest remembers, then give it more to remember.

    What is remembered under a name is a variable of the shell on its console, a file in a file
    system in RAM, a running process, and a file on each of its disks.

    :param test: the running Avocado-VT test
    :param params: ``memory_wanted`` has to be there, ``memory_unwanted`` must not be there,
                   ``memory_written`` is made; each a list of names, which may differ from one
                   virtual machine to the other (``memory_wanted_vm2``)
    :param env: Avocado-VT's environment, which holds the virtual machines
    """
    for name in params.objects("vms"):
        guest = Guest(test, params.object_params(name), env.get_vm(name))
        for thing in guest.params.objects("memory_wanted"):
            guest.require(thing)
        for thing in guest.params.objects("memory_unwanted"):
            guest.refuse(thing)
        for thing in guest.params.objects("memory_written"):
            guest.remember(thing)
        guest.session.close()


class Guest:
    """A virtual machine and a session on its console."""

    def __init__(self, test: Any, params: Any, vm: Any) -> None:
        vm.verify_alive()
        self.test, self.params, self.vm = test, params, vm
        if params.get("memory_wanted"):
            # a resumed guest waits at its prompt and says nothing that a login could wait for
            self.session = vt_console.ConsoleSession(vm.console_manager)
        else:
            timeout = float(params.get("login_timeout", 120))
            self.session = vm.wait_for_serial_login(timeout=timeout)
        self.disks = ["/root"] + (["/data"] if len(params.objects("images")) > 1 else [])

    def remember(self, name: str) -> None:
        """Leave traces under a name."""
        quoted = shlex.quote(name)
        self.session.cmd(f"remembered_{name}={quoted}")
        self.session.cmd(f"echo {quoted} > /run/{quoted}")
        self.session.cmd(f"sleep 1000000 & echo $! > /run/{quoted}.pid")
        for disk in self.disks:
            self.session.cmd(f"echo {quoted} > {disk}/{quoted}")
        # for who boots from the disks of a state instead of resuming it
        self.session.cmd("sync")
        self.test.log.info("%s remembers %s", self.vm.name, name)

    def require(self, name: str) -> None:
        """Make sure that all traces are there."""
        quoted = shlex.quote(name)
        self._holds(f"echo $remembered_{name}", name)
        self._holds(f"cat /run/{quoted}", name)
        if self.session.cmd_status(f"kill -0 $(cat /run/{quoted}.pid)"):
            self.test.fail(f"the process of {name} does not run in {self.vm.name}")
        for disk in self.disks:
            self._holds(f"cat {disk}/{quoted}", name)

    def _holds(self, command: str, name: str) -> None:
        found = self.session.cmd_output(command).strip()
        if found != name:
            self.test.fail(f"{command!r} in {self.vm.name} says {found!r}, not {name!r}")

    def refuse(self, name: str) -> None:
        """Make sure that there is no trace."""
        found = self.session.cmd_output(f"ls /run /root /data; echo $remembered_{name}").split()
        if name in found:
            self.test.fail(f"{self.vm.name} remembers {name!r} and should not")
