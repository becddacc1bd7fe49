"""Many at once: with locks work is saved, without them nothing is corrupted."""

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core import knowledge, locks
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.policy import Policy
from tests.support import stubbed
from tests.support.states import OWN, get, leftovers, made, other, put, show, trash
from tests.support.together import together
from tests.support.vms import Lab, backing, holds, sound, tool, write

pytestmark = pytest.mark.stress
WORKERS = 8
KINDS = ("locks", "no locks")


@pytest.fixture(params=KINDS)
def locking(request, monkeypatch):
    if request.param == "no locks":
        monkeypatch.setattr(locks, "skip", lambda: True)
    return request.param


def true_to_records(lab, *names):
    for name in names:
        for path in (lab.state(name), lab.shared(name)):
            if path.exists():
                assert knowledge.identify(str(path), Policy(verify="always")) is not None
                sound(path)


def test_eight_processes_get_one_chain_into_one_cache(lab, locking):
    lab.make_image(size="64M")
    for number, name in enumerate("abc"):
        write(lab.image(), 1 + number, f"{8 * number}M", "4M")
        put(lab, name)
    far = other(lab)

    def work(number):
        own = Lab(far.root, "states")
        own.pool, own.images = far.pool, far.root / f"images{number}"
        own.images.mkdir()
        get(own, "c")
        assert all(holds(own.image(), 1 + n, f"{8 * n}M", "4M") for n in range(3))

    said = together([lambda n=n: work(n) for n in range(WORKERS)])
    assert said == [""] * WORKERS
    true_to_records(far, "a", "b", "c")
    assert leftovers(far.root) == []
    if locking == "locks" and stubbed.exclude():
        assert trash(far.state("a").parent) == [], "one download serves all who wait"


def test_eight_caches_get_one_chain(lab, locking):
    made(lab, "a", "b", "c")
    workers = [other(lab, f"worker{n}") for n in range(WORKERS)]
    assert together([lambda w=w: get(w, "c") for w in workers]) == [""] * WORKERS
    for worker in workers:
        assert all(holds(worker.image(), 1 + n, f"{n}M") for n in range(3))


def test_two_set_one_state_with_different_content(lab, locking):
    """Of one variant, from images of their own; afterwards one of both is complete."""
    made(lab, "base")
    for round_number in range(4):
        vms = {f"vm{n}": 10 * round_number + n for n in (2, 3)}
        for vm, pattern in vms.items():
            get(lab, "base", vms=vm, object_id="vm1")
            write(lab.image(vm), pattern, "1M")
        said = together([lambda vm=vm: put(lab, "s", vms=vm, object_id="vm1") for vm in vms])
        for text in said:
            assert text == "" or "StateNeeded" in text or "ChainBroken" in text, text
        true_to_records(lab, "base", "s")
        assert backing(lab.state("s")) == "base.qcow2"
        assert any(holds(lab.state("s"), pattern, "1M") for pattern in vms.values())
        assert any(holds(lab.shared("s"), pattern, "1M") for pattern in vms.values())
        for vm, pattern in vms.items():
            sound(lab.image(vm))
            lost = not any(holds(lab.image(vm), other_, "1M") for other_ in vms.values())
            assert not lost, f"{vm} of {pattern}"
            lab.image(vm).unlink()
        get(lab, "s")
        assert any(holds(lab.image(), pattern, "1M") for pattern in vms.values())
        lab.image().unlink()  # or it would stand on the state and keep it from being replaced
    assert [name for name in leftovers(lab.root) if name.endswith(".json")] == []


def test_two_caches_publish_different_content(lab, locking):
    made(lab, "base")
    workers = [other(lab, f"worker{n}") for n in (2, 3)]
    for number, worker in enumerate(workers):
        get(worker, "base")
        write(worker.image(), 40 + number, "1M")
    assert together([lambda w=w: put(w, "s") for w in workers]) == ["", ""]
    true_to_records(lab, "s")
    assert sum(holds(lab.shared("s"), 40 + number, "1M") for number in (0, 1)) == 1
    fresh = other(lab, "fresh")
    get(fresh, "s")
    assert any(holds(fresh.image(), 40 + number, "1M") for number in (0, 1))


def test_readers_while_a_chain_is_replaced(lab, locking):
    """Each gets the old or the new chain, never a mix, or is told to try again."""
    made(lab, "a", "b")
    again = other(lab, "again")
    readers = [other(lab, f"reader{n}") for n in range(4)]

    def replace():
        for number in range(3):
            again.image().unlink(missing_ok=True)
            made(again, "a", "b", first=100 + 10 * number, set_cascade="yes")

    def read(worker):
        for _ in range(4):
            try:
                get(worker, "b", get_cascade="yes")
            except (PoolError, exceptions.TestAbortError):
                continue  # replaced while it was fetched, or gone between its parent and itself
            first = next(n for n in (1, 100, 110, 120) if holds(worker.image(), n))
            assert holds(worker.image(), first + 1, "1M"), "parent and child belong together"

    said = together([replace, *(lambda r=r: read(r) for r in readers)])
    assert said == [""] * 5
    get(other(lab, "last"), "b")


def test_two_bring_in_one_base(lab, locking):
    """Several images of a variant on one golden image, set for the first time at once."""
    base = lab.root / "golden.raw"
    tool("qemu-img", "create", "-q", "-f", "raw", base, "8M")
    tool("qemu-io", "-f", "raw", "-c", "write -P 7 0 4M", base)
    vms = [f"vm{n}" for n in range(2, 6)]
    for number, vm in enumerate(vms):
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", lab.image(vm))
        write(lab.image(vm), 50 + number, "4M")
    work = [lambda vm=vm: put(lab, f"of-{vm}", vms=vm, object_id="vm1") for vm in vms]
    said = together(work)
    assert said == [""] * len(vms), "".join(said)
    names = show(lab, **OWN)
    assert len([name for name in names if name.startswith("base-")]) == 1
    for number, vm in enumerate(vms):
        get(lab, f"of-{vm}")
        assert holds(lab.image(), 7, "0", "4M") and holds(lab.image(), 50 + number, "4M")
