"""Notes of ours in a pool or cache that somebody else wrote, or that came to harm."""

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from avocado_pool_plugin.core import (
    chain,
    dependents,
    knowledge,
    layout,
    passport,
    pins,
    records,
    seen,
    users,
)
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.recipe import Recipe
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.graph import durations
from avocado_pool_plugin.states import intents, moves, saving
from avocado_pool_plugin.states.workplace import Workplace
from avocado_pool_plugin.upkeep.verify import journal
from tests.support import checking
from tests.support.places import local_store
from tests.torture.hostile import mutate
from tests.torture.hostile.cage import judge
from tests.torture.hostile.home import Home, Note
from tests.torture.row import Row, Wish

#: So many uses of a pool are made with each note that is wrong.
_USES = 6


def rows(wish: Wish) -> Iterator[Row]:
    """Each by itself, then in a pool that is used."""
    with wish.directory("hostile-notes") as directory:
        home = Home(directory / "home")
        notes = {note.kind: note for note in home.notes}
        row = Row(
            "records, pins, users, seen-files, intents, passports, journals, durations: read",
            "nothing, or values of the right types",
        )
        dice = wish.dice("notes")
        some = []
        for number in range(wish.few(4000, 300)):
            kind = dice.choice(sorted(_READERS))
            note = _sample(kind, notes)
            some.append((f"{kind} {number}", (kind, mutate.json_of(note, dice), directory)))
        yield judge(row, _read_one, some)
        row = Row(
            "the same in a pool that is looked at, checked, listed and used",
            "nothing outside of it changes, no state changes, errors are ours",
        )
        several = []
        for number in range(wish.few(1200, 60)):
            note = home.notes[number % len(home.notes)]
            several.append((f"{note.kind} {number}", (home, note, _evil(note, dice), number)))
        yield judge(row, _use, several)


def _evil(note: Note, dice: random.Random) -> bytes:
    """Return a note with something wrong, and without the sum that would tell of it."""
    text = mutate.json_of(note.text, dice)
    with contextlib.suppress(ValueError, RecursionError):
        data = json.loads(text)
        if isinstance(data, dict) and data.pop("sum", None) is not None:
            return json.dumps(data).encode()
    return text


def _sample(kind: str, notes: dict[str, Note]) -> bytes:
    if kind in notes:
        return notes[kind].text
    if kind == "durations":
        return json.dumps({"test one": [3.5, 1.7e9], "two": [1, 2]}).encode()
    verdict = journal.Verdict("/pool/a", Stamp(1, 2, 3, 4), "x", "b3t1m:00")
    return json.dumps(verdict.dump()).encode()


def _record(text: bytes, _directory: Path) -> None:
    data = text
    with contextlib.suppress(ValueError, RecursionError):
        whole = json.loads(text)
        if isinstance(whole, dict):
            whole.pop("sum", None)
        data = json.dumps(whole).encode()
    for one in (text, data):
        records.damaged(one)
        found = records.decode(one)
        if found is None:
            continue
        assert records.decode(records.encode(found)) == found
        info = found.info
        _strings(info.parent, info.generation, info.made_by, *info.also)
        _strings(*filter(None, (info.digest, info.source_digest, info.parent_digest)))
        _numbers(info.size, info.made, info.seconds)
        _stamps(found.made_as, found.stamp)
        assert "/" not in info.parent and info.parent != "..", info.parent
        if info.recipe:
            _strings(info.recipe.key, *(value for _, value in info.recipe.parts))
        if info.passport:
            info.passport.mismatches({"memory": "512", "QEMU version": "7.2"})
            for _, mark in info.passport.images:
                mark.is_of("x", {"b3t1m:00"})


def _seen(text: bytes, _directory: Path) -> None:
    found = seen.decode_seen(text)
    if found:
        _strings(found.digest, found.generation)
        _stamps(found.stamp)
        hash(found)


def _user(text: bytes, _directory: Path) -> None:
    found = users.decode(text)
    if found:
        _strings(found.path, found.host, found.generation, found.reads_on)
        _numbers(found.pid, found.since)
        assert "\0" not in found.path
        _ = found.untouched, found.open, str(found)


