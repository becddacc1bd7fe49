"""What is done by qemu-img. Names go to it as arguments, never through a shell."""

import json
import logging
import os
import re
import shutil
import subprocess
import time

from avocado_pool_plugin.core.errors import SpaceMissing, ToolFailed

LOG = logging.getLogger("avocado." + __name__)

#: The program; Avocado-VT's ``qemu_img_binary`` is put here by states/.
PROGRAM = "qemu-img"
#: Seconds a call that only changes a header may take.
_QUICK = 60
#: Seconds a call that may read and write a whole image may take.
_LONG = 6 * 3600
#: Exit statuses of ``qemu-img compare``: equal, different.
_COMPARED = (0, 1)
#: What QEMU says of a disk without room.
_FULL = ("No space left on device", "Disk quota exceeded")
#: What QEMU says of an image that is locked, and how many seconds that may be worth waiting for.
_IN_USE, _LINGERS = "Is another process using the image", 3.0
#: Exit statuses of ``qemu-img check``: fine, and only clusters leaked.
HARMLESS = (0, 3)
#: What writes an image. These end with status 0 even if the image's tables could not be written as
#: it was closed, and content was lost with them; but they say so.
_WRITERS = ("create", "rebase", "commit", "convert")
#: How many characters of what a program says are told.
_TOLD = 300


def _run(
    *args: str, timeout: int = _QUICK, fine: tuple[int, ...] = (0,)
) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, *args]
    LOG.debug("running %s", command)
    deadline = time.monotonic() + _LINGERS
    done = _once(command, timeout)
    while done.returncode not in fine and _IN_USE in done.stderr and time.monotonic() < deadline:
        # who is killed leaves its qemu-img running for a moment
        time.sleep(0.05)
        done = _once(command, timeout)
    if done.returncode not in fine or (args[0] in _WRITERS and _complains(done.stderr)):
        said = (done.stderr.strip() or done.stdout.strip()).replace("\n", "; ")
        if any(reason in said for reason in _FULL):
            raise SpaceMissing(f"{said}; free space there and try again, what is there is whole")
        raise ToolFailed(f"{' '.join(command)} failed with status {done.returncode}: {said}")
    return done


def _complains(said: str) -> bool:
    """Tell whether a program says more than warnings."""
    return any(line.strip() and "warning:" not in line for line in said.splitlines())


def _once(command: list[str], timeout: int) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},  # what it says is looked into
        )
    except FileNotFoundError:
        raise ToolFailed(
            f"{command[0]} was not found; install QEMU and its tools, or set qemu_img_binary and "
            f"qemu_binary"
        ) from None
    except OSError as error:
        raise ToolFailed(
            f"{command[0]} can't be started: {error.strerror}; check that it is a program"
        ) from error
    except subprocess.TimeoutExpired:
        raise ToolFailed(f"{' '.join(command)} did not end within {timeout} seconds") from None


def _plain(path: str) -> str:
    """Return a file name that QEMU takes for nothing but a file, colons or not."""
    return path if os.path.isabs(path) else os.path.abspath(path)


def create_overlay(path: str, backing: str) -> None:
    """Make an empty image at ``path`` that stands on the QCOW2 image ``backing``."""
    _run("create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", _plain(path))


def create_overlay_unseen(path: str, backing: str, size: int) -> None:
    """
    Make an empty image that will stand on a QCOW2 image which is not there yet.

    :param size: bytes that the guest sees, those of the backing image
    """
    where = ("-u", "-b", backing, "-F", "qcow2")
    _run("create", "-q", "-f", "qcow2", *where, _plain(path), str(size))


def create_blank(path: str, size: str) -> None:
    """
    Make an empty image that stands on nothing.

    :param size: bytes, or with one of qemu-img's suffixes
    """
    _run("create", "-q", "-f", "qcow2", _plain(path), size)


def rename_backing(path: str, backing: str, backing_format: str = "qcow2") -> None:
    """Write another name for the same backing content into an image; an empty one for none."""
    where = ["-b", backing, "-F", backing_format] if backing else ["-b", ""]
    _run("rebase", "-q", "-u", "-f", "qcow2", *where, _plain(path))


def move_content(path: str, backing: str) -> None:
    """Make an image stand on another backing image, taking in what differs between the two."""
    where = ["-b", backing, "-F", "qcow2"] if backing else ["-b", ""]
    _run("rebase", "-q", "-f", "qcow2", *where, _plain(path), timeout=_LONG)


