"""Leaves notes in all that a running guest has: a shell, a process, memory, both disks."""

import shlex
from typing import Any

from virttest import vt_console

#: Where a guest keeps a note: on its disks, and in its memory alone.
DISKS, MEMORY = ("/root", "/data"), ("/run",)


def run(test: Any, params: Any, env: Any) -> None:
    """
    Look for notes in a guest and leave others there.

    :param test: the running Avocado-VT test
    :param params: ``notes_wanted`` has to be everywhere, ``notes_written`` is left everywhere,
                   ``files_wanted`` are notes that only the disks have, ``files_unwanted`` are not
                   there; ``state_not_there`` is a state of the vm to ask the backend for
    :param env: Avocado-VT's environment, which holds the vm
    """
    vm = env.get_vm(params["main_vm"])
    vm.verify_alive()
    session = _session(vm, restored=bool(params.get("notes_wanted")))
    for note in params.objects("notes_wanted"):
        _require(test, session, note, *DISKS, *MEMORY)
        _run(test, session, f'test "$NOTE" = {shlex.quote(note)}', "the shell is another one")
        _run(test, session, "kill -0 $KEEPER", "the process is gone")
    for note in params.objects("files_wanted"):
        _require(test, session, note, *DISKS)
    for note in params.objects("files_unwanted"):
        for directory in DISKS:
            _run(test, session, f"test ! -e {directory}/{note}", f"{note} should not be there")
    if params.get("state_not_there"):
        _ask_for(test, params, vm, params["state_not_there"])
        _run(test, session, "true", "the guest does not go on")
    for note in params.objects("notes_written"):
        for directory in (*DISKS, *MEMORY):
            session.cmd(f"echo {note} > {directory}/{note}")
        session.cmd(f"NOTE={note}; sleep 1000000 & KEEPER=$!")
    session.cmd("sync")
    session.close()


def _session(vm: Any, restored: bool) -> Any:
    """Return a session; a restored guest says nothing by itself that a login could wait for."""
    if restored:
        return vt_console.ConsoleSession(vm.console_manager)
    return vm.wait_for_serial_login(timeout=120)


def _require(test: Any, session: Any, note: str, *directories: str) -> None:
    for directory in directories:
        status, content = session.cmd_status_output(f"cat {directory}/{note}")
        if status != 0 or content.strip() != note:
            test.fail(f"{directory}/{note} holds {content!r} (status {status})")


def _run(test: Any, session: Any, command: str, problem: str) -> None:
    if session.cmd_status(command) != 0:
        test.fail(f"{problem}: {command} failed")


def _ask_for(test: Any, params: Any, vm: Any, state: str) -> None:
    """Ask the backend itself for a state that does not exist."""
    from avocado_pool_plugin.core.errors import StateMissing
    from avocado_pool_plugin.states.qcow2 import QCOW2VTBackend

    own = params.object_params(vm.name)
    own.update({"vms": vm.name, "object_type": "vms", "object_name": vm.name, "get_state": state})
    try:
        QCOW2VTBackend.get(own, vm)
    except StateMissing as error:
        test.log.info("as it should be: %s", error)
    else:
        test.fail(f"{state!r} was got although it does not exist")
