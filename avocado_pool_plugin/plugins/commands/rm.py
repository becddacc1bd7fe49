"""``avocado pool rm``: states go to the trash."""

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import PoolError, StateMissing
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_dry_run,
    add_json,
    named,
    read_state,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import ALL, CACHE, add_places, sites
from avocado_pool_plugin.plugins.text import human_size, print_json

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.removal import Removal
    from avocado_pool_plugin.upkeep.site import Item, Site

#: A cache or pool, and what goes there.
_Plans = list[tuple["Site", "Removal"]]


def _configure(parser: Any) -> None:
    parser.add_argument(
        "pool_states",
        metavar="OBJECT/STATE",
        nargs="+",
        help="A state, as OBJECT_ID/IMAGE/STATE; OBJECT_ID/STATE is the file of a vm state",
    )
    parser.add_argument(
        "--cascade",
        dest="pool_cascade",
        action="store_true",
        help="Remove what stands on it as well",
    )
    parser.add_argument(
        "--images",
        dest="pool_images",
        action="store_true",
        help="With a vm state, remove the states of that name of its images as well",
    )
    add_dry_run(parser)
    add_places(parser, CACHE)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    wanted = list(dict.fromkeys(map(read_state, config["pool_states"])))
    dry, machine = bool(config.get("pool_dry_run")), bool(config.get("pool_json"))
    places, status = sites(config), FINE
    done: list[dict[str, Any]] = []
    with warnings_shown():
        plans = _plans(places, wanted, config)
        try:
            for site, removal in plans:
                for item in removal.items:
                    done.append(_removed(site, item, dry))
                    if not machine:
                        _tell(done[-1], dry)
                for user in removal.users if dry else ():
                    LOG_UI.warning("%s would be invalid, the state under it gone", user)
        except PoolError as error:
            LOG_UI.error("%s", error)
            status = FAILED
        elsewhere = _elsewhere(config, places, wanted)
    if machine:
        print_json({"dry_run": dry, "removed": done, "elsewhere": elsewhere})
        return status
    if not dry:
        _tell_restore(done)
    if status == FINE:
        _tell_elsewhere(elsewhere, bool(config.get("pool_images")))
    return status


def _plans(places: "list[Site]", wanted: list[State], config: Mapping[str, Any]) -> _Plans:
    """
    Return what goes where; nothing is changed.

    :raises StateMissing: one of the states is nowhere
    """
    from avocado_pool_plugin.upkeep import removal

    images, cascade = bool(config.get("pool_images")), bool(config.get("pool_cascade"))
    missing, found = dict.fromkeys(wanted), []
    for site in places:
        items = []
        for state in wanted:
            there = removal.present(site, state, images)
            if there:
                missing.pop(state, None)
            items += there
        found.append((site, items))
    if missing:
        names = ", ".join(state.title for state in missing)
        where = ", ".join(str(site.place) for site in places)
        verb = "does" if len(missing) == 1 else "do"
        raise StateMissing(
            f"{names} {verb} not exist in {where}; see 'avocado pool list', or name another place "
            f"with --at"
        )
    return [(site, removal.plan(site, items, cascade)) for site, items in found if items]


def _removed(site: "Site", item: "Item", dry: bool) -> dict[str, Any]:
    from avocado_pool_plugin.upkeep.removal import remove

    if not dry:
        remove(site, item)
    return {
        **named(item.state, item.title),
        "where": str(site.place),
        "path": item.path,
        "size": 0 if item.entry.link else item.entry.allocated,
        "link": item.entry.link,
    }


def _tell(row: Mapping[str, Any], dry: bool) -> None:
    verb = "would remove" if dry else "removed"
    if row["link"]:
        text = f"{verb} the link {row['title']} from {row['where']}; {row['link']} stays"
    else:
        text = f"{verb} {row['title']} from {row['where']} ({human_size(row['size'])})"
    sys.stdout.write(f"{text}\n")


def _tell_restore(done: list[dict[str, Any]]) -> None:
    """Say how what is in the trash comes back, each after what it stands on."""
    for where in dict.fromkeys(row["where"] for row in done):
        states = [row["title"] for row in done if row["where"] == where and not row["link"]]
        if states:
            words = shlex.join([*reversed(states), "--at", where])
            sys.stdout.write(f"to restore: avocado pool trash restore {words}\n")


def _elsewhere(
    config: Mapping[str, Any], places: "list[Site]", wanted: list[State]
) -> list[dict[str, Any]]:
    """Return where else the states are, of all configured places."""
    from avocado_pool_plugin.upkeep import removal

    chosen = {site.place for site in places}
    found = []
    for site in sites({**config, "pool_at": [ALL]}):
        if site.place in chosen:
            continue
        try:
            there = [state.title for state in wanted if removal.present(site, state)]
        except PoolError as error:
            LOG_UI.warning("whether %s has it is not known: %s", site.place, error)
            continue
        if there:
            found.append({"where": str(site.place), "states": there})
    return found


def _tell_elsewhere(elsewhere: list[dict[str, Any]], images: bool) -> None:
    more = ["--images"] if images else []
    for row in elsewhere:
        words = shlex.join([*row["states"], *more, "--at", row["where"]])
        sys.stdout.write(f"still in {row['where']}; to remove: avocado pool rm {words}\n")


RM = Command(
    name="rm",
    help="Remove states; they go to the trash",
    examples=(
        "rm vm1/image1/install",
        "rm vm1/image1/install --cascade --dry-run",
        "rm vm1/running --images --at store:/srv/pool",
    ),
    configure=_configure,
    run=_run,
)
