"""What a test asks of states, through the documented functions, in a few words."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.states import report, setup
from tests.support.vms import Lab, write


def ask(lab: Lab, verb: str, state: str, **more: str) -> Any:
    """Do a verb for the images of a lab's vms."""
    params = lab.params(**{f"{verb}_state_images": state, "pool_fsync": "no", **more})
    return getattr(setup, f"{verb}_states")(params)


def get(lab: Lab, state: str, **more: str) -> None:
    ask(lab, "get", state, **more)


def put(lab: Lab, state: str, **more: str) -> None:
    ask(lab, "set", state, **more)


def unset(lab: Lab, state: str, **more: str) -> None:
    ask(lab, "unset", state, **more)


def pop(lab: Lab, state: str, **more: str) -> None:
    ask(lab, "pop", state, **more)


def show(lab: Lab, **more: str) -> list[str]:
    found: list[str] = setup.show_states(lab.params(pool_fsync="no", **more))
    return found


OWN = {"pool_scope": "own"}
SHARED = {"pool_scope": "shared"}


def made(lab: Lab, *states: str, first: int = 1, **more: str) -> Lab:
    """Set states on top of each other; the n-th writes pattern ``first + n`` at n MiB."""
    if not lab.image().exists():
        lab.make_image()
    for number, state in enumerate(states):
        write(lab.image(), first + number, f"{number}M")
        put(lab, state, **more)
    return lab


def other(lab: Lab, cache: str = "cache2") -> Lab:
    """See :meth:`Lab.elsewhere`."""
    return lab.elsewhere(cache)


@contextlib.contextmanager
def doing() -> Iterator[list[str]]:
    """Collect what is done with states meanwhile, as ``verb state``."""
    before, found = len(report.events()), []
    yield found
    found += [f"{event.verb} {event.state}" for event in report.events()[before:]]


def trash(directory: Path) -> list[str]:
    """Return the names of the files that went to the trash of a directory of states."""
    home = directory / META / "trash"
    names = [entry.name for entry in home.iterdir()] if home.is_dir() else []
    return sorted(name.split("-", 2)[2] for name in names if not name.endswith(".json"))


def leftovers(directory: Path) -> list[str]:
    """Return temporary files and intents below a directory."""
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.name.endswith((".part", ".tmp")) or (path.parent.name == "intents")
    )


def stamp(path: Path) -> tuple[int, int, int, int]:
    """Return what changes when a file is touched in any way but reading."""
    found = path.stat()
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def contents(root: Path) -> dict[Path, tuple[int, ...]]:
    """Return the stamps of all files below a directory but those that every use may change."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path: stamp(path) for path in files if not _is_of_use(path)}


def _is_of_use(path: Path) -> bool:
    return path.suffix in (".lock", ".used") or path.parent.name == "pins"
