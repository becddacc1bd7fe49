"""
What of a test counts for the states that it makes, and whether they would be made so again.

The rule: all params of a test count, except those that say where, when, by whom or how closely
watched, but not what (``NOT_COUNTED``); and the source of the test. Of a file only the name counts,
not the directory, so that all hosts agree. Secrets and long texts count by their digests.

A test can say otherwise: ``recipe_ignore`` holds patterns of further params that do not count, and
``code`` in it stands for the test's source. ``recipe_only`` holds patterns of the only params that
count.
"""

import fnmatch
import functools
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping

from virttest import asset, bootstrap, data_dir

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.recipe import (
    BASE,
    CODE,
    PARAM,
    Change,
    changes,
    text_digest,
)
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.graph import working
from avocado_pool_plugin.graph.read import Reading
from avocado_pool_plugin.params import seen_dir
from avocado_pool_plugin.states.recipes import PARTS_PARAM, parent_part, test_name

LOG = logging.getLogger("avocado." + __name__)

_VERBS = ("get", "set", "unset", "push", "pop", "check", "show")

#: Patterns of the params that do not count.
NOT_COUNTED = (
    # which states, and where they are kept
    *(f"{verb}_{what}*" for verb in _VERBS for what in ("state", "mode", "location", "cascade")),
    *("states", "states_*", "skip_types*", "object_id*", "pool_*", "shared_pool*", "swarm_pool*"),
    *("set_mirrors*", "update_pool*", "vms_base_dir*", "images_base_dir*", "nets_*", "soft_boot*"),
    *("ssh_config*", "ssh_host_keys*", "ssh_timeout*"),
    # what the test is called, and what runs it
    *("_*", "name", "shortname", "id", "dep", "provider", "variant*", "test_pre_hook", "hostname"),
    *("job_*", "vt_*", "env", "env_*", "abort_on_error", "other_tests_dirs", "strict_mode"),
    # the host and its programs
    *("*kvm*", "*_binary*", "qemu_sandbox*", "required_*", "host_*", "used_cpus*", "used_mem*"),
    *("vm_accelerator*", "malloc_perturb*", "tmp*", "*_tmp_dir*", "gcov*", "*sosreport*"),
    *("nettype*", "netdst*", "bridge*", "priv_*", "vhost", "local_ip*", "local_pwd*", "remote_ip*"),
    *("remote_pwd*", "remote_user*", "migrat*", "libvirtd_*", "connect_uri"),
    # how the guest is talked to and watched
    *("*timeout*", "*debug*", "*logfile*", "log_*", "*_log", "login_*", "shell_*", "serial*"),
    *("isa_serial*", "monitor*", "catch_monitor*", "chardev_*", "qmp*", "display*", "vnc*"),
    *("spice*", "x11_display*", "redirs*", "guest_port_*", "file_transfer_*", "run_tcpdump"),
    *("status_test_command*", "shutdown_command*", "shutdown_method*", "reboot_command*"),
    *("profilers*", "verify_*", "expected_*dmesg*", "guest_dmesg*", "inactivity*", "vm_info*"),
    *("screendump*", "*_screendumps*", "keep_*", "convert_*", "encode_*", "store_*"),
    # what is done with images and machines once all is over
    *("kill_*", "remove_image*", "backup_*", "restore_*", "check_image*", "skip_image_*"),
    *("skip_cluster_leak_warn*", "image_verify_bootable*", "image_unbootable_pattern*"),
)
#: What never counts, whatever a test says.
_NEVER = ("_*", "pool_*", "recipe_*")
_SECRET = re.compile(r"passw|pwd|secret|token|(^|_)keys?(_|$)", re.IGNORECASE)
#: Longer values are kept as digests: characters.
_LONG = 200
#: Names of working images: a slot adds such params, so that only the names' ends count together.
_IMAGE_NAME = "image_name"
#: So many changes are told in a sentence.
_TOLD = 3


def own_parts(params: Mapping[str, str], code: Mapping[str, str]) -> dict[str, str]:
    """
    Return the parts of the recipe of a test's states that the test itself is.

    :param params: flat params of the test
    :param code: digest of the source of each of its types, see :func:`code_of`
    """
    counts = rule(params)
    found = {f"{CODE} {kind}": digest for kind, digest in code.items()}
    names = set()
    for key, value in params.items():
        if key == _IMAGE_NAME or key.startswith(f"{_IMAGE_NAME}_"):
            names.add(os.path.basename(str(value)))
        else:
            found[f"{PARAM} {key}"] = _shown(key, str(value))
    found[f"{PARAM} {_IMAGE_NAME}"] = " ".join(sorted(names))
    return {part: value for part, value in found.items() if counts(part)}


