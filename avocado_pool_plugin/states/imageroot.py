"""Images as such, which is what the root states of image backends are; shared by the backends."""

import contextlib
import logging
import os
from typing import Any

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.errors import ImageInUse, SettingRefused
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.params import flag
from avocado_pool_plugin.states import images
from avocado_pool_plugin.states.rooted import RootSourcedStateBackend

LOG = logging.getLogger("avocado." + __name__)


class ImageRoot(RootSourcedStateBackend):
    """Root states that are images."""

    @classmethod
    def _check_root(cls, params: Any, object: Any = None) -> bool:
        return all_exist(images.image_params(params))

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
        require_off(params, object)
        for own in images.image_params(params):
            make_image(own, replace=flag(params, "replace_root"))

    @classmethod
    def _unset_root(cls, params: Any, object: Any = None) -> None:
        """
        Remove the images.

        :raises ImageInUse: a QEMU has one of them open
        """
        require_off(params, object)
        for own in images.image_params(params):
            path = images.image_path(own)
            images.image_cache(own).recover()
            require_closed(path)
            with durable.typed_failures(path), contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                LOG.info("removed image %s of %s", path, title(own))


def all_exist(each: list[Any]) -> bool:
    """Tell whether images exist, after what was cut short with them was completed."""
    found = True
    for own in each:
        images.image_cache(own).recover()
        found = found and os.path.exists(images.image_path(own))
    return found


def make_image(own: Any, replace: bool = False) -> None:
    """
    Make an empty image if there is none.

    :param own: params of one image of one vm
    :param replace: whether to make it in place of one that exists, too
    :raises SettingRefused: ``image_size`` is missing
    :raises ImageInUse: a QEMU has the image open that is to be replaced
    """
    path = images.image_path(own)
    images.image_cache(own).recover()
    if os.path.exists(path) and not replace:
        return
    require_closed(path)
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
    LOG.info("made image %s of %s, %s", path, title(own), size)


def require_off(params: Any, vm: Any) -> None:
    """Make sure that a vm is off whose images are to be touched."""
    if vm is None or not hasattr(vm, "is_alive") or not vm.is_alive():
        return
    gracefully = params.get("soft_boot", "yes") == "yes"
    LOG.info("shutting down %s, an image of it is to be set or removed", params["vms"])
    vm.destroy(gracefully=gracefully)


def require_closed(path: str) -> None:
    """
    Make sure that nobody uses an image.

    :raises ImageInUse: a QEMU of this host has it open
    """
    if in_use(path):
        raise ImageInUse(f"image {path} can't be touched, a running QEMU has it open; end it first")


def title(params: Any) -> str:
    """Return what one image of one vm is called in logs and reports."""
    return f"{images.object_id(params)}/{params['images']}"
