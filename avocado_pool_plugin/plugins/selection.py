"""What is written on the command line as KEY=VALUE: which tests, which params, which steps."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.names import check_name

#: What Avocado-VT's parser takes as the name of a param.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
#: Filters for the variants of single objects, which only suites of avocado-i2n have.
_OBJECT_FILTER = re.compile(r"(only|no)_(vm|net)\w*")
#: What is between the names in a filter, with the blanks that mean nothing.
_JOINTS = re.compile(r"\s*([.,=])\s*|(?<=\()\s+|\s+(?=\))")


@dataclass(frozen=True)
class Selection:
    """
    What is asked for.

    :param only: Cartesian filters that all have to fit
    :param no: Cartesian filters of which none may fit
    :param setup: names of the steps, in their order
    :param params: test params that replace those of the configuration
    :param options: options of section ``[pool]`` by name
    :param from_state: for the step ``update``: the first state to be made anew, empty: the first
    :param to_state: for the step ``update``: the last state to be made anew, empty: the last
    """

    only: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    setup: tuple[str, ...] = ("run",)
    params: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    from_state: str = ""
    to_state: str = ""

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration of a job with what is asked for, on top of its own options."""
        return {
            **config,
            **{f"pool.{name}": value for name, value in self.options.items()},
            # Avocado-VT separates filters by blanks
            "vt.only_filter": " ".join((config.get("vt.only_filter") or "", *self.only)).strip(),
            "vt.no_filter": " ".join((config.get("vt.no_filter") or "", *self.no)).strip(),
            "vt.extra_params": [
                *(config.get("vt.extra_params") or ()),
                *(f"{key}={value}" for key, value in self.params.items()),
            ],
        }


def read_selection(words: Iterable[str]) -> Selection:
    """
    Read the words of a command line.

    Filters add up; of any other key that is given twice the last one counts.

    :raises SettingRefused: one is no KEY=VALUE, or has a value that makes no sense
    :raises NameRefused: a state can't have its name
    """
    found = _Found()
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            raise SettingRefused(
                f"{word!r} is no KEY=VALUE; tests are chosen by only=VARIANTS and no=VARIANTS, "
                f"params are set by NAME=VALUE"
            )
        if "\n" in value:
            raise SettingRefused(f"the value of {key}= has a line break, which no param can have")
        _READERS.get(key, _Found.param)(found, key, value.strip())
    return found.selection()


class _Found:
    """What was read so far."""

    def __init__(self) -> None:
        self._filters: dict[str, list[str]] = {"only": [], "no": []}
        self._setup: tuple[str, ...] = ("run",)
        self._params: dict[str, str] = {}
        self._options: dict[str, str] = {}
        self._states: dict[str, str] = {}

    def selection(self) -> Selection:
        return Selection(
            tuple(self._filters["only"]),
            tuple(self._filters["no"]),
            self._setup,
            self._params,
            self._options,
            **self._states,
        )

    def filter(self, key: str, value: str) -> None:
        # in a Cartesian config blanks and commas mean the same: or
        text = ",".join(_JOINTS.sub(r"\1", value).split())
        if not text.strip(",."):
            raise SettingRefused(f"{key}= names no variant; write {key}=VARIANTS")
        self._filters[key].append(text)

    def setup(self, key: str, value: str) -> None:
        self._setup = tuple(_listed(key, value))

    def vms(self, key: str, value: str) -> None:
        self._params[key] = " ".join(_listed(key, value))

    def replay(self, key: str, value: str) -> None:
        if not value:
            raise SettingRefused(f"{key}= names no job; write {key}=JOB, an id or 'latest'")
        self._options[key] = value

    def rerun(self, key: str, value: str) -> None:
        self._options[key] = " ".join(_listed(key, value))

    def state(self, key: str, value: str) -> None:
        self._states[key] = check_name("state", value) if value else ""

    def param(self, key: str, value: str) -> None:
        if _OBJECT_FILTER.fullmatch(key):
            kind = key.partition("_")[0]
            raise SettingRefused(
                f"{key}= filters variants of single objects, which suites of avocado-i2n have and "
                f"Avocado-VT has not; write {kind}=VARIANTS"
            )
        self._params[key] = value


def _listed(key: str, value: str) -> list[str]:
    """Return what is separated by commas or blanks."""
    found = value.replace(",", " ").split()
    if not found:
        raise SettingRefused(f"{key}= has no value; write {key}=NAME, several separated by commas")
    return found


_READERS: dict[str, Callable[[_Found, str, str], None]] = {
    "only": _Found.filter,
    "no": _Found.filter,
    "setup": _Found.setup,
    "vms": _Found.vms,
    "replay": _Found.replay,
    "rerun": _Found.rerun,
    "from_state": _Found.state,
    "to_state": _Found.state,
}
