"""States that many make and use at once: what is in them, and what has to be true of them then."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avocado_pool_plugin.core import chain, knowledge
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.policy import Policy
from tests.support.images import guest_bytes
from tests.support.states import get, put
from tests.support.vms import Lab, sound, tool

#: What the guest wrote into the base, of which all know.
BASE = 7
BOTH, SHARED = {"pool_scope": "own shared"}, {"pool_scope": "shared"}
#: The policy of a check that believes nothing.
STRICT = Policy(timeout=20, verify="always", fsync=False)
#: What has to be right of all that they share.
RIGHT = "errors are ours; all there is whole and true, nothing saved is lost, the next one heals"
#: How many pieces of content of unlike length there are of the RAM file.
RAMS = 3


@dataclass
class Said:
    """
    What workers say they did.

    :ivar kept: by worker, what may be there under its own name: what it saved last and what it
        tried to save since, None for nothing
    :ivar tried: by worker, all that it ever tried to save there, and nothing
    :ivar wrong: errors that users are not to see
    """

    kept: dict[int, list[int | None]] = field(default_factory=dict)
    tried: dict[int, list[int | None]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def own(number: int) -> str:
    """Return the name of the state that only one worker sets, and nobody removes."""
    return f"own{number}"


def write(image: Path, number: int) -> None:
    """Write a number into an image in two places."""
    words = [word for at in ("1M", "2M") for word in ("-c", f"write -P {number} {at} 64k")]
    tool("qemu-io", "-f", "qcow2", *words, image)


def number_in(image: Path) -> int:
    """Return the number in an image; all of it has to be of one kind."""
    sound(image)
    base, first, second = guest_bytes(image, 3)
    assert base == BASE and first == second, f"{image} is mixed of {base}, {first} and {second}"
    return first


def ram_of(number: int) -> bytes:
    """Return the content of a RAM file."""
    return random.Random(number).randbytes((1 << 20) + 4097 * number)


def rams() -> list[bytes]:
    return [ram_of(number) for number in range(RAMS)]


def fill(lab: Lab) -> None:
    """Make what all work on: a base that nobody removes and a state on it."""
    tool("qemu-img", "create", "-q", "-f", "qcow2", lab.image(), "16M")
    tool("qemu-io", "-f", "qcow2", "-c", f"write -P {BASE} 0 2M", lab.image())
    put(lab, "base", **BOTH)
    write(lab.image(), 9)
    put(lab, "s", **BOTH)


def all_true(root: Path) -> int:
    """Make sure that each file in place is what was made; return how many there are."""
    found = 0
    for path in visible(root):
        known = knowledge.identify(str(path), STRICT)
        assert known is not None, f"{path} went"
        if path.suffix == ".state":
            assert path.read_bytes() in rams(), f"{path} is nobody's"
        else:
            chain.verify(str(path.parent), path.stem, STRICT)
            if path.stem != "base":
                number_in(path)
        found += 1
    return found


def visible(root: Path) -> Iterator[Path]:
    """Yield the files of all states of a pool or cache."""
    for path in sorted([*root.rglob("*.qcow2"), *root.rglob("*.state")]):
        if META not in path.parts:
            yield path


def nothing_lost(root: Path, allowed: dict[int, list[int | None]]) -> None:
    """
    Make sure that what workers saved for themselves is there.

    :param allowed: by worker, what may be there
    """
    for number, numbers in allowed.items():
        path = root / "vm1" / "image1" / f"{own(number)}.qcow2"
        found = number_in(path) if path.exists() else None
        assert found in numbers, f"{path} has {found}, may have one of {numbers}"


def heals(lab: Lab, said: Said) -> None:
    """Make sure that whoever comes next can use all of it, and set anew."""
    get(lab, "base", **BOTH)
    write(lab.image(), 99)
    put(lab, "s", **BOTH)
    lab.image().unlink()
    get(lab, "s", **BOTH)
    assert number_in(lab.image()) == 99
    shared = lab.pool / "vm1" / "image1" / "s.qcow2"
    assert number_in(shared) == 99, "the pool has another one"
    for number in said.kept:
        if lab.shared(own(number)).exists():
            lab.image().unlink()
            get(lab, own(number), **BOTH)
            number_in(lab.image())
