"""The options of section ``[pool]``: their names, defaults and meanings, in one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.host import ACCEPT_NEW, STRICT
from avocado_pool_plugin.core.policy import VERIFY
from avocado_pool_plugin.params.values import (
    directory,
    file,
    location_list,
    one_of,
    scope_list,
    seconds,
    size,
    yes_no,
)

#: Section of avocado.conf.
SECTION = "pool"
#: What ``set_mirrors`` may say.
ALL, ANY = "all", "any"
#: What ``recipe`` may say of a state that would be made in another way now.
IGNORE, WARN, REBUILD = "ignore", "warn", "rebuild"


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
        "cache_limit",
        "cache_limit",
        "",
        "How much disk the cache may take, such as 500GiB: before a fetch that would pass it, "
        "states used least go. Default: no limit",
        size,
    ),
    Option(
        "pool_limit",
        "pool_limit",
        "",
        "How much disk each pool may take, such as 2TiB, for 'avocado pool gc'. Default: no limit",
        size,
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
