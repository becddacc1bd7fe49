"""``avocado pool adopt``: take over a pool or cache that avocado-i2n filled."""

import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import FileCorrupt
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.cli import SSH, add_arguments
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_dry_run,
    add_json,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import each, sites
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.adopt.act import Outcome
    from avocado_pool_plugin.upkeep.adopt.steps import Bases, Plan, Step
    from avocado_pool_plugin.upkeep.site import Site

_COLUMNS = ("file", "size", "what")
#: How many of some kind there are, before and after it is done.
_COUNTS = (
    ("record", "to record", "recorded"),
    ("rename", "to get a relative backing name", "got a relative backing name"),
    ("base", "to get their base into the chain", "got their base into the chain"),
    ("check", "to compare with their records", "true to their records"),
    ("keep", "adopted already", "adopted already"),
    ("leave", "left", "left"),
)


def _configure(parser: Any) -> None:
    parser.add_argument(
        "pool_at",
        metavar="DIR",
        nargs="+",
        help="The pool or cache: a directory, ':/dir' or 'label:/dir', or cache, pools, all",
    )
    add_dry_run(parser)
    parser.add_argument(
        "--force",
        dest="pool_force",
        action="store_true",
        help="Record the content of files that differ from their records, as it is now",
    )
    parser.add_argument(
        "--clean",
        dest="pool_clean",
        action="store_true",
        help="Remove the lock files of avocado-i2n that nobody holds",
    )
    add_arguments(parser, "shared_pool", "swarm_pool", "lock_timeout", *SSH)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    from avocado_pool_plugin.core.progress import reporting
    from avocado_pool_plugin.plugins import bars

    machine = bool(config.get("pool_json"))
    done: list[_Done] = []

    def take_over(site: "Site") -> None:
        done.append(_Done(site, config))
        done[-1].go()

    with warnings_shown(), reporting(bars.reporter(None if machine else LOG_UI)):
        reached = each(sites(config), take_over)
    if machine:
        print_json([one.as_dict() for one in done])
    return FINE if reached and all(one.fine for one in done) else FAILED


def _bases(site: "Site", config: Mapping[str, Any]) -> "Bases | None":
    """Return who brings bases into the chains of a place, None for one on another host."""
    from avocado_pool_plugin.core.local import LocalStore

    if not isinstance(site.store, LocalStore):
        return None
    import functools

    from avocado_pool_plugin.params import seen_dir
    from avocado_pool_plugin.states.bases import bring_in
    from avocado_pool_plugin.upkeep.adopt.bases import LocalBases

    bring = functools.partial(bring_in, policy=site.policy, seen_dir=seen_dir(job_params(config)))
    return LocalBases(site.store, bring)


