"""Work in a child of this process, as if the machine had been started anew since."""

import contextlib
import ctypes
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

_NEW_PID_NAMESPACE = 0x20000000
_NEW_MOUNT_NAMESPACE = 0x00020000
_PRIVATE = 1 << 18 | 1 << 14  # what is mounted below, too
#: Seconds until a child that hangs is killed.
_PATIENCE = 300


def apart(work: Callable[[], object], scratch: Path, elsewhere: bool = False) -> None:
    """
    Do some work in a child that shares nothing with what comes later.

    :param elsewhere: with process ids of its own, so that it is of another boot for all others
    :raises AssertionError: it failed; the text has its traceback
    """
    said = scratch / "said"
    said.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _child(work, said, elsewhere)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, said.read_text() if said.exists() else f"it ended with {status}"


def _child(work: Callable[[], object], said: Path, elsewhere: bool) -> None:
    status = 1
    try:
        if elsewhere:
            status = _in_new_namespace(work, said)
        else:
            signal.alarm(_PATIENCE)
            work()
            status = 0
    except BaseException:
        with contextlib.suppress(OSError):
            said.write_text(traceback.format_exc())
    finally:
        os._exit(status)


def _in_new_namespace(work: Callable[[], object], said: Path) -> int:
    _call("unshare", _NEW_PID_NAMESPACE | _NEW_MOUNT_NAMESPACE)
    pid = os.fork()
    if pid == 0:
        _child(lambda: (_own_processes(), work()), said, elsewhere=False)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _own_processes() -> None:
    """Have ``/proc`` tell of the processes of this namespace, as whoever asks it expects."""
    _call("mount", b"none", b"/", None, _PRIVATE, None)
    _call("mount", b"proc", b"/proc", b"proc", 0, None)


def _call(name: str, *args: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args):
        raise OSError(ctypes.get_errno(), f"no {name} for processes of their own")
