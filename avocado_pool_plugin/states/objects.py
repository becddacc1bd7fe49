"""The objects of a test that may have states, from ``states_chain``, each with its own params."""

import logging
from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin import params as settings

LOG = logging.getLogger("avocado." + __name__)

#: Backend of each object type whose ``states`` param is not set.
DEFAULT_BACKENDS = {"images": "qcow2ext", "vms": "ramfile"}
_DEFAULT_CHAIN = "vms images"


def _chain(params: Any) -> list[str]:
    """Return the types of objects, each within the one before."""
    return (params.get("states_chain") or _DEFAULT_CHAIN).split()


def _objects(params: Any, above: tuple[tuple[str, str], ...] = ()) -> Iterator[Any]:
    """
    Yield the params of each stateful object, innermost first.

    :param above: name and type of the objects that this one is part of
    """
    chain = _chain(params)
    kind = chain[len(above)]
    for name in params.objects(kind):
        path = (*above, (name, kind))
        own = params.object_params(name)
        own[kind] = name
        own["object_name"] = "/".join(part for part, _ in path)
        own["object_type"] = "/".join(part for _, part in path)
        if kind != chain[-1]:
            yield from _objects(own, path)
        # what is set for the type of an object does not reach the objects within it
        yield _with_defaults(own.object_params(kind), kind)


def _with_defaults(params: Any, kind: str) -> Any:
    if not params.get("states") and kind in DEFAULT_BACKENDS:
        params["states"] = DEFAULT_BACKENDS[kind]
    whose = "nets" if kind == "nets" else "vms"
    if not params.get("object_id") and params.get(whose):
        params["object_id"] = params[whose]
    return params


def stateful_objects(params: Any, warn: bool = True) -> Iterator[Any]:
    """
    Yield the params of each object whose states are dealt with, narrowed to it, innermost first.

    :param params: of a test; ``object_name`` and ``object_type`` are added to each object's
    :param warn: whether the log says which images are left out as they are read-only
    :raises SettingRefused: ``image_readonly`` is neither yes nor no
    """
    for own in _objects(params):
        kind, skipped = own["object_type"], own.objects("skip_types")
        if _is_skipped(kind, skipped):
            LOG.debug("skipping %s, a state of type %s", own["object_name"], kind)
        elif last_type(kind) == "images" and settings.flag(own, "image_readonly"):
            level = logging.WARNING if warn else logging.DEBUG
            LOG.log(level, "skipping %s, a read-only image has no states", own["object_name"])
        else:
            yield own


def type_in_use(params: Any, kind: str) -> bool:
    """
    Tell whether states of a type of objects are dealt with at all.

    :param params: of a test
    :param kind: ``images``, ``vms`` or ``nets``
    """
    chain, skipped = _chain(params), params.objects("skip_types")
    whole = ("/".join(chain[: above + 1]) for above, one in enumerate(chain) if one == kind)
    return any(not _is_skipped(composite, skipped) for composite in whole)


def last_type(kind: str) -> str:
    """Return what the objects of a composite type are: ``images``, ``vms`` or ``nets``."""
    return kind.rpartition("/")[2]


def _is_skipped(kind: str, skipped: list[str]) -> bool:
    """
    Tell whether objects of a type are left out.

    Control files of avocado-i2n say ``nets/vms/images``, also in suites that have no nets.
    """
    return last_type(kind) in skipped or any(f"/{skip}".endswith(f"/{kind}") for skip in skipped)
