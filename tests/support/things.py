"""Objects of every type as tests of the policies see them: an image, a vm, a net."""

from pathlib import Path
from typing import Any

from avocado_pool_plugin.states import setup
from tests.support.hooks import BLANK
from tests.support.states import contents
from tests.support.vms import Lab, holds, write

#: Backend of vms and nets in a test's params.
RUNNING = "running-hooks"


class Thing:
    """
    An object whose states are asked for by the documented policies.

    What it is like now, and what a state of it holds, is a number; 0 is one just made.

    :param chain: ``states_chain``
    :param kind: the last component of its type
    """

    def __init__(self, lab: Lab, chain: str, kind: str) -> None:
        self.lab, self.kind = lab, kind
        kinds = chain.split()[: chain.split().index(kind) + 1]
        names = {"nets": "net1", "vms": "vm1", "images": "image1"}
        self.name = "/".join(names[each] for each in kinds)
        self.given = {
            **{"states_chain": chain, "nets": "net1", "pool_fsync": "no", "image_size": "16M"},
            **{"states_vms": RUNNING, "states_nets": RUNNING},
            **{"machines": str(lab.root / "machines")},
            **{"skip_types": " ".join({"nets", "vms", "images"} - {kind})},
        }
        (lab.root / "machines").mkdir(exist_ok=True)

    def params(self, **more: str) -> Any:
        return self.lab.params(**{**self.given, **more})

    def ask(self, verb: str, state: str, **more: str) -> Any:
        """Do a verb for this object; params given stay as they are."""
        params = self.params(**{f"{verb}_state_{self.kind}": state, **more})
        before = dict(params)
        try:
            return getattr(setup, f"{verb}_states")(params)
        finally:
            assert dict(params) == before

    def show(self, **more: str) -> list[str]:
        found: list[str] = setup.show_states(self.params(**more))
        return found

    @property
    def pools(self) -> bool:
        """Whether its states can be in pools."""
        return self.kind != "nets"

    @property
    def file(self) -> Path:
        """What it is like now; there if its root is."""
        return self.lab.image()

    def write(self, number: int) -> None:
        """Make it, and what it is like a number."""
        self.file.unlink(missing_ok=True)
        write(self.lab.make_image(), number)

    def like(self, number: int) -> bool:
        """Tell whether it is like a number now."""
        return self.file.exists() and holds(self.file, number)

    def state(self, name: str, root: Path | None = None) -> Path:
        """Return the file of a state in the cache, or another place."""
        return (root or self.lab.cache) / "vm1" / "image1" / f"{name}.qcow2"

    def saved(self, name: str, number: int, root: Path | None = None) -> bool:
        """Tell whether a state holds a number."""
        path = self.state(name, root)
        return path.exists() and holds(path, number)

    def everything(self) -> dict[Path, tuple[int, ...]]:
        """Return the stamps of all files."""
        return contents(self.lab.root)


class Running(Thing):
    """A net."""

    @property
    def file(self) -> Path:
        return self.lab.root / "machines" / self.name.replace("/", "-")

    def write(self, number: int) -> None:
        self.file.write_bytes(_bytes(number))

    def like(self, number: int) -> bool:
        return self.file.exists() and self.file.read_bytes() == _bytes(number)

    def state(self, name: str, root: Path | None = None) -> Path:
        return (root or self.lab.cache) / self.name.rpartition("/")[2] / f"{name}.state"

    def saved(self, name: str, number: int, root: Path | None = None) -> bool:
        path = self.state(name, root)
        return path.exists() and path.read_bytes() == _bytes(number)


class Machine(Running):
    """A vm; its states are those of its image as well."""

    def write(self, number: int) -> None:
        super().write(number)
        self.lab.image().unlink(missing_ok=True)
        write(self.lab.make_image(), number)

    def saved(self, name: str, number: int, root: Path | None = None) -> bool:
        image = Thing.state(self, name, root)
        there = super().saved(name, number, root)
        assert not there or holds(image, number), "the two belong together"
        return there


def _bytes(number: int) -> bytes:
    return b"memory %d" % number if number else BLANK


#: Classes by the last component of the type.
_CLASSES = {"images": Thing, "vms": Machine, "nets": Running}
#: Things by what they are: chain and last component of the type.
THINGS = {
    "image": ("vms images", "images"),
    "image in a net": ("nets vms images", "images"),
    "vm": ("vms images", "vms"),
    "vm in a net": ("nets vms images", "vms"),
    "net": ("nets vms images", "nets"),
}


def thing(lab: Lab, what: str) -> Thing:
    """Return an object by what it is, a key of ``THINGS``."""
    chain, kind = THINGS[what]
    return _CLASSES[kind](lab, chain, kind)
