"""QCOW2 images with headers and tables that no QEMU wrote."""

import contextlib
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from avocado_pool_plugin.core import chain, dependents, knowledge, qcow2, snapshots
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import looks
from tests.support import checking
from tests.support.images import image, qemu_img
from tests.torture.hostile import mutate
from tests.torture.hostile.cage import judge
from tests.torture.row import Row, Wish

#: Fields of a header: where each is, and how it is packed.
_FIELDS = (
    (4, ">I"), (8, ">Q"), (16, ">I"), (20, ">I"), (24, ">Q"), (32, ">I"), (36, ">I"), (40, ">Q"),
    (48, ">Q"), (56, ">I"), (60, ">I"), (64, ">Q"), (72, ">Q"), (80, ">Q"), (88, ">Q"), (96, ">I"),
    (100, ">I"), (104, ">I"), (108, ">I"), (112, ">I"), (116, ">I"),
)  # fmt: skip
#: Bytes that a file may claim, and does not take.
_HOLES = 1 << 40
_NAMES = (b"base.qcow2", b"../../../outside/secret.qcow2", b"/etc/passwd", b"json:{}",
          b"a\0b.qcow2", b"nbd://host/x", b"\xff\xfe.qcow2", b"later.qcow2", b"x\n.qcow2", b"..",
          b"-o.qcow2",
          b"$(touch owned).qcow2", b"." * 1000)  # fmt: skip


class Shelf:
    """A directory of states, one of which is overwritten: a chain, and an image with snapshots."""

    def __init__(self, root: Path) -> None:
        checking.make_pool(root / "pool", "base", "install", "later")
        self.directory = root / "pool" / "vm1" / "image1"
        snapped = image(root / "snapped.qcow2")
        for name in ("one", "two/1", "three"):
            qemu_img("snapshot", "-c", name, snapped)
        self.samples = [
            (self.directory / "install.qcow2").read_bytes(),
            (self.directory / "base.qcow2").read_bytes(),
            snapped.read_bytes(),
        ]
        self.path = self.directory / "hurt.qcow2"
        self.outside = root / "outside"
        self.outside.mkdir()
        image(self.outside / "secret.qcow2")

    def hurt(self, dice: random.Random) -> tuple[bytes, bool]:
        """Return an image with something wrong, and whether it has a long hole at its end."""
        data = bytearray(dice.choice(self.samples))
        how = dice.randrange(6)
        if how < 3:
            for _ in range(dice.randint(1, 3)):
                at, form = dice.choice(_FIELDS)
                size = struct.calcsize(form)
                value = dice.choice((*mutate.NUMBERS, dice.randrange(len(data) + 1)))
                data[at : at + size] = struct.pack(form, value % (1 << 8 * size))
        elif how == 3:
            name = dice.choice(_NAMES)
            at = dice.choice((400, 520, 4000, 4090, 70_000))
            data[at : at + len(name)] = name
            data[8:20] = struct.pack(">QI", at, len(name))
        elif how == 4:
            data = self._table(data, dice)
        else:
            data[:4096] = mutate.bytes_of(bytes(data[:4096]), dice)
        return bytes(data), dice.randrange(8) == 0

    def _table(self, data: bytearray, dice: random.Random) -> bytearray:
        """Return an image with a table of snapshots that claims something."""
        count, at = dice.choice(mutate.NUMBERS[:14]), dice.choice((len(data) - 64, 4096, 2**63))
        entry = struct.pack(
            ">QIHHIIQII", 65536, 1, dice.choice((0, 1, 65535)), dice.choice((0, 3, 65535)), 7, 7,
            dice.choice((0, 2**64 - 1)), dice.choice((0, 2**32 - 1)),
            dice.choice((0, 16, 1024, 2**31, 2**32 - 1)),
        )  # fmt: skip
        if at < len(data):
            data[at : at + len(entry)] = entry
        data[60:72] = struct.pack(">IQ", count % 2**32, at)
        return data


def rows(wish: Wish) -> Iterator[Row]:
    """Headers and tables in all that reads them."""
    with wish.directory("hostile-images") as directory:
        shelf = Shelf(directory)
        dice = wish.dice("images")
        some = [(f"image {n}", (shelf, shelf.hurt(dice))) for n in range(wish.few(2500, 200))]
        row = Row(
            "QCOW2 headers and tables of snapshots, also in files of 1 TiB of holes",
            "refused as damaged, or read; without memory or time for what they claim, and a "
            "parent is a state beside it or told as none",
        )
        yield judge(row, _read, some)


def _read(given: tuple[Shelf, tuple[bytes, bool]]) -> str:
    shelf, (data, holes) = given
    os.chdir(shelf.outside)
    shelf.path.unlink(missing_ok=True)
    shelf.path.write_bytes(data)
    if holes:
        os.truncate(shelf.path, _HOLES)
    path, directory = str(shelf.path), str(shelf.directory)
    works: list[Callable[[], object]] = [
        lambda: qcow2.is_qcow2(path),
        lambda: qcow2.read_header(path),
        lambda: qcow2.in_use(path),
        lambda: _backing(path),
        lambda: chain.leads_away(path),
        lambda: snapshots.vm_states([snapshots.read_snapshots(path)]),
        lambda: snapshots.image_states(snapshots.read_snapshots(path)),
        lambda: list(chain.children_of(directory, "base")),
        lambda: list(chain.walk("hurt", chain.parent_in(directory))),
        lambda: dependents.states_on(str(shelf.directory / "install.qcow2")),
        lambda: _without_directory(path, data),
        lambda: _far(path, data),
    ]
    if not holes:
        works.append(lambda: chain.verify(directory, "hurt", checking.POLICY))
        works.append(lambda: knowledge.believe(path, checking.POLICY))
    for work in works:
        with contextlib.suppress(PoolError, FileNotFoundError):
            work()
    assert sorted(os.listdir(shelf.outside)) == ["secret.qcow2"]
    qcow2.read_header(path)
    return "read"


def _backing(path: str) -> None:
    found = chain.backing_of(path)
    assert "/" not in found.state and "\0" not in found.outside
    assert not found.outside or os.path.isabs(found.outside)


def _without_directory(path: str, data: bytes) -> None:
    change = qcow2.without_directory(path, data[:4096])
    assert len(change.applied(data[:4096])) == len(data[:4096])


def _far(path: str, data: bytes) -> None:
    stamp = Stamp(1, len(data), 1, 1)
    look = looks.Look(path, path, stamp, regular=True, header=data[:2048])
    looks.reaches_further(look)
    below = looks.backing_path(look)
    assert not below or os.path.dirname(below) == os.path.dirname(path)
    looks.backing_of(look, "host:" + path)
