"""Chains of states moved between the cache and the pools by request, outside of any test."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from virttest.utils_params import Params

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.copy import allocated
from avocado_pool_plugin.core.errors import PoolError, SettingRefused, StateMissing
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, State
from avocado_pool_plugin.core.plan import Plan, Step
from avocado_pool_plugin.core.store import Moved
from avocado_pool_plugin.states import telling
from avocado_pool_plugin.states.mirroring import Attempt, failure, problems
from avocado_pool_plugin.states.ops import TransferOps
from avocado_pool_plugin.states.sourced import SourcedStateBackend
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

#: Actions on a file that is there already.
_KEPT = ("keep", "kept")


@dataclass(frozen=True)
class Outcome:
    """
    What a fetch or publish did, or would do.

    :param steps: the files, parents first; ``action`` is ``kept``, ``copied``, ``cloned`` or
        ``linked``, of a plan ``keep``, ``copy``, ``replace`` or ``link``
    :param seconds: how long it took
    :param problems: of pools that could not be used
    """

    steps: tuple[Step, ...]
    seconds: float
    problems: tuple[PoolError, ...] = ()

    @property
    def plan(self) -> Plan:
        """The files as a plan, which can be printed."""
        return Plan(self.steps)

    @property
    def kept(self) -> int:
        """Number of files that were there already."""
        return sum(step.action in _KEPT for step in self.steps)

    @property
    def size(self) -> int:
        """Bytes on disk that were copied."""
        return sum(step.size for step in self.steps if step.action not in _KEPT)


def fetch(wanted: State, params: Mapping[str, str], dry: bool = False) -> Outcome:
    """
    Bring a state, with all that it stands on, into the cache: from the first pool that has it.

    :param wanted: a state of an image; one of a vm is its file and its images' states of that name
    :param params: the options of a job as test params
    :param dry: nothing is moved, the outcome is the plan
    :raises StateMissing: no pool has it
    :raises SettingRefused: there is no pool
    :raises PoolError: the pools that have it can't give it
    """
    started, exchange, own = time.monotonic(), _exchange(dry), _params(wanted, params)
    attempts = exchange.fetch(own)
    if not any(tried.result for tried in attempts):
        if problems(attempts):
            raise failure(f"state {wanted} can't be had", attempts, "mend one of these pools")
        raise _missing(wanted, settings.mirrors("get", own), own)
    return exchange.outcome(started, attempts)


def publish(wanted: State, params: Mapping[str, str], dry: bool = False) -> Outcome:
    """
    Bring a state, with all that it stands on, from the cache into all pools.

    A pool that fails does not keep it from the others. Parameters as of :func:`fetch`.

    :raises StateMissing: the cache does not have it
    :raises SettingRefused: there is no pool
    """
    started, exchange, own = time.monotonic(), _exchange(dry), _params(wanted, params)
    if not exchange.cached(own):
        raise _missing(wanted, [f":{settings.cache_dir(own)}"], own)
    return exchange.outcome(started, exchange.publish(own))


def _exchange(dry: bool) -> "type[_Exchange]":
    """Return the classes below as one exchange needs them: what they note is its own."""
    ops = type("Ops", (_Ops,), {"dry": dry, "steps": {}})
    transport = type("Transport", (_Transport,), {"ops": ops})
    made: Any = type("Exchange", (_Exchange,), {"transport": transport})
    return made  # type: ignore[no-any-return]


class _Ops(TransferOps):
    """The usual file operations, which note what becomes of each file; a dry run moves none."""

    dry: ClassVar[bool]
    #: What was or would be done, by the file that is made.
    steps: ClassVar[dict[str, Step]]

    @classmethod
    def plan(cls, files: list[tuple[str, str]], params: Any, down: bool) -> Plan | None:
        """See :meth:`TransferOps.plan`; links are planned as well."""
        found = super().plan(files, params, down)
        if found is None:
            found = Plan(tuple(_link_step(*file) for file in files))
        if cls.dry:
            cls.steps.update((step.target, step) for step in found.steps)
        return found

    @classmethod
    def make_room(cls, planned: Plan, params: Any) -> None:
        """See :meth:`TransferOps.make_room`; a dry run removes nothing."""
        if not cls.dry:
            super().make_room(planned, params)

    @classmethod
    def download(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`TransferOps.download`."""
        move = super().download
        return cls._move(lambda: move(cache_path, pool_path, params), _place(pool_path), cache_path)

    @classmethod
    def upload(cls, cache_path: str, pool_path: str, params: Any) -> Moved:
        """See :meth:`TransferOps.upload`."""
        move = super().upload
        return cls._move(lambda: move(cache_path, pool_path, params), cache_path, _place(pool_path))

    @classmethod
    def _move(cls, move: Callable[[], Moved], source: str, target: str) -> Moved:
        if cls.dry:
            return Moved("kept")
        moved = move()
        # what an earlier attempt at the chain has copied is kept in the next one
        if moved.changed or target not in cls.steps:
            # a file on another host takes there what it takes here
            here = target if os.path.exists(target) else source
            size = 0 if moved.action == "linked" else allocated(here)
            cls.steps[target] = Step(source, target, moved.action, size)
        return moved


