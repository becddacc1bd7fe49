"""Room is made while others get, fetch and set; and by itself before a fetch; and is cut off."""

import copy
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from avocado.core.exceptions import TestAbortError

from avocado_pool_plugin.core import chain, knowledge, pins, records
from avocado_pool_plugin.core.errors import PoolError, StateMissing
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.states import exchange
from avocado_pool_plugin.upkeep.gc import act, candidates, size
from avocado_pool_plugin.upkeep.here import LocalSite
from avocado_pool_plugin.upkeep.site import Site
from tests.support.ages import all_aged
from tests.support.cuts import Point, cut, points
from tests.support.images import chain as images
from tests.support.places import POLICY, Dir, digest_of, local_store, put_image
from tests.support.remote import server, servers_stopped
from tests.support.remote_labs import RemoteLab
from tests.support.sites import HERE, site
from tests.support.states import OWN, get, made, other, put
from tests.support.together import together
from tests.support.vms import Lab, holds, sound, write

CHAIN = ("a", "b", "c")
GETTERS, ROUNDS = 8, 3
#: Seconds that getters have.
PATIENCE = 90
BOTH = {"pool_scope": "own shared"}


def site_of(root: Path) -> LocalSite:
    return LocalSite(Location(str(root)), local_store())


def own(lab: Lab, number: int) -> Lab:
    """Return the same cache and pool with working images of its own."""
    found = copy.copy(lab)
    found.images = lab.root / f"images{number}"
    found.images.mkdir(exist_ok=True)
    return found


def collecting(where: Callable[[], Site], over: Path) -> Callable[[], None]:
    """Remove all that can go, again and again, new or not, until a file is there."""

    def work() -> None:
        candidates.GRACE = -1e12
        site, gone, began = where(), 0, time.monotonic()
        while not over.exists():
            assert time.monotonic() - began < PATIENCE
            with act.alone(site, 10):
                outcome = act.collect(site, act.decide(site, 1))
            gone += sum(step.kind == "state" for step in outcome.done)
            (over.parent / "removed").write_text(f"{gone}")

    return work


def removed(home: Path) -> int:
    """Return how many states went so far."""
    told = home / "removed"
    return int((told.exists() and told.read_text()) or 0)


def set_all(lab: Lab, vm: str, **scope: str) -> None:
    """Set the chain of a vm."""
    lab.make_image(vm)
    for index, state in enumerate(CHAIN):
        write(lab.image(vm), 1 + index, f"{index}M")
        put(lab, state, vms=vm, **scope)


def ending(works: list[Callable[[], None]], over: Path) -> list[Callable[[], None]]:
    """Return the same; the last one that ends makes a file."""

    def counted(number: int) -> Callable[[], None]:
        def work() -> None:
            try:
                works[number]()
            finally:
                (over.parent / f"end{number}").touch()
                if all((over.parent / f"end{n}").exists() for n in range(len(works))):
                    over.touch()

        return work

    return [counted(number) for number in range(len(works))]


def usable(lab: Lab, state: str, vm: str = "vm1") -> None:
    """Make sure that the working image has all that was set, and give it up."""
    image = lab.image(vm)
    sound(image)
    for number in range(CHAIN.index(state) + 1):
        assert holds(image, 1 + number, f"{number}M"), (state, number)
    image.unlink()


def all_true(cache: Path) -> None:
    """Make sure that what is in place is what was made, with all that it stands on."""
    for home in cache.glob("*/*"):
        for name in chain.states_in(str(home)):
            chain.verify(str(home), name, POLICY)


