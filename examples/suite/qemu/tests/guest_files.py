"""Checks files in each guest, then writes others."""

import shlex
from typing import Any


def run(test: Any, params: Any, env: Any) -> None:
    """
    Boot the guests and look at their files, the way a real test would look at its system.

    A file's content is its own path, so that a file of the right name but of lost or foreign
    content does not pass.

    :param test: the running Avocado-VT test
    :param params: ``files_wanted`` have to be there, ``files_unwanted`` must not be there,
                   ``files_written`` are made; each a list of paths in the guest, which may
                   differ from one virtual machine to the other (``files_wanted_vm2``)
    :param env: Avocado-VT's environment, which holds the virtual machines
    """
    for name in params.objects("vms"):
        _check_and_write(test, params.object_params(name), env.get_vm(name))


def _check_and_write(test: Any, params: Any, vm: Any) -> None:
    vm.verify_alive()
    session = vm.wait_for_serial_login(timeout=float(params.get("login_timeout", 120)))

    for path in params.objects("files_wanted"):
        status, content = session.cmd_status_output(f"cat {shlex.quote(path)}")
        if status != 0:
            test.fail(f"{path} is missing in {vm.name}")
        if content.strip() != path:
            test.fail(f"{path} holds {content.strip()!r} in {vm.name}, not its own path")
    for path in params.objects("files_unwanted"):
        if session.cmd_status(f"test -e {shlex.quote(path)}") == 0:
            test.fail(f"{path} is in {vm.name} and should not be")
    for path in params.objects("files_written"):
        session.cmd(f"echo {shlex.quote(path)} > {shlex.quote(path)}")
        test.log.info("wrote %s in %s", path, vm.name)

    session.cmd("sync")
    session.close()
