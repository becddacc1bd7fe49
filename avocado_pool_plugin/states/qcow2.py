"""
The backends of QCOW2 images.

``qcow2ext``, here: image states as QCOW2 files of their own, in backing chains. The two others keep
states inside of the images: ``qcow2`` those of images, ``qcow2vt`` those of running vms.
"""

import time
from typing import Any

from avocado_pool_plugin.states import images, report
from avocado_pool_plugin.states.imagecache import ImageCache
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
            _report("got", params["get_state"], cache, own, watch)

    @classmethod
    def _set(cls, params: Any, object: Any = None) -> bool:
        """Return False if a state was kept because others stand on it."""
        require_off(params, object)
        done = True
        for own in images.image_params(params):
            watch = report.Watch()
            mirrors = [mirror for mirror, _ in cls.permitted("set", own)]
            cache = images.image_cache(own, "set", mirrors, cls.transport.ops)
            if cache.set(params["set_state"]):
                _report("set", params["set_state"], cache, own, watch)
            else:
                done = False
        return done

    @classmethod
    def _unset(cls, params: Any, object: Any = None) -> None:
        for own in images.image_params(params):
            started = time.monotonic()
            mirrors = [mirror for mirror, _ in cls.permitted("unset", own)]
            cache = images.image_cache(own, "unset", mirrors, cls.transport.ops)
            path, state = cache.file_of(params["unset_state"]), params["unset_state"]
            size = report.size_of(path)
            cache.unset(state)
            event = report.Event("unset", state, title(own), size, time.monotonic() - started, path)
            report.record(event)


def _report(verb: str, state: str, cache: ImageCache, params: Any, watch: report.Watch) -> None:
    size, owner = report.size_of(cache.file_of(state)), title(params)
    where = f"{'for' if verb == 'got' else 'from'} image {cache.image}"
    hit = watch.hit(owner) if verb == "got" else None
    report.record(report.Event(verb, state, owner, size, watch.seconds(), where, hit))
