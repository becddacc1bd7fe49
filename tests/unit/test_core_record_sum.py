"""A record tells whether it is damaged."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.core import records
from avocado_pool_plugin.core.passport import Mark, Passport
from avocado_pool_plugin.core.place import new_info
from avocado_pool_plugin.core.records import Record, Stamp

MADE, STAMP = Stamp(7, 5, 1795422188427000000, 1795422188428000000), Stamp(7, 5, 1, 2)
INFO = replace(
    new_info(5, parent="base", test='of "sum": \'\' and \n "sum": ""'),
    digest="b3t1m:" + "0f" * 32,
    also=("sha256:" + "a0" * 32,),
    passport=Passport.of(
        {"memory": "256", "sum": "", "stamp": "null"}, {"image1": Mark("g", "b3t1m:00", (1, 2))}
    ),
)
TEXT = records.encode(Record(INFO, MADE, STAMP))
STAMPS = [match.span() for match in re.finditer(rb'"(made_as|stamp)": \{[^}]*\}', TEXT)]


def test_a_record_is_what_was_written():
    assert records.decode(TEXT) == Record(INFO, MADE, STAMP)
    assert records.decode(records.encode(Record(INFO, MADE))) == Record(INFO, MADE)
    assert not records.damaged(TEXT) and not records.damaged(None)


def test_a_record_in_pieces_has_the_same_sum():
    """Whoever puts it together fills in the stamps in a layout of its own."""
    stamp = b'{"inode": 7, "size": 5, "mtime_ns": 3, "ctime_ns": 4}'
    start, middle, end = records.template(INFO)
    for last, wanted in ((b"null", None), (stamp, Stamp(7, 5, 3, 4))):
        found = records.decode(start + stamp + middle + last + end)
        assert found == Record(INFO, Stamp(7, 5, 3, 4), wanted)


def test_every_changed_bit_but_of_stamps_shows():
    for at in range(len(TEXT)):
        if any(start <= at < end for start, end in STAMPS):
            continue
        for bit in range(8):
            text = bytearray(TEXT)
            text[at] ^= 1 << bit
            assert records.decode(bytes(text)) is None, (bit, bytes(text[at - 20 : at + 20]))


@given(st.integers(0, len(TEXT) - 1))
def test_every_record_that_is_cut_off_shows(size):
    assert records.decode(TEXT[:size]) is None and records.damaged(TEXT[:size])


def test_records_of_earlier_versions_and_other_layouts_count():
    data = json.loads(TEXT)
    assert re.fullmatch("[0-9a-f]{8}", data["sum"])
    assert records.decode(json.dumps(data).encode()) == Record(INFO, MADE, STAMP)
    del data["sum"]
    text = json.dumps(data, indent=1, sort_keys=True).encode()
    assert records.decode(text) == Record(INFO, MADE, STAMP)


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", "3"), ("size", -1), ("size", 1 << 80), ("generation", []), ("parent", 5),
     ("parent", "../up"), ("made", "x"), ("made", 1e300), ("made", float("nan")), ("seconds", []),
     ("made_by", None), ("digests", []), ("stamp", {"inode": 1}), ("unknown", 1)],
)  # fmt: skip
def test_what_no_writer_of_ours_says_is_damage(key, value):
    """A record without a sum, of the time before there was one, may say anything."""
    data = json.loads(TEXT)
    del data["sum"]
    assert records.decode(json.dumps(data).encode())
    text = json.dumps({**data, key: value}).encode()
    assert records.decode(text) is None and records.damaged(text)


def test_a_text_that_is_nested_too_deep_is_damage():
    text = b"[" * 100_000
    assert records.decode(text) is None and records.damaged(text)
