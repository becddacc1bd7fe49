"""
The one place that reads test params and job settings.

Test params win over the job's settings: the settings are merged under the params of each test
before it is started (plugins/test.py), so code here only ever looks into params.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin.core.errors import LocationRefused, SettingRefused
from avocado_pool_plugin.core.host import ACCEPT_NEW, STRICT, Host
from avocado_pool_plugin.core.location import Location, split_locations
from avocado_pool_plugin.core.policy import VERIFY, Policy

#: Section of avocado.conf.
SECTION = "pool"
#: What ``pool_scope`` may name, nearest first.
SCOPES = ("own", "shared", "swarm", "cluster")
#: What ``set_mirrors`` may say.
ALL, ANY = "all", "any"
#: Object types of vms, whose states have a file beside those of their images.
VM_TYPES = ("vms", "nets/vms")
#: What ``recipe`` may say of a state that would be made in another way now.
IGNORE, WARN, REBUILD = "ignore", "warn", "rebuild"
#: What ``vm_state_mismatch`` may say of a vm state that can't be resumed.
REFUSE, BOOT = "refuse", "boot"

#: What may be named to log in with or to transfer files with; all of it is OpenSSH to us.
_CLIENTS = ("ssh", "scp", "sftp", "rsync")

_YES = ("yes", "on", "true", "1")
_NO = ("no", "off", "false", "0")


def yes_no(text: str) -> bool:
    """
    Read a yes or no.

    :raises ValueError: it is neither; the text says what is expected
    """
    if text.strip().lower() in _YES:
        return True
    if text.strip().lower() in _NO:
        return False
    raise ValueError("yes or no")


def seconds(text: str) -> float:
    """
    Read a number of seconds, 0 or more.

    :raises ValueError: it is none; the text says what is expected
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError("a number of seconds, 0 or more")
    return value


def scope_list(text: str) -> tuple[str, ...]:
    """
    Read ``pool_scope``.

    :raises ValueError: it is empty or names another scope; the text says what is expected
    """
    scopes = tuple(text.split())
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"one or more of {', '.join(SCOPES)}, separated by blanks")
    return scopes


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a function that reads one of some words, else raises ValueError with them."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return read


def location_list(text: str) -> tuple[Location, ...]:
    """
    Read one location or several; a bare absolute path is a local directory.

    :raises ValueError: one is none; the text says what is expected
    """
    try:
        return tuple(Location.from_setting(part) for part in split_locations(text))
    except LocationRefused as error:
        raise ValueError(
            f"':/dir', ':/dir;' or 'label:/dir', several separated by blanks ({error})"
        ) from error


def directory(text: str) -> str:
    """
    Read an absolute path of a local directory; empty means the default.

    :raises ValueError: it is none; the text says what is expected
    """
    path = os.path.expanduser(text.strip().lstrip(":"))
    if path and not os.path.isabs(path):
        raise ValueError("an absolute path of a local directory")
    return path


def file(text: str) -> str:
    """
    Read the absolute path of a local file; empty means the default.

    :raises ValueError: there is none; the text says what is expected
    """
    path = os.path.expanduser(text.strip())
    if path and not (os.path.isabs(path) and os.path.isfile(path)):
        raise ValueError("the absolute path of a file on this host")
    return path


@dataclass(frozen=True)
class Option:
    """
    An option of the ``[pool]`` section.

    :param name: its key in the section
    :param param: the test param of the same meaning, which wins; empty if it is about whole jobs
    :param default: its default, as text
    :param help: one line for users
    :param read: turns text into a value; raises ValueError with what is expected
    """

    name: str
    param: str
    default: str
    help: str
    read: Callable[[str], Any]


OPTIONS = (
    Option(
        "shared_pool",
        "shared_pool",
        "",
        "Where states are shared: ':/dir' a directory, ':/dir;' one to be symlinked, "
        "'label:/dir' one on a host, several separated by blanks",
        location_list,
    ),
    Option(
        "swarm_pool",
        "swarm_pool",
        "",
        "The cache: a local directory, best on the file system of the VM images. Default: "
        "'states' in Avocado-VT's data directory",
        directory,
    ),
    Option(
        "pool_scope",
        "pool_scope",
        "own shared",
        "Which places may be used: own (the cache), shared, swarm, cluster",
        scope_list,
    ),
    Option(
        "set_mirrors",
        "set_mirrors",
        ALL,
        "Which of several mirrors a set has to reach: all, or any (one is enough)",
        one_of(ALL, ANY),
    ),
    Option(
        "lock_timeout",
        "update_pool_timeout",
        "300",
        "Seconds to wait for another process that works on the same state",
        seconds,
    ),
    Option(
        "verify",
        "pool_verify",
        "changed",
        "When content is hashed: changed (if inode, size or times differ) or always",
        one_of(*VERIFY),
    ),
    Option(
        "fsync",
        "pool_fsync",
        "yes",
        "Whether a state is safe on the disk before it becomes visible: yes or no",
        yes_no,
    ),
    Option(
        "ssh_timeout",
        "ssh_timeout",
        "60",
        "Seconds to wait for an answer from the host of a remote pool, or for the next byte",
        seconds,
    ),
    Option(
        "ssh_host_keys",
        "ssh_host_keys",
        ACCEPT_NEW,
        "Keys of hosts not seen before: accept-new (kept from then on) or strict (refused)",
        one_of(ACCEPT_NEW, STRICT),
    ),
    Option(
        "ssh_config",
        "ssh_config",
        "",
        "OpenSSH configuration file for the hosts of remote pools. Default: the user's own",
        file,
    ),
    Option(
        "recipe",
        "recipe_mode",
        WARN,
        "Graph runs: what to do about a state whose test, params or parent changed since it was "
        "made: ignore, warn or rebuild",
        one_of(IGNORE, WARN, REBUILD),
    ),
    Option(
        "rerun",
        "",
        "",
        "Graph runs: selected tests to run although their states exist, as patterns like 'inst*'",
        str.split,
    ),
    Option(
        "replay",
        "",
        "",
        "Graph runs: a job (id, directory or 'latest') whose passed tests are not run again",
        str,
    ),
)


def job_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the options of a job or suite as the test params of the same meaning."""
    values = ((option, config.get(f"{SECTION}.{option.name}")) for option in OPTIONS)
    return {
        option.param: str(value)
        for option, value in values
        if option.param and value not in (None, "")
    }


def read_option(option: Option, text: str, origin: str) -> Any:
    """
    Return the value of an option's text.

    :param origin: file or command line it comes from, for the error
    :raises SettingRefused: it makes no sense
    """
    try:
        return option.read(text)
    except ValueError as error:
        raise SettingRefused(
            f"{origin}: option {option.name!r} of section [{SECTION}] is {text!r}, expected {error}"
        ) from error


def _read(params: Mapping[str, str], option: str) -> Any:
    """Return the value of the test param that belongs to an option, or the option's default."""
    entry = _BY_NAME[option]
    text = params.get(entry.param) or entry.default
    try:
        return entry.read(str(text))
    except ValueError as error:
        raise SettingRefused(f"test param {entry.param} = {text!r}, expected {error}") from error


_BY_NAME = {option.name: option for option in OPTIONS}


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
    if not port.isdecimal():
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
