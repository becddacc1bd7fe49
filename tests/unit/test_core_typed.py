"""What notes of ours may hold, whoever wrote them."""

import json
import logging
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from avocado_pool_plugin.core import layout, pins, records, seen, typed, users
from avocado_pool_plugin.core.place import new_info
from avocado_pool_plugin.core.records import Record, Stamp
from avocado_pool_plugin.core.seen import Seen
from avocado_pool_plugin.states import intents
from avocado_pool_plugin.states.intents import Intent, Owner

STAMP = Stamp(1, 2, 3, 4)
USER = {
    "path": "/images/vm1.qcow2", "host": "h", "pid": 7, "since": 1.5, "generation": "g",
    "made_as": [1, 2, 3],
}  # fmt: skip
DEEP = b'{"a":' * 100_000


@pytest.mark.parametrize("text", [DEEP, b"[" * 100_000, b"[]", b"7", b"", b"\xff", b"{"])
def test_only_an_object_is_one(text):
    with pytest.raises(ValueError):
        typed.mapping(text)
    for decode in (records.decode, seen.decode_seen, users.decode, pins.decode):
        assert decode(text) is None
    assert records.damaged(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"path": 5}, {"path": "a\0b"}, {"path": "\ud800"}, {"pid": "7"}, {"pid": True},
        {"pid": 2**64}, {"since": 10**400}, {"since": float("nan")}, {"since": float("inf")},
        {"made_as": [1, 2]}, {"made_as": 5}, {"made_as": [1, 2, "3"]}, {"link": 1}, {"more": 1},
    ],
)  # fmt: skip
def test_fields_have_the_types_that_they_are_declared_with(changed):
    assert users.decode(json.dumps(USER).encode()) == users.User(
        **{**USER, "made_as": (1, 2, 3)}  # type: ignore[arg-type]
    )
    assert users.decode(json.dumps({**USER, **changed}).encode()) is None
    less = {name: value for name, value in USER.items() if name != "host"}
    assert users.decode(json.dumps(less).encode()) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"parent": "../../outside/secret"}, {"parent": ".."}, {"size": -1}, {"size": "7"},
        {"digests": {"b3t1m": 5}}, {"digests": []}, {"stamp": {"inode": 1}},
        {"made_as": {**asdict(STAMP), "size": None}}, {"seconds": "long"}, {"made": [1]},
    ],
)  # fmt: skip
def test_a_record_that_no_writer_can_have_made_is_damaged(changed):
    data = json.loads(records.encode(Record(new_info(7), STAMP, STAMP)))
    del data["sum"]
    assert records.decode(json.dumps(data).encode()) is not None
    assert records.decode(json.dumps({**data, **changed}).encode()) is None


def test_a_bit_of_a_readers_note_condemns_no_file():
    text = seen.encode_seen(Seen("b3t1m:00ff", "generation", STAMP))
    assert seen.decode_seen(text) == Seen("b3t1m:00ff", "generation", STAMP)
    for at in range(len(text)):
        for bit in range(8):
            data = bytearray(text)
            data[at] ^= 1 << bit
            found = seen.decode_seen(bytes(data))
            assert found in (None, Seen("b3t1m:00ff", "generation", STAMP)), bytes(data)


def test_readers_notes_of_earlier_versions_count():
    text = json.dumps({"digest": "b3t1m:00", "generation": "g", "stamp": None}).encode()
    assert seen.decode_seen(text) == Seen("b3t1m:00", "g", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "/elsewhere/vm1/image1/x.qcow2"}, {"part": "/elsewhere/x.part"},
        {"image": "vm1.qcow2"}, {"overlay": "/elsewhere/x.part"}, {"verb": "destroy"},
    ],
)  # fmt: skip
def test_an_intent_about_files_elsewhere_is_left_alone(tmp_path: Path, changed, caplog):
    directory = tmp_path / "vm1" / "image1"
    state, image = str(directory / "x.qcow2"), str(tmp_path / "vm1.qcow2")
    by = Owner("another boot", 7, "7", time.time())
    part = layout.part_path(state, "0" * 16)
    intent = Intent("set", state, image, part, "", "", "", 7, 0o644, "", by)
    os.makedirs(os.path.dirname(intent.path))
    Path(intent.path).write_text(json.dumps(asdict(intent)))
    assert intents.found(str(directory)) == [intent]
    Path(intent.path).write_text(json.dumps({**asdict(intent), **changed}))
    with caplog.at_level(logging.WARNING):
        assert intents.found(str(directory)) == []
    assert "unfinished work" in caplog.text and os.path.exists(intent.path)
