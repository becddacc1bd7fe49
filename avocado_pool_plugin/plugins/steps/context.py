"""What a step of ``avocado pool run`` works on, and how steps are found."""

import copy
import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI
from avocado.core.resolver import ReferenceResolutionResult
from avocado.core.suite import TestSuite, TestSuiteError

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.graph.resolve import PARALLEL_WARNING, VT_KIND, whole_configuration
from avocado_pool_plugin.params.options import job_params
from avocado_pool_plugin.plugins.runner import NAME
from avocado_pool_plugin.plugins.selection import Selection

if TYPE_CHECKING:
    from avocado_pool_plugin.graph.read import Reading

#: Entry point group of steps; a name in it is what ``setup=`` may name.
GROUP = "avocado.plugins.pool.steps"

#: Does a step; returns an exit status.
Step = Callable[["Context"], int]


@dataclass(frozen=True)
class Context:
    """
    What was asked for.

    :param config: Avocado's configuration, with all that the command line says
    :param selection: the KEY=VALUE words of the command line
    """

    config: Mapping[str, Any]
    selection: Selection

    @classmethod
    def of(cls, config: Mapping[str, Any], selection: Selection) -> "Context":
        """Return the context of a command line."""
        return cls({**selection.config(config), "run.suite_runner": NAME}, selection)

    @property
    def dry(self) -> bool:
        """Whether nothing is to be changed."""
        return bool(self.config.get("run.dry_run.enabled"))

    @functools.cached_property
    def tests(self) -> Sequence[Any]:
        """
        The selected tests, as Avocado's runnables.

        :raises SettingRefused: none is selected, or the configuration can't be read
        """
        return _selected(self.config)

    def whole(self) -> Sequence[Any]:
        """
        Return all tests of the configuration, selected or not.

        :raises SettingRefused: the configuration can't be read
        """
        try:
            return whole_configuration(self.config)
        except Exception as error:  # Avocado-VT's parser has errors of many kinds
            raise _unreadable(error) from error

    def params(self) -> list[dict[str, str]]:
        """Return the params of each selected VM test, with the options of the job under them."""
        return [self._params(test) for test in self.tests if test.kind == VT_KIND]

    def _params(self, test: Any) -> dict[str, str]:
        return {**job_params(self.config), **test.kwargs}

    def readings(self, tests: Iterable[Any]) -> "dict[str, Reading]":
        """
        Return what VM tests get and set, by their names.

        :raises GraphRefused: the params of one make no sense
        """
        from avocado_pool_plugin.graph.read import node_of

        found = {str(test.uri): test for test in tests if test.kind == VT_KIND}
        return {name: node_of(name, self._params(test)) for name, test in found.items()}

    def objects(self, asked: Mapping[str, str]) -> list[Any]:
        """
        Return params of the selected VM tests, without images that an earlier one of them has.

        :param asked: params of the command line that ask for states; those of tests are left out
        """
        from avocado_pool_plugin.states.selected import objects_of

        return objects_of(self.params(), asked)

    def suite(self, tests: Iterable[Any], options: Mapping[str, str]) -> Any:
        """
        Return a suite that can be run; the tests themselves are not changed by that.

        :param options: of section ``[pool]``, in place of those of the configuration
        """
        own = {f"pool.{name}": value for name, value in options.items()}
        return TestSuite("", {**self.config, **own}, [_fresh(test) for test in tests])

    def say(self, text: str, *args: Any) -> None:
        """Tell the user something, unless programs read what is printed."""
        if not self.config.get("stdout_claimed_by"):
            LOG_UI.info(text, *args)


def _selected(config: Mapping[str, Any]) -> Sequence[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=PARALLEL_WARNING)
        try:
            # Avocado's own error for an empty suite does not say why it is empty
            found = TestSuite.from_config({**config, "run.ignore_missing_references": True}, "")
        except TestSuiteError as error:
            raise SettingRefused(f"the tests can't be found: {error}") from error
    if found.tests:
        return list(found.tests)
    for resolution in found.resolutions:
        if resolution.result is ReferenceResolutionResult.ERROR:
            raise _unreadable(resolution.info)
    filters = [
        f"{key}={value!r}"
        for key, value in (("only", config["vt.only_filter"]), ("no", config["vt.no_filter"]))
        if value
    ]
    chosen = f" by {' and '.join(filters)}" if filters else ""
    source = config.get("vt.config") or "Avocado-VT's own configuration, as there is no --vt-config"
    raise SettingRefused(f"no test is selected{chosen} from {source}")


def _unreadable(reason: object) -> SettingRefused:
    if isinstance(reason, OSError) and reason.filename:
        reason = f"{reason.filename}: {reason.strerror}"
    return SettingRefused(f"the configuration can't be read: {reason}; see --vt-config")


def _fresh(test: Any) -> Any:
    """Return a copy of a test: what runs it changes kind and params."""
    own = copy.copy(test)
    own.kwargs = dict(test.kwargs)
    return own


def load_step(name: str) -> Step:
    """
    Return a step.

    :raises SettingRefused: there is none of this name, or it can't be loaded
    """
    from importlib.metadata import entry_points

    known = entry_points(group=GROUP)
    found = [entry for entry in known if entry.name == name]
    if not found:
        names = ", ".join(sorted({entry.name for entry in known}))
        raise SettingRefused(f"there is no step {name!r}, known are: {names}")
    if len({entry.value for entry in found}) > 1:
        raise SettingRefused(
            f"step {name!r} is ambiguous: {', '.join(entry.value for entry in found)}; uninstall "
            f"one of the packages that have it"
        )
    try:
        step: Step = found[0].load()
    except Exception as error:  # whatever another package's module raises on import
        raise SettingRefused(
            f"step {name!r} can't be loaded from {found[0].value}: {type(error).__name__}: {error}"
        ) from error
    return step


def run_chain(context: Context) -> int:
    """
    Do all steps in their order; the first one that fails is the last one.

    :raises SettingRefused: there is no such step; none was done
    """
    steps = [load_step(name) for name in context.selection.setup]
    for step in steps:
        status = step(context)
        if status:
            return status
    return 0
