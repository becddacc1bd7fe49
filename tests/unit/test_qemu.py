"""Programs of QEMU that can't be had."""

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.errors import ToolFailed


def test_a_program_that_is_none(tmp_path, monkeypatch):
    program = tmp_path / "qemu-img"
    program.write_text("text")
    monkeypatch.setattr(qemu, "PROGRAM", str(program))
    with pytest.raises(ToolFailed, match="qemu-img can't be started: Permission denied"):
        qemu.check("/image")


def test_the_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ToolFailed, match="/none was not found; install QEMU"):
        qemu.emulator_version(str(tmp_path / "none"))