@pytest.mark.stress
def test_getters_with_a_pool_find_all_they_need_while_a_cache_is_emptied(tmp_path):
    lab, over, vms = Lab(tmp_path), tmp_path / "over", ("vm1", "vm2", "vm3")
    for vm in vms:
        set_all(lab, vm, **BOTH)
        lab.image(vm).unlink()

    def getter(number: int) -> Callable[[], None]:
        def work() -> None:
            mine, choose, began = own(lab, number), random.Random(number), time.monotonic()
            rounds = 0
            while rounds < ROUNDS or removed(tmp_path) < 9:
                assert time.monotonic() - began < PATIENCE, "the cache was not emptied"
                vm, state = choose.choice(vms), choose.choice(CHAIN)
                get(mine, state, vms=vm, **BOTH)
                usable(mine, state, vm)
                rounds += 1

        return work

    works = ending([getter(number) for number in range(GETTERS)], over)
    gc = collecting(lambda: site_of(lab.cache), over)
    assert together([*works, gc]) == [""] * (GETTERS + 1)
    all_true(lab.cache)


@pytest.mark.stress
def test_getters_without_a_pool_keep_what_they_pinned_and_make_the_rest_anew(tmp_path):
    lab, over = Lab(tmp_path), tmp_path / "over"
    for number in range(GETTERS):
        set_all(lab, f"vm{number}", **OWN)
        lab.image(f"vm{number}").unlink()

    def getter(number: int) -> Callable[[], None]:
        vm, safe = f"vm{number}", number % 2 == 0

        def make_anew() -> None:
            home, began = str(lab.cache / vm / "image1"), time.monotonic()
            while chain.states_in(home):
                assert time.monotonic() - began < PATIENCE
                time.sleep(0.01)
            set_all(lab, vm, **OWN)

        def work() -> None:
            choose = random.Random(number)
            for _ in range(ROUNDS):
                state = choose.choice(CHAIN)
                try:
                    get(lab, state, vms=vm, **OWN)
                except (StateMissing, TestAbortError):
                    assert not safe, "it was pinned all the time"
                    make_anew()
                    state = "c"
                usable(lab, state, vm)

        return work

    pinned = [f"vm{number}/image1/c.qcow2" for number in range(0, GETTERS, 2)]
    with pins.hold(str(lab.cache), pinned, by="a graph run"):
        works = ending([getter(number) for number in range(GETTERS)], over)
        assert together([*works, collecting(lambda: site_of(lab.cache), over)]) == [""] * (
            GETTERS + 1
        )
    assert removed(tmp_path) >= GETTERS // 2 * 3
    for number in range(0, GETTERS, 2):
        assert chain.states_in(str(lab.cache / f"vm{number}" / "image1")) == list(CHAIN)
    all_true(lab.cache)


