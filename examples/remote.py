#!/usr/bin/env python3
"""
Share states through a pool on another host, reached by SSH.

The host is made for the occasion: a network namespace with an address, an ssh server and a /srv of
its own. A first worker makes a state and publishes it there; a second one, with an empty cache in
another place, starts from it. One finds the host by OpenSSH's configuration, the other by test
params. Needs root; begins anew each time; leaves the caches and the host's /srv to be looked at.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from configure import BUILD, Environment, configure, kvm_works
from lab.host import HostMissing, LabHost
from run import pool_run, states

#: The pool: a directory on the host called lab.
POOL = "lab:/srv/states"


def worker(directory: Path, **options: str) -> Environment:
    """
    Return a new worker that has nothing yet, not even a state.

    :param options: further ones of section ``[pool]``
    """
    shutil.rmtree(directory, ignore_errors=True)
    return configure(
        Environment(
            venv=directory / "venv",
            data=directory / "avocado",
            pool=POOL,
            cache=directory / "cache",
            pool_options=options,
        )
    )


def exchanges(env: Environment) -> Iterator[str]:
    """Yield a line for each file that the latest job brought to the pool or fetched from it."""
    for file in sorted((env.results / "latest").glob("test-results/*/pool-states.jsonl")):
        for event in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            if event.get("verb") in ("published", "fetched"):
                size = f"{event['bytes'] / 2**20:.1f} MiB in {event['seconds']:.2f} s"
                yield f"{event['verb']} {event['where']}: {size}"


def show(*texts: str) -> None:
    """Print lines, set apart."""
    for text in texts:
        for line in text.splitlines():
            print(f"    {line}".rstrip(), flush=True)


def first_worker(build: Path, host: LabHost) -> bool:
    """Make and publish a state; return whether that went well."""
    config = host.keys / "ssh_config"
    env = worker(build / "first-worker", ssh_config=str(config), ssh_host_keys="strict")
    settings = env.venv / "etc" / "avocado" / "avocado.conf"
    print(f"\na worker that finds the host by ssh's configuration, {os.path.relpath(settings)}:")
    show("[pool]" + settings.read_text(encoding="utf-8").partition("[pool]")[2])
    print(f"{os.path.relpath(config)}:")
    show(host.write("ssh_config", config))
    passed = pool_run(env, "only=install")
    show(*exchanges(env))
    return passed


def second_worker(build: Path, host: LabHost) -> bool:
    """Start from that state elsewhere; return whether that went well."""
    env = worker(build / "elsewhere" / "second-worker")
    config = env.vt_config.with_name("lab.cfg")
    print(f"\na worker with an empty cache that finds it by params, {os.path.relpath(config)}:")
    show(host.write("lab.cfg", config))
    passed = pool_run(env, "only=install,plain", config=config)
    show(*exchanges(env))
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument(
        "--build", type=Path, default=BUILD / "remote", metavar="DIR", help="where all of it is"
    )
    build = parser.parse_args().build.absolute()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    started = time.monotonic()
    try:
        with LabHost(build / "lab") as host:
            print(f"host lab: {host.address}, network namespace {host.name}", flush=True)
            print(f"accelerator: {'KVM' if kvm_works() else 'TCG, KVM does not work here'}")
            if not (first_worker(build, host) and second_worker(build, host)):
                return 1
    except (HostMissing, ValueError) as error:
        sys.exit(f"remote: {error}")
    except KeyboardInterrupt:
        print("remote: interrupted; the host is gone", file=sys.stderr)
        return 130
    print(f"\n{time.monotonic() - started:.0f} s in all. The host is gone. Its states:")
    show(*states(host.srv / "states"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
