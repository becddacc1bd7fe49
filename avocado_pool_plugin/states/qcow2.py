"""
The backends of QCOW2 images.

``qcow2ext``, here: image states as QCOW2 files of their own, in backing chains. The two others keep
states inside of the images: ``qcow2`` those of images, ``qcow2vt`` those of running vms.
"""

import os
import time
from typing import Any

from avocado_pool_plugin.states import images, report
from avocado_pool_plugin.states.imageroot import ImageRoot, require_off, title
from avocado_pool_plugin.states.snapshots import QCOW2Backend
from avocado_pool_plugin.states.snapshots_vt import QCOW2VTBackend
from avocado_pool_plugin.states.sourced import SourcedStateBackend

__all__ = ["QCOW2Backend", "QCOW2ExtBackend", "QCOW2VTBackend"]


class QCOW2ExtBackend(SourcedStateBackend, ImageRoot):
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
            watch = report.watch()
            cache = images.image_cache(own, "get")
            cache.get(params["get_state"])
            _report("got", params["get_state"], own, watch, f"for image {cache.image}")

    @classmethod
    def _set(cls, params: Any, object: Any = None) -> bool:
        """Return False if a state was kept because others stand on it."""
        require_off(params, object)
        kept = True
        for own in images.image_params(params):
            watch = report.Watch()
            mirrors = [mirror for mirror, _ in cls.permitted("set", own)]
            cache = images.image_cache(own, "set", mirrors, cls.transport.ops)
            if cache.set(params["set_state"]):
                _report("set", params["set_state"], own, watch, f"from image {cache.image}")
            else:
                kept = False
        return kept

    @classmethod
    def _unset(cls, params: Any, object: Any = None) -> None:
        for own in images.image_params(params):
            started = time.monotonic()
            mirrors = [mirror for mirror, _ in cls.permitted("unset", own)]
            cache = images.image_cache(own, "unset", mirrors, cls.transport.ops)
            path, state = cache.file_of(params["unset_state"]), params["unset_state"]
            size = os.path.getsize(path) if os.path.exists(path) else 0
            cache.unset(state)
            event = report.Event("unset", state, title(own), size, time.monotonic() - started, path)
            report.record(event)


def _report(verb: str, state: str, params: Any, watch: report.Watch, where: str) -> None:
    size, owner = os.path.getsize(images.image_cache(params).file_of(state)), title(params)
    hit = watch.hit(owner) if verb == "got" else None
    report.record(report.Event(verb, state, owner, size, watch.seconds(), where, hit))
