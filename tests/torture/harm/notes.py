"""Records and all other notes of ours: what is told of them, and what they can do."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from avocado_pool_plugin.core import durable, layout, pins, records, seen, used, users
from tests.support import checking
from tests.support.memory import in_memory
from tests.torture.harm.content import AT_ONCE, tries
from tests.torture.harm.scene import WANTED, Harm, Scene
from tests.torture.row import Row, Wish

#: Bits and cuts that may happen to a small file.
_HURT = (checking.flip, checking.flip, checking.cut)


def in_notes(wish: Wish, number: int) -> Iterator[Row]:
    """Harm records, then what only spares work."""
    with in_memory("harm") as directory:
        scene = Scene(directory / "scene")
        yield _records(wish, scene, number)
        scene.fresh()
        yield _hints(wish, scene, number)


def _records(wish: Wish, scene: Scene, number: int) -> Row:
    row = Row(
        "bit flips and cuts in the records of a pool",
        "fetch and publish deliver nothing but the right content; verify --all tells each record "
        "but for its stamps, and --repair makes it as it was",
    )
    dice = wish.dice("damage", "records")
    while row.tried < number:
        harms, told_of = [], set()
        for name in dice.sample(sorted(scene.truth), min(AT_ONCE - 1, number - row.tried)):
            do = dice.choice((*[checking.flip_record] * 2, checking.cut_record, _stamp))
            harms.append(Harm(name, do(scene.pool / name, dice)))
            if do is not _stamp:
                told_of.add(harms[-1].title)
        wish.progress(f"damage in records: {row.tried} of {number}")
        with tries(row, scene, harms):
            _use(row, scene, dice)
            told = {one.title for one in scene.verify(scene.pool).findings if one.kind != "broken"}
            row.count("stamps, that only spare reading", len(harms) - len(told_of))
            row.count("found", len(told_of & told))
            row.count("missed", len(told_of - told))
            assert told_of <= told, f"MISSED: {told_of - told}"
            report = scene.verify(scene.pool, scene.mirror)
            row.count("repaired", sum(one.done == "repaired" for one in report.findings))
            scene.require_whole()
            assert scene.pooled.told() == []
    return row


def _stamp(path: Path, dice: random.Random) -> str:
    """Change a digit of a stamp in a record."""
    record = Path(layout.record_path(str(path)))
    text = bytearray(record.read_bytes())
    start = text.index(b'"stamp": {')
    digits = [at for at in range(start, len(text)) if 48 <= text[at] < 58]
    at = dice.choice(digits[:40])
    text[at] = 48 + (text[at] - 47) % 10
    checking.write(record, bytes(text))
    return f"digit at {at} of the stamp in {record.name}"


def _use(row: Row, scene: Scene, dice: random.Random) -> None:
    """Do what users do with a pool, none of which may deliver anything else."""
    wanted = dice.choice(WANTED)
    came = scene.fetch_anew(wanted, scene.pool)
    row.count("delivered" if came else "refused")
    assert scene.fetch_anew(wanted, scene.pool, scene.mirror), "no mirror was used"
    assert scene.fetch(wanted, scene.cache, scene.pool, scene.mirror)
    scene.publish_child(scene.pool, scene.mirror)
    scene.remove_child()
    for root in (scene.cache, scene.mirror, scene.pool):
        scene.require_true(root, "used")


def _hints(wish: Wish, scene: Scene, number: int) -> Row:
    row = Row(
        "the same in notes of readers, uses, working overlays, pins and writers that were killed",
        "no harm: every state can be had, nothing is told corrupt or put aside, no bytes change",
    )
    dice = wish.dice("damage", "hints")
    while row.tried < number:
        notes, harms = [], []
        names = dice.sample(sorted(scene.truth), len(_NOTES))
        before = _unread(scene.pool / names[0])
        for name, (kind, make) in zip(names, _NOTES.items(), strict=True):
            note = make(scene, scene.pool / name)
            notes.append(note)
            harms.append(Harm(str(note.relative_to(scene.pool)), f"{kind}: {_harmed(note, dice)}"))
            row.count(kind)
        wish.progress(f"damage in notes: {row.tried} of {number}")
        with tries(row, scene, harms):
            assert scene.fetch_anew(dice.choice(WANTED), scene.pool), "a good state was refused"
            _use(row, scene, dice)
            told = [one for one in scene.verify(scene.pool).findings if one.kind != "pending"]
            assert told == [], f"good states were told of: {told}"
            scene.verify(scene.pool, scene.mirror)
            records.write_record(*before, fsync=False)
            scene.require_whole()
        for note in notes:
            note.unlink(missing_ok=True)
    return row


def _harmed(note: Path, dice: random.Random) -> str:
    if not note.stat().st_size:
        note.write_bytes(dice.randbytes(dice.randint(1, 300)))
        return "no longer empty"
    return dice.choice(_HURT)(note, dice)


def _unread(path: Path) -> tuple[str, records.Record]:
    """Have a state be one whose digest only its first reader noted; return path and old record."""
    record = records.read_record(str(path))
    assert record is not None and record.info.digest
    stamp = records.Stamp.of(path.stat())
    known = seen.Seen(record.info.digest, record.info.generation, stamp)
    seen.write_seen(str(path), known, None)
    info = replace(record.info, digest=None)
    records.write_record(str(path), replace(record, info=info, stamp=stamp), fsync=False)
    return str(path), record


def _seen(_scene: Scene, path: Path) -> Path:
    return Path(layout.seen_path(str(path)))


def _used(_scene: Scene, path: Path) -> Path:
    used.touch(str(path))
    return Path(layout.used_path(str(path)))


def _user(scene: Scene, path: Path) -> Path:
    overlay = scene.cache / "overlay.qcow2"
    overlay.touch()
    users.register(str(path), str(overlay), "generation", str(overlay))
    return next(Path(layout.users_dir(str(path))).iterdir())


def _pin(scene: Scene, path: Path) -> Path:
    home = Path(layout.pins_dir(str(scene.pool)))
    home.mkdir(parents=True, exist_ok=True)
    pin = home / f"{durable.new_token()}.json"
    pin.write_bytes(pins.Pin.new([str(path.relative_to(scene.pool))]).encode())
    return pin


def _pending(_scene: Scene, path: Path) -> Path:
    record = records.read_record(str(path))
    assert record is not None
    return Path(records.write_pending(str(path), record, fsync=False))


#: Notes by what they are; each is made for a state, the first for one that was never published.
_NOTES: dict[str, Callable[[Scene, Path], Path]] = {
    "seen by a reader": _seen,
    "used": _used,
    "a working overlay": _user,
    "a pin": _pin,
    "a writer's record": _pending,
}
