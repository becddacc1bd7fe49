"""What a state backend is, and which ones are installed."""

import logging
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin.core.errors import BackendUnknown

LOG = logging.getLogger("avocado." + __name__)

#: Entry point group of backends; a name in it is a value of the ``states`` param.
GROUP = "avocado.plugins.states"


class StateBackend:
    """
    What the policies of states/setup.py call.

    :param params: (each method) test params of one object; ``object_name`` and ``object_type`` say
        which, ``<verb>_state`` which state
    :param object: (each method) the vm, the env for nets, or None
    """

    #: Whether the object's root has to exist before its other states can be shown, got or removed.
    needs_root = True
    #: Whether ``set`` replaces a state of the same name by itself, and unsets nothing if it fails.
    replaces = False
    #: Whether a vm has to be off for ``get``, which has it started from a file.
    before_start = False
    #: Whether states are inside of the working images, which therefore have to stay.
    inside = False

    @classmethod
    def show(cls, params: Any, object: Any = None) -> list[str]:
        """Return the names of the states there are."""
        raise NotImplementedError(f"{cls.__name__} has no show")

    @classmethod
    def get(cls, params: Any, object: Any = None) -> None:
        """Bring the object into the state; what it is like now is lost."""
        raise NotImplementedError(f"{cls.__name__} has no get")

    @classmethod
    def set(cls, params: Any, object: Any = None) -> None:
        """Save what the object is like now as the state."""
        raise NotImplementedError(f"{cls.__name__} has no set")

    @classmethod
    def unset(cls, params: Any, object: Any = None) -> None:
        """Remove the state."""
        raise NotImplementedError(f"{cls.__name__} has no unset")

    @classmethod
    def check_root(cls, params: Any, object: Any = None) -> bool:
        """Tell whether the object is there at all."""
        raise NotImplementedError(f"{cls.__name__} has no check_root")

    @classmethod
    def get_root(cls, params: Any, object: Any = None) -> None:
        """Make sure of the object as it is; nothing to do for most backends."""

    @classmethod
    def set_root(cls, params: Any, object: Any = None) -> None:
        """Make the object."""
        raise NotImplementedError(f"{cls.__name__} has no set_root")

    @classmethod
    def unset_root(cls, params: Any, object: Any = None) -> None:
        """Remove the object."""
        raise NotImplementedError(f"{cls.__name__} has no unset_root")

    @classmethod
    def has(cls, do: str, params: Any, object: Any = None) -> bool:
        """Tell whether ``<do>_state`` exists where the verb would look for it."""
        return params[f"{do}_state"] in cls.show(params, object)

    @classmethod
    def places(cls, do: str, params: Any) -> list[str]:
        """Return every place that a verb looks at, in words."""
        return [cls.__name__]


@dataclass(frozen=True)
class Backend:
    """
    An installed backend.

    :param name: value of the ``states`` param
    :param origin: the object it is, as ``module:Class``, and its package
    :param backend: the class, None if it can't be loaded
    :param error: why it can't be loaded, else empty
    """

    name: str
    origin: str
    backend: type | None
    error: str = ""


def known_backends() -> list[Backend]:
    """Return all installed backends, also those that can't be loaded."""
    from importlib.metadata import entry_points

    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = f" ({entry.dist.name} {entry.dist.version})" if entry.dist else ""
        origin = entry.value + package
        try:
            found.append(Backend(entry.name, origin, entry.load()))
        except Exception as error:  # whatever another package's module raises on import
            found.append(Backend(entry.name, origin, None, f"{type(error).__name__}: {error}"))
    return found


class Backends(dict[str, Any]):
    """Backends by name; a name that is missing is an error which says what there is."""

    def __missing__(self, name: str) -> Any:
        broken = [known.error for known in known_backends() if known.name == name and known.error]
        if broken:
            raise BackendUnknown(f"state backend {name!r} can't be loaded: {broken[0]}")
        raise BackendUnknown(
            f"there is no state backend {name!r}, installed are: {', '.join(sorted(self))}; set "
            f"'states_images' or 'states_vms' to one of them or install the package that has it"
        )


def load_backends() -> Backends:
    """Return the backends that can be loaded, by name; what can't be is logged."""
    backends = Backends()
    for known in known_backends():
        if known.backend is None:
            LOG.warning("state backend %s of %s: %s", known.name, known.origin, known.error)
        else:
            backends[known.name] = known.backend
    return backends
