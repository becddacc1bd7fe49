"""Pools to be damaged and checked, in this process or by the program."""

import contextlib
import json
import os
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from avocado_pool_plugin.core import durable, knowledge, layout, records
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.passport import Passport
from avocado_pool_plugin.core.place import new_info, place
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.vmstate import mark_of
from avocado_pool_plugin.upkeep.here import LocalSite
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.verify.findings import Report
from avocado_pool_plugin.upkeep.verify.mirrors import Mirrors
from avocado_pool_plugin.upkeep.verify.run import Check, Wish
from tests.support.images import chain, image, qemu_img
from tests.support.images import write as write_pattern
from tests.support.needs import need_root
from tests.support.places import digest_of, local_store, put_image, settle
from tests.support.remote import remote_store

POLICY = Policy(timeout=20, fsync=False)
ALWAYS = replace(POLICY, verify="always")
#: A kind of place of this host, besides the kinds of hosts.
HERE = "here"


def site_of(root: Path, kind: str = HERE, policy: Policy = POLICY) -> Site:
    """Return a directory as a place on this host, or on a host of a kind."""
    if kind == HERE:
        return LocalSite(Location(str(root)), local_store(policy))
    from avocado_pool_plugin.upkeep.there import FarSite

    return FarSite(Location(str(root), label="lab"), remote_store(policy, kind))


@dataclass(frozen=True)
class Checked:
    """
    A pool that is checked and repaired.

    :param root: of the pool
    :param kind: of its host
    """

    root: Path
    kind: str = HERE

    @property
    def cache(self) -> Path:
        """Whose owner checks it."""
        return self.root.with_name("checker")

    def check(self, wish: Wish | None = None, *mirrors: Site, repair: bool = False) -> Report:
        """Check it; with mirrors, or if that is wished, repair it too."""
        wish = wish or Wish()
        policy = ALWAYS if wish.always else POLICY
        own = site_of(self.root, self.kind, policy), site_of(self.root, self.kind, ALWAYS)
        found = Mirrors(mirrors) if mirrors or repair else None
        return Check(*own, str(self.cache), wish, found).run()

    def told(self, wish: Wish | None = None, *mirrors: Site, repair: bool = False) -> list[str]:
        """Check it and return state, kind and what was done of each finding."""
        report = self.check(wish, *mirrors, repair=repair)
        return [f"{one.title} {one.kind} {one.done}".strip() for one in report.findings]


ALL = Wish(everything=True)


def make_pool(root: Path, *names: str, name: str = "image1", byte: int = 1) -> None:
    """Put a chain of states into a pool, the base first, as writers do."""
    source = root.with_name(f"source-{name}")
    parent = None
    for made in chain(source, *names, byte=byte):
        path = root / "vm1" / name / made.name
        put_image(made, path, parent=parent)
        parent = path


def put_root(root: Path, name: str) -> Path:
    """Put a root image into a pool."""
    source = write_pattern(image(root.with_name("source-root") / "root.qcow2"), 3)
    put_image(source, root / name)
    return root / name


def put_ram(path: Path, content: bytes, *images: str) -> None:
    """Put the RAM file of a vm state beside the image states that belong to it."""
    marks = {}
    for name in images:
        known = knowledge.peek(str(path.parent / name / f"{path.stem}.qcow2"))
        assert known is not None
        marks[name] = mark_of(known)
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(content)
        info = replace(
            new_info(len(content)),
            digest=digest_of(Path(part)),
            passport=Passport.of({"memory": "256"}, marks),
        )
        place(part, str(path), info, POLICY)


def copied(root: Path, other: Path) -> Path:
    """Publish all states of a pool to another one, and return that."""
    store = local_store(POLICY)
    files = sorted(root.glob("vm1/*/*.qcow2"), key=_depth)
    for file in [*files, *root.glob("vm1/*.state"), *root.glob("vm1/*.qcow2")]:
        store.publish(str(file), str(other / file.relative_to(root)))
    return other


def _depth(path: Path) -> int:
    from avocado_pool_plugin.core.chain import parent_in, walk

    return len(list(walk(path.stem, parent_in(str(path.parent)))))


def states(root: Path) -> dict[str, bytes]:
    """Return the content of all states by name."""
    files = [*root.glob("vm1/*/*.qcow2"), *root.glob("vm1/*.state")]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def infos(root: Path) -> dict[str, object]:
    """Return what is recorded of all states, by name."""
    found = {}
    for name in states(root):
        record = records.read_record(str(root / name))
        assert record is not None, name
        passport = record.info.passport
        # a copy has stamps of its own in its marks
        images = [replace(mark, stamp=()) for _, mark in passport.images] if passport else []
        found[name] = (replace(record.info, passport=None), images)
    return found


