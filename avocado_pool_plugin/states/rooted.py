"""State backends whose roots are here and in the pool; what is local they leave to others."""

import logging
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.errors import SettingRefused, StateMissing
from avocado_pool_plugin.core.names import ROOTS
from avocado_pool_plugin.states import images
from avocado_pool_plugin.states.backends import StateBackend
from avocado_pool_plugin.states.mirroring import failures_of
from avocado_pool_plugin.states.objects import last_type
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

LOG = logging.getLogger("avocado." + __name__)


class RootSourcedStateBackend(StateBackend):
    """
    Root states from cache and pool.

    Subclasses supply the local part: ``_check_root _get_root _set_root _unset_root``.
    """

    transport: Any = QCOW2ImageTransfer

    @classmethod
    def _check_root(cls, params: Any, object: Any = None) -> bool:
        raise NotImplementedError(f"{cls.__name__} has no _check_root")

    @classmethod
    def _get_root(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _get_root")

    @classmethod
    def _set_root(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _set_root")

    @classmethod
    def _unset_root(cls, params: Any, object: Any = None) -> None:
        raise NotImplementedError(f"{cls.__name__} has no _unset_root")

    @classmethod
    def check_root(cls, params: Any, object: Any = None) -> bool:
        """Tell whether the root exists here or, of an image, in the pool."""
        here = cls._check_root(params, object)
        there = cls._from_pool(params) and cls._transported("check_root", params, object)
        return bool(here or there)

    @classmethod
    def get_root(cls, params: Any, object: Any = None) -> None:
        """
        Make sure that the root here is the pool's, if the pool has one.

        Only who gets the root has it replaced. To all others it is what holds their work.
        """
        own = "own" in settings.scopes(params) or not cls._from_pool(params)
        if only_looked_at(params) and cls._check_root(params, object):
            LOG.debug("root of %s is here and stays as it is", _name(params))
        elif not own:
            cls._transported("get_root", params, object)
        elif cls._from_pool(params) and cls._transported("check_root", params, object):
            if not (cls._check_root(params, object) and cls._like_pool(params)):
                cls._transported("get_root", params, object)
        elif not cls._check_root(params, object):
            raise StateMissing(
                f"root state of {_name(params)} does not exist, looked at: "
                f"{', '.join(cls.root_places(params))}; make it with set_state = root"
            )
        if own:
            cls._get_root(params, object)

    @classmethod
    def _like_pool(cls, params: Any) -> bool:
        """Tell whether the root images here are those of the pool."""
        with failures_of(_pool(params)):
            return all(
                cls.transport.ops.compare(local, pool, own)
                for local, pool, own in cls.transport.pool_roots(params)
            )

    @classmethod
    def root_places(cls, params: Any) -> list[str]:
        """Return every place where a root is looked for, in words."""
        if _runs(params):
            return [f"what runs on this host ({cls.__name__})"]
        places = [cls.transport.get_image_path(own) for own in images.image_params(params)]
        if cls._from_pool(params) and settings.shared_pools(params):
            places += [pool for _, pool, _ in cls.transport.pool_roots(params)]
        return places

    @classmethod
    def set_root(cls, params: Any, object: Any = None) -> None:
        """
        Make the root here (scope ``own``), or publish it (scope ``shared``).

        What makes it here is told by ``replace_root = yes`` to make it in place of an old one.
        """
        if cls._one_scope(params) == "own":
            if replaced(params):
                params = params.copy()
                params["replace_root"] = "yes"
                if not cls.replaces:
                    cls._unset_root(params, object)
            cls._set_root(params, object)
            return
        if not cls._check_root(params, object):
            raise StateMissing(
                f"root state of {_name(params)} can't be published, it does not exist locally; "
                f"set it with pool_scope = own first"
            )
        cls._transported("set_root", params, object)

    @classmethod
    def unset_root(cls, params: Any, object: Any = None) -> None:
        """Remove the root here (scope ``own``), or from the pool (scope ``shared``)."""
        scope = cls._one_scope(params)
        if replaced(params):
            LOG.debug("root of %s stays until a set replaces it", _name(params))
        elif scope == "own":
            cls._unset_root(params, object)
        else:
            cls._transported("unset_root", params, object)

    @classmethod
    def _one_scope(cls, params: Any) -> str:
        scopes = set(settings.scopes(params))
        if _runs(params):
            if "own" in scopes:
                return "own"
            raise SettingRefused(
                f"the root of {_name(params)} is that it runs, which can't be in a pool; set or "
                f"unset it with 'own' in pool_scope"
            )
        if scopes not in ({"own"}, {"shared"}):
            raise SettingRefused(
                f"pool_scope is {' '.join(sorted(scopes))!r}, a root state is set or unset either "
                f"with pool_scope = own (here) or with pool_scope = shared (in the pool)"
            )
        return scopes.pop()

    @classmethod
    def _from_pool(cls, params: Any) -> bool:
        """Tell whether the pool may have the root: not of a vm, whose root is that it runs."""
        return set(settings.scopes(params)) != {"own"} and not _runs(params)

    @classmethod
    def _transported(cls, verb: str, params: Any, object: Any) -> Any:
        with failures_of(_pool(params)):
            return getattr(cls.transport, verb)(params, object)


def replaced(params: Any) -> bool:
    """
    Tell whether an unset only makes way for a set, or a set comes after such an unset.

    avocado-i2n's policies unset what they are about to overwrite, with params that name it for both
    verbs. What is set replaces the old by itself, and keeps it if it fails. An unset that is meant
    is told by what they say of the check before it.
    """
    state = params.get("set_state")
    meant = params.get("check_opts") == "soft_boot=no"
    return bool(state) and state == params.get("unset_state") and not meant


def only_looked_at(params: Any) -> bool:
    """
    Tell whether a root is only looked at, before something is done with another state or over it.

    Policies say in ``check_state`` what they are about, and in ``check_opts`` whether it is a get.
    """
    about = params.get("check_state")
    getting = about == params.get("get_state") and params.get("check_opts") == "soft_boot=no"
    return bool(about) and not (about in ROOTS and getting)


def _runs(params: Any) -> bool:
    """Tell whether a root is that something runs, and not just its images (``use_env = no``)."""
    kind = last_type(params.get("object_type") or "")
    return kind in ("vms", "nets") and settings.flag(params, "use_env", True)


def _pool(params: Any) -> str:
    """Return the pool of roots, in words if there is none."""
    return str(next(iter(settings.shared_pools(params)), "the pool"))


def _name(params: Any) -> str:
    return str(params.get("object_name") or params["vms"])
