"""Operations of users on small caches and pools, to be hurt at any of their calls."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.states import exchange
from avocado_pool_plugin.upkeep.gc import act
from avocado_pool_plugin.upkeep.here import LocalSite
from tests.support import checking
from tests.support.ages import all_aged
from tests.support.places import local_store
from tests.support.states import OWN, SHARED, get, made, other, put, unset
from tests.support.vms import Lab, tool, write

SYNC = {"pool_fsync": "yes"}
#: What the guest wrote: before, and what is to be saved.
OLD, NEW = 20, 30


@dataclass(frozen=True)
class Scene:
    """
    How things are before, and what is done then.

    :param name: what is done, for the table
    :param make: makes everything below a lab's directory
    :param work: what is hurt
    :param ready: what has to be done again when all of it was copied to its place
    :param exact: files are what they were only if each byte is, not just what guests see
    """

    name: str
    make: Callable[[Lab], object]
    work: Callable[[Lab], object]
    ready: Callable[[Lab], object] = lambda _: None
    exact: bool = False


def known(directory: Path) -> None:
    """Find out anew what is known of states that were copied to here."""
    for path in [*directory.rglob("*.qcow2"), *directory.rglob("*.state")]:
        if META not in path.parts:
            knowledge.identify(str(path), Policy())


# -- before -----------------------------------------------------------------------------------


def _chain(lab: Lab) -> None:
    """``base`` and ``mid`` of 3 MiB and ``s`` in the cache, nothing in the pool."""
    made(lab, "base", **OWN)
    write(lab.image(), 5, "1M", "3M")
    put(lab, "mid", **OWN)
    write(lab.image(), OLD, "1M")
    put(lab, "s", **OWN)


def _published(lab: Lab) -> None:
    """The same in the pool, and the cache is empty."""
    _chain(lab)
    _publish(lab)
    shutil.rmtree(lab.cache)
    lab.image().unlink()


def _two_versions(lab: Lab) -> None:
    """Another worker has made the state anew, and both are in the pool's past and present."""
    _chain(lab)
    _publish(lab)
    far = other(lab)
    get(far, "mid")
    write(far.image(), NEW, "1M")
    put(far, "s")


def _idle(lab: Lab) -> None:
    """All is in the pool as well, and nobody works on the cache's states."""
    _chain(lab)
    _publish(lab)
    lab.image().unlink()


def _newer_here(lab: Lab) -> None:
    """The state in the cache is newer than the pool's."""
    _chain(lab)
    _publish(lab)
    get(lab, "mid", **OWN)
    write(lab.image(), NEW, "1M")
    put(lab, "s", **OWN)


def _to_be_set(lab: Lab) -> None:
    """There is an ``s``, and the image stands on the state before it."""
    _chain(lab)
    _publish(lab)
    get(lab, "mid", **OWN)
    write(lab.image(), NEW, "1M")


def _to_be_refined(lab: Lab) -> None:
    """The image stands on the ``s`` that is there."""
    _chain(lab)
    _publish(lab)
    write(lab.image(), NEW, "1M")


def _just_got(lab: Lab) -> None:
    """The image stands on ``s``, and nothing was written since."""
    _chain(lab)
    _publish(lab)
    get(lab, "s", **OWN)


def _on_golden(lab: Lab) -> None:
    """No state yet; the image stands on a base image outside."""
    base = lab.root / "golden.raw"
    tool("qemu-img", "create", "-q", "-f", "raw", base, "8M")
    tool("qemu-io", "-f", "raw", "-c", "write -P 1 0 64k", base)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", lab.image())
    write(lab.image(), NEW, "1M")


def _vm_state(lab: Lab) -> None:
    """A vm state ``s`` of two images and a RAM file of 2 MiB in the cache."""
    for image in ("image1", "image2"):
        files = lab.root / f"made-{image}"
        made_lab = Lab(files)
        made(made_lab, "base", "s", first=3, **OWN)
        known(files)
        target = lab.cache / "vm1" / image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made_lab.cache / "vm1" / "image1", target)
        shutil.rmtree(files)
    known(lab.root)
    checking.put_ram(lab.cache / "vm1" / "s.state", os.urandom(2 << 20), "image1", "image2")


