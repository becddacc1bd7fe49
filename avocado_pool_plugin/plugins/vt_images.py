"""
What Avocado-VT does to images around a test, and how params keep it from doing so to one of them.

Avocado-VT creates images before a test and restores or removes them after it. For an image that
is given or gives a state this must not happen, or only once the state is saved.
"""

import contextlib
import logging
import os
from typing import Any

from avocado.core.exceptions import TestError

from avocado_pool_plugin.params import scopes
from avocado_pool_plugin.plugins.vt_asked import (
    GETTING,
    SAVING,
    images,
    is_kept,
    is_ours,
    may_be_ignored,
    params_of,
    path_of,
    to_save,
    touched,
)

LOG = logging.getLogger("avocado." + __name__)

#: What Avocado-VT does to an image before it is used, and after.
_CREATING = ("create_image", "force_create_image")
_REMOVING = ("remove_image", "restore_image", "restore_image_after_testing")

#: Ending of the name of what is locked while a test has an image.
_IN_TEST = ".in-test"

#: Tells whether a file is still the one it was; None if it is absent.
Stamp = tuple[int, int, int, int] | None


def keep_for_itself(params: Any) -> contextlib.ExitStack:
    """
    Let no other test get to the images that a test has states of, until the result is closed.

    A test may outlive its job (one interrupted in the middle) or run beside it: it would go on
    writing where the next one has just got its state. The kernel drops these locks with the
    process.

    :raises LockTimeout: another test has one of the images all the time
    """
    from avocado_pool_plugin.core import locks
    from avocado_pool_plugin.params import policy

    wanted_at_all = {
        path_of(params, vm, image): policy(params_of(params, vm, image)).timeout
        for vm, image in images(params)
        if is_ours(params, vm, image) and touched(params, vm, image, *GETTING, *SAVING)
    }
    with contextlib.ExitStack() as stack:
        # always in the same order: two tests may have two images in common
        for path, timeout in sorted(wanted_at_all.items()):
            stack.enter_context(locks.hold(f"{path}{_IN_TEST}", timeout))
        return stack.pop_all()


def stamp(path: str) -> Stamp:
    """Return the stamp of a file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def stamps_of_optional(params: Any) -> dict[tuple[str, str], Stamp]:
    """Return the stamps of images without whose state a test may go on (mode ``i``)."""
    return {
        (vm, image): stamp(path_of(params, vm, image))
        for vm, image in images(params)
        if may_be_ignored(params, vm, image)
    }


def keep_got(params: Any, before: dict[tuple[str, str], Stamp]) -> None:
    """
    Make Avocado-VT use what was got as it is, instead of creating images there.

    :param before: what :func:`stamps_of_optional` returned before; an image that is still the same
        was not got, the policy let that pass
    """
    for vm, image in images(params):
        if is_kept(params, vm, image) and stamp(path_of(params, vm, image)) is not None:
            _leave(params, vm, image)
            continue
        if not touched(params, vm, image, *GETTING):
            continue
        if "own" not in scopes(params_of(params, vm, image)):
            continue  # only the cache was filled, the image is as it was
        if (vm, image) in before and before[vm, image] == stamp(path_of(params, vm, image)):
            continue
        _leave(params, vm, image)


def _leave(params: Any, vm: str, image: str) -> None:
    for key in _CREATING:
        _pin(params, vm, image, key)


def refuse_unsavable(params: Any) -> None:
    """
    Refuse, before the test runs, what could not be saved after it.

    :raises TestError: a state is asked for on an image whose file is not what the vm writes to
    :raises ImageRefused: a state is asked for on an image of a kind that can't have states
    """
    for vm, image in to_save(params):
        if is_ours(params, vm, image):
            path_of(params, vm, image)
    for vm, image in images(params):
        own = params_of(params, vm, image)
        if own.get("image_snapshot") == "yes" and touched(params, vm, image, *SAVING):
            raise TestError(
                f"image {image!r} of {vm!r} can't become a state: with image_snapshot = yes QEMU "
                f"throws away all that the test writes; set image_snapshot = no for it"
            )
        cloned = image in (own.get("master_images_clone") or "").split()
        if cloned and touched(params, vm, image, *GETTING, *SAVING):
            raise TestError(
                f"image {image!r} of {vm!r} can't have states: master_images_clone makes the vm "
                f"use a copy of it; take the image out of master_images_clone, a state that is got "
                f"is a private image already"
            )


def _pin(params: Any, vm: str, image: str, key: str) -> tuple[str, str | None]:
    """
    Switch a param off for one image of one vm, and return what has to be undone.

    The most specific key wins. Names that Avocado-VT can't tell apart (an image called ``image``
    in ``remove_image_image``) make it fall back to a key for more than that image.
    """
    for full in (f"{key}_{image}_{vm}", f"{key}_{vm}", key):
        old = params.get(full)
        params[full] = "no"
        if params_of(params, vm, image).get(key) == "no":
            return full, old
        _restore(params, full, old)
    raise TestError(
        f"param {key} can't be switched off for image {image!r} of {vm!r}; rename the image"
    )


def _restore(params: Any, key: str, old: str | None) -> None:
    if old is None:
        params.pop(key, None)
    else:
        params[key] = old


class HeldBack:
    """Images that are neither restored nor removed before their state is saved."""

    def __init__(self) -> None:
        self._images: list[tuple[str, str]] = []
        self._undo: list[tuple[str, str | None]] = []

    def hold(self, params: Any) -> None:
        """Keep all images that are to become states, as they are, until :meth:`release`."""
        saved = list(to_save(params))
        for vm, image in images(params):
            kept = is_kept(params, vm, image)
            if kept and params_of(params, vm, image).get("remove_image", "yes") == "yes":
                LOG.info("image %r of %r is not removed, its states are inside of it", image, vm)
            if kept or (vm, image) in saved:
                undo = [_pin(params, vm, image, key) for key in _REMOVING]
                self._undo += [] if kept else undo
            if (vm, image) in saved and not kept:
                self._images.append((vm, image))

    def release(self, test: Any, params: Any, env: Any) -> list[str]:
        """
        Do what Avocado-VT would have done to the images after the test.

        :return: what went wrong
        """
        while self._undo:
            _restore(params, *self._undo.pop())
        held, self._images = self._images, []
        if params.get("skip_image_processing") == "yes":
            return []
        return [error for error in (_process(test, params, env, *one) for one in held) if error]


def _process(test: Any, params: Any, env: Any, vm: str, image: str) -> str:
    """Let Avocado-VT restore or remove an image, and return what went wrong."""
    from virttest import env_process

    own = params_of(params, vm, image)
    # this part was done in its time
    own["backup_image_after_testing_passed"] = "no"
    machine = env.get_vm(vm)
    status = "running" if machine is not None and not machine.is_dead() else "dead"
    try:
        env_process.postprocess_image(test, own, image, status)
    except Exception as error:
        LOG.exception("image %r of %r was not cleaned up", image, vm)
        return f"image {image!r} of {vm!r} was not cleaned up: {error}"
    return ""
