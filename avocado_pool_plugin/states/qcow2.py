"""The backend ``qcow2ext``: image states as QCOW2 files of their own, in backing chains."""

import contextlib
import logging
import os
import time
from typing import Any

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.errors import ImageInUse, SettingRefused
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.params import flag
from avocado_pool_plugin.states import images, report
from avocado_pool_plugin.states.sourced import RootSourcedStateBackend, SourcedStateBackend

LOG = logging.getLogger("avocado." + __name__)


class QCOW2ExtBackend(SourcedStateBackend, RootSourcedStateBackend):
    """Image states from cache and pools; the root is the image itself."""

    needs_root = False

    @classmethod
    def _show(cls, params: Any, object: Any = None) -> list[str]:
        """Return the states that all images (mostly it is one) have in the cache."""
        found = [set(images.image_cache(own, "show").show()) for own in images.image_params(params)]
        return sorted(set.intersection(*found)) if found else []

    @classmethod
    def _get(cls, params: Any, object: Any = None) -> None:
        for own in images.image_params(params):
            started = time.monotonic()
            cache = images.image_cache(own, "get")
            cache.get(params["get_state"])
            _report("got", params["get_state"], own, started, f"for image {cache.image}")

    @classmethod
    def _set(cls, params: Any, object: Any = None) -> bool:
        """Return False if a state was kept because others stand on it."""
        _require_off(params, object)
        kept = True
        for own in images.image_params(params):
            started = time.monotonic()
            mirrors = [mirror for mirror, _ in cls.permitted("set", own)]
            cache = images.image_cache(own, "set", mirrors)
            if cache.set(params["set_state"]):
                _report("set", params["set_state"], own, started, f"from image {cache.image}")
            else:
                kept = False
        return kept

    @classmethod
    def _unset(cls, params: Any, object: Any = None) -> None:
        for own in images.image_params(params):
            started = time.monotonic()
            mirrors = [mirror for mirror, _ in cls.permitted("unset", own)]
            cache = images.image_cache(own, "unset", mirrors)
            path, state = cache.file_of(params["unset_state"]), params["unset_state"]
            size = os.path.getsize(path) if os.path.exists(path) else 0
            cache.unset(state)
            event = report.Event(
                "unset", state, _title(own), size, time.monotonic() - started, path
            )
            report.record(event)

    @classmethod
    def _check_root(cls, params: Any, object: Any = None) -> bool:
        found = True
        for own in images.image_params(params):
            images.image_cache(own).recover()
            found = found and os.path.exists(images.image_path(own))
        return found

    @classmethod
    def _get_root(cls, params: Any, object: Any = None) -> None:
        """Nothing to do: the image is there."""

    @classmethod
    def _set_root(cls, params: Any, object: Any = None) -> None:
        """
        Make empty images where there are none, or in place of all (``replace_root``).

        :raises SettingRefused: an image is to be made and ``image_size`` is missing
        :raises ImageInUse: a QEMU has an image open that is to be replaced
        """
        _require_off(params, object)
        for own in images.image_params(params):
            path = images.image_path(own)
            images.image_cache(own).recover()
            if os.path.exists(path) and not flag(params, "replace_root"):
                continue
            _require_closed(path)
            size = own.get("image_size")
            if not size:
                raise SettingRefused(
                    f"image {path} is to be made but test param image_size is missing; set it, "
                    f"such as image_size = 10G"
                )
            durable.make_dirs(os.path.dirname(path))
            with durable.new_part(path) as part:
                qemu.create_blank(part, size)
                os.rename(part, path)
            LOG.info("made image %s of %s, %s", path, _title(own), size)

    @classmethod
    def _unset_root(cls, params: Any, object: Any = None) -> None:
        """
        Remove the images.

        :raises ImageInUse: a QEMU has one of them open
        """
        _require_off(params, object)
        for own in images.image_params(params):
            path = images.image_path(own)
            images.image_cache(own).recover()
            _require_closed(path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                LOG.info("removed image %s of %s", path, _title(own))


def _require_off(params: Any, vm: Any) -> None:
    """Make sure that a vm is off whose images are to be touched."""
    if vm is None or not hasattr(vm, "is_alive") or not vm.is_alive():
        return
    gracefully = params.get("soft_boot", "yes") == "yes"
    LOG.info("shutting down %s, an image of it is to be set or removed", params["vms"])
    vm.destroy(gracefully=gracefully)


def _require_closed(path: str) -> None:
    if in_use(path):
        raise ImageInUse(f"image {path} can't be touched, a running QEMU has it open")


def _title(params: Any) -> str:
    return f"{images.object_id(params)}/{params['images']}"


def _report(verb: str, state: str, params: Any, started: float, where: str) -> None:
    size = os.path.getsize(images.image_cache(params).file_of(state))
    report.record(
        report.Event(verb, state, _title(params), size, time.monotonic() - started, where)
    )