def _shared_vm_state(lab: Lab) -> None:
    _vm_state(lab)
    _publish_vm(lab)
    shutil.rmtree(lab.cache)


def _damaged(lab: Lab) -> None:
    """A pool with a mirror; a state, the one below it and a RAM file are corrupt."""
    _vm_state(lab)
    _publish_vm(lab)
    checking.copied(lab.pool, lab.root / "mirror")


def _damage(lab: Lab) -> None:
    """Known before, as the damage itself is done anew each time."""
    for name in ("image1/base.qcow2", "image1/s.qcow2", "s.state"):
        path = lab.pool / "vm1" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        checking.write(path, bytes(data))


# -- what is done -------------------------------------------------------------------------------

_TOP = State("vm1", "image1", "s")
_VM = State("vm1", None, "s")


def _options(lab: Lab) -> dict[str, str]:
    return dict(lab.params(images="image1 image2", **SYNC))


def _publish(lab: Lab, wanted: State = _TOP) -> None:
    for problem in exchange.publish(wanted, _options(lab)).problems:
        raise problem


def _fetch(lab: Lab) -> None:
    exchange.fetch(_TOP, _options(lab))


def _publish_vm(lab: Lab) -> None:
    _publish(lab, _VM)


def _fetch_vm(lab: Lab) -> None:
    exchange.fetch(_VM, _options(lab))


def _collect(lab: Lab) -> None:
    site = LocalSite(Location(str(lab.cache)), local_store())
    with act.alone(site):
        act.collect(site, act.decide(site, 1))


def _repair(lab: Lab) -> None:
    careful = [checking.replace(one, fsync=True) for one in (checking.POLICY, checking.ALWAYS)]
    pool, always = (checking.site_of(lab.pool, policy=policy) for policy in careful)
    mirrors = checking.Mirrors([checking.site_of(lab.root / "mirror", policy=careful[1])])
    report = checking.Check(pool, always, str(lab.cache), checking.ALL, mirrors).run()
    refused = [finding for finding in report.findings if finding.done != "repaired"]
    if refused:
        raise PoolError(f"not repaired: {refused}")


def _old(lab: Lab) -> None:
    """Nobody asks for the cache's states any more."""
    all_aged(lab.cache)


SCENES = [
    Scene("publish of a chain", _chain, _publish),
    Scene("publish of a newer version", _newer_here, _publish),
    Scene("fetch of a chain", _published, _fetch),
    Scene("fetch of a newer version", _two_versions, _fetch),
    Scene("get, newer in the pool", _two_versions, lambda lab: get(lab, "s", **SYNC)),
    Scene("first set of an image", _on_golden, lambda lab: put(lab, "s", **SYNC)),
    Scene("set, replacing a state", _to_be_set, lambda lab: put(lab, "s", **SYNC)),
    Scene("set on the state itself", _to_be_refined, lambda lab: put(lab, "s", **SYNC)),
    Scene("unset, the image is it", _just_got, lambda lab: unset(lab, "s", **OWN, **SYNC)),
    Scene("unset, the image goes on", _to_be_refined, lambda lab: unset(lab, "s", **OWN, **SYNC)),
    Scene("unset in cache and pool", _to_be_set, lambda lab: unset(lab, "s", **SYNC)),
    Scene("unset in the pool", _to_be_set, lambda lab: unset(lab, "s", **SHARED, **SYNC)),
    Scene("publish of a vm state", _vm_state, _publish_vm),
    Scene("fetch of a vm state", _shared_vm_state, _fetch_vm),
    Scene("gc of a cache", _idle, _collect, _old),
    Scene("verify --repair", _damaged, _repair, _damage, exact=True),
]