def note(params: MutableMapping[str, str]) -> None:
    """
    Write into a test's params what its sets are to record of it.

    Without it a state is saved all the same; so nothing that goes wrong here is an error.
    """
    try:
        params[PARTS_PARAM] = json.dumps(own_parts(params, code_of(params)))
    except Exception as error:
        LOG.warning("the recipe of the states of %s is not known: %s", test_name(params), error)


def _shown(key: str, value: str) -> str:
    """Return what is recorded of a param's value."""
    words = value.split()
    if "/" in value and all(word.startswith("/") for word in words):
        value = " ".join(os.path.basename(word.rstrip("/")) for word in words)
    if value and (len(value) > _LONG or _SECRET.search(key)):
        return f"(digest {text_digest(value)[:16]})"
    return value


def rule(params: Mapping[str, str]) -> Callable[[str], bool]:
    """Return the function that tells which parts of a recipe count for a test."""
    return _rule(str(params.get("recipe_only") or ""), str(params.get("recipe_ignore") or ""))


@functools.lru_cache
def _rule(only: str, ignore: str) -> Callable[[str], bool]:
    asked, left_out = _matcher(only.split()), _matcher(ignore.split())
    default, never = _matcher(NOT_COUNTED), _matcher(_NEVER)

    @functools.cache
    def counts(part: str) -> bool:
        kind, _, name = part.partition(" ")
        if kind == CODE:
            return not left_out(CODE)
        if kind != PARAM:
            return True
        wanted = asked(name) if only else not default(name)
        return wanted and not left_out(name) and not never(name)

    return counts


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    found = re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)")
    return lambda name: found.match(name) is not None


# -- code ----------------------------------------------------------------------------------------


def code_of(params: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of the source of each type of a test; what is not found is left out."""
    provider, vm_type = params.get("provider") or "", params.get("vm_type") or ""
    digests = ((kind, _source_digest(kind, provider, vm_type)) for kind in _types(params))
    return {kind: digest for kind, digest in digests if digest}


def _types(params: Mapping[str, str]) -> list[str]:
    return str(params.get("type") or "").split()


@functools.cache
def _source_digest(kind: str, provider: str, vm_type: str) -> str:
    try:
        for directory in _directories(provider, vm_type):
            path = os.path.join(directory, f"{kind}.py")
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    return text_digest(file.read())
    except Exception as error:  # Avocado-VT's own look for it may fail in any way, or fail later
        LOG.warning("the source of test type %r can't be read: %s", kind, error)
    return ""


@functools.cache
def _directories(provider: str, vm_type: str) -> tuple[str, ...]:
    """Return where Avocado-VT looks for tests."""
    if provider:
        backends = asset.get_test_provider_info(provider)["backends"]
        roots = [backend["path"] for backend in backends.values()]
    else:
        kinds = ("generic", vm_type)
        roots = [root for kind in kinds for root in asset.get_test_provider_subdirs(kind)]
    found = (sorted(data_dir.SubdirList(root, bootstrap.test_filter)) for root in roots)
    return tuple(directory for directories in found for directory in directories)


# -- comparing -----------------------------------------------------------------------------------


def told(found: tuple[Change, ...]) -> str:
    """Return what changed in a few words."""
    more = [f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
    return ", ".join([*map(str, found[:_TOLD]), *more])


class Recipes:
    """Compares how states were made with how they would be made now."""

    def __init__(self) -> None:
        self._own: dict[str, dict[str, str]] = {}
        self._bases: dict[str, str] = {}

    def changes(
        self, state: State, info: FileInfo, parent: FileInfo | None, maker: Reading
    ) -> tuple[Change, ...]:
        """
        Return what is different now; nothing if it is not known how the state was made.

        :param info: of the state's file
        :param parent: of the state it stands on, None for none
        :param maker: the test that would make it
        """
        if info.recipe is None:
            return ()
        now = {**self._parts(maker), **parent_part(info.parent, parent)}
        base = f"{BASE} image"
        if base in dict(info.recipe.parts):
            now[base] = self._base(state, maker) or now.get(base, "")
        return changes(info.recipe, now, rule(maker.params))

    def _parts(self, maker: Reading) -> dict[str, str]:
        name = maker.node.name
        if name not in self._own:
            self._own[name] = own_parts(maker.params, code_of(maker.params))
        return self._own[name]

    def _base(self, state: State, maker: Reading) -> str:
        """Return the digest of the base image that a test would make an image on, if known."""
        try:
            own = maker.owners[state].params
            path = working.base_of(own, state.image or "")
            if path and path not in self._bases:
                known = knowledge.identify_working(path, seen_dir(own))
                self._bases[path] = (known.digest or "") if known else ""
        except (KeyError, PoolError, OSError) as error:
            LOG.debug("the base image of %s is not known: %s", state, error)
            return ""
        return self._bases.get(path, "")
