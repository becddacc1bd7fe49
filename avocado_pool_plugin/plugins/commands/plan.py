"""``avocado pool plan``: what ``avocado pool run`` would do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.graph.plan import REUSE, RUN, SKIP, Step
from avocado_pool_plugin.plugins.commands.arguments import add_words
from avocado_pool_plugin.plugins.commands.command import FINE, Command, add_json, warnings_shown
from avocado_pool_plugin.plugins.selection import read_selection
from avocado_pool_plugin.plugins.text import human_size, print_json, print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.graph.suite import Prepared

_COLUMNS = ("test", "action", "reason", "fetch", "seconds")


def _configure(parser: Any) -> None:
    # before the options of avocado run, one of which has the same name
    add_json(parser)
    add_words(parser)


def _run(config: Mapping[str, Any]) -> int:
    selection = read_selection(config["pool_words"])
    from avocado_pool_plugin.plugins.reports import notes
    from avocado_pool_plugin.plugins.steps import tests
    from avocado_pool_plugin.plugins.steps.context import Context

    with warnings_shown():
        prepared = tests.plan(Context.of(config, selection))
    if config.get("pool_json"):
        print_json(_as_dict(prepared))
    else:
        rows = [_cells(step, prepared) for step in prepared.plan.steps]
        print_table(_COLUMNS, [*rows, _sums(prepared)])
        for note in notes(prepared.plan):
            LOG_UI.warning("%s", note)
    return FINE


def _bytes(step: Step) -> int:
    return sum(size for _, size in step.fetch)


def _cells(step: Step, prepared: "Prepared") -> list[str]:
    seconds = prepared.seconds.get(step.test)
    return [
        step.test,
        step.action,
        step.reason,
        human_size(_bytes(step)) if step.fetch else "",
        "" if seconds is None else f"{seconds:.1f}",
    ]


def _seconds(prepared: "Prepared") -> float:
    """Return how long the tests to run took in earlier runs, as far as that is known."""
    return sum(prepared.seconds.get(name, 0.0) for name in prepared.plan.named(RUN))


def _sums(prepared: "Prepared") -> list[str]:
    from avocado_pool_plugin.plugins.reports import plan_line

    fetch = human_size(prepared.plan.fetch)
    return ["in all", "", plan_line(prepared.plan), fetch, f"{_seconds(prepared):.1f}"]


def _as_dict(prepared: "Prepared") -> dict[str, Any]:
    from avocado_pool_plugin.plugins.reports import notes

    return {
        "steps": [
            {
                "test": step.test,
                "action": step.action,
                "reason": step.reason,
                "selected": step.selected,
                "needs": list(step.needs),
                "after": list(step.after),
                "fetch": _bytes(step),
                "seconds": prepared.seconds.get(step.test),
            }
            for step in prepared.plan.steps
        ],
        **{action: len(prepared.plan.named(action)) for action in (RUN, REUSE, SKIP)},
        "fetch": prepared.plan.fetch,
        "seconds": _seconds(prepared),
        "notes": notes(prepared.plan),
    }


PLAN = Command(
    name="plan",
    help="Print which tests 'run' would run, reuse or leave out, and why",
    examples=(
        "plan --vt-config tests.cfg only=customize",
        "plan --vt-config tests.cfg setup=update from_state=install",
        "plan --vt-config tests.cfg --json",
    ),
    configure=_configure,
    run=_run,
)
