"""Imports go down only; found out by reading the code, not by running it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "avocado_pool_plugin"
HOUSE = Path(__file__).resolve().parents[2] / PACKAGE
#: Which parts a part may import, besides itself.
MAY = {
    "core": set(),
    "ssh": {"core"},
    "qemu": {"core"},
    "params": {"core"},
    "upkeep": {"core", "ssh", "qemu", "params"},
    "states": {"core", "ssh", "qemu", "params", "upkeep"},
    "graph": {"core", "ssh", "qemu", "params", "upkeep", "states"},
    "plugins": {"core", "ssh", "qemu", "params", "upkeep", "states", "graph"},
}
#: The hooks around a VM test, one module for each of its concerns.
VT = ("plugins.vt", "plugins.vt_images", "plugins.vt_machines")
#: Who may import foreign packages. The longest name that fits counts.
FOREIGN = {
    "avocado": ("plugins", "graph.run"),
    # the documented policies promise TestError and TestAbortError
    "avocado.core.exceptions": ("plugins", "graph.run", "states.setup", "states.policies"),
    "virttest": ("states", "params", "graph", *VT),
    "avocado_vt": (*VT, "graph.resolve"),
    "aexpect": ("ssh",),
    "rich": ("plugins",),
    "blake3": ("core",),
    "filelock": ("core",),
}


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return a module's name inside the package, without ``__init__``."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path, source: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield line and full name of all that a module imports, inside functions as well."""
    package = [PACKAGE, *path.relative_to(HOUSE).parent.parts]
    for node in ast.walk(ast.parse(source if source is not None else path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def inside(name: str, area: str) -> bool:
    return name == area or name.startswith(f"{area}.")


def breach(module: str, imported: str) -> str:
    """Return what is wrong with a module importing something, or nothing."""
    part = module.partition(".")[0]
    if inside(imported, PACKAGE):
        other = imported.removeprefix(PACKAGE).lstrip(".").partition(".")[0]
        if not part or other in ("", part, *MAY[part]):
            return ""
        return f"{part} may not know {other}"
    if imported.partition(".")[0] in sys.stdlib_module_names:
        return ""
    fits = [name for name in FOREIGN if inside(imported, name)]
    if not fits:
        return f"{imported} is no dependency"
    allowed = FOREIGN[max(fits, key=len)]
    return "" if any(inside(module, area) for area in allowed) else f"only {allowed} may import it"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_down_only(path):
    found = [
        f"{path}:{line}: {imported}: {problem}"
        for line, imported in imports(path)
        if (problem := breach(name_of(path), imported))
    ]
    assert found == []


def test_every_part_of_the_house_has_its_layer():
    parts = {name_of(path).partition(".")[0] for path in modules()} - {""}
    assert parts <= set(MAY) and "core" in parts


@pytest.mark.parametrize(
    ("module", "line", "good"),
    [
        ("core.store", "import os", True),
        ("core.store", "from blake3 import blake3", True),
        ("core.store", "from avocado_pool_plugin.core import digest", True),
        ("core.store", "from . import digest", True),
        ("core.store", "from avocado_pool_plugin import qemu", False),
        ("core.store", "import avocado_pool_plugin.qemu", False),
        ("core.store", "from .. import qemu", False),
        ("core.store", "from ..states import pool", False),
        ("core.store", "def f():\n    import requests", False),
        ("core.store", "import avocado", False),
        ("core.store", "from virttest import storage", False),
        ("core.store", "import aexpect", False),
        ("qemu", "from avocado_pool_plugin import params", False),
        ("params", "from virttest import storage", True),
        ("ssh.session", "import aexpect", True),
        ("states.pool", "import aexpect", False),
        ("states.pool", "from virttest import storage", True),
        ("states.pool", "from avocado.core.exceptions import TestError", False),
        ("states.setup", "from avocado.core.exceptions import TestError", True),
        ("states.setup", "from avocado.core import exceptions", True),
        ("states.setup", "from avocado.core import job", False),
        ("states.pool", "from avocado_pool_plugin.graph import plan", False),
        ("graph.plan", "from avocado.core import nrunner", False),
        ("graph.run", "from avocado.core import nrunner", True),
        ("graph.run", "from avocado_pool_plugin.plugins import vt", False),
        ("plugins.cli", "from avocado.core.plugin_interfaces import CLI", True),
        ("plugins.cli", "import virttest", False),
        ("plugins.vt", "import virttest", True),
    ],
)
def test_this_test_knows_a_breach_when_it_sees_one(module, line, good):
    path = HOUSE.joinpath(*module.split(".")).with_suffix(".py")
    found = [breach(module, imported) for _, imported in imports(path, line)]
    assert (not any(found)) == good
