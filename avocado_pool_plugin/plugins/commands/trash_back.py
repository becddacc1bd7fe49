"""``avocado pool trash restore``."""

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import NameRefused, PoolError, SettingRefused, StateMissing
from avocado_pool_plugin.plugins.commands.command import FAILED, FINE, named, read_state
from avocado_pool_plugin.plugins.commands.places import ALL, add_places, each, sites
from avocado_pool_plugin.plugins.text import human_size, print_json

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.site import Site
    from avocado_pool_plugin.upkeep.trashcan import Thrown

    _Known = list[tuple[Site, tuple[Thrown, ...]]]

_ID = re.compile(r"[0-9a-f]{4,16}")


def _configure(parser: Any) -> None:
    parser.add_argument(
        "pool_thrown",
        metavar="ID|OBJECT/STATE",
        nargs="+",
        help="Its id as 'avocado pool trash list' shows it, or the begin of that; or a state, "
        "which means what was thrown away of it last",
    )
    parser.add_argument(
        "--replace",
        dest="pool_replace",
        action="store_true",
        help="What is in its place now goes to the trash",
    )
    add_places(parser, ALL)


def _restore(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.core.progress import reporting
    from avocado_pool_plugin.plugins import bars
    from avocado_pool_plugin.upkeep import trashcan
    from avocado_pool_plugin.upkeep.needs import Needs
    from avocado_pool_plugin.upkeep.restoring import restore

    wanted, machine = list(config["pool_thrown"]), bool(config.get("pool_json"))
    for text in wanted:
        _check(text)
    known: _Known = []
    reached = each(sites(config), lambda site: known.append((site, tuple(trashcan.contents(site)))))
    found = [_find(text, known) for text in wanted]
    done: list[dict[str, Any]] = []
    status = FINE if reached else FAILED
    with reporting(bars.reporter(None if machine else LOG_UI)):
        try:
            for site, trash in known:
                chosen = [thrown for other, thrown in found if other is site]
                for thrown in Needs(site, trash).with_needed(chosen):
                    over = bool(config.get("pool_replace")) and thrown in chosen
                    restore(site, thrown, over=over)
                    done.append(_row(site, thrown))
                    if not machine:
                        _tell(done[-1])
        except PoolError as error:
            LOG_UI.error("%s", error)
            status = FAILED
    if machine:
        print_json(done)
    return status


def _check(text: str) -> None:
    """
    Make sure that a text may name something in a trash.

    :raises NameRefused: it can't
    """
    if "/" in text:
        read_state(text)
    elif not _ID.fullmatch(text):
        raise NameRefused(
            f"{text!r} is no id and no state; ids are 4 to 16 of the digits 0-9 and a-f, as "
            f"'avocado pool trash list' shows them, states are OBJECT_ID/IMAGE/STATE"
        )


def _find(text: str, known: "_Known") -> "tuple[Site, Thrown]":
    """
    Return what a text means, and where it is.

    :raises StateMissing: there is no such thing
    :raises NameRefused: several files have ids that begin so
    :raises SettingRefused: several places have it
    """
    if "/" in text:
        return _find_state(text, known)
    found = [
        (site, thrown) for site, trash in known for thrown in trash if thrown.id.startswith(text)
    ]
    if len(found) > 1:
        ids = ", ".join(f"{thrown.id} ({thrown.title})" for _, thrown in found)
        raise NameRefused(f"several files in the trash have ids that begin with {text}: {ids}")
    return found[0] if found else _none(text, known)


def _find_state(text: str, known: "_Known") -> "tuple[Site, Thrown]":
    state = read_state(text)
    found = {}
    for site, trash in known:
        # the newest is the last; a damaged one is taken only if it is asked for by its id
        for thrown in trash:
            if thrown.state == state and not thrown.quarantined:
                found[str(site.place)] = (site, thrown)
    if len(found) > 1:
        raise SettingRefused(
            f"{text} is in the trash of {' and of '.join(found)}; say with --at which is meant"
        )
    return next(iter(found.values())) if found else _none(text, known)


def _none(text: str, known: "_Known") -> "tuple[Site, Thrown]":
    where = ", ".join(str(site.place) for site, _ in known) or "any place that can be reached"
    raise StateMissing(f"{text} is not in the trash of {where}; see 'avocado pool trash list'")


def _row(site: "Site", thrown: "Thrown") -> dict[str, Any]:
    return {
        **named(thrown.state, thrown.title),
        "where": str(site.place),
        "path": thrown.original,
        "id": thrown.id,
        "size": thrown.size,
    }


def _tell(row: Mapping[str, Any]) -> None:
    size = human_size(row["size"])
    sys.stdout.write(f"restored {row['title']} in {row['where']} ({size})\n")


#: A line for users, what adds the arguments, what does it.
RESTORE = ("Put back what was removed or replaced", _configure, _restore)
