"""``avocado pool gc``: keeps the cache and the pools under their limits."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params.options import SECTION, job_params
from avocado_pool_plugin.plugins.cli import add_arguments
from avocado_pool_plugin.plugins.commands.asking import add_yes, confirmed, require_answer
from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    named,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import add_places, chosen, each, opened
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.gc.act import Outcome
    from avocado_pool_plugin.upkeep.gc.plan import Eviction, Plan
    from avocado_pool_plugin.upkeep.site import Site

_GOES, _STAYS = ("goes", "what", "size", "why"), ("stays", "size", "why")


def _configure(parser: Any) -> None:
    add_places(parser, "all that have a limit")
    add_arguments(parser, "cache_limit", "pool_limit")
    add_yes(parser)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    limits = _limits(config)
    require_answer(config)
    machine, dry = bool(config.get("pool_json")), bool(config.get("pool_dry_run"))
    results, fine = list[dict[str, Any]](), list[bool]()

    def work(site: "Site") -> None:
        result = _Collection(site, limits[site.place], machine)
        fine.append(result.show() if dry else result.act(config))
        results.append(result.as_dict(dry))

    with warnings_shown():
        reached = each(opened(limits, config, cascade=False), work)
    if machine:
        print_json(results)
    return FINE if reached and all(fine) else FAILED


def _limits(config: Mapping[str, Any]) -> dict[Location, int]:
    """
    Return the places that the command is about, with their limits in bytes.

    :raises SettingRefused: there is none, or one that was asked for has no limit
    """
    params = job_params(config)
    cache = Location(settings.cache_dir(params))
    in_cache, in_pools = settings.cache_limit(params), settings.pool_limit(params)
    asked = config.get("pool_at")
    places = chosen(config) if asked else [cache, *settings.shared_pools(params)]
    found = {place: in_cache if place == cache else in_pools for place in dict.fromkeys(places)}
    missing = [place for place, limit in found.items() if not limit]
    if asked and missing:
        option = "cache_limit" if missing[0] == cache else "pool_limit"
        raise SettingRefused(
            f"{missing[0]} has no limit; give --{option.replace('_', '-')}, or set {option} in "
            f"section [{SECTION}] of avocado.conf"
        )
    limited = {place: limit for place, limit in found.items() if limit}
    if not limited:
        raise SettingRefused(
            "no place has a limit; give --cache-limit, or --pool-limit and --pool-location, or set "
            f"cache_limit or pool_limit in section [{SECTION}] of avocado.conf"
        )
    return limited


class _Collection:
    """
    What is done at one place.

    :param machine: only a program reads what is found
    """

    def __init__(self, site: "Site", limit: int, machine: bool) -> None:
        from avocado_pool_plugin.upkeep.gc import act

        self._gc, self._site, self._machine = act, site, machine
        self._plan = act.decide(site, limit)
        self._outcome: Outcome | None = None

    def show(self) -> bool:
        """Show what would go; return whether the limit would be kept."""
        self._print_plan()
        if not self._plan.reached:
            self._tell_missed(self._plan, "would still take")
        return self._plan.reached

    def act(self, config: Mapping[str, Any]) -> bool:
        """Remove what has to go, if the user agrees; return whether the limit is kept."""
        self._print_plan()
        if self._plan.steps:
            if not confirmed(config, "remove these?"):
                self._say("nothing was removed")
                return False
            gc = self._gc
            do = gc.collect if config.get("pool_yes") else gc.collect_agreed
            with gc.alone(self._site):
                self._outcome = do(self._site, self._plan)
            self._print_outcome(self._outcome)
        found = self._outcome or self._plan
        if not found.reached:
            self._tell_missed(found, "takes" if self._outcome is None else "still takes")
        return found.reached

    def _tell_missed(self, found: "Plan | Outcome", takes: str) -> None:
        LOG_UI.error(
            "%s %s %s, more than its limit of %s: the rest can't go now; raise the limit, or end "
            "what needs it",
            self._site.place,
            takes,
            human_size(found.after),
            human_size(found.limit),
        )

    def _say(self, text: str) -> None:
        if not self._machine:
            sys.stdout.write(f"{text}\n")

    def _print_plan(self) -> None:
        plan = self._plan
        takes = f"{self._site.place} takes {human_size(plan.before)} of {human_size(plan.limit)}"
        if plan.before <= plan.limit:
            self._say(f"{takes}: nothing has to go")
            return
        self._say(f"{takes}: {human_size(plan.before - plan.limit)} too much")
        if self._machine:
            return
        if plan.steps:
            rows = [[s.title, s.kind, human_size(s.size), s.why] for s in plan.steps]
            print_table(_GOES, rows)
            freed = plan.before - plan.after
            self._say(f"{human_size(freed)} get free, {human_size(plan.after)} stay")
        if not plan.reached and plan.kept:
            print_table(_STAYS, [[k.title, human_size(k.size), k.reason] for k in plan.kept])

    def _print_outcome(self, outcome: "Outcome") -> None:
        for path, reason in outcome.refused.items():
            LOG_UI.warning("%s stays: %s", self._site.title(path), reason)
        self._say(
            f"{self._site.place}: removed {len(outcome.done)}, {human_size(outcome.freed)} got "
            f"free, {human_size(outcome.after)} stay"
        )

    def as_dict(self, dry: bool) -> dict[str, Any]:
        """Return all of it for programs."""
        plan, outcome = self._plan, self._outcome
        steps = outcome.done if outcome else plan.steps if dry else ()
        after = outcome.after if outcome else plan.after if dry else plan.before
        return {
            "where": str(self._site.place),
            "dry_run": dry,
            "limit": plan.limit,
            "before": plan.before,
            "after": after,
            "reached": after <= plan.limit,
            "removed": [self._step(step) for step in steps],
            "refused": dict(outcome.refused) if outcome else {},
            "kept": [
                {
                    **self._named(kept.title, kept.path),
                    "path": kept.path,
                    "size": kept.size,
                    "why": kept.reason,
                }
                for kept in (outcome.plan if outcome else plan).kept
            ],
        }

    def _step(self, step: "Eviction") -> dict[str, Any]:
        return {
            **self._named(step.title, *step.paths[:1]),
            "kind": step.kind,
            "paths": list(step.paths),
            "size": step.size,
            "idle_seconds": round(step.idle, 1),
            "rebuild_seconds": round(step.rebuild, 1),
            "score": round(step.score, 1),
            "why": step.why,
        }

    def _named(self, title: str, path: str = "") -> dict[str, str | None]:
        from avocado_pool_plugin.upkeep.naming import state_at

        return {**named(state_at(self._site.root, path)), "title": title}


GC = Command(
    name="gc",
    help="Keep the cache and the pools under their limits",
    examples=(
        "gc --cache-limit 200GiB --dry-run",
        "gc --at pools --pool-location store:/srv/pool --pool-limit 2TiB",
        "gc --yes",
    ),
    configure=_configure,
    run=_run,
)
