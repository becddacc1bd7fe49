"""
What a test's params ask of states, and of which image of which vm.

Params are narrowed as Avocado-VT and the policies do it: to a vm, to an image, to the type.
"""

from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin.core.names import ROOTS
from avocado_pool_plugin.params import flag
from avocado_pool_plugin.states.objects import type_in_use

#: Verbs that bring an image or vm into a state, those that make one, and all of the way out.
GETTING = ("get", "pop")
SAVING = ("set", "push")
LEAVING = (*SAVING, "unset")


def images(params: Any) -> Iterator[tuple[str, str]]:
    """Yield vm and image of all images."""
    for vm in params.objects("vms"):
        for image in params.object_params(vm).objects("images"):
            yield vm, image


def params_of(params: Any, vm: str, image: str) -> Any:
    """Return a copy of the params as they are for one image of one vm."""
    return params.object_params(vm).object_params(image)


def path_of(params: Any, vm: str, image: str) -> str:
    """
    Return the file of an image.

    :raises ImageRefused: it is of a kind that can't have states
    """
    from avocado_pool_plugin.states.images import image_path

    own = params_of(params, vm, image)
    own["vms"], own["images"] = vm, image
    return image_path(own)


def _of_image(params: Any, vm: str, image: str) -> Any:
    return params_of(params, vm, image).object_params("images")


def _of_vm(params: Any, vm: str) -> Any:
    return params.object_params(vm).object_params("vms")


def _backend(params: Any, kind: str) -> Any:
    """Return the backend of an object; None if it is not installed, which is refused later."""
    from avocado_pool_plugin.states import setup

    name = params.get("states") or setup.DEFAULT_BACKENDS[kind]
    return setup.BACKENDS.get(name)


# -- images --------------------------------------------------------------------------------------


def wanted(params: Any, vm: str, image: str, *verbs: str) -> bool:
    """Return whether one of the verbs is asked for on a state of an image itself."""
    typed = _of_image(params, vm, image)
    if not type_in_use(params, "images") or flag(typed, "image_readonly"):
        return False
    return any(typed.get(f"{verb}_state") for verb in verbs)


def touched(params: Any, vm: str, image: str, *verbs: str) -> bool:
    """Return whether one of the verbs is asked for on a state of an image, or of its whole vm."""
    if wanted(params, vm, image, *verbs):
        return True
    if not vm_states(params, vm, *verbs) - set(ROOTS):
        return False
    backend = _backend(_of_vm(params, vm), "vms")
    of_images = getattr(backend, "before_start", False) or getattr(backend, "inside", False)
    return bool(of_images) and not flag(_of_image(params, vm, image), "image_readonly")


def to_save(params: Any) -> Iterator[tuple[str, str]]:
    """Yield vm and image of all images that are to become states."""
    for vm, image in images(params):
        if wanted(params, vm, image, *SAVING):
            yield vm, image


def is_ours(params: Any, vm: str, image: str) -> bool:
    """Return whether states of an image are known to be QCOW2 files, or in one."""
    from avocado_pool_plugin.states.imageroot import ImageRoot

    backend = _backend(_of_image(params, vm, image), "images")
    return isinstance(backend, type) and issubclass(backend, ImageRoot)


def is_kept(params: Any, vm: str, image: str) -> bool:
    """Return whether an image has to stay, as the states that are asked for are inside of it."""
    verbs = (*GETTING, *SAVING)
    if wanted(params, vm, image, *verbs):
        backend = _backend(_of_image(params, vm, image), "images")
        if getattr(backend, "inside", False):
            return True
    asked = touched(params, vm, image, *verbs) and vm_states(params, vm, *verbs) - set(ROOTS)
    return bool(asked and getattr(_backend(_of_vm(params, vm), "vms"), "inside", False))


def may_be_ignored(params: Any, vm: str, image: str) -> bool:
    """Return whether a test may go on without the state that an image is to be brought into."""
    for verb in GETTING:
        image_mode = _of_image(params, vm, image).get(f"{verb}_mode") or ""
        if "i" in image_mode and wanted(params, vm, image, verb) and is_ours(params, vm, image):
            return True
        vm_mode = _of_vm(params, vm).get(f"{verb}_mode") or ""
        if "i" in vm_mode and vm_states(params, vm, verb) and touched(params, vm, image, verb):
            return True
    return False


# -- vms -----------------------------------------------------------------------------------------


def vm_states(params: Any, vm: str, *verbs: str) -> set[str]:
    """Return the states of a vm itself that verbs are asked for."""
    if not type_in_use(params, "vms"):
        return set()
    typed = _of_vm(params, vm)
    return {typed[f"{verb}_state"] for verb in verbs if typed.get(f"{verb}_state")}


def vm_wanted(params: Any, *verbs: str) -> bool:
    """Return whether one of the verbs is asked for on a state of any vm itself."""
    return any(vm_states(params, vm, *verbs) for vm in params.objects("vms"))


def started_from_files(params: Any, *verbs: str) -> list[str]:
    """
    Return the vms for whose states verbs are asked, and which are started from files to get one.

    These are got before the vm is started, and are best removed when it is gone.
    """
    return [
        vm
        for vm in params.objects("vms")
        if vm_states(params, vm, *verbs) - set(ROOTS)
        and getattr(_backend(_of_vm(params, vm), "vms"), "before_start", False)
    ]


def only_vms(params: Any, vms: list[str]) -> Any:
    """Return a copy of a test's params with some of its vms."""
    own = params.copy()
    own["vms"] = " ".join(vms)
    return own


def but_vms(params: Any, vms: list[str]) -> Any:
    """Return a copy of a test's params without some of its vms."""
    return only_vms(params, [vm for vm in params.objects("vms") if vm not in vms])
