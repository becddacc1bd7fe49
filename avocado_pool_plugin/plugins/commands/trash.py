"""``avocado pool trash``: what was removed or replaced, back in its place or gone for good."""

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.plugins.commands.asking import add_yes, confirmed, require_answer
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    add_object,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import ALL, CACHE, add_places, each, sites
from avocado_pool_plugin.plugins.commands.trash_back import RESTORE
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table, when

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.emptying import Emptying
    from avocado_pool_plugin.upkeep.site import Entry, Site
    from avocado_pool_plugin.upkeep.trashcan import Thrown

_COLUMNS = ("state", "thrown", "size", "id", "where", "why")
#: Digits of an id that are shown; most often enough to be told apart by.
_SHOWN = 8
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _configure(parser: Any) -> None:
    actions = parser.add_subparsers(dest="pool_trash", metavar="action")
    actions.required = True
    for name, (text, configure, _) in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        action.error = parser.error
        configure(action)
        add_json(action)


def _run(config: Mapping[str, Any]) -> int:
    with warnings_shown():
        return _ACTIONS[config["pool_trash"]][2](config)


def read_age(text: str) -> float:
    """
    Return the seconds that ``7d`` or ``12h`` means: weeks, days, hours, minutes, seconds.

    :raises SettingRefused: it means none
    """
    found = _AGE.fullmatch(text.strip())
    if not found:
        raise SettingRefused(
            f"--older-than {text!r} is no time; write a number with one of "
            f"{', '.join(_UNITS)}, such as 7d or 12h"
        )
    return float(found.group(1)) * _UNITS[found.group(2)]


# -- list --------------------------------------------------------------------------------------


def _configure_list(parser: Any) -> None:
    add_object(parser)
    parser.add_argument(
        "--all",
        dest="pool_all",
        action="store_true",
        help="Also temporary files that operations left which are over",
    )
    add_places(parser, ALL)


def _list(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.upkeep.naming import check_below

    below = check_below(config.get("pool_object") or "")
    rows: list[dict[str, Any]] = []

    def add(site: "Site") -> None:
        from avocado_pool_plugin.upkeep import trashcan

        notes = site.notes()
        rows.extend(_row(site, thrown) for thrown in trashcan.contents(site, notes))
        if config.get("pool_all"):
            rows.extend(_row_of(site, entry) for entry in _leftovers(site, notes))

    places = sites(config)
    fine = each(places, add)
    rows = [row for row in rows if not below or row["file"].startswith(f"{below}/")]
    if config.get("pool_json"):
        print_json(rows)
    elif rows:
        print_table(_COLUMNS, [_cells(row) for row in rows])
    elif fine:
        of = f" of {below}" if below else ""
        LOG_UI.info("nothing%s is in the trash of %s", of, ", ".join(str(s.place) for s in places))
    return FINE if fine else FAILED


def _leftovers(site: "Site", notes: "list[Entry]") -> "list[Entry]":
    from avocado_pool_plugin.upkeep.leftovers import leftovers

    return leftovers(site, notes, site.clock())


def _row(site: "Site", thrown: "Thrown") -> dict[str, Any]:
    info = thrown.record.info if thrown.record else None
    return {
        **named(thrown.state, thrown.title),
        "file": os.path.relpath(thrown.original, site.root),
        "thrown": thrown.thrown_at,
        "size": thrown.size,
        "id": thrown.id,
        "where": str(site.place),
        "why": "found damaged" if thrown.quarantined else "",
        "kind": "quarantined" if thrown.quarantined else "thrown",
        "path": thrown.path,
        "made": info.made if info else None,
        "digest": info.digest if info else None,
    }


def _row_of(site: "Site", entry: "Entry") -> dict[str, Any]:
    name = os.path.relpath(entry.path, site.root)
    return {
        **named(None, name),
        "file": name,
        "thrown": entry.stamp.mtime_ns / 1e9 if entry.stamp else 0.0,
        "size": entry.allocated,
        "id": "",
        "where": str(site.place),
        "why": "left by what was cut off",
        "kind": "leftover",
        "path": entry.path,
        "made": None,
        "digest": None,
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    size, shown = human_size(row["size"]), row["id"][:_SHOWN] or "-"
    return [row["title"], when(row["thrown"]), size, shown, row["where"], row["why"]]


# -- empty -------------------------------------------------------------------------------------


def _configure_empty(parser: Any) -> None:
    parser.add_argument(
        "--older-than",
        dest="pool_older",
        metavar="AGE",
        help="Only what was thrown away longer ago, such as 7d, 12h or 30m (default: everything)",
    )
    parser.add_argument(
        "--quarantine",
        dest="pool_quarantine",
        action="store_true",
        help="Also files that were found damaged",
    )
    add_yes(parser)
    add_places(parser, CACHE)


def _empty(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.upkeep.emptying import Emptying

    age = read_age(config.get("pool_older") or "0s")
    dry, machine = bool(config.get("pool_dry_run")), bool(config.get("pool_json"))
    require_answer(config)
    found: dict[Site, Emptying] = {}

    def look(site: "Site") -> None:
        found[site] = Emptying.of(site, age, bool(config.get("pool_quarantine")))

    fine = each(sites(config), look)
    if not machine:
        for site, work in found.items():
            LOG_UI.info("%s: %s", site.place, _told(work, "would go" if dry else "to go"))
    full = {site: work for site, work in found.items() if work}
    if full and not dry:
        if not confirmed(
            config, f"remove {_files(sum(work.count for work in full.values()))} for good?"
        ):
            LOG_UI.info("nothing was removed")
            return FAILED
        fine = each(full, lambda site: full[site].carry_out(site)) and fine
        if not machine and fine:
            LOG_UI.info("%s free again", human_size(sum(work.frees for work in full.values())))
    if machine:
        print_json([_as_dict(site, work, dry) for site, work in found.items()])
    return FINE if fine else FAILED


def _told(work: "Emptying", verb: str) -> str:
    """Return what goes of a cache or pool, in words."""
    if not work:
        return "nothing is to go"
    parts = []
    if work.thrown:
        parts.append(f"{_files(len(work.thrown))} in the trash")
    if work.leftovers:
        parts.append(f"{_files(len(work.leftovers), 'temporary ')}")
    return f"{' and '.join(parts)} {verb}, which frees {human_size(work.frees)}"


def _files(count: int, kind: str = "") -> str:
    return f"{count} {kind}{'file' if count == 1 else 'files'}"


def _as_dict(site: "Site", work: "Emptying", dry: bool) -> dict[str, Any]:
    return {
        "where": str(site.place),
        "dry_run": dry,
        "frees": work.frees,
        "thrown": [thrown.path for thrown in work.thrown],
        "leftovers": [entry.path for entry in work.leftovers],
    }


#: Actions: a line for users, what adds the arguments, what does it.
_Action = tuple[str, Callable[[Any], None], Callable[[Mapping[str, Any]], int]]
_ACTIONS: dict[str, _Action] = {
    "list": ("List what was removed or replaced", _configure_list, _list),
    "restore": RESTORE,
    "empty": ("Remove what is in the trash for good", _configure_empty, _empty),
}

TRASH = Command(
    name="trash",
    help="List, restore or empty what was thrown away",
    examples=(
        "trash list vm1/image1",
        "trash restore vm1/image1/install --at cache",
        "trash empty --older-than 2d --at pools --dry-run",
    ),
    configure=_configure,
    run=_run,
)
