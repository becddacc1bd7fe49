"""
The one place that reads test params and job settings.

Test params win over the job's settings: the settings are merged under the params of each test
before it is started (plugins/test.py), so code here only ever looks into params.
"""

import os
from collections.abc import Mapping
from typing import Any

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.params.options import ANY, OPTIONS
from avocado_pool_plugin.params.values import location_list, yes_no

#: Object types of vms, whose states have a file beside those of their images.
VM_TYPES = ("vms", "nets/vms")
#: What ``vm_state_mismatch`` may say of a vm state that can't be resumed.
REFUSE, BOOT = "refuse", "boot"

#: What may be named to log in with or to transfer files with; all of it is OpenSSH to us.
_CLIENTS = ("ssh", "scp", "sftp", "rsync")

_BY_NAME = {option.name: option for option in OPTIONS}


def _read(params: Mapping[str, str], option: str) -> Any:
    """Return the value of the test param that belongs to an option, or the option's default."""
    entry = _BY_NAME[option]
    text = params.get(entry.param) or entry.default
    try:
        return entry.read(str(text))
    except ValueError as error:
        raise SettingRefused(f"test param {entry.param} = {text!r}, expected {error}") from error


def flag(params: Mapping[str, str], name: str, default: bool = False) -> bool:
    """
    Return a yes/no test param.

    :raises SettingRefused: it is neither
    """
    text = params.get(name)
    if text is None or text == "":
        return default
    try:
        return yes_no(str(text))
    except ValueError as error:
        raise SettingRefused(f"test param {name} = {text!r}, expected {error}") from error


def policy(params: Mapping[str, str], do: str = "set") -> Policy:
    """
    Return how careful and patient to be.

    :param do: the verb whose ``<do>_cascade`` param says whether dependents go too
    :raises SettingRefused: a param makes no sense
    """
    return Policy(
        timeout=_read(params, "lock_timeout"),
        fsync=_read(params, "fsync"),
        verify=_read(params, "verify"),
        cascade=flag(params, f"{do}_cascade"),
    )


def recipe_mode(params: Mapping[str, str]) -> str:
    """
    Return what to do about a state that would be made in another way now.

    :returns: ``IGNORE``, ``WARN`` or ``REBUILD``
    :raises SettingRefused: it is something else
    """
    found: str = _read(params, "recipe")
    return found


def vm_state_mismatch(params: Mapping[str, str]) -> str:
    """
    Return what to do about a vm state that can't be resumed on its machine or images.

    :returns: ``REFUSE`` or ``BOOT`` (from the images of the state)
    :raises SettingRefused: it is something else
    """
    text = params.get("vm_state_mismatch") or REFUSE
    if text not in (REFUSE, BOOT):
        raise SettingRefused(
            f"test param vm_state_mismatch = {text!r}, expected one of {REFUSE}, {BOOT}"
        )
    return str(text)


def cache_dir(params: Mapping[str, str]) -> str:
    """
    Return the directory of the local cache (``swarm_pool``).

    :raises SettingRefused: it is no absolute path
    """
    configured: str = _read(params, "swarm_pool")
    if configured:
        return configured
    from virttest import data_dir

    return os.path.join(data_dir.get_data_dir(), "states")


def seen_dir(params: Mapping[str, str]) -> str:
    """Return where this host keeps what it knows about files in directories of others."""
    return layout.seen_dir(cache_dir(params))


def scopes(params: Mapping[str, str]) -> tuple[str, ...]:
    """
    Return the scopes that may be used (``pool_scope``).

    :raises SettingRefused: it names no or another scope
    """
    found: tuple[str, ...] = _read(params, "pool_scope")
    return found


def one_mirror_is_enough(params: Mapping[str, str]) -> bool:
    """
    Return whether a set may fail on mirrors as long as it reaches one (``set_mirrors = any``).

    :raises SettingRefused: it is neither all nor any
    """
    return bool(_read(params, "set_mirrors") == ANY)


def shared_pools(params: Mapping[str, str]) -> tuple[Location, ...]:
    """
    Return the locations of ``shared_pool``.

    :raises SettingRefused: one is no location
    """
    found: tuple[Location, ...] = _read(params, "shared_pool")
    return found


def cache_limit(params: Mapping[str, str]) -> int:
    """
    Return how many bytes of disk the cache may take, 0 for no limit.

    :raises SettingRefused: it is no size
    """
    found: int = _read(params, "cache_limit")
    return found


def pool_limit(params: Mapping[str, str]) -> int:
    """Return how many bytes of disk each pool may take; see :func:`cache_limit`."""
    found: int = _read(params, "pool_limit")
    return found


def host(label: str, params: Mapping[str, str]) -> Host:
    """
    Return the host that a location's label stands for.

    Without ``nets_shell_host`` it is called like the label, so that the user's OpenSSH
    configuration can say where it is and who logs in there.

    :param params: as the label sees them (``params.object_params(label)``)
    :raises SettingRefused: a param makes no sense
    """
    for name in ("nets_shell_client", "nets_file_transfer_client"):
        client = params.get(name) or "ssh"
        if client not in _CLIENTS:
            raise SettingRefused(
                f"test param {name} = {client!r} for host {label!r}, expected one of "
                f"{', '.join(_CLIENTS)}: states travel by OpenSSH only"
            )
    port = params.get("nets_shell_port") or params.get("nets_file_transfer_port") or "0"
    if not port.isdecimal() or len(port) > 5:
        raise SettingRefused(
            f"test param nets_shell_port = {port!r} for host {label!r}, expected a TCP port"
        )
    return Host(
        label,
        address=params.get("nets_shell_host") or label,
        port=int(port),
        user=params.get("nets_username") or "",
        password=params.get("nets_password") or "",
        config=_read(params, "ssh_config"),
        host_keys=_read(params, "ssh_host_keys"),
        timeout=_read(params, "ssh_timeout"),
    )


def mirrors(do: str, params: Mapping[str, str]) -> list[str]:
    """
    Return the locations of a verb, ``<do>_location`` or else all of ``shared_pool``.

    :raises SettingRefused: one is no location
    """
    text = params.get(f"{do}_location")
    if not text:
        return [str(location) for location in shared_pools(params)]
    try:
        return [str(location) for location in location_list(text)]
    except ValueError as error:
        raise SettingRefused(f"test param {do}_location = {text!r}, expected {error}") from error
