"""``avocado pool locks``: who is at work in the cache and in the pools."""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import ALL, add_places, each, sites
from avocado_pool_plugin.plugins.text import ago, print_json, print_table, when

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.holders import Holders, Lock, Overlay, Pinned
    from avocado_pool_plugin.upkeep.site import Site

_LOCKS = ("locked", "held by", "since", "command", "where")
_OVERLAYS = ("state", "overlay", "made by", "since", "now", "where")
_PINS = ("pinned", "by", "since", "heartbeat", "where")
#: What is said of overlays by what became of them.
_NOW = {
    "open": "open in a QEMU",
    "closed": "not open",
    "stale": "no longer on it",
    "elsewhere": "on another host",
}
#: Pinned states that are named in a line.
_NAMED = 3


def _configure(parser: Any) -> None:
    add_places(parser, ALL)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.upkeep import holders

    found: list[tuple[Site, Holders]] = []
    with warnings_shown():
        reached = each(sites(config), lambda site: found.append((site, holders.look(site))))
    if config.get("pool_json"):
        print_json(
            {
                "locks": [_lock(site, one) for site, all_of in found for one in all_of.locks],
                "overlays": [
                    _overlay(site, one) for site, all_of in found for one in all_of.overlays
                ],
                "pins": [_pin(site, one) for site, all_of in found for one in all_of.pins],
            }
        )
    else:
        _print(found)
    return FINE if reached and all(all_of.fine for _, all_of in found) else FAILED


def _print(found: "list[tuple[Site, Holders]]") -> None:
    tables = (
        (_LOCKS, [_lock_row(site, one) for site, all_of in found for one in all_of.locks]),
        (_OVERLAYS, [_overlay_row(site, one) for site, all_of in found for one in all_of.overlays]),
        (_PINS, [_pin_row(site, one) for site, all_of in found for one in all_of.pins]),
    )
    shown = [(columns, rows) for columns, rows in tables if rows]
    for number, (columns, rows) in enumerate(shown):
        if number:
            sys.stdout.write("\n")
        print_table(columns, rows)
    if found and not shown:
        LOG_UI.info("nobody is at work in %s", ", ".join(str(site.place) for site, _ in found))


def _named(site: "Site", path: str) -> dict[str, str | None]:
    """Return what a file is called: a state as commands take it, else its path in its place."""
    from avocado_pool_plugin.upkeep.naming import state_at

    return named(state_at(site.root, path), os.path.relpath(path, site.root))


def _title(site: "Site", path: str) -> str:
    return str(_named(site, path)["title"])


def _lock(site: "Site", lock: "Lock") -> dict[str, Any]:
    return {
        **_named(site, lock.path),
        "where": str(site.place),
        "path": lock.path,
        "status": lock.status,
        "host": lock.host,
        "pid": lock.pid,
        "command": lock.command,
        "since": lock.since,
        "told": lock.told,
    }


def _lock_row(site: "Site", lock: "Lock") -> list[str]:
    by = f"host {lock.host}, process {lock.pid}" if lock.pid else "an unknown process"
    if lock.status == "unknown":
        by = f"unknown; last {by}"
    elif lock.status == "dead":
        by += ", which is dead"
    since = lock.since[: len("2026-01-01 00:00")]
    return [_title(site, lock.path), by, since, lock.command, str(site.place)]


def _overlay(site: "Site", overlay: "Overlay") -> dict[str, Any]:
    return {
        **_named(site, overlay.path),
        "where": str(site.place),
        "path": overlay.path,
        "overlay": overlay.user.path,
        "host": overlay.user.host,
        "pid": overlay.user.pid,
        "since": overlay.user.since,
        "status": overlay.status,
    }


def _overlay_row(site: "Site", overlay: "Overlay") -> list[str]:
    user = overlay.user
    return [
        _title(site, overlay.path),
        user.path,
        f"host {user.host}, process {user.pid}",
        when(user.since),
        _NOW[overlay.status],
        str(site.place),
    ]


def _pin(site: "Site", pinned: "Pinned") -> dict[str, Any]:
    return {
        "where": str(site.place),
        "files": sorted(pinned.pin.files),
        "by": pinned.pin.by,
        "since": pinned.pin.since,
        "lease": pinned.pin.lease,
        "heartbeat": pinned.beat,
        "live": pinned.live,
    }


def _pin_row(site: "Site", pinned: "Pinned") -> list[str]:
    files = sorted(pinned.pin.files)
    told = ", ".join(_title(site, os.path.join(site.root, file)) for file in files[:_NAMED])
    if len(files) > _NAMED:
        told += f" and {len(files) - _NAMED} more"
    beat = ago(1.0, 1.0 + pinned.beat) + " ago"
    if not pinned.live:
        beat += ", ended: its holder is dead"
    return [told, pinned.pin.by, when(pinned.pin.since), beat, str(site.place)]


LOCKS = Command(
    name="locks",
    help="Tell who holds locks, which overlays use states, who pins what",
    examples=("locks", "locks --at pools", "locks --at store:/srv/pool --json"),
    configure=_configure,
    run=_run,
)