def _pin(text: bytes, _directory: Path) -> None:
    found = pins.decode(text)
    if found:
        _strings(found.by, *found.files)
        _numbers(found.since, found.lease)


def _intent(text: bytes, directory: Path) -> None:
    note = Path(layout.intents_dir(str(directory / "alone"))) / "x.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_bytes(text)
    for found in (intents.found, saving.found):
        for one in found(str(directory / "alone")):
            _strings(one.by.machine, one.test)


def _passport(text: bytes, _directory: Path) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        passport.Passport.load(json.loads(text))
        Recipe.load(json.loads(text))


def _durations(text: bytes, directory: Path) -> None:
    path = directory / "durations.json"
    path.write_bytes(text)
    for seconds in durations.load(str(path)).values():
        _numbers(seconds)
    durations.remember(str(path), {"test": 3.0})
    assert durations.load(str(path))["test"]


def _journal(text: bytes, directory: Path) -> None:
    found = journal.Journal(str(directory / "journals"), "one")
    Path(found.path).parent.mkdir(parents=True, exist_ok=True)
    Path(found.path).write_bytes(text + b"\n")
    found.read()
    for path, verdict in found.verdicts.items():
        _strings(path, verdict.digest, verdict.corrupt, verdict.damage)
        _stamps(verdict.stamp)
    damaged = journal.Damaged(str(directory / "journals"), "one")
    Path(damaged._path).write_bytes(text)
    _strings(*damaged.paths())


_READERS: dict[str, Callable[[bytes, Path], None]] = {
    "record": _record,
    "record of a vm state": _record,
    "seen": _seen,
    "user": _user,
    "pin": _pin,
    "intent of set": _intent,
    "intent of a save": _intent,
    "passport": _passport,
    "durations": _durations,
    "journal": _journal,
}


def _read_one(given: tuple[str, bytes, Path]) -> None:
    kind, text, directory = given
    _READERS[kind](text, directory)


def _strings(*found: object) -> None:
    for one in found:
        assert isinstance(one, str), f"{one!r} is no text"


def _numbers(*found: object) -> None:
    for one in found:
        sound = isinstance(one, int | float) and not isinstance(one, bool) and -1e20 < one < 1e20
        assert sound, f"{one!r} is no number that can be worked with"


def _stamps(*found: Stamp | None) -> None:
    for stamp in found:
        if stamp is not None:
            assert all(type(one) is int for one in asdict(stamp).values()), stamp


def _use(given: tuple[Home, Note, bytes, int]) -> None:
    home, note, text, number = given
    # where what a shell would make of a name is found
    os.chdir(home.outside)
    with home.written(note, text):
        place, path = str(home.pool), str(home.state)
        work = Workplace(
            home=os.path.dirname(path), image=str(home.image), title="vm1/image1",
            policy=checking.POLICY, seen_dir=str(home.cache / "seen"),
        )  # fmt: skip
        target = home.cache / "vm1" / "image1"
        works: list[Callable[[], object]] = [
            lambda: knowledge.peek(path),
            lambda: knowledge.believe(path, checking.POLICY),
            lambda: chain.verify(os.path.dirname(path), "later", checking.POLICY),
            lambda: users.users_of(path),
            lambda: dependents.states_on(path),
            lambda: pins.pinned(place),
            lambda: moves.recover(work),
            lambda: list(saving.found(str(home.pool / "vm1"))),
            lambda: local_store(checking.POLICY).fetch(path, str(target / "install.qcow2")),
        ]
        at = ("--at", f":{place}", "--pool-cache", str(home.cache))
        works += [
            lambda words=words: home.commands.run(*words)  # type: ignore[misc]
            for words in (
                ("list", *at), ("tree", *at), ("show", "vm1/image1/install", *at),
                ("show", "vm1/later", *at), ("verify", "--all", *at), ("locks", *at),
                ("gc", "--dry-run", "--pool-limit", "1MB", *at), ("trash", "list", *at),
                ("trash", "restore", "--dry-run", "vm1/image1/gone", *at),
                ("rm", "--dry-run", "vm1/image1/install", *at),
            )
        ]  # fmt: skip
        for do in random.Random(number).sample(works, _USES):
            with contextlib.suppress(PoolError, FileNotFoundError):
                do()
        shutil.rmtree(target, ignore_errors=True)
