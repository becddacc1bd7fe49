"""``avocado pool tree``: what stands on what, how large it is, and where it is."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin.plugins.commands.arguments import add_words
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    add_object,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import (
    ALL,
    add_places,
    each,
    look_at,
    sites,
    tell_nothing,
)
from avocado_pool_plugin.plugins.text import Branch, ago, human_size, print_json, print_tree

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.inventory import Holding, Line
    from avocado_pool_plugin.upkeep.site import Site
    from avocado_pool_plugin.upkeep.stock import Stock

#: Titles of columns, and how a drawn tree says what is in them.
_COLUMNS = {
    "size": "{}",
    "chain": "chain {}",
    "made": "made {} ago",
    "used": "used {} ago",
    "by": "by {}",
    "recipe": "recipe {}",
    "where": "{}",
}
#: Says of a state whether it would be made in the same way now.
Judge = Callable[["Holding"], str]


def _configure(parser: Any) -> None:
    add_object(parser)
    add_places(parser, ALL)
    add_json(parser)
    add_words(parser, looks=True)


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.upkeep.inventory import Inventory
    from avocado_pool_plugin.upkeep.naming import check_below

    below, words = config.get("pool_object") or "", list(config.get("pool_words") or ())
    if "=" in below:
        below, words = "", [below, *words]
    check_below(below)
    with warnings_shown():
        judge = _judge(config, words)
        found = sites(config)
        stocks, fine = _take_all(config, found, below)
        inventory = Inventory(stocks)
        lines = list(inventory.lines())
    if config.get("pool_json"):
        _print_json(lines, judge)
    elif lines:
        print_tree("state", _COLUMNS, [_branch(line, judge) for line in lines])
    if fine and not lines:
        return tell_nothing(config, found, below)
    return FINE if fine else FAILED


def _take_all(
    config: Mapping[str, Any], found: "Iterable[Site]", below: str
) -> "tuple[list[Stock], bool]":
    """Look at all that some places hold; return that, and whether all could be looked at."""
    stocks: list[Stock] = []
    fine = each(found, lambda site: stocks.append(look_at(config, site, below)))
    return stocks, fine


# -- how it was made ---------------------------------------------------------------------------


def _judge(config: Mapping[str, Any], words: list[str]) -> Judge:
    """Return what tells of states whether they would be made in the same way now."""
    if not words and not config.get("vt.config"):
        return _recorded
    from avocado_pool_plugin.graph.lookup import Lookup
    from avocado_pool_plugin.graph.recipe import Recipes, told
    from avocado_pool_plugin.plugins.selection import read_selection
    from avocado_pool_plugin.plugins.steps.context import Context
    from avocado_pool_plugin.upkeep.stock import info_of

    context = Context.of(config, read_selection(words))
    lookup = Lookup.of(context.readings(context.whole()).values())
    recipes = Recipes()

    def judge(holding: "Holding") -> str:
        item = holding.item
        info = info_of(item)
        maker = lookup.maker(item.state) if item.state else None
        if item.state is None or info.recipe is None or maker is None:
            return _recorded(holding)
        parent = holding.stock.parent(item)
        found = recipes.changes(item.state, info, info_of(parent) if parent else None, maker)
        return f"changed: {told(found)}" if found else "current"

    return judge


def _recorded(holding: "Holding") -> str:
    from avocado_pool_plugin.upkeep.stock import info_of

    return "recorded" if info_of(holding.item).recipe else ""


def maker_of(made_by: str) -> str:
    """Return the test that made something, else the host on which that was done."""
    before, _, test = made_by.partition(", test ")
    if test:
        return test
    return "" if made_by.startswith("adopted") else before.partition(",")[0]


# -- printing ----------------------------------------------------------------------------------


def _branch(line: "Line", judge: Judge) -> Branch:
    from avocado_pool_plugin.upkeep import inventory

    marks = {
        inventory.VM_STATE: f"{line.name} (vm state)",
        inventory.ROOT_IMAGE: f"{line.name} (root image)",
        inventory.NEEDED: f"needs {line.name}",
    }
    label = marks.get(line.kind, line.name)
    if line.kind == inventory.MISSING:
        return Branch(line.depth, label, problem="is missing")
    if line.holding is None:
        return Branch(line.depth, label)
    known = _known(line.holding, judge)
    cells = (
        human_size(known["size"]),
        human_size(known["chain_size"]),
        ago(known["made"]),
        ago(known["used"]),
        known["by"],
        known["recipe"],
        known["presence"],
    )
    return Branch(line.depth, label, cells, known["problem"])


def _known(holding: "Holding", judge: Judge) -> dict[str, Any]:
    """Return what is told of a state."""
    from avocado_pool_plugin.upkeep.stock import info_of

    info = info_of(holding.item)
    return {
        "size": holding.size,
        "chain_size": holding.chain_size,
        "made": holding.item.made,
        "used": holding.last_use,
        "by": maker_of(info.made_by),
        "seconds": info.seconds,
        "recipe": judge(holding),
        "presence": holding.presence,
        "where": holding.where,
        "problem": holding.problem,
    }


def _told(holding: "Holding", judge: Judge) -> dict[str, Any]:
    return {**named(holding.item.state, holding.item.title), **_known(holding, judge)}


def _print_json(lines: "list[Line]", judge: Judge) -> None:
    """Print the tree as nested objects."""
    top: list[dict[str, Any]] = []
    above: list[list[dict[str, Any]]] = [top]
    deepest = 0
    for line in lines:
        children: list[dict[str, Any]] = []
        told = _told(line.holding, judge) if line.holding else {}
        del above[line.depth + 1 :]
        above[-1].append({"kind": line.kind, "name": line.name, **told, "children": children})
        above.append(children)
        deepest = max(deepest, line.depth)
    # Python's encoder calls itself for each level
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 10 * deepest))
    print_json(top)


TREE = Command(
    name="tree",
    help="Show what stands on what, with sizes, ages and places",
    examples=(
        "tree",
        "tree vm1/image1 --pool-location ':/srv/pool store:/srv/pool'",
        "tree vm1 --vt-config tests.cfg --json",
    ),
    configure=_configure,
    run=_run,
)
