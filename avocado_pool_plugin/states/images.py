"""Where the images of a vm are, and where their states."""

import os
from collections.abc import Iterable
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import since
from avocado_pool_plugin.core.errors import ImageRefused, SettingRefused
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import State, check_name
from avocado_pool_plugin.states import recipes, telling
from avocado_pool_plugin.states.farhomes import far_homes
from avocado_pool_plugin.states.imagecache import ImageCache


def image_path(params: Any) -> str:
    """
    Return the absolute path of an image.

    :param params: of one image of one vm
    :raises ImageRefused: it is of a kind that can't have states
    :raises SettingRefused: the params do not name it
    """
    name = params.get("image_name", "")
    image_format = params.get("image_format") or "qcow2"
    if params.get("image_raw_device") == "yes":
        raise ImageRefused(f"image {name!r} is a raw device; only QCOW2 files can have states")
    if image_format != "qcow2":
        raise ImageRefused(
            f"image {name!r} has image_format {image_format!r}; only qcow2 images can have states, "
            f"convert it with qemu-img"
        )
    if params.get("vms_base_dir") and not os.path.isabs(name):
        return str(os.path.join(params["vms_base_dir"], params["vms"], name + ".qcow2"))
    from virttest import data_dir, storage

    base = params.get("images_base_dir") or data_dir.get_data_dir()
    path = storage.get_image_filename(params, base)
    if not path:
        raise SettingRefused(
            f"image {params['images']!r} of {params['vms']!r} has no file name; set image_name"
        )
    return str(os.path.abspath(path))


def object_id(params: Any) -> str:
    """
    Return the directory name of a vm's variant.

    :raises NameRefused: it could not be a file name
    """
    return check_name("object id", params.get("object_id") or params["vms"])


def image_params(params: Any) -> list[Any]:
    """Return a copy of the params for each image, narrowed to it."""
    found = []
    for name in params.objects("images"):
        own = params.object_params(name)
        own["images"] = check_name("image", name)
        found.append(own)
    return found


def state_path(root: str, params: Any, state: str) -> str:
    """
    Return the path of an image state below a cache directory or location.

    :raises NameRefused: a name could not be a file name
    """
    return os.path.join(root, State(object_id(params), params["images"], state).path)


def image_cache(
    params: Any, do: str = "set", mirrors: Iterable[str] = (), ops: Any = None
) -> ImageCache:
    """
    Return the cached states of one image.

    :param params: of one image of one vm
    :param do: the verb, for its policy
    :param mirrors: locations of pools that a change in the cache is to reach; those that give no
        answer are not looked into
    :param ops: what moves files to and from these pools, of which it looks into those on hosts
    """
    binary = params.get("qemu_img_binary")
    if binary and os.path.isabs(binary):
        qemu.PROGRAM = binary
    owner, image = object_id(params), check_name("image", params["images"])
    policy = settings.policy(params, do)
    places = [Location.parse(m) for m in mirrors if telling.has_answer(m, policy.timeout)]
    home = os.path.join(owner, image)
    return ImageCache(
        home=os.path.join(settings.cache_dir(params), home),
        image=image_path(params),
        title=params.get("object_name") or f"{params['vms']}/{image}",
        policy=policy,
        seen_dir=settings.seen_dir(params),
        pools=tuple(os.path.join(place.path, home) for place in places if not place.remote),
        far=far_homes(places, home, params, ops, settings.seen_dir(params)),
        test=recipes.test_name(params),
        parts=recipes.noted_parts(params),
        seconds=since.seconds(),
    )
