"""The documents are there, hang together, and tell of each command."""

import re
from pathlib import Path

import pytest

from avocado_pool_plugin.plugins.commands import COMMANDS

HOUSE = Path(__file__).resolve().parents[2]
PAGES = sorted([HOUSE / "README.rst", *(HOUSE / "docs").rglob("*.rst")])
#: Commands of graph runs, which are told of in the guide.
GUIDE = {"run", "plan", "graph", "why", "backends"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"`[^`]*<([^`>:]+)>`_", page.read_text()):
        path, _, _ = target.partition("#")
        assert (page.parent / path).exists(), target


def test_each_page_can_be_found():
    linked = set()
    for page in PAGES:
        for target in re.findall(r"<([^`>:]+\.rst)>`_", page.read_text()):
            linked.add((page.parent / target).resolve())
    assert set(PAGES) - linked == {HOUSE / "README.rst"}


@pytest.mark.parametrize("name", [c.name for c in COMMANDS if c.name not in GUIDE])
def test_each_command_has_a_transcript(name):
    shown = re.compile(rf"^ +\$ avocado pool {name}\b", re.M)
    pages = list((HOUSE / "docs" / "commands").glob("*.rst"))
    assert any(shown.search(page.read_text()) for page in pages), f"none shows {name!r}"
