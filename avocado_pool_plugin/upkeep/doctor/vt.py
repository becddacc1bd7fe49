"""Avocado-VT and what it needs of this host: pitfalls that cost hours."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from avocado_pool_plugin.upkeep.doctor.finding import BAD, NOTE, OK, WARN, Finding

#: Where findings about it belong.
PLACE = "Avocado-VT"
_PACKAGE = "avocado-framework-plugin-pool"
_SETUPTOOLS = "setuptools"
#: What vms can't run without, or not well: program, what for, how to get it.
_PROGRAMS = (
    ("nc", "the serial console of a vm", "install netcat-openbsd"),
    ("tcpdump", "every test, which looks for addresses of vms", "install tcpdump"),
    ("ip", "networks of vms", "install iproute2"),
    ("arping", "addresses of vms on bridges", "install arping or iputils-arping"),
    ("ssh", "pools on other hosts", "install openssh-client"),
)
#: Of these, what only some tests need.
_SOME = ("arping", "ip")
#: A requirement: name, and what is said of its version.
_REQUIRED = re.compile(r"([\w.-]+)\s*((?:[<>=!~]=?[\d.]+,?)*)\s*(;.*)?")
_NUMBER = re.compile(r"(>=|<)([\d.]+)")
_KEPT = re.compile(r"^\s*remove_image(_\w+)?\s*=\s*no\b", re.MULTILINE)


@dataclass(frozen=True)
class Facts:
    """
    How Avocado is configured.

    :param data: Avocado-VT's data directory
    :param tmp_dir: ``vt.common.tmp_dir``
    :param spawner: what starts tests
    :param vt_config: a Cartesian configuration that is named in the settings, empty for none
    """

    data: str
    tmp_dir: str = ""
    spawner: str = "process"
    vt_config: str = ""


def programs() -> Iterator[Finding]:
    """Look for the programs that Avocado-VT starts."""
    for name, purpose, advice in _PROGRAMS:
        found = shutil.which(name)
        if found is None:
            level = NOTE if name in _SOME else WARN
            yield Finding(PLACE, name, level, f"missing; needed for {purpose}", advice)
        elif name == "nc" and not _reads_sockets(found):
            told = f"{found} does not know -U, so the serial console of a vm can't be read"
            yield Finding(PLACE, name, WARN, told, advice)
        else:
            yield Finding(PLACE, name, OK, found)
    shell = os.path.realpath("/bin/sh")
    if os.path.basename(shell) == "dash":
        found = "/bin/sh is dash, whose echo knows no -e: 10 s are lost at each start of a vm"
        advice = (
            "set qemu_binary to a script that takes '-e ' off what it reads with '-monitor stdio' "
            "(examples/suite/bin/qemu-vt), or make /bin/sh another shell"
        )
        yield Finding(PLACE, "/bin/sh", NOTE, found, advice)


def _reads_sockets(program: str) -> bool:
    """Tell whether a netcat can talk to sockets of this host's file system."""
    try:
        told = subprocess.run(
            [program, "-h"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(re.search(r"-U\b|-\w*U|unixsock", told.stdout + told.stderr))


def settings(facts: Facts) -> Iterator[Finding]:
    """Look at Avocado's settings and at what Avocado-VT was set up with."""
    downloads = os.path.join(facts.data, "virttest", "test-providers.d", "downloads")
    if os.path.isdir(downloads) and os.listdir(downloads):
        yield Finding(PLACE, "vt-bootstrap", OK, f"done in {facts.data}")
    else:
        found = f"not done: nothing in {downloads}"
        advice = (
            "run 'avocado vt-bootstrap'; data_dir has to be set in avocado.conf, not by --config"
        )
        yield Finding(PLACE, "vt-bootstrap", WARN, found, advice)
    yield from _remove_image(facts)
    if facts.tmp_dir:
        found = f"vt.common.tmp_dir = {facts.tmp_dir}: tests that run together share an environment"
        advice = "leave it empty, else the second test waits for the vm of the first"
        yield Finding(PLACE, "tmp_dir", WARN, found, advice)
    if facts.spawner != "process":
        found = f"tests are started by spawner {facts.spawner!r}"
        advice = "the cache and the images have to be at the same paths where it starts them"
        yield Finding(PLACE, "spawner", NOTE, found, advice)


def _remove_image(facts: Facts) -> Iterator[Finding]:
    configs = [os.path.join(facts.data, "backends", "qemu", "cfg", "base.cfg")]
    if facts.vt_config:
        configs.insert(0, facts.vt_config)
    for path in configs:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                kept = _KEPT.search(file.read())
        except OSError:
            continue
        if kept:
            yield Finding(PLACE, "remove_image", OK, f"'{kept[0].strip()}' in {path}")
            return
    found = "yes, if a test's configuration does not say otherwise: images go after the test"
    advice = (
        "put 'remove_image = no' into the Cartesian configuration; images to be set stay anyway"
    )
    yield Finding(PLACE, "remove_image", NOTE, found, advice)


def versions() -> Iterator[Finding]:
    """Compare the packages that are installed with those that are needed."""
    for requirement in (*(metadata.requires(_PACKAGE) or ()), _SETUPTOOLS):
        match = _REQUIRED.fullmatch(requirement)
        if match is None or match[3]:
            continue  # needed for tests of this package only
        name, wanted = match[1], match[2]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if name != _SETUPTOOLS:
                yield Finding(PLACE, name, BAD, "not installed", f"pip install '{name}{wanted}'")
            continue
        if all(_fits(version, how, number) for how, number in _NUMBER.findall(wanted)):
            yield Finding(PLACE, name, OK, version)
        else:
            advice = f"pip install '{name}{wanted}'"
            yield Finding(PLACE, name, BAD, f"{version}, expected {wanted}", advice)
    if importlib.util.find_spec("pkg_resources") is None:
        found = "missing, and Avocado 113 imports it"
        yield Finding(PLACE, "pkg_resources", BAD, found, "pip install 'setuptools<81'")


def _fits(version: str, how: str, wanted: str) -> bool:
    mine, other = (_numbers(text) for text in (version, wanted))
    return mine >= other if how == ">=" else mine < other


def _numbers(version: str) -> list[int]:
    return [int(text) for text in [*re.findall(r"\d+", version), "0", "0", "0"][:3]]
