#!/usr/bin/env python3
"""
Make an environment in which ``avocado run`` finds the example suite and a pool.

Avocado reads ``$VIRTUAL_ENV/etc/avocado/avocado.conf``. That directory need not be the virtual
environment whose programs are run: with ``VIRTUAL_ENV`` set to any other directory prepared here,
and PATH left as it is, the same programs work with other data, another cache, another pool.

All paths of the machine are written below the directories given; the suite itself has none.
"""

import argparse
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
CHECKOUT = EXAMPLES.parent
BUILD = CHECKOUT / ".build"
SUITE = EXAMPLES / "suite"
GUEST = BUILD / "guest"
PROVIDER_NAME = "pool_example"
PROBE_SECONDS = 1.0


@dataclass(frozen=True)
class Environment:
    """Where one Avocado installation has its settings, data and states."""

    #: gets ``etc/avocado/avocado.conf``; the value VIRTUAL_ENV has to have
    venv: Path
    #: Avocado's data, job results, working images and Cartesian configs
    data: Path
    #: the shared pool: a directory, or a location as the plugin understands it
    pool: Path | str
    #: the local cache of states
    cache: Path
    #: directory with ``vmlinuz``, ``initrd.gz`` and ``base.qcow2``
    guest: Path = GUEST
    #: directory with ``qemu/tests/*.py``
    provider: Path = SUITE
    #: directory with the Cartesian configs, among them ``tests.cfg`` and ``subtests.cfg``
    configs: Path = SUITE / "cfg"
    #: further options of the section ``[pool]``
    pool_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def vt_config(self) -> Path:
        """The file to hand to ``avocado run --vt-config``."""
        return self.data / "cfg" / "tests.cfg"

    @property
    def results(self) -> Path:
        """Where Avocado keeps the results of its jobs."""
        return self.data / "results"

    @property
    def images(self) -> Path:
        """Where the working images of the virtual machines are while a test runs."""
        return self.data / "avocado-vt" / "images"

    def variables(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """
        Environment variables under which Avocado's programs use this environment.

        :param base: what to start from, ``os.environ`` by default
        """
        variables = dict(os.environ if base is None else base)
        programs = str(Path(sys.executable).parent)
        variables["VIRTUAL_ENV"] = str(self.venv)
        variables["PATH"] = os.pathsep.join(
            (programs, variables.get("PATH", os.defpath), "/usr/sbin", "/sbin")
        )
        variables.pop("PYTHONHOME", None)
        return variables


@functools.cache
def kvm_works(accelerator: str = "kvm") -> bool:
    """
    Whether a virtual machine really runs with KVM here.

    A device ``/dev/kvm`` proves little: nested virtualization may be missing or broken. A QEMU
    whose virtual CPU still runs after a moment in its firmware is taken for a working one.
    """
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        return False
    command = [qemu, "-accel", accelerator, "-cpu", "max", "-m", "64", "-display", "none"]
    command += ["-nodefaults", "-no-user-config", "-qmp", "stdio"]
    dialog = [{"execute": name} for name in ("qmp_capabilities", "query-status", "quit")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            process.wait(PROBE_SECONDS)
            return False
        except subprocess.TimeoutExpired:
            pass
        try:
            answers, _ = process.communicate("\n".join(map(json.dumps, dialog)), timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            return False
    return '"status": "running"' in answers


def configure(environment: Environment) -> Environment:
    """
    Write all files the environment needs, over those of an earlier call.

    States, results and working images that are there already stay.

    :return: the environment with all its paths absolute
    :raise ValueError: if Avocado-VT could not work with one of the paths
    """
    env = _absolute(environment)
    for path in (SUITE, env.data, env.guest, env.provider):
        if any(character.isspace() for character in str(path)):
            raise ValueError(f"Avocado-VT does not quote paths, this one has a blank: '{path}'")
    for directory in (env.cache, env.results, env.images):
        directory.mkdir(parents=True, exist_ok=True)
    if isinstance(env.pool, Path):
        env.pool.mkdir(parents=True, exist_ok=True)

    _write(env.venv / "etc" / "avocado" / "avocado.conf", _avocado_conf(env))

    providers = env.data / "avocado-vt" / "virttest" / "test-providers.d"
    provider = f"[provider]\nuri: file://{env.provider}\n[qemu]\nsubdir: qemu/\n"
    _write(providers / f"{PROVIDER_NAME}.ini", provider)
    # Avocado-VT takes an empty directory for an installation that was never set up
    _write(providers / "downloads" / "README", "The suite is not downloaded, see the file above.\n")

    # a config's includes are looked up beside it, so the suite's files join paths.cfg
    for source in sorted(env.configs.glob("*.cfg")):
        _link(env.vt_config.parent / source.name, source)
    _write(env.vt_config.parent / "paths.cfg", _paths_cfg(env))
    return env


def stop_machines(environment: Environment) -> list[int]:
    """
    End the virtual machines that still run on the environment's working images.

    Avocado-VT leaves a machine running after its test unless ``kill_vm`` says otherwise.

    :return: ids of the processes that were ended
    """
    images = os.fsencode(environment.images.absolute()) + b"/"
    ended = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"qemu-system" in command.split(b"\0")[0] and images in command:
                os.kill(int(process.name), signal.SIGTERM)
                ended.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # gone by now, or another user's
    return ended


def _absolute(env: Environment) -> Environment:
    return Environment(
        venv=env.venv.absolute(),
        data=env.data.absolute(),
        pool=env.pool.absolute() if isinstance(env.pool, Path) else env.pool,
        cache=env.cache.absolute(),
        guest=env.guest.absolute(),
        provider=env.provider.absolute(),
        configs=env.configs.absolute(),
        pool_options=env.pool_options,
    )


def _avocado_conf(env: Environment) -> str:
    pool = {"shared_pool": str(env.pool), "swarm_pool": str(env.cache), **env.pool_options}
    sections = {
        "datadir.paths": {
            "base_dir": str(env.data),
            "data_dir": str(env.data),
            "logs_dir": str(env.results),
            "cache_dirs": repr([str(env.data / "cache")]),
        },
        "pool": pool,
    }
    lines = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items()), ""]
    return "\n".join(lines)


def _paths_cfg(env: Environment) -> str:
    kvm = kvm_works()
    values = {
        "qemu_binary": SUITE / "bin" / "qemu-vt",
        "qemu_img_binary": shutil.which("qemu-img") or "qemu-img",
        "qemu_io_binary": shutil.which("qemu-io") or "qemu-io",
        "kernel": env.guest / "vmlinuz",
        "initrd": env.guest / "initrd.gz",
        # Avocado-VT adds the extension
        "image_name_golden": env.guest / "base",
        "disable_kvm": "no" if kvm else "yes",
        "enable_kvm": "yes" if kvm else "no",
    }
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def default_environment(build: Path = BUILD) -> Environment:
    """
    The environment of ``make run``: all of it in the checkout, below ``.build/``.

    :param build: another directory, for a run apart from that one
    """
    return Environment(
        venv=CHECKOUT / ".venv" if build == BUILD else build / "venv",
        data=build / "avocado",
        pool=build / "pool",
        cache=build / "cache",
    )


def _parse(arguments: Sequence[str] | None) -> Environment:
    default = default_environment()
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    for name, what in (
        ("venv", "directory that gets etc/avocado/avocado.conf"),
        ("data", "Avocado's data, results and images"),
        ("cache", "cache of states"),
        ("guest", "directory with the guest's kernel, RAM disk and golden image"),
        ("provider", "directory with qemu/tests/*.py"),
        ("configs", "directory with tests.cfg, subtests.cfg and what they include"),
    ):
        parser.add_argument(
            f"--{name}", type=Path, metavar="DIR", default=getattr(default, name), help=what
        )
    parser.add_argument(
        "--pool", metavar="LOCATION", default=default.pool, help="a directory, or a pool location"
    )
    options = vars(parser.parse_args(arguments))
    if ":" not in str(options["pool"]):
        options["pool"] = Path(options["pool"])
    return Environment(**options)


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        env = configure(_parse(arguments))
    except ValueError as error:
        sys.exit(f"configure: {error}")
    print(f"VIRTUAL_ENV={env.venv} avocado run --vt-config {env.vt_config}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