def tree(root: Path) -> dict[str, bytes]:
    """Return all files below a directory but what readers know."""
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".seen")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def write(path: Path, data: bytes) -> None:
    """Change a file in its place behind everybody's back; its times and inode stay, but ctime."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
        file.truncate(len(data))
    path.chmod(before.st_mode & 0o7777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip(path: Path, dice: random.Random, first: int = 0, end: int | None = None) -> str:
    """Change a bit of a file."""
    data = bytearray(path.read_bytes())
    at, bit = dice.randrange(first, end or len(data)), dice.randrange(8)
    data[at] ^= 1 << bit
    write(path, bytes(data))
    return f"bit {bit} of byte {at} of {path.name}"


def flip_header(path: Path, dice: random.Random) -> str:
    """Change a bit of the header of an image, or of how a RAM file begins."""
    return flip(path, dice, 0, 512)


def cut(path: Path, dice: random.Random) -> str:
    """Cut a file off."""
    data = path.read_bytes()
    size = dice.randrange(len(data))
    write(path, data[:size])
    return f"{path.name} cut off at {size}"


def flip_record(path: Path, dice: random.Random) -> str:
    """Change a bit of a state's record; not in its stamps, which only spare reading."""
    record = Path(layout.record_path(str(path)))
    text = record.read_bytes()
    stamps = [m.span() for m in re.finditer(rb'"(made_as|stamp)": \{[^}]*\}', text)]
    while True:
        at = dice.randrange(len(text))
        if not any(start <= at < end for start, end in stamps):
            return f"record: {flip(record, dice, at, at + 1)}"


def cut_record(path: Path, dice: random.Random) -> str:
    """Cut a state's record off."""
    return f"record: {cut(Path(layout.record_path(str(path))), dice)}"


def believe(path: Path) -> None:
    """Let a file's record have its present stamp, as if its content was the one recorded."""
    settle(path)
    record = records.read_record(str(path))
    assert record is not None
    stamp = records.Stamp.of(path.stat())
    records.write_record(str(path), replace(record, made_as=stamp, stamp=stamp), fsync=False)
    Path(layout.seen_path(str(path))).unlink(missing_ok=True)


def record_of(path: Path) -> dict[str, object]:
    """Return a record as it is stored."""
    found: dict[str, object] = json.loads(Path(layout.record_path(str(path))).read_text())
    return found


def settled(root: Path) -> None:
    """Wait until all later changes show."""
    for name in states(root):
        settle(root / name)


def json_of(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text())
    return found


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Let nobody write to a directory while the context lasts."""
    need_root()
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", directory], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def odd(root: Path) -> None:
    """Put all that should not be there beside the states base, running and later of a pool."""
    home = root / "vm1" / "image1"
    golden = image(root.with_name("golden.qcow2"))
    loose = root.with_name("loose")
    image(home / "astray.qcow2", backing=str(golden))
    image(home / "absolute.qcow2", backing=str(home / "base.qcow2"))
    (home / "dangling.qcow2").symlink_to("nowhere.qcow2")
    (home / "link.qcow2").symlink_to("later.qcow2")
    (home / "directory.qcow2").mkdir()
    (home / "text.qcow2").write_text("no image")
    image(home / "gone.qcow2")
    image(home / "orphan.qcow2", backing="gone.qcow2")
    (home / "gone.qcow2").unlink()
    image(home / "round2.qcow2")
    image(home / "round1.qcow2", backing="round2.qcow2")
    on = ("-b", "round1.qcow2", "-F", "qcow2")
    qemu_img("rebase", "-u", "-f", "qcow2", *on, home / "round2.qcow2")
    # made on another parent than the one that is there
    for number, name in enumerate(("old", "new")):
        chain(loose / name, "moved", byte=number + 1)
    put_image(loose / "old" / "moved.qcow2", home / "moved.qcow2")
    on_it = image(loose / "old" / "changed.qcow2", backing="moved.qcow2")
    put_image(on_it, home / "changed.qcow2", parent=home / "moved.qcow2")
    put_image(loose / "new" / "moved.qcow2", home / "moved.qcow2")
    # what QEMU does not like: an entry of the refcount table that leads beyond the file
    leaky = image(loose / "leaky.qcow2")
    data = bytearray(leaky.read_bytes())
    data[0x10000:0x10008] = (0x7F0000).to_bytes(8, "big")
    (home / "leaky.qcow2").write_bytes(data)
    # a writer died an hour ago
    put_image(image(loose / "written.qcow2"), home / "written.qcow2")
    record = records.read_record(str(home / "written.qcow2"))
    assert record is not None
    note = records.write_pending(str(home / "written.qcow2"), record, fsync=False)
    os.utime(note, (1000, 1000))
    # one that is at work
    records.write_pending(str(home / "base.qcow2"), record, fsync=False)
    # a vm state of another image state than the one beside it
    put_image(image(loose / "other.qcow2"), home / "other.qcow2")
    put_ram(root / "vm1" / "other.state", b"memory", "image1")
    put_image(write_pattern(image(loose / "other2.qcow2"), 7), home / "other.qcow2")


def dumped(data: dict[str, object]) -> str:
    """Return a record as text."""
    return json.dumps(data, indent=1, sort_keys=True)


def age(path: str) -> None:
    """Let a file be very old."""
    os.utime(path, (1000, 1000))


def first_of(line: str) -> str:
    """Return the file that a line of a journal speaks of."""
    return str(json.loads(line)["path"])


def parent_of(path: Path) -> Path | None:
    """Return the file that an image state stands on."""
    record = records.read_record(str(path))
    assert record is not None
    return path.with_name(f"{record.info.parent}.qcow2") if record.info.parent else None
