"""Which files of a cache or pool are states, by where they are and what they are called."""

from avocado_pool_plugin.core.errors import NameRefused
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX, State, check_name, state_name


def state_at(root: str, path: str) -> State | None:
    """
    Return the state that a path below a cache or pool is the file of, None if it is none.

    :param path: ``<root>/<object_id>/<image>/<state>.qcow2`` for one of an image, or
        ``<root>/<object_id>/<state>.state``
    """
    parts = _parts(root, path)
    suffix = IMAGE_SUFFIX if len(parts) == 3 else VM_SUFFIX
    name = state_name(parts[-1], suffix)
    if name is None or len(parts) not in (2, 3):
        return None
    try:
        return State(parts[0], parts[1] if len(parts) == 3 else None, name)
    except NameRefused:
        return None


def is_root_image(root: str, path: str) -> bool:
    """Tell whether a path is that of an image itself in a pool: ``<root>/<vm>/<image>.qcow2``."""
    parts = _parts(root, path)
    return len(parts) == 2 and state_name(parts[-1], IMAGE_SUFFIX) is not None


def _parts(root: str, path: str) -> list[str]:
    """Return the names that lead from a cache or pool to a path below it."""
    return path[len(root.rstrip("/")) + 1 :].split("/")


def check_below(below: str) -> str:
    """
    Return ``OBJECT_ID`` or ``OBJECT_ID/IMAGE`` if it can be one.

    :raises NameRefused: it can't
    """
    parts = below.split("/") if below else []
    if len(parts) > 2:
        raise NameRefused(
            f"{below!r} names no object; write OBJECT_ID for a vm, OBJECT_ID/IMAGE for one of its "
            f"images, as 'avocado pool list' shows them"
        )
    for kind, name in zip(("object id", "image"), parts, strict=False):
        check_name(kind, name)
    return below
