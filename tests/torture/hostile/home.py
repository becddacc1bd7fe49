"""A pool with all notes of ours that there may be, and what lies around it."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from avocado_pool_plugin.core import (
    durable,
    layout,
    pins,
    records,
    seen,
    trash,
    users,
)
from avocado_pool_plugin.states import saving
from avocado_pool_plugin.states.intents import Intent, Owner
from tests.support import checking
from tests.support.images import image
from tests.torture.hostile.commands import Commands

#: A process that there is none of.
_NOBODY = 2**22 + 7


@dataclass(frozen=True)
class Note:
    """
    A small file of ours.

    :param kind: what it is
    :param path: where it is
    :param text: what is in it when all is well
    """

    kind: str
    path: Path
    text: bytes


class Home:
    """
    A pool with all that may be in it, a cache, and things that are none of their business.

    :ivar notes: what there is to be written wrong
    """

    def __init__(self, root: Path) -> None:
        self.root, self.pool, self.cache = root, root / "pool", root / "cache"
        self.outside = root / "outside"
        self.outside.mkdir(parents=True)
        for name in ("secret", "secret.qcow2", "secret.state", "secret.json"):
            image(self.outside / name)
        checking.make_pool(self.pool, "base", "install", "later")
        checking.put_ram(self.pool / "vm1" / "later.state", b"memory" * 500, "image1")
        self.state = self.pool / "vm1" / "image1" / "install.qcow2"
        self.image = image(root / "images" / "vm1.qcow2", backing=str(self.state))
        self.cache.mkdir()
        self.notes = list(self._notes())
        self.commands = Commands()
        self.outer = self._outer()
        self.states = checking.states(self.pool)

    def _notes(self) -> Iterator[Note]:
        path = str(self.state)
        record = records.read_record(path)
        assert record is not None
        yield self._as_it_is("record", layout.record_path(path))
        ram = str(self.pool / "vm1" / "later.state")
        yield self._as_it_is("record of a vm state", layout.record_path(ram))
        yield self._as_it_is("pending", records.write_pending(path, record, fsync=False))
        known = seen.Seen(record.info.digest or "", record.info.generation, record.stamp)
        seen.write_seen(path, known, None)
        yield self._as_it_is("seen", layout.seen_path(path))
        users.register(path, str(self.image), record.info.generation, str(self.image))
        yield self._as_it_is("user", next(Path(layout.users_dir(path)).iterdir()))
        pin = Path(layout.pins_dir(str(self.pool))) / f"{durable.new_token()}.json"
        pin.parent.mkdir(parents=True)
        pin.write_bytes(pins.Pin.new(["vm1/image1/later.qcow2"]).encode())
        yield self._as_it_is("pin", pin)
        yield self._thrown()
        for verb in ("set", "unset"):
            yield self._intent(verb)
        yield self._saving()

    def _as_it_is(self, kind: str, path: str | Path) -> Note:
        return Note(kind, Path(path), Path(path).read_bytes())

    def _thrown(self) -> Note:
        path = self.state.with_name("gone.qcow2")
        shutil.copy(self.state, path)
        text = Path(layout.record_path(str(self.state))).read_bytes()
        Path(layout.record_path(str(path))).write_bytes(text)
        return self._as_it_is("trash", f"{trash.throw(str(path))}.json")

    def _intent(self, verb: str) -> Note:
        part = layout.part_path(str(self.state), durable.new_token())
        state = str(self.state.with_name("new.qcow2"))
        by = Owner("elsewhere", _NOBODY, "7", time.time())
        found = Intent(
            verb, state, str(self.image), part, "install.qcow2", str(self.state), "qcow2",
            os.stat(self.image).st_ino, 0o644, part + "2", by,
        )  # fmt: skip
        # made for each try: who finds one carries it out
        return Note(f"intent of {verb}", Path(found.path), json.dumps(asdict(found)).encode())

    def _saving(self) -> Note:
        ram = str(self.pool / "vm1" / "saved.state")
        disk = {
            "name": "image1", "image": str(self.image), "state": str(self.state), "overlay": "",
            "part": layout.part_path(str(self.state), "0" * 16), "backing": "", "inode": 7,
        }  # fmt: skip
        fields = set(saving.Disk.__dataclass_fields__)
        disk = {name: disk.get(name, "") for name in sorted(fields)}
        data = dict.fromkeys(saving.Saving.__dataclass_fields__, "")
        by = asdict(Owner("elsewhere", _NOBODY, "7", time.time()))
        data |= {"ram": ram, "disks": [disk], "by": by, "seconds": 0.0}
        path = Path(layout.intents_dir(str(self.pool / "vm1"))) / "saved.json"
        return Note("intent of a save", path, json.dumps(data).encode())

    def _outer(self) -> dict[str, tuple[int, bytes]]:
        """Return all that is around the pool and the cache, but not in them."""
        files = (path for top in ("outside", "images") for path in (self.root / top).rglob("*"))
        found = {str(path): (path.lstat().st_mode, _content(path)) for path in files}
        around = {str(path): (0, b"") for path in self.root.iterdir()}
        return {**found, **around}

    @contextlib.contextmanager
    def written(self, note: Note, text: bytes) -> Iterator[None]:
        """Have something else in a note; afterwards nothing else may have changed."""
        note.path.parent.mkdir(parents=True, exist_ok=True)
        note.path.write_bytes(text)
        try:
            yield
        finally:
            after = self._outer()
            kept = note.path.parent.is_dir()
            if "intent" in note.kind:
                note.path.unlink(missing_ok=True)
            elif kept or not note.path.exists():
                note.path.parent.mkdir(parents=True, exist_ok=True)
                note.path.write_bytes(note.text)
        assert after == self.outer, sorted(set(map(str, after.items() ^ self.outer.items())))[:3]
        assert checking.states(self.pool) == self.states, "a state is another one, or gone"


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
