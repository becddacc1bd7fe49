"""``avocado pool verify``: whether all states are what they should be, and repairs."""

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params import cache_dir
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    add_object,
    named,
)
from avocado_pool_plugin.plugins.commands.places import (
    ALL,
    add_places,
    each,
    nobody_has,
    opened,
    sites,
)
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.site import Site
    from avocado_pool_plugin.upkeep.verify.findings import Finding, Report
    from avocado_pool_plugin.upkeep.verify.mirrors import Mirrors
    from avocado_pool_plugin.upkeep.verify.run import Wish

_COLUMNS = ("where", "state", "finding", "what", "done")
#: More of a digest than this tells people nothing.
_DIGEST = re.compile(r"\b(\w+:[0-9a-f]{8})[0-9a-f]{56}\b")
#: What is said of files by what became of them.
_WORDS = {
    "repaired": "repaired",
    "quarantined": "quarantined",
    "bad": "not repaired",
    "broken": "standing on those",
}


def _configure(parser: Any) -> None:
    add_object(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all",
        dest="pool_all",
        action="store_true",
        help="Read all content, not only what was never read or changed since",
    )
    which.add_argument(
        "--sample",
        dest="pool_sample",
        metavar="N/T",
        help="Read all content of the n-th of t parts; t runs, from 1/t to t/t, cover all",
    )
    parser.add_argument(
        "--repair",
        dest="pool_repair",
        action="store_true",
        help="Bring what is damaged or missing from another place that has the same content; put "
        "aside what is corrupt and nowhere else",
    )
    parser.add_argument(
        "--rate",
        dest="pool_rate",
        metavar="MIB/S",
        help="Read no more than this on average, such as 50 (default: as fast as it goes)",
    )
    parser.add_argument(
        "--restart",
        dest="pool_restart",
        action="store_true",
        help="Begin anew, where otherwise a run that was interrupted is continued",
    )
    add_places(parser, ALL)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.core.progress import reporting
    from avocado_pool_plugin.plugins import bars

    wish, machine = _wish(config), bool(config.get("pool_json"))
    mirrors = _mirrors(config) if config.get("pool_repair") else None
    always = wish.always
    found = sites(config, verify="always" if always else "changed")
    unasked = {**config, "pool_at": None}
    again = opened([site.place for site in found], unasked, verify="always")
    careful = {str(site.place): site for site in again}
    cache = Location(cache_dir(job_params(config))).path
    reports: list[Report] = []

    def check(site: "Site") -> None:
        from avocado_pool_plugin.upkeep.verify.run import Check

        report = Check(site, careful[str(site.place)], cache, wish, mirrors).run()
        reports.append(report)
        if not machine:
            _show(report)
        if not report.states and site.root != cache and not site.exists():
            LOG_UI.warning("there is no directory %s", site.title(site.root))

    with reporting(bars.reporter(None if machine else LOG_UI)):
        fine = each(found, check)
    if machine:
        at = {str(site.place): site for site in found}
        print_json([_as_dict(report, at[report.place]) for report in reports])
    below = str(config.get("pool_object") or "")
    if fine and below and not any(report.states or report.findings for report in reports):
        LOG_UI.error("%s", nobody_has(below, found))
        return FAILED
    return FINE if fine and not any(report.findings for report in reports) else FAILED


def _wish(config: Mapping[str, Any]) -> "Wish":
    """
    Return what is asked for.

    :raises NameRefused: the object can't be one
    :raises SettingRefused: an option makes no sense
    """
    from avocado_pool_plugin.upkeep.naming import check_below
    from avocado_pool_plugin.upkeep.verify.run import Wish
    from avocado_pool_plugin.upkeep.verify.sample import Sample

    sample = config.get("pool_sample")
    return Wish(
        below=check_below(config.get("pool_object") or ""),
        everything=bool(config.get("pool_all")),
        sample=Sample.parse(sample) if sample is not None else None,
        rate=_rate(config.get("pool_rate")),
        restart=bool(config.get("pool_restart")),
    )


def _rate(text: str | None) -> float:
    """
    Return the bytes a second that are asked for, 0 for as fast as it goes.

    :raises SettingRefused: it is no rate
    """
    if text is None:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingRefused(f"--rate {text!r} is no rate; write a number of MiB/s, such as 50")
    return value * 2**20


def _mirrors(config: Mapping[str, Any]) -> "Mirrors":
    """Return the cache and all pools, to repair from."""
    from avocado_pool_plugin.upkeep.verify.mirrors import Mirrors

    return Mirrors(sites({**config, "pool_at": [ALL]}, verify="always"))


# -- what users see -------------------------------------------------------------------------------


def _show(report: "Report") -> None:
    if report.before:
        sys.stdout.write(
            f"{report.place}: continuing, {report.before} states were checked before\n"
        )
    if report.findings:
        print_table(_COLUMNS, [_cells(report.place, finding) for finding in report.findings])
    for note in report.notes:
        sys.stdout.write(f"note: {note}\n")
    sys.stdout.write(f"{report.place}: {summary(report)}\n")


def _as_dict(report: "Report", site: "Site") -> dict[str, Any]:
    """Return a report for programs; paths are as the host of the place has them."""
    from avocado_pool_plugin.upkeep.naming import state_at

    told, findings, title = report.dump(), [], site.title(site.root)
    for one in told["findings"]:
        path = one["path"]
        if path.startswith(title):
            path = site.root + path[len(title) :]
        findings.append({**named(state_at(site.root, path)), **one, "path": path})
    return {**told, "findings": findings}


def _cells(place: str, finding: "Finding") -> list[str]:
    done = ", ".join(part for part in (finding.done, finding.told) if part)
    told = (_DIGEST.sub(r"\1...", text) for text in (finding.text, done))
    return [place, finding.title, finding.kind, *told]


def summary(report: "Report") -> str:
    """Return what became of a check, as a line of text."""
    counts = report.counts
    told = [f"{report.fine} fine"]
    told += [f"{counts[word]} {text}" for word, text in _WORDS.items() if counts[word]]
    states = "state" if report.states == 1 else "states"
    return (
        f"checked {report.states} {states} ({human_size(report.size)} read) in "
        f"{report.seconds:.1f} s: {', '.join(told)}"
    )


VERIFY = Command(
    name="verify",
    help="Check that all states are whole, and repair those that are not",
    examples=(
        "verify",
        "verify vm1/image1 --at :/srv/pool --all",
        "verify --at pools --sample 3/7 --rate 50",
        "verify --all --repair --pool-location ':/srv/pool store:/srv/pool'",
    ),
    configure=_configure,
    run=_run,
)