@pytest.mark.stress
@pytest.mark.parametrize("kind", [HERE, "plain"])
def test_a_pool_is_emptied_while_others_fetch_from_it_and_publish_to_it(tmp_path, kind):
    with servers_stopped():
        lab = Lab(tmp_path) if kind == HERE else RemoteLab(tmp_path, server(kind))
        made(lab, *CHAIN, **OWN)
        over = tmp_path / "over"
        session.close_all()

        def getter(number: int) -> Callable[[], None]:
            def work() -> None:
                mine, missed = own(lab, number), 0
                mine.cache = lab.root / f"cache{number}"
                for _ in range(ROUNDS):
                    shutil.rmtree(mine.cache, ignore_errors=True)
                    while True:
                        try:
                            get(mine, "c", **BOTH)
                            break
                        except (StateMissing, TestAbortError):
                            missed += 1
                            params = lab.params()
                            exchange.publish(State("vm1", "image1", "c"), params)
                    all_true(mine.cache)
                    usable(mine, "c")
                assert missed < 100

            return work

        def pool() -> Site:
            return site(kind, lab.pool)

        works = ending([getter(number) for number in range(GETTERS // 2)], over)
        gc = collecting(pool, over)
        assert together([*works, gc]) == [""] * (len(works) + 1)
        session.close_all()
    assert removed(tmp_path)
    all_true(lab.pool)


# -- by itself --------------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path) -> Lab:
    """A cache with old states of one vm, and a pool with those of another."""
    lab = made(Lab(tmp_path), *CHAIN, **OWN)
    lab.image().unlink()
    all_aged(lab.cache)
    far = other(lab, "maker")
    set_all(far, "vm2", **BOTH)
    return lab


def limit(lab: Lab, more: int) -> dict[str, str]:
    return {"cache_limit": f"{size.measure(str(lab.cache)) + more}"}


def fetched(lab: Lab) -> int:
    """Return what the states in the pool take."""
    return size.measure(str(lab.pool))


def in_cache(lab: Lab, vm: str) -> list[str]:
    return chain.states_in(str(lab.cache / vm / "image1"))


def test_a_fetch_makes_the_room_that_it_needs(full, caplog):
    allowed = limit(full, fetched(full) - 1)
    get(full, "c", vms="vm2", **BOTH, **allowed)
    assert (in_cache(full, "vm1"), in_cache(full, "vm2")) == (["a", "b"], list(CHAIN))
    assert size.measure(str(full.cache)) <= int(allowed["cache_limit"])
    usable(full, "c", "vm2")
    assert "nothing more can go" not in caplog.text


@pytest.mark.parametrize("padded", [64, 8])
def test_a_fetch_makes_room_for_the_next_ones_as_well(full, caplog, padded):
    """Of 64 MiB and more a twentieth is more than all that can go, of 8 less than one state."""
    aside = full.cache / "vm1" / ".pool" / "quarantine" / f"1-{'0' * 16}-x.state"
    aside.parent.mkdir(parents=True)
    aside.write_bytes(os.urandom(padded << 20))
    allowed = limit(full, fetched(full) - 1)
    get(full, "c", vms="vm2", **BOTH, **allowed)
    assert in_cache(full, "vm1") == ([] if padded == 64 else ["a", "b"])
    assert in_cache(full, "vm2") == list(CHAIN) and "nothing more can go" not in caplog.text
    usable(full, "c", "vm2")


def test_a_fetch_that_fits_removes_nothing(full):
    get(full, "c", vms="vm2", **BOTH, **limit(full, fetched(full)))
    assert (in_cache(full, "vm1"), in_cache(full, "vm2")) == (list(CHAIN), list(CHAIN))


def test_without_a_limit_nothing_goes(full):
    get(full, "c", vms="vm2", **BOTH)
    assert in_cache(full, "vm1") == list(CHAIN)


def test_a_limit_that_cant_be_kept_is_a_warning_and_the_fetch_goes_on(full, caplog):
    pinned = ["vm1/image1/b.qcow2"]
    with pins.hold(str(full.cache), pinned):
        get(full, "c", vms="vm2", **BOTH, **limit(full, 1))
    assert in_cache(full, "vm1") == ["a", "b"], "what could go went"
    assert "passes cache_limit" in caplog.text
    usable(full, "c", "vm2")


def test_nothing_goes_for_a_fetch_that_is_larger_than_the_limit(full, caplog):
    get(full, "c", vms="vm2", **BOTH, cache_limit="64KiB")
    assert (in_cache(full, "vm1"), in_cache(full, "vm2")) == (list(CHAIN), list(CHAIN))
    assert "more than cache_limit allows" in caplog.text


def test_what_a_fetch_finds_in_the_cache_is_not_removed_for_the_rest(full):
    for state in ("b", "c"):
        get(full, state, vms="vm2", **BOTH)
        full.image("vm2").unlink()
    full.state("c", "vm2").chmod(0o644)
    os.unlink(full.state("c", "vm2"))
    all_aged(full.cache)
    get(full, "c", vms="vm2", **BOTH, **limit(full, 0))
    assert in_cache(full, "vm2") == list(CHAIN) and len(in_cache(full, "vm1")) < 3
    usable(full, "c", "vm2")


def test_a_dry_run_of_a_fetch_removes_nothing(full):
    params = {"swarm_pool": str(full.cache), "shared_pool": str(full.pool), **limit(full, 1)}
    wanted = State("vm2", "image1", "c")
    assert exchange.fetch(wanted, params, dry=True).steps and len(in_cache(full, "vm1")) == 3
    exchange.fetch(wanted, params)
    assert len(in_cache(full, "vm1")) < 3 and in_cache(full, "vm2") == list(CHAIN)


def test_a_cache_in_which_nothing_can_be_removed_is_a_warning(full, caplog, monkeypatch):
    def refused(*_: object) -> None:
        raise PoolError("no locks here")

    monkeypatch.setattr(act, "alone", refused)
    get(full, "c", vms="vm2", **BOTH, **limit(full, 1))
    assert "no room can be made" in caplog.text and len(in_cache(full, "vm1")) == 3


# -- cut off ----------------------------------------------------------------------------------


def filled(root: Path) -> Dir:
    """A cache of a chain of three and a leaf beside, all old, one thing in the trash."""
    cache = Dir(root)
    scratch = images(root.parent / "scratch", "base", "mid", "leaf")
    for path, parent in zip(scratch, (None, "base", "mid"), strict=True):
        put_image(path, cache.state(path.stem), parent=cache.state(parent) if parent else None)
    put_image(scratch[1], cache.state("side"), parent=cache.state("base"))
    put_image(scratch[1], cache.state("gone"), parent=cache.state("base"))
    all_aged(root)
    local_store().remove(str(cache.state("gone")))
    return cache


def kept(cache: Dir) -> dict[str, Path]:
    """Return the files in the trash by the name of their state."""
    found = (cache.image / ".pool" / "trash").glob("*.qcow2")
    return {path.stem.split("-", 2)[2]: path for path in found}


@pytest.mark.parametrize("how", ["all goes", "one comes back"])
def test_a_cut_at_any_change_leaves_each_state_whole(tmp_path, how, monkeypatch):
    template = filled(tmp_path / "template")
    names = ("base", "mid", "leaf", "side")
    true = {name: digest_of(template.state(name)) for name in names}
    infos = {name: records.read_record(str(template.state(name))).info for name in names}
    evict = LocalSite.evict
    cache = Dir(tmp_path / "cache")

    held: list[object] = []

    def pinning(site: LocalSite, path: str) -> str:
        moved = evict(site, path)
        if path.endswith("side.qcow2"):
            pin = pins.hold(site.root, ["vm1/image1/side.qcow2"], lease=1e6)
            held.append(pin)
            pin.__enter__()
        return moved

    def work() -> None:
        if how == "one comes back":
            LocalSite.evict = pinning
        site = site_of(cache.root)
        with act.alone(site):
            act.collect(site, act.decide(site, 1))

    def anew() -> None:
        shutil.rmtree(cache.root, ignore_errors=True)
        subprocess.run(["cp", "-a", template.root, cache.root], check=True)

    anew()
    sweep = points(work, tmp_path / "log")
    assert len(sweep) >= 15
    expected = {"base", "side"} if how == "one comes back" else set()
    assert {name for name in names if cache.state(name).exists()} == expected
    for point in sweep:
        anew()
        assert cut(work, point, tmp_path / "log"), point
        check_whole(cache, true, infos, point)
        finished(cache)


def check_whole(cache: Dir, true: dict[str, str], infos: dict, point: Point) -> None:
    thrown = kept(cache)
    for name, digest in true.items():
        if cache.state(name).exists():
            assert digest_of(cache.state(name)) == digest, point
            found = knowledge.identify(str(cache.state(name)), POLICY)
            assert found and found.generation == infos[name].generation, point
            chain.verify(str(cache.image), name, POLICY)
        elif name in thrown:
            assert digest_of(thrown[name]) == digest, point
        else:
            assert point.name == "unlink" and name in ("leaf", "mid", "side", "base"), point


def finished(cache: Dir) -> None:
    """Make sure that the next one ends what was begun."""
    site = site_of(cache.root)
    for path in (cache.root / ".pool" / "pins").glob("*"):
        path.unlink()
    all_aged(cache.root)  # one that came back counts as used
    act.collect(site, act.decide(site, 1))
    assert kept(cache) == {} and not list(cache.image.glob("*.qcow2"))
