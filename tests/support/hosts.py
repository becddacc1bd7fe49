"""Remote hosts for transfers: directories on this one, behind file operations of a test's own."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.states import setup
from avocado_pool_plugin.states.ops import TransferOps
from avocado_pool_plugin.states.qcow2 import QCOW2ExtBackend
from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer
from tests.support.needs import need, need_root

#: What is called instead of a file operation; it returns nothing for the operation to go on.
Fault = Callable[[], object]
VERBS = ("list", "compare", "download", "upload", "delete")


@dataclass
class Hosts:
    """
    What was asked of mirrors by file operations, and what is to happen then.

    :param root: ``label:/dir`` is the directory ``<root>/<label>/dir``
    :param calls: verb and location of each operation
    :param params: that the operation was given, for each
    :param faults: by verb and a part of the location
    """

    root: Path
    calls: list[tuple[str, str]] = field(default_factory=list)
    params: list[dict[str, str]] = field(default_factory=list)
    faults: dict[tuple[str, str], Fault] = field(default_factory=dict)

    def directory(self, location: str) -> Path:
        """Return where a location really is."""
        place = Location.parse(location)
        return self.root / place.label / place.path.lstrip("/") if place.label else Path(place.path)

    def fail(self, error: Callable[[], BaseException], mirror: str, *verbs: str) -> None:
        """Let operations on a mirror fail from now on."""

        def fault() -> object:
            raise error()

        for verb in verbs or VERBS:
            self.faults[verb, mirror] = fault

    def asked(self, *mirrors: str) -> list[str]:
        """Return which of some mirrors were touched at all, each once."""
        used = [mirror for _, place in self.calls for mirror in mirrors if inside(place, mirror)]
        return list(dict.fromkeys(used))

    def note(self, verb: str, location: str, params: Any) -> None:
        """Take down an operation, and let it fail if it shall."""
        self.calls.append((verb, location))
        self.params.append(dict(params))
        for (what, mirror), fault in self.faults.items():
            if what == verb and inside(location, mirror):
                fault()


def inside(location: str, mirror: str) -> bool:
    """Tell whether a location is a mirror or below it."""
    return location == mirror or location.startswith(f"{mirror}/")


def backend(hosts: Hosts, base: type) -> Any:
    """Return a backend whose transport reaches hosts."""
    ops = type("Ops", (_Ops,), {"hosts": hosts})
    transport = type("Transport", (QCOW2ImageTransfer,), {"ops": ops})
    return type("Backend", (base,), {"transport": transport})


def installed(
    hosts: Hosts,
    monkeypatch: pytest.MonkeyPatch,
    name: str = "qcow2ext",
    base: type = QCOW2ExtBackend,
) -> Any:
    """Put such a backend into the place of the usual one and return it."""
    made = backend(hosts, base)
    monkeypatch.setitem(setup.BACKENDS, name, made)
    return made


class _Ops(TransferOps):
    """Notes what it is asked for; remote files are local ones."""

    hosts: Hosts

    @classmethod
    def list_paths(cls, pool_path: str, params: Any) -> list[str]:
        cls.hosts.note("list", pool_path, params)
        return super().list_paths(pool_path, params)

    @classmethod
    def compare(cls, cache_path: str, pool_path: str, params: Any) -> bool:
        cls.hosts.note("compare", pool_path, params)
        return super().compare(cache_path, pool_path, params)

    @classmethod
    def download(cls, cache_path: str, pool_path: str, params: Any) -> Any:
        cls.hosts.note("download", pool_path, params)
        return super().download(cache_path, pool_path, params)

    @classmethod
    def upload(cls, cache_path: str, pool_path: str, params: Any) -> Any:
        cls.hosts.note("upload", pool_path, params)
        return super().upload(cache_path, pool_path, params)

    @classmethod
    def delete(cls, pool_path: str, params: Any) -> None:
        cls.hosts.note("delete", pool_path, params)
        super().delete(pool_path, params)

    @classmethod
    def _there(cls, pool_path: str) -> str:
        return str(cls.hosts.directory(pool_path))

    @classmethod
    def list_remote(cls, pool_path: str, params: Any) -> list[str]:
        return cls.list_local(cls._there(pool_path), params)

    @classmethod
    def compare_remote(cls, cache_path: str, pool_path: str, params: Any) -> bool:
        return cls.compare_local(cache_path, cls._there(pool_path), params)

    @classmethod
    def download_remote(cls, cache_path: str, pool_path: str, params: Any) -> Any:
        return cls.download_local(cache_path, cls._there(pool_path), params)

    @classmethod
    def upload_remote(cls, cache_path: str, pool_path: str, params: Any) -> Any:
        return cls.upload_local(cache_path, cls._there(pool_path), params)

    @classmethod
    def delete_remote(cls, pool_path: str, params: Any) -> None:
        cls.delete_local(cls._there(pool_path), params)

    @classmethod
    def parent_remote(cls, pool_path: str, params: Any) -> str:
        return cls.parent_local(cls._there(pool_path), params)


@contextlib.contextmanager
def hung(directory: Path) -> Iterator[None]:
    """
    Mount a file system that never answers, like a network one whose server is gone.

    Whoever waits for it gets an error when the context ends.
    """
    need_root()
    need(os.path.exists("/dev/fuse"), "FUSE (/dev/fuse)")
    directory.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        failed = libc.mount(b"hung", os.fsencode(directory), b"fuse", 0, options)
        assert not failed, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            os.close(device)
            device = -1
            libc.umount2(os.fsencode(directory), 2)
    finally:
        if device >= 0:
            os.close(device)
