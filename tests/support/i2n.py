"""A suite of avocado-i2n: its params, its control files as the docs say to change them."""

import re
import subprocess
from pathlib import Path
from typing import Any

from avocado_pool_plugin.core.layout import META
from benchmarks.environment import CHECKOUT, peer_python, variables
from tests.support.vms import tool

_PAGE = CHECKOUT / "docs" / "coming-from-i2n.rst"
#: Where the wheel of avocado-i2n puts its example of a suite.
_CONTROLS = "lib/python*/site-packages/usr/share/avocado-plugins-i2n/tp_folder/controls"


class Suite:
    """What a test of such a suite has: params as its configs give them, images, cache and pool."""

    def __init__(self, root: Path, host: str = "host1", object_id: str = "vm1-f33-64") -> None:
        self.root = root
        self.images = root / host / "images"
        self.cache = root / host / "swarm"
        self.pool = root / "shared"
        self.object_id = object_id

    def params(self, **more: str) -> dict[str, str]:
        """Return the params of its test, with more."""
        return {
            "nets": "net1",
            "vms": "vm1",
            "images": "image1",
            "states_chain": "nets vms images",
            "states_nets": "vmnet",
            "states_vms": "ramfile",
            "states_images": "qcow2ext",
            "object_id_vm1": self.object_id,
            "vms_base_dir": f"{self.images}/",
            "images_base_dir": f"{self.images}/vm1/",
            "image_name": "image",
            "image_format": "qcow2",
            "image_size": "16M",
            "remove_image": "no",
            "set_mode": "ff",
            "unset_mode": "ri",
            "pool_scope": "own swarm cluster shared",
            "shared_pool": str(self.pool),
            "swarm_pool": str(self.cache),
            "nets_gateway": "",
            "nets_host": "",
            "suite_path": str(self.root / "suite"),
            **more,
        }

    @property
    def image(self) -> Path:
        """The working image."""
        return self.images / "vm1" / "image.qcow2"

    def make_image(self) -> Path:
        """Make a blank working image."""
        self.image.parent.mkdir(parents=True, exist_ok=True)
        tool("qemu-img", "create", "-q", "-f", "qcow2", self.image, "16M")
        return self.image

    def state(self, name: str) -> Path:
        """Return the file of a state in the cache."""
        return self.cache / self.object_id / "image1" / f"{name}.qcow2"

    def shared(self, name: str) -> Path:
        """Return the file of a state in the pool."""
        return self.pool / self.object_id / "image1" / f"{name}.qcow2"

    def memory(self, name: str) -> list[Path]:
        """Return the RAM files of a vm's state, in cache and pool."""
        return [root / self.object_id / f"{name}.state" for root in (self.cache, self.pool)]


def recorded(path: Path) -> bool:
    """Tell whether we have a record of a file, which avocado-i2n never makes."""
    return path.exists() and (path.parent / META / f"{path.name}.json").exists()


def installed_control(name: str) -> str:
    """Return the text of a control file as avocado-i2n's package has it."""
    found = list(peer_python().parents[1].glob(f"{_CONTROLS}/{name}"))
    assert len(found) == 1, found
    return found[0].read_text()


def changed_control(name: str) -> str:
    """Return a control file with the lines changed that the docs say to change, and no other."""
    text = installed_control(name)
    for before, after in _changes(name):
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    left = [line for line in text.splitlines() if "avocado_i2n.states" in line]
    ours = re.compile(r"\b(setup|pool|qcow2|ramfile)\b")
    assert not [line for line in left if ours.search(line)], left
    return text


def _changes(name: str) -> list[tuple[str, str]]:
    """Return the changes to a control file as the docs show them: lines before and after."""
    block = _PAGE.read_text().partition(f"``controls/{name}``")[2]
    block = block.partition(".. code-block:: diff\n\n")[2]
    lines = re.match(r"(?:    .*\n|\n)*", block)
    assert lines and lines.group(), f"{_PAGE} shows no changes to {name}"
    found = re.findall(r"((?:    -.*\n)+)((?:    \+.*\n)+)", lines.group())
    return [(_plain(before), _plain(after)) for before, after in found]


def _plain(lines: str) -> str:
    return "".join(f"{line[5:]}\n" for line in lines.splitlines())


def run_control(
    name: str, directory: Path, action: str, params: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """
    Do what avocado-i2n does with a control file of a suite.

    It has the file's variables filled in by aexpect, and runs it on a worker as a program.
    """
    from aexpect import remote_door as door

    source = directory / name
    source.write_text(changed_control(name))
    door.DUMP_CONTROL_DIR = str(directory)
    path = door.set_subcontrol_parameter(str(source), "action", action)
    path = door.set_subcontrol_parameter_dict(path, "params", params)
    return subprocess.run(
        [str(peer_python()), path],
        capture_output=True,
        text=True,
        cwd=directory,
        env=variables(),
        check=False,
    )


class Answered(Exception):
    """
    A program in the environment of avocado-i2n ended its work with an error.

    :ivar kinds: the error's class and those it is derived from
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["text"])
        self.kinds: list[str] = answer["error"]
