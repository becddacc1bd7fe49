"""What programs read of states is called the same in all commands."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.functional.commands.sites import Where, runner, where_of
from tests.support.images import edit
from tests.support.states import OWN, made
from tests.support.vms import Lab

TITLE = "vm1/image1/b"
NAMES = {"object": "vm1", "image": "image1", "state": "b"}
#: Commands with the arguments that have them tell of the state, and their exit status.
COMMANDS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("list", {}, 0),
    ("tree", {}, 0),
    ("show", {"state": TITLE}, 0),
    ("locks", {}, 0),
    ("diff", {"here": "cache", "there": "pool"}, 1),
    ("verify", {"all": True}, 1),
    ("gc", {"dry_run": True}, 1),
    ("publish", {"state": TITLE, "dry_run": True}, 0),
    ("adopt", {"dry_run": True}, 0),
    ("rm", {"states": [TITLE], "cascade": True}, 0),
    ("trash", {"trash": "list"}, 0),
    ("trash", {"trash": "restore", "thrown": [TITLE]}, 0),
)


@pytest.fixture(params=["here", "plain"])
def where(request: pytest.FixtureRequest) -> Where:
    return where_of(request.param)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A cache of a, b, and c, and a pool of which the b is damaged."""
    lab = made(Lab(tmp_path), *"abc", **OWN)
    shutil.copytree(lab.cache, lab.pool)
    edit(lab.shared("b"), 70_000, b"damage")
    return lab


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in what was printed."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from objects(one)


def test_a_state_has_the_same_names_and_sizes_everywhere(where, lab, capsys):
    pool, limits = where.at(lab.pool), {"pool_limit": "1", "cache_limit": "1"}
    where = replace(where, options={**where.options, **limits})
    run = runner(where, lab.cache)
    for name, more, status in COMMANDS:
        at = "cache" if name in ("rm", "trash", "locks") else pool
        capsys.readouterr()
        assert run(name, at, pools=pool, json=True, **more) == status, name
        found = json.loads(capsys.readouterr().out)
        rows = [one for one in objects(found) if one.get("title") == TITLE]
        assert rows, (name, found)
        for row in rows:
            assert NAMES.items() <= row.items(), name
            assert row.get("size", 1) > 0 and "place" not in row, name
            assert row.get("path", "/").startswith("/"), name
        places = [one["where"] for one in objects(found) if "where" in one]
        assert {str, list} >= {*map(type, places)}, name
        known = {pool, f":{lab.cache}"}
        assert known.issuperset(where for where in places if isinstance(where, str)), name
        assert places or name in ("diff", "publish"), name
