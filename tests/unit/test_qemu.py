"""Programs of QEMU that can't be had, or that lose something and end as if all was well."""

import shutil

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.errors import PoolError, ToolFailed
from tests.support.images import chain, guest_bytes
from tests.support.needs import need_programs


def test_a_program_that_is_none(tmp_path, monkeypatch):
    program = tmp_path / "qemu-img"
    program.write_text("text")
    monkeypatch.setattr(qemu, "PROGRAM", str(program))
    with pytest.raises(ToolFailed, match="qemu-img can't be started: Permission denied"):
        qemu.check("/image")


def test_the_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ToolFailed, match="/none was not found; install QEMU"):
        qemu.emulator_version(str(tmp_path / "none"))


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_content_that_is_lost_when_an_image_is_closed_is_told(tmp_path, monkeypatch, error):
    """The n-th flush fails, once: it is told, or the image has all that it had."""
    need_programs("strace", "qemu-img")
    chain(tmp_path, "base", "mid", "top")
    program, image = tmp_path / "qemu-img", tmp_path / "image.qcow2"
    program.write_text(
        f"#!/bin/sh\nexec strace -f -qq -o /dev/null -e trace=fdatasync -e "
        f'inject=fdatasync:error={error}:when="$NTH" {shutil.which("qemu-img")} "$@"\n'
    )
    program.chmod(0o755)
    before, told = guest_bytes(tmp_path / "top.qcow2"), 0
    monkeypatch.setattr(qemu, "PROGRAM", str(program))
    for number in range(1, 7):
        shutil.copy(tmp_path / "top.qcow2", image)
        monkeypatch.setenv("NTH", str(number))
        try:
            qemu.move_content(str(image), "base.qcow2")
        except PoolError:
            told += 1
        else:
            monkeypatch.undo()
            assert guest_bytes(image) == before, number
            monkeypatch.setattr(qemu, "PROGRAM", str(program))
    assert told
