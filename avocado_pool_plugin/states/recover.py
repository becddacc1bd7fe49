"""Completing what killed tests began, for all images that a test's params name."""

import logging
from typing import Any

from avocado_pool_plugin.core.errors import ImageRefused, PoolError, SettingRefused
from avocado_pool_plugin.states import images

LOG = logging.getLogger("avocado." + __name__)


def recover_states(params: Any) -> list[str]:
    """
    Complete interrupted sets and unsets of the images of all vms.

    :param params: virttest's ``Params`` of a test, or a plain dict with the same content
    :returns: what was done, in words
    """
    from virttest.utils_params import Params

    done: list[str] = []
    for vm in Params(params).objects("vms"):
        own = Params(params).object_params(vm)
        own["vms"] = vm
        for image in images.image_params(own):
            try:
                done += images.image_cache(image).recover()
            except (ImageRefused, SettingRefused) as error:
                # an image of a kind without states has nothing to recover
                LOG.debug("nothing recovered for %s/%s: %s", vm, image["images"], error)
            except PoolError as error:
                LOG.error("%s/%s can't be recovered: %s", vm, image["images"], error)
    return done
