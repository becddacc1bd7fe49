"""What states are called, and where that puts them below a cache or pool."""

import os
import re
from dataclasses import dataclass

from avocado_pool_plugin.core.errors import NameRefused

#: Names of the plain existence of an object: its base image there, or the vm running.
ROOTS = ("root", "0root", "boot", "0boot")
#: File name endings of image states and vm states.
IMAGE_SUFFIX = ".qcow2"
VM_SUFFIX = ".state"
#: The longest name in bytes: leaves room for our endings below the usual limit of 255.
MAX_NAME = 200
#: What no name holds: separators, and the control characters of Unicode.
_BARRED = re.compile(r"[/;:\x00-\x1f\x7f-\x9f]")


def check_name(kind: str, name: str) -> str:
    """
    Return the name if it can be a file name in every cache and pool.

    :param kind: what is named, for the error's text ("state", "object id", "image")
    :param name: 1 to 200 bytes of UTF-8 without ``/ ; :`` or control characters, no leading dot
    :raises NameRefused: it is not
    """
    problem = _problem(name)
    if problem:
        raise NameRefused(
            f"{kind} name {name[:60]!r} {problem}; use 1 to {MAX_NAME} bytes of UTF-8 without "
            f"'/', ';', ':' or control characters and without a leading dot"
        )
    return name


def _problem(name: str) -> str:
    if not name:
        return "is empty"
    if name.startswith("."):
        return "starts with a dot"
    barred = _BARRED.search(name)
    if barred:
        return f"holds {barred.group()!r}"
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return f"has {size} bytes" if size > MAX_NAME else ""


@dataclass(frozen=True)
class State:
    """
    A state by its names.

    :param object_id: directory name of the vm's variant in cache and pool
    :param image: the image, or None for the RAM file of a vm state
    :param name: the state's name
    :raises NameRefused: one of them could not be a file name
    """

    object_id: str
    image: str | None
    name: str

    def __post_init__(self) -> None:
        check_name("object id", self.object_id)
        if self.image is not None:
            check_name("image", self.image)
        check_name("state", self.name)

    @property
    def path(self) -> str:
        """The state's file, relative to a cache or pool."""
        if self.image is None:
            return os.path.join(self.object_id, self.name + VM_SUFFIX)
        return os.path.join(self.object_id, self.image, self.name + IMAGE_SUFFIX)

    @property
    def owner(self) -> str:
        """Whose it is: ``OBJECT_ID`` for one of a vm, ``OBJECT_ID/IMAGE`` for one of an image."""
        return self.object_id if self.image is None else f"{self.object_id}/{self.image}"

    @property
    def title(self) -> str:
        """What users call it, and commands take."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        return f"{self.name!r} of {self.owner}"


def state_name(file_name: str, suffix: str = IMAGE_SUFFIX) -> str | None:
    """Return the state that a file name stands for, or None if it stands for none."""
    if not file_name.endswith(suffix):
        return None
    name = file_name.removesuffix(suffix)
    return None if _problem(name) else name
