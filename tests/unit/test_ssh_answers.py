"""What is read out of a far shell's answers."""

import base64
import os

import pytest

from avocado_pool_plugin.core.errors import PoolError, PoolUnreachable
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import channel, talk
from avocado_pool_plugin.ssh.answers import Found, parse_locks, parse_names
from avocado_pool_plugin.ssh.looks import Look
from avocado_pool_plugin.ssh.talk import Answer

LOCKS = b"""1: OFDLCK ADVISORY  READ  -1 07:02:131 100 101
2: POSIX  ADVISORY  WRITE 4711 07:02:132 0 EOF
3: POSIX  ADVISORY  WRITE 4711 07:02:133 0 99
4: FLOCK  ADVISORY  WRITE 4711 07:02:134 0 EOF
5: OFDLCK ADVISORY  READ  -1 <none>:0 100 101
5: -> OFDLCK ADVISORY  READ  -1 07:02:135 100 101
6: OFDLCK ADVISORY  READ  -1 07:02:136 209 209
damaged
"""


def look(inode: int, device: tuple[int, int]) -> Look:
    return Look("/x", "/x", Stamp(inode, 1, 1, 1), regular=True, device=os.makedev(*device))


def test_locks_of_a_qemu_are_told_from_others():
    locks = parse_locks(LOCKS)
    assert {lock.inode for lock in locks} == {131, 132, 136}
    held = next(lock for lock in locks if lock.inode == 131)
    assert held.is_on(look(131, (7, 2)))
    assert not held.is_on(look(132, (7, 2))) and not held.is_on(look(131, (7, 3)))
    assert not held.is_on(Look("/x", "/x"))


def test_an_image_that_goes_between_two_looks_is_absent():
    """It was there when its status was asked for, and not when its start was to be read."""
    status = b"7 100 1.000000000 2.000000000 81a4 8 512 64 1 /pool/x.qcow2"
    look = Found([("file", b"/pool/x.qcow2"), ("s", status)]).look("/pool/x.qcow2")
    assert look.stamp is None
    start = base64.b64encode(b"==> /pool/x.qcow2 <==\nQFI\xfb")
    there = [("file", b"/pool/x.qcow2"), ("s", status), ("f", b"/pool/x.qcow2"), ("text", start)]
    assert Found(there).look("/pool/x.qcow2").stamp is not None
    empty = Found([("s", status.replace(b"7 100 ", b"7 0 "))]).look("/pool/x.qcow2")
    assert empty.stamp is not None


STATUS = b"7 100 1.000000000 2.000000000 81a4 8 512 64 1 /pool/x.qcow2"


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (b"7 100", b"7 -100"), (b"7 100", b"7"), (b"81a4", b"81a4fffff"), (b"1.0", b"x.0"),
        (b"8 512", b"9223372036854775807 9223372036854775807"), (b" 1 /", b" -1 /"),
    ],
)  # fmt: skip
def test_what_no_file_can_be_is_no_answer(part, wrong):
    answer = Answer(0, (("s", STATUS.replace(part, wrong)),), (), "host lab")
    with pytest.raises(PoolUnreachable, match=r"host lab.*makes no sense"):
        assert answer.files
    assert Answer(0, (("s", STATUS),), ()).files.statuses


@pytest.mark.parametrize("name", [b"", b"../x", b"a/b", b"a\\000b"])
def test_what_no_file_can_be_called_is_no_name(name):
    assert parse_names(base64.b64encode(b'"a"\n""')) == ["a", ""]
    with pytest.raises(ValueError):
        parse_names(base64.b64encode(b'"' + name + b'"\n""'))


@pytest.mark.parametrize("said", ["yes .", "yes junk", "yes '+go'", "yes | tr -d '\\n'"])
def test_what_has_no_end_is_no_answer(said, monkeypatch):
    monkeypatch.setattr(talk, "_LINES", 10_000)
    monkeypatch.setattr(channel, "_LINE", 1 << 20)
    far = channel.Channel(["sh", "-c", said], "host lab", 20)
    with pytest.raises(PoolError, match="host lab"):
        talk.Talk(far)
    far.close()