def commit(path: str) -> None:
    """Write all that an image holds into its backing image."""
    _run("commit", "-q", "-f", "qcow2", _plain(path), timeout=_LONG)


def convert(source: str, target: str, source_format: str) -> None:
    """Make one QCOW2 image of all that an image and its backing images hold."""
    _run(
        *("convert", "-q", "-f", source_format, "-O", "qcow2"),
        *(_plain(source), _plain(target)),
        timeout=_LONG,
    )


def same_guest_content(one: str, other: str) -> bool:
    """Tell whether a guest would see the same disk in two QCOW2 images."""
    command = ("compare", "-q", "-f", "qcow2", "-F", "qcow2", _plain(one), _plain(other))
    return _run(*command, timeout=_LONG, fine=_COMPARED).returncode == 0


def check(path: str) -> None:
    """
    Make sure that an image is sound; leaked clusters do no harm.

    :raises ToolFailed: it is damaged; the text says how
    """
    _run("check", "-q", "-f", "qcow2", _plain(path), timeout=_LONG, fine=HARMLESS)


def alone(path: str) -> str:
    """Return a QCOW2 image without those that it stands on, as QEMU is told of it."""
    file = {"driver": "file", "filename": _plain(path)}
    wanted = {"driver": "qcow2", "file": file, "backing": None}
    return "json:" + json.dumps(wanted, ensure_ascii=False)


def damage(path: str) -> str | None:
    """
    Return what is wrong with an image by itself, as it is now: it may be in use.

    :returns: empty for nothing, or leaked clusters, which do no harm; None without qemu-img
    """
    if shutil.which(PROGRAM) is None:
        return None
    done = _once([PROGRAM, "check", "-q", "-U", alone(path)], _LONG)
    return "" if done.returncode in HARMLESS else told(path, f"{done.stdout}\n{done.stderr}")


def told(path: str, text: str) -> str:
    """Return what qemu-img said of an image that it was told of, on one line of bearable length."""
    lines = (line.strip() for line in text.replace(alone(path), path).splitlines())
    return "; ".join(line for line in lines if line)[:_TOLD] or "qemu-img does not say why"


def repair(path: str) -> None:
    """
    Make an image sound whose metadata were not written to the end; its content stays.

    :raises ToolFailed: it is damaged beyond that
    """
    _run("check", "-q", "-r", "all", "-f", "qcow2", _plain(path), timeout=_LONG, fine=HARMLESS)


def create_snapshot(path: str, tag: str) -> None:
    """Keep what an image holds now as an internal snapshot, beside others of that tag."""
    _run("snapshot", "-q", "-c", tag, _plain(path), timeout=_LONG)


def apply_snapshot(path: str, number: str) -> None:
    """
    Make an image hold what one of its internal snapshots holds.

    :param number: its id, not its tag: to qemu-img a tag that is some other one's id means that one
    """
    _run("snapshot", "-q", "-a", number, _plain(path), timeout=_LONG)


def delete_snapshot(path: str, tag: str) -> None:
    """Remove the first of an image's internal snapshots that has a tag; ids do not count here."""
    _run("snapshot", "-q", "-d", tag, _plain(path), timeout=_LONG)


def emulator_version(binary: str) -> str:
    """
    Return the version of a QEMU, such as ``7.2.22``.

    :param binary: its program
    :raises ToolFailed: it does not say
    """
    said = _ask(binary, "--version")
    found = re.search(r"version (\d+(?:\.\d+)+)", said)
    if not found:
        raise ToolFailed(f"{binary} --version does not tell a version, it says {said[:80]!r}")
    return found[1]


def machine_type(binary: str, name: str) -> str:
    """
    Return the versioned machine type that a name is an alias of, else the name.

    :param binary: QEMU's program
    :param name: the type, empty for QEMU's default one
    :raises ToolFailed: QEMU does not say
    """
    for line in _ask(binary, "-machine", "help").splitlines():
        known, _, told = line.partition(" ")
        alias = re.search(r"\(alias of ([^)]+)\)", told)
        if known == name and alias:
            return alias[1]
        if not name and told.endswith("(default)"):
            return known
    return name


def _ask(binary: str, *args: str) -> str:
    """Return what a program of QEMU prints."""
    done = _once([binary, *args], _QUICK)
    if done.returncode:
        raise ToolFailed(f"{binary} {' '.join(args)} failed: {done.stderr.strip()[:200]}")
    return done.stdout