def _place(pool_path: str) -> str:
    """Return a file's path, with its host if that is another one."""
    location = Location.parse(pool_path)
    return pool_path if location.remote else location.path


def _link_step(cache_path: str, pool_path: str) -> Step:
    source = Location.parse(pool_path).path
    linked = os.path.realpath(cache_path) == os.path.realpath(source)
    return Step(source, cache_path, "keep" if linked else "link", 0)


class _Transport(QCOW2ImageTransfer):
    """Moves every chain file by file; for a vm, those of all images that have the state."""

    @classmethod
    def compare_chain(cls, *_: Any) -> bool:
        """Return False: each file is compared when it is its turn, and noted."""
        return False

    @classmethod
    def transfer_chain(
        cls, state: str, cache_dir: str, pool_dir: str, params: Any, down: bool = True
    ) -> None:
        """See :meth:`QCOW2ImageTransfer.transfer_chain`."""
        if params["object_type"] in settings.VM_TYPES:
            where = pool_dir if down else f":{cache_dir}"
            params = params.copy()
            params["images"] = _joined(_images_with(state, where, params))
        super().transfer_chain(state, cache_dir, pool_dir, params, down)


class _Exchange(SourcedStateBackend):
    """The rules by which mirrors are used, without any working image."""

    @classmethod
    def _show(cls, params: Any, object: Any = None) -> list[str]:
        own = params.copy()
        own["show_location"] = f":{settings.cache_dir(params)}"
        return cls.transport.show(own)  # type: ignore[no-any-return]

    @classmethod
    def cached(cls, params: Any) -> bool:
        """Tell whether the cache has the state that is to be published."""
        return params["set_state"] in cls._show(params)

    @classmethod
    @telling.one_operation()
    def fetch(cls, params: Any) -> list[Attempt]:
        """Fetch from the first mirror that can give the state; the last attempt says if one did."""
        return cls._fetch(params, None)

    @classmethod
    @telling.one_operation()
    def publish(cls, params: Any) -> list[Attempt]:
        """Publish to all mirrors."""
        return cls._on_all("set", params, None)

    @classmethod
    def outcome(cls, started: float, attempts: list[Attempt]) -> Outcome:
        """Return what was noted since ``started``."""
        steps = tuple(cls.transport.ops.steps.values())
        return Outcome(steps, time.monotonic() - started, tuple(problems(attempts)))


class _Params(Params):
    """Params whose lists are separated by line breaks, as names may hold blanks."""

    def objects(self, key: str) -> list[str]:
        """Return the names in a list."""
        return [name for name in self.get(key, "").split("\n") if name]


def _joined(names: list[str]) -> str:
    return "\n".join(names)


def _params(wanted: State, given: Mapping[str, str]) -> _Params:
    """Return the params of a test that asks for a state and has no working images."""
    own = _Params(given)
    own["vms"] = own["object_id"] = wanted.object_id
    own["images"] = wanted.image or ""
    own["object_type"] = "vms" if wanted.image is None else "vms/images"
    own["get_state"] = own["set_state"] = wanted.name
    own["pool_scope"] = "shared"
    if not settings.shared_pools(own):
        raise SettingRefused(
            "no pool is named; give --pool-location, or set shared_pool in section [pool] of "
            "avocado.conf"
        )
    return own


def _images_with(state: str, where: str, params: Any) -> list[str]:
    """Return the images of a vm that have a state in a location."""
    home = os.path.join(where, params["object_id"])
    return [
        image
        for image in TransferOps.list_paths(home, params)
        if state + IMAGE_SUFFIX in TransferOps.list_paths(os.path.join(home, image), params)
    ]


def _missing(wanted: State, places: list[str], params: Any) -> StateMissing:
    """Return the error for a state that is in none of some locations."""
    hint = ""
    if wanted.image is None:
        images = [image for place in places for image in _images_with(wanted.name, place, params)]
        if images:
            asked = f"{wanted.object_id}/{images[0]}/{wanted.name}"
            hint = f"; there is one of an image, ask for '{asked}'"
    return StateMissing(f"state {wanted} does not exist, looked at: {', '.join(places)}{hint}")
