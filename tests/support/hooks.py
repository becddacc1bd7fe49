"""
Small backends of a test's own: local hooks on plain files, as users write them.

What an object is like now is a file: the working image, or for a vm or net a file that stands for
it while it runs. A state is a copy of it.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from avocado_pool_plugin.core.errors import StateMissing
from avocado_pool_plugin.states.pool import RootSourcedStateBackend, SourcedStateBackend
from tests.support.vms import tool

#: What a vm or net is like that was just made.
BLANK = b"blank"


def live(params: Any) -> Path:
    """Return the file that is there while a vm or net runs."""
    return Path(params["machines"]) / params["object_name"].replace("/", "-")


class Hooks(SourcedStateBackend, RootSourcedStateBackend):
    """Local hooks; subclasses say which files there are."""

    #: Hooks that were called, with the object and what was given as ``object``.
    called: list[tuple[str, str, Any]] = []  # noqa: RUF012

    @classmethod
    def _pairs(cls, params: Any, state: str) -> list[tuple[Path, Path]]:
        """Return the file of a state and that of now, for each part of an object."""
        raise NotImplementedError

    @classmethod
    def _roots(cls, params: Any) -> list[Path]:
        """Return the files that are there if an object is."""
        return [now for _, now in cls._pairs(params, "x")]

    @classmethod
    def _make(cls, path: Path) -> None:
        raise NotImplementedError

    @classmethod
    def _call(cls, hook: str, params: Any, thing: Any) -> None:
        cls.called.append((hook, params["object_name"], thing))

    @classmethod
    def _show(cls, params: Any, object: Any = None) -> list[str]:
        found = []
        for state, _ in cls._pairs(params, "x"):
            files = state.parent.glob(f"*{state.suffix}") if state.parent.is_dir() else []
            found.append({path.stem for path in files})
        return sorted(set.intersection(*found)) if found else []

    @classmethod
    def _get(cls, params: Any, object: Any = None) -> None:
        cls._call("get", params, object)
        for state, now in cls._pairs(params, params["get_state"]):
            _put(state, now)

    @classmethod
    def _set(cls, params: Any, object: Any = None) -> None:
        cls._call("set", params, object)
        for state, now in cls._pairs(params, params["set_state"]):
            if not now.exists():
                raise StateMissing(f"{now} does not exist, there is nothing to save")
            _put(now, state)

    @classmethod
    def _unset(cls, params: Any, object: Any = None) -> None:
        cls._call("unset", params, object)
        for state, _ in cls._pairs(params, params["unset_state"]):
            state.unlink(missing_ok=True)

    @classmethod
    def _check_root(cls, params: Any, object: Any = None) -> bool:
        cls._call("check_root", params, object)
        return all(path.exists() for path in cls._roots(params))

    @classmethod
    def _get_root(cls, params: Any, object: Any = None) -> None:
        cls._call("get_root", params, object)

    @classmethod
    def _set_root(cls, params: Any, object: Any = None) -> None:
        cls._call("set_root", params, object)
        for path in cls._roots(params):
            if not path.exists() or params.get("replace_root") == "yes":
                cls._make(path)

    @classmethod
    def _unset_root(cls, params: Any, object: Any = None) -> None:
        cls._call("unset_root", params, object)
        for path in cls._roots(params):
            path.unlink(missing_ok=True)


class ImageHooks(Hooks):
    """States ``<cache>/<object id>/<image>/<state>.qcow2`` of images, each a whole copy."""

    @classmethod
    def _pairs(cls, params: Any, state: str) -> list[tuple[Path, Path]]:
        home = Path(params["swarm_pool"]) / params["object_id"]
        return [
            (home / image / f"{state}.qcow2", Path(own["image_name"] + ".qcow2"))
            for image in params.objects("images")
            for own in [params.object_params(image)]
        ]

    @classmethod
    def _make(cls, path: Path) -> None:
        part = path.with_suffix(".new")
        tool("qemu-img", "create", "-q", "-f", "qcow2", part, "16M")
        part.replace(path)


class RunningHooks(ImageHooks):
    """
    States ``<cache>/<object id>/<state>.state`` of vms and nets; of a vm with those of its images.

    The root is that it runs.
    """

    @classmethod
    def _pairs(cls, params: Any, state: str) -> list[tuple[Path, Path]]:
        home = Path(params["swarm_pool"]) / params["object_id"]
        disks = super()._pairs(params, state) if params["object_type"].endswith("vms") else []
        return [(home / f"{state}.state", live(params)), *disks]

    @classmethod
    def _roots(cls, params: Any) -> list[Path]:
        return [live(params)]

    @classmethod
    def _make(cls, path: Path) -> None:
        path.write_bytes(BLANK)


def _put(source: Path, target: Path) -> None:
    """Replace a file by a copy of another one, in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".new")
    shutil.copyfile(source, part)
    os.replace(part, target)
