"""The options of a job: whether they make sense, and what they are for its tests."""

from collections.abc import Iterator, Mapping
from typing import Any

from avocado.core.settings import settings

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.params.options import OPTIONS, SECTION, read_option
from avocado_pool_plugin.params.values import yes_no

#: The option that switches the plugin off; it has no test param.
OFF = "off"

_PREFIX = f"{SECTION}."
_KNOWN = (*(option.name for option in OPTIONS), OFF)


def is_off(config: Mapping[str, Any]) -> bool:
    """Return whether a job or suite is to run as if the plugin was not installed."""
    return bool(config.get(_PREFIX + OFF))


def check_files() -> None:
    """
    Check section ``[pool]`` of all configuration files, which Avocado itself does not.

    :raises SettingRefused: there is an unknown option, or a switch that is neither yes nor no
    """
    for name, text, path in _from_files():
        if name not in _KNOWN:
            raise _unknown(name, path)
        if name == OFF:
            _check_switch(text, path)


def check_values(config: Mapping[str, Any]) -> None:
    """
    Check the options of a job or suite, wherever they come from.

    :raises SettingRefused: one is unknown, or has a value that makes no sense
    """
    files = {name: (text, path) for name, text, path in _from_files()}
    for key in config:
        if key.startswith(_PREFIX) and key.removeprefix(_PREFIX) not in _KNOWN:
            raise _unknown(key.removeprefix(_PREFIX), "job configuration")
    for option in OPTIONS:
        value = config.get(_PREFIX + option.name)
        if value in (None, ""):
            continue
        text, path = files.get(option.name, (None, ""))
        read_option(option, str(value), path if text == value else "command line or job")


def _from_files() -> Iterator[tuple[str, str, str]]:
    """Yield name, text and file of each option in section ``[pool]``."""
    found = {key: settings.config[key] for key in settings.config}
    for key, (text, path) in found.items():
        section, _, name = key.rpartition(".")
        # what stands in [DEFAULT] shows up in every section of its file
        if section == SECTION and found.get(f"DEFAULT.{name}") != (text, path):
            yield name, text, path


def _unknown(name: str, origin: str) -> SettingRefused:
    return SettingRefused(
        f"{origin}: option {name!r} of section [{SECTION}] is unknown, known are "
        f"{', '.join(sorted(_KNOWN))}"
    )


def _check_switch(text: str, path: str) -> None:
    try:
        yes_no(text)
    except ValueError as error:
        raise SettingRefused(
            f"{path}: option {OFF!r} of section [{SECTION}] is {text!r}, expected {error}"
        ) from error