class _Done:
    """
    What is planned in a place, and what became of it.

    :param config: Avocado's
    """

    def __init__(self, site: "Site", config: Mapping[str, Any]) -> None:
        from avocado_pool_plugin.upkeep.adopt import plan

        self.site = site
        self._dry = bool(config.get("pool_dry_run"))
        self._force = bool(config.get("pool_force"))
        self._clean = bool(config.get("pool_clean"))
        self._quiet = bool(config.get("pool_json"))
        self._bases = _bases(site, config)
        self.plan: Plan = plan.make(site, self._bases)
        self.outcomes: list[Outcome] = []
        self.cleaned: list[str] = []
        self.absent = not self.plan.steps
        if not self._quiet:
            self._show()

    @property
    def fine(self) -> bool:
        """Whether nothing is left that is not adopted."""
        left = self.absent or self.plan.of("leave")
        return not left and not any(outcome.problem for outcome in self.outcomes)

    def go(self) -> None:
        """Do what is planned, unless it is a dry run."""
        from avocado_pool_plugin.upkeep.adopt.act import Adoption, clean

        if self.absent or self._dry:
            return
        adoption = Adoption(self.site, self.plan, self._bases, self._force)
        try:
            for outcome in adoption.run():
                self.outcomes.append(outcome)
                self._tell(outcome)
            if self._clean:
                self.cleaned = clean(self.site, self.plan)
        finally:
            if not self._quiet:
                sys.stdout.write(f"{self.site.place}: {self._summary()}\n")

    def _tell(self, outcome: "Outcome") -> None:
        if outcome.problem is not None:
            hint = ""
            if isinstance(outcome.problem, FileCorrupt):
                hint = "; to record what is there now as it is, give --force"
            LOG_UI.error("%s is left: %s%s", outcome.step.title, outcome.problem, hint)
        elif outcome.note:
            LOG_UI.warning("%s was %s", outcome.step.title, outcome.note)

    def _show(self) -> None:
        if self.absent:
            LOG_UI.error("%s: no states there; check the path", self.site.place)
            return
        rows = [
            [step.title, human_size(step.size) if step.size else "", _words(step)]
            for step in self.plan.steps
            if step.action != "keep"
        ]
        rows += [[self._below(lock.path), "", _lock_words(lock.held)] for lock in self.plan.locks]
        if rows:
            print_table(_COLUMNS, rows)
        if self._dry:
            sys.stdout.write(f"{self.site.place}: {self._planned()}\n")

    def _below(self, path: str) -> str:
        return path.removeprefix(self.site.root.rstrip("/") + "/")

    def _planned(self) -> str:
        counts = Counter(step.action for step in self.plan.steps)
        told = [f"{counts[action]} {word}" for action, word, _ in _COUNTS if counts[action]]
        size = human_size(self.plan.size)
        return f"{_files(len(self.plan.steps))}: {', '.join(told)}; {size} to read"

    def _summary(self) -> str:
        counts = Counter(one.step.action for one in self.outcomes if not one.problem)
        steps = self.plan.of("keep", "leave")
        counts.update(step.action for step in steps)
        counts["leave"] += sum(1 for one in self.outcomes if one.problem)
        told = [f"{counts[action]} {word}" for action, _, word in _COUNTS if counts[action]]
        if self.cleaned:
            told.append(f"{_files(len(self.cleaned), 'lock file')} removed")
        return f"{_files(len(self.plan.steps))}: {', '.join(told)}"

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for programs."""
        outcomes = {outcome.step.path: outcome for outcome in self.outcomes}
        return {
            "where": str(self.site.place),
            "dry_run": self._dry,
            "bytes": self.plan.size,
            "files": [
                _as_dict(self.site.root, step, outcomes.get(step.path)) for step in self.plan.steps
            ],
            "locks": [
                {"path": lock.path, "held": lock.held, "removed": lock.path in self.cleaned}
                for lock in self.plan.locks
            ],
        }


def _files(number: int, what: str = "file") -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _words(step: "Step") -> str:
    if step.action == "leave":
        return f"left: {step.what}"
    if step.action == "base":
        return f"{step.what} (copy of {human_size(step.size)})"
    return step.what


def _lock_words(held: bool) -> str:
    if held:
        return "a lock of avocado-i2n, which is held"
    return "a lock file of avocado-i2n that nobody holds; --clean removes it"


def _as_dict(root: str, step: "Step", outcome: "Outcome | None") -> dict[str, Any]:
    from avocado_pool_plugin.upkeep.naming import state_at

    problem = outcome.problem if outcome else None
    return {
        **named(state_at(root, step.path), step.title),
        "path": step.path,
        "action": step.action,
        "what": step.what,
        "size": step.size,
        "done": outcome is not None and problem is None,
        "note": outcome.note if outcome else "",
        "problem": str(problem or ""),
    }


ADOPT = Command(
    name="adopt",
    help="Take over a pool or cache of avocado-i2n without copying",
    examples=("adopt /srv/pool --dry-run", "adopt cache", "adopt store:/srv/pool --clean --json"),
    configure=_configure,
    run=_run,
)
