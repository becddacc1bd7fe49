"""The working images of a test: where they are, and how to have them elsewhere."""

import logging
import os
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from typing import Any

from virttest import data_dir, storage
from virttest.utils_params import Params

from avocado_pool_plugin.core.errors import PoolError, SettingRefused
from avocado_pool_plugin.params import flag
from avocado_pool_plugin.states.images import image_path

LOG = logging.getLogger("avocado." + __name__)

#: Params that, with value ``yes``, make an image something else than a file of its own.
_NO_FILE = (
    "image_raw_device",
    *(f"enable_{kind}" for kind in ("ceph", "curl", "gluster", "iscsi", "nbd", "nvme", "ssh")),
)
#: Params that name images by their tags.
_TAGS = ("images", "image_chain")


class QuickParams(Params):
    """virttest's params, which copies key by key; with this one that takes a tenth of the time."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, the default if there is none."""
        return self.data.get(key, default)

    def copy(self) -> "QuickParams":
        """Return a copy."""
        return quick(self.data)

    def object_params(self, obj_name: str) -> "QuickParams":
        """Return a copy in which params with the suffix of an object stand without it."""
        suffix = f"_{obj_name}"
        found = self.copy()
        data = found.data
        for key in [key for key in data if key.endswith(suffix)]:
            data[key.split(suffix)[0]] = data[key]
        return found


def quick(params: Mapping[str, str]) -> QuickParams:
    """Return a copy of test params that is quick to narrow."""
    found = QuickParams()
    found.data = dict(params)
    return found


def working_images(params: QuickParams) -> Iterator[Any]:
    """
    Yield the params of each image that a vm of a test may write to, narrowed to it.

    :raises SettingRefused: ``image_readonly`` is neither yes nor no
    """
    for vm in params.objects("vms"):
        of_vm = params.object_params(vm)
        of_vm["vms"] = vm
        for image in of_vm.objects("images"):
            own = of_vm.object_params(image)
            own["images"] = image
            if not flag(own.object_params("images"), "image_readonly"):
                yield own


def tag(own: Any) -> tuple[str, str]:
    """Return vm and image of narrowed params."""
    return own["vms"], own["images"]


def path_of(own: Any) -> str:
    """
    Return where an image is: an absolute path, a URL, or nothing if that can't be told.

    :param own: params of one image of one vm
    """
    if not own.get("image_name"):
        return ""
    try:
        return image_path(own)
    except PoolError:
        pass  # an image of a kind that has no states
    try:
        base = own.get("images_base_dir") or data_dir.get_data_dir()
        return str(storage.get_image_filename(own, base) or "")
    except Exception as error:  # virttest raises what it likes; the test itself will say so
        LOG.debug("the file of image %r of %r is not known: %s", *reversed(tag(own)), error)
        return ""


def base_of(own: Any, image: str) -> str:
    """
    Return the file that an image is made on by its test (``image_chain``), empty for none.

    :param own: params narrowed to the image or its vm
    """
    narrow = own.object_params(image)
    chain = narrow.get("image_chain", "").split()
    place = chain.index(image) if image in chain else 0
    if not place:
        return ""
    base = narrow.get("images_base_dir") or data_dir.get_data_dir()
    return str(storage.get_image_filename(narrow.object_params(chain[place - 1]), base) or "")


def movable(own: Any) -> bool:
    """
    Tell whether an image is a file with a relative name, so that it can be had elsewhere.

    :param own: params of one image of one vm
    """
    name = own.get("image_name", "")
    return (
        bool(name)
        and "://" not in name
        and not os.path.isabs(name)
        and not own.get("indirect_image_select")
        and own.get("storage_type", "") in ("", "filesystem")
        and own["images"] not in own.get("master_images_clone", "").split()
        and not any(own.get(key) == "yes" for key in _NO_FILE)
    )


def files_of(params: QuickParams, but: Collection[tuple[str, str]]) -> frozenset[str]:
    """
    Return where the working images of a test are.

    :param but: vm and image of those that do not count
    """
    found = (path_of(own) for own in working_images(params) if tag(own) not in but)
    return frozenset(path for path in found if path)


def place_below(params: MutableMapping[str, str], own: Any, directory: str) -> None:
    """
    Change a test's params so that one of its images is below a directory, and no other.

    The name gets the key that is most specific. It also gets those with which a test may look for
    the image without narrowing params to its vm, where that means no other image.

    :param params: flat params of a test
    :param own: the same, narrowed to one image of one vm
    :raises SettingRefused: virttest can't tell the image's param from others
    """
    vm, image = tag(own)
    old = own["image_name"]
    # the param joins a directory of its own for each vm
    name = os.path.join(vm, old) if own.get("vms_base_dir") else old
    new = os.path.join(directory, os.path.normpath(f"/{name}").lstrip("/"))
    before, bases = _names(params), _bases(params, vm, own)
    mine = {(vm, image), *(who for who in (("", image), ("", "")) if before[who] == old)}
    for key in (f"image_name_{image}_{vm}", f"image_name_{image}", f"image_name_{vm}"):
        _set_unless_seen(params, key, new, before, mine)
    _set_unless_seen(params, "image_name", new, before, mine)
    # a base without a name of its own has the image's, but for the ending
    for base, kept in bases.items():
        if _narrowed(params, vm, image).object_params(base).get("image_name", "") != kept:
            key = f"image_name_{base}_{vm}"
            _set_unless_seen(params, key, kept, _names(params), {(vm, base)})
    now = _narrowed(params, vm, image)
    if now["image_name"] != new or _bases(params, vm, now) != bases:
        raise SettingRefused(
            f"param image_name can't be set for image {image!r} of {vm!r} alone; rename the image"
        )


def _narrowed(params: Mapping[str, str], vm: str, image: str) -> QuickParams:
    return quick(params).object_params(vm).object_params(image)


def _bases(params: Mapping[str, str], vm: str, own: Any) -> dict[str, str]:
    """Return the names of the images that one may stand on and that are no working images."""
    chain = own.get("image_chain", "").split()
    working = quick(params).object_params(vm).objects("images")
    return {
        base: own.object_params(base).get("image_name", "") for base in chain if base not in working
    }


def _set_unless_seen(
    params: MutableMapping[str, str],
    key: str,
    value: str,
    before: Mapping[tuple[str, str], str],
    mine: Collection[tuple[str, str]],
) -> None:
    """Set a param if nothing but what is mine sees that."""
    old = params.get(key)
    params[key] = value
    if any(name != before[who] and who not in mine for who, name in _names(params).items()):
        if old is None:
            del params[key]
        else:
            params[key] = old


def _names(params: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """
    Return the names of all images by vm and image, those that are only bases included.

    The vm is empty for what is seen without narrowing to a vm, the image for no image at all.
    """
    flat = quick(params)
    keys = [key for key in params if key in _TAGS or key.startswith(tuple(f"{t}_" for t in _TAGS))]
    tags = dict.fromkeys(word for key in keys for word in str(params[key]).split())
    found = {("", ""): flat.get("image_name", "")}
    for vm in ("", *flat.objects("vms")):
        of_vm = flat.object_params(vm) if vm else flat
        for image in tags:
            found[vm, image] = of_vm.object_params(image).get("image_name", "")
    return found
