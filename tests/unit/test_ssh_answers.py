"""What is read out of a far shell's answers."""

import base64
import os

from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh.answers import Found, parse_locks
from avocado_pool_plugin.ssh.looks import Look

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
