"""Chains of states in a cache, moved between it and another host as a user's test does it."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.far.place import LABEL
from benchmarks.lab import MIB, Lab, tool
from benchmarks.measure import Samples, sync
from tests.support.sshd import ADDRESS, Sshd

KIB = 1 << 10


@dataclass(frozen=True)
class Chain:
    """
    States of one image, each with random data of its own.

    :param lab: where they are
    :param names: base first
    """

    lab: Lab
    names: tuple[str, ...]

    @classmethod
    def make(cls, root: Path, sizes: Sequence[int]) -> "Chain":
        """
        Make states by our own sets, in the cache only.

        :param sizes: bytes of data in each, multiples of 512
        """
        lab = Lab(root)
        lab.image.parent.mkdir(parents=True)
        tool("qemu-img", "create", "-q", "-f", "qcow2", lab.image, "4G")
        found = cls(lab, tuple(f"state{number}" for number in range(len(sizes))))
        for name, at, size in zip(found.names, range(0, 4096, 256), sizes, strict=False):
            write(lab.image, [(at * MIB, size)])
            found.save(name)
        return found

    def save(self, name: str) -> None:
        """Make a state of the working image."""
        from avocado_pool_plugin.states import setup

        setup.set_states(self.lab.params(set_state_images=name, pool_scope="own"))

    @property
    def state(self) -> str:
        """The last one, which stands on all others."""
        return self.names[-1]

    @property
    def pool(self) -> Path:
        """Where the host has it, unless another directory is named."""
        return self.lab.pool

    def files(self, root: Path) -> list[Path]:
        """Return the files in a cache or pool, base first."""
        return [root / "vm1" / "image1" / f"{name}.qcow2" for name in self.names]

    def move(self, server: Sshd, pool: Path, cache: Path | None = None, port: int = 0) -> "Move":
        """
        Return the transports between a cache and a pool on a host.

        :param cache: its own one if None
        :param port: where the host is reached, if not where it listens
        """
        told = {f"nets_shell_port_{LABEL}": str(port)} if port else {}
        return Move(
            self.state,
            self.lab.params(
                **{**server.params(LABEL), **told},
                object_type="vms/images",
                swarm_pool=str(cache or self.lab.cache),
                get_state=self.state,
                set_state=self.state,
                get_location=f"{LABEL}:{pool}",
                set_location=f"{LABEL}:{pool}",
            ),
        )


@dataclass(frozen=True)
class Move:
    """Transports of a chain, as a get or set of a user's test does them."""

    state: str
    params: Any

    def hasty(self) -> "Move":
        """Return the same without fsync at either end."""
        params = self.params.copy()
        params["pool_fsync"] = "no"
        return Move(self.state, params)

    def fetch(self) -> None:
        """From the host to the cache."""
        from avocado_pool_plugin.states import telling
        from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

        with telling.one_operation():
            QCOW2ImageTransfer.get(self.params)

    def publish(self) -> None:
        """From the cache to the host."""
        from avocado_pool_plugin.states import telling
        from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

        with telling.one_operation():
            QCOW2ImageTransfer.set(self.params)

    def again(self) -> None:
        """Compare the chain, then fetch what differs: nothing does."""
        from avocado_pool_plugin.states import telling
        from avocado_pool_plugin.states.transfer import QCOW2ImageTransfer

        cache, location = self.params["swarm_pool"], self.params["get_location"]
        with telling.one_operation():
            assert QCOW2ImageTransfer.compare_chain(self.state, cache, location, self.params)
            QCOW2ImageTransfer.transfer_chain(self.state, cache, location, self.params)

    def log_in(self) -> None:
        """Have a session with a shell and a program for content at work."""
        from avocado_pool_plugin.states.ops import TransferOps

        session = TransferOps.get_session(LABEL, self.params.object_params(LABEL))
        with session.shell(), session.bulk():
            pass


def log_out() -> None:
    """End all our sessions."""
    from avocado_pool_plugin.ssh import session

    session.close_all()


def write(image: Path, spots: Sequence[tuple[int, int]]) -> None:
    """Write random data to places of an image, each given by its offset and size in bytes."""
    command = ["qemu-io", "-f", "qcow2"]
    made = []
    for number, (at, size) in enumerate(spots):
        data = image.with_suffix(f".data{number}")
        data.write_bytes(os.urandom(size))
        command += ["-c", f"write -q -s {data} {at} {size}"]
        made.append(data)
    tool(*command, image)
    for data in made:
        data.unlink()


class Copy:
    """
    A program that copies files, and is not done before they are on the disk.

    :param command: the program and its arguments
    :param target: directory that the files go to
    :ivar hasty: what each run took without the wait for the disk
    """

    def __init__(self, command: Sequence[object], target: Path) -> None:
        self.command, self.target = command, target
        self._seconds: list[float] = []

    def run(self) -> float:
        """Return the seconds with the wait for the disk."""
        begin = time.perf_counter()
        tool(*self.command)
        self._seconds.append(time.perf_counter() - begin)
        sync(*self.target.iterdir(), self.target)
        return time.perf_counter() - begin

    @property
    def hasty(self) -> Samples:
        """What the counted runs took without the wait for the disk."""
        return Samples(self._seconds[1:])


def copies(
    server: Sshd,
    sources: Sequence[Path],
    target: Path,
    *,
    down: bool = False,
    port: int = 0,
    how: str = "-a",
) -> dict[str, Copy]:
    """
    Return scp and rsync for some files, each with one login of its own.

    :param sources: for a download all files of their kind in their directory
    :param target: directory on the other side
    :param port: where the host is reached, if not where it listens
    :param how: options of rsync
    """
    config = server.client_config("copies", StrictHostKeyChecking="accept-new")
    port = port or server.port
    old, new = [str(path) for path in sources], f"{ADDRESS}:{target}/"
    if down:
        # several words would be as many logins for scp
        pattern = sources[0].with_name(f"*{sources[0].suffix}")
        assert {*pattern.parent.glob(pattern.name)} == {*sources}
        old, new = [f"{ADDRESS}:{pattern}"], f"{target}/"
    shell = f"ssh -F {config} -p {port}"
    return {
        "scp": Copy(["scp", "-q", "-F", config, "-P", port, *old, new], target),
        "rsync": Copy(["rsync", how, "-e", shell, *old, new], target),
    }
