"""From the tests of a suite to what becomes of each of them."""

import fnmatch
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph import durations
from avocado_pool_plugin.graph.exists import Finder
from avocado_pool_plugin.graph.model import Graph
from avocado_pool_plugin.graph.plan import Plan, Wish, make_plan
from avocado_pool_plugin.graph.read import Reading, node_of
from avocado_pool_plugin.graph.resolve import VT_KIND
from avocado_pool_plugin.params import cache_dir
from avocado_pool_plugin.params.options import job_params

LOG = logging.getLogger("avocado." + __name__)


@dataclass(frozen=True)
class Prepared:
    """
    A suite that can be run.

    :param runnables: Avocado's tests by the names they have in the graph
    :param seconds: how long tests took in earlier runs
    :param finder: knows what exists
    """

    graph: Graph
    plan: Plan
    runnables: Mapping[str, Any] = field(repr=False)
    seconds: Mapping[str, float] = field(repr=False)
    finder: Finder = field(repr=False)

    def files(self, name: str) -> frozenset[str]:
        """Return the working images of a test that it can't have for itself."""
        return self.graph.nodes[name].files


def prepare(
    selected: Sequence[Any],
    config: Mapping[str, Any],
    whole: Callable[[Mapping[str, Any]], Sequence[Any]],
    passed: Mapping[str, str] | None = None,
    forced: Iterable[str] = (),
) -> Prepared:
    """
    Find out what has to run so that the selected tests can.

    :param selected: Avocado's tests (runnables)
    :param config: of the suite
    :param whole: gives all tests of the configuration; called only if a state is needed that no
        selected test sets
    :param passed: names of tests that are not to run again, with the reason
    :param forced: names of tests to run although their states exist
    :raises GraphRefused: it can't be done; see :func:`make_plan`
    """
    tests = _Tests(job_params(config))
    names = tests.add(selected)
    if tests.lacks_makers():
        tests.add(one for one in whole(config) if one.kind == VT_KIND)
    graph = Graph.of(reading.node for reading in tests.readings.values())
    finder = Finder.of(tests.readings.values())
    wish = Wish(tuple(names), frozenset(forced) | _asked(names, config), passed or {})
    seconds = durations.load(durations_path(config))
    return Prepared(graph, make_plan(graph, wish, finder), tests.runnables, seconds, finder)


def durations_path(config: Mapping[str, Any]) -> str:
    """Return the file of this host in which the durations of tests are remembered."""
    return layout.durations_path(cache_dir(job_params(config)))


def _asked(names: Iterable[str], config: Mapping[str, Any]) -> frozenset[str]:
    """Return the selected tests that are to run although their states exist."""
    patterns = str(config.get("pool.rerun") or "").split()
    return frozenset(
        name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    )


class _Tests:
    """Tests by name, read one after the other."""

    def __init__(self, defaults: Mapping[str, str]) -> None:
        self._defaults = defaults
        self.runnables: dict[str, Any] = {}
        self.readings: dict[str, Reading] = {}

    def add(self, runnables: Iterable[Any]) -> list[str]:
        """Read tests; return their names. A VT test that is there already is not read again."""
        names = []
        for runnable in runnables:
            name = self._name(runnable)
            if name not in self.runnables:
                self.runnables[name] = runnable
                is_vt = runnable.kind == VT_KIND
                params = {**self._defaults, **runnable.kwargs} if is_vt else {}
                self.readings[name] = node_of(name, params)
            names.append(name)
        return names

    def lacks_makers(self) -> bool:
        """Tell whether a test needs a state that none of the tests sets."""
        nodes = [reading.node for reading in self.readings.values()]
        made: set[State] = {one.state for node in nodes for one in node.sets}
        return any(want.state not in made for node in nodes for want in node.gets)

    def _name(self, runnable: Any) -> str:
        """Return the name of a test; the same VT test, selected twice, runs once."""
        name = str(runnable.uri)
        if runnable.kind == VT_KIND:
            return name
        number, unique = 1, name
        while unique in self.runnables:
            number += 1
            unique = f"{name} ({number})"
        return unique
