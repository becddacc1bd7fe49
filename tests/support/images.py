"""QCOW2 images made by QEMU's own tools."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.needs import need_programs

MIB = 1 << 20


def qemu_img(*args: str | Path) -> str:
    need_programs("qemu-img")
    done = subprocess.run(["qemu-img", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"qemu-img {args}: {done.stderr}"
    return done.stdout


def qemu_io(path: Path, *commands: str) -> str:
    need_programs("qemu-io")
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "qcow2", *words, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"qemu-io {commands}: {done.stdout}{done.stderr}"
    return done.stdout


def image(path: Path, *options: str, backing: str | None = None, size: str = "32M") -> Path:
    """Make an image; ``backing`` is written as it is, and QEMU looks for it beside the image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    where = ["-b", backing, "-F", "qcow2"] if backing else [size]
    # the image's name last but for the size
    if backing:
        qemu_img("create", "-q", "-f", "qcow2", *options, *where, path)
    else:
        qemu_img("create", "-q", "-f", "qcow2", *options, path, *where)
    return path


def write(path: Path, byte: int, at: str = "0", length: str = "64k") -> Path:
    """Write a pattern into an image as a guest would."""
    qemu_io(path, f"write -q -P {byte} {at} {length}")
    return path


def chain(directory: Path, *names: str, byte: int = 1) -> list[Path]:
    """Make states on top of each other, the base first, each with a pattern of its own."""
    made: list[Path] = []
    for number, name in enumerate(names):
        backing = made[-1].name if made else None
        path = image(directory / f"{name}.qcow2", backing=backing)
        made.append(write(path, byte + number, at=f"{number}M"))
    return made


def described(path: Path) -> dict[str, Any]:
    """Return what qemu-img says of an image."""
    found: dict[str, Any] = json.loads(qemu_img("info", "-U", "--output=json", path))
    return found


def guest_bytes(path: Path, number: int = 4) -> list[int]:
    """Return the first byte of each of the first MiBs of an image, as the guest sees them."""
    text = qemu_io(path, *(f"read -v {n}M 512" for n in range(number)))
    lines = [line for line in text.splitlines() if line[8:10] == ": "]
    return [int(line.split()[1], 16) for line in lines if int(line[:8], 16) % MIB == 0]


@contextlib.contextmanager
def held_open(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Keep an image open in a QEMU tool while the context lasts."""
    need_programs("qemu-io")
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", *options, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write("length\n")
        process.stdin.flush()
        process.stdout.readline()  # it answers, so the image is open
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait()


def edit(path: Path, at: int, data: bytes, keep_mtime: bool = False) -> None:
    """Change a file behind everybody's back."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    path.chmod(before.st_mode & 0o7777)
    if keep_mtime:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
