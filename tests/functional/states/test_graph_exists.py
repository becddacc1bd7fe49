"""What exists and can be used, as a plan sees it; and that a get sees it the same way."""

import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, digest, knowledge
from avocado_pool_plugin.core.copy import allocated
from avocado_pool_plugin.core.errors import BackendUnknown, PoolError, PoolUnreachable
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.exists import Finder
from avocado_pool_plugin.graph.lookup import Lookup
from avocado_pool_plugin.graph.plan import Found
from avocado_pool_plugin.graph.read import node_of
from avocado_pool_plugin.states import pool as pool_module
from avocado_pool_plugin.states import setup
from tests.support.images import edit
from tests.support.images import image as make_qcow2
from tests.support.places import put_image
from tests.support.states import OWN, SHARED, contents, get, made, other, put
from tests.support.vms import Lab, write

A, B, C = (State("vm1", "image1", name) for name in "abc")
RAM = State("vm1", None, "running")


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """The sizes of all files whose content is hashed."""
    done: list[int] = []
    real = digest.digest_fd

    def counting(fd, size, *more):
        done.append(size)
        return real(fd, size, *more)

    monkeypatch.setattr(knowledge, "digest_fd", counting)
    return done


def finder(lab: Lab, *names: str, verb: str = "get", **more: str) -> Finder:
    """Return the finder of a suite that has a test for each state."""
    tests = [
        dict(lab.params(**{f"{verb}_state_images": name, "pool_fsync": "no", **more}))
        for name in names or "abc"
    ]
    return Finder.of([node_of(f"t{number}", params) for number, params in enumerate(tests)])


def files(found: Found) -> list[str]:
    return [os.path.basename(path) for path, _ in found.fetch]


def forget(directory: Path) -> None:
    """Remove all records, as if another tool had made the files."""
    shutil.rmtree(directory / META)


# where states are


def test_a_state_that_is_nowhere_is_not_found(lab):
    assert finder(lab)(A) == Found()
    made(lab, "a")
    assert finder(lab)(B) == Found()


def test_a_state_that_no_test_names_is_not_found(lab):
    made(lab, "a")
    assert finder(lab, "b")(A) == Found()
    defaults = dict(lab.params())
    assert Finder(Lookup.of([], defaults))(A) == Found("cache")


def test_a_state_in_the_cache_only(lab):
    made(lab, "a", "b", **OWN)
    assert finder(lab)(B) == Found("cache")
    assert finder(lab, **SHARED)(B) == Found()


def test_a_state_that_is_everywhere_needs_no_fetch_and_no_reading(lab, reads):
    made(lab, "a", "b", "c")
    del reads[:]
    for state in (A, B, C):
        assert finder(lab)(state) == Found("cache")
    assert reads == []


def test_a_state_that_nobody_has_read_yet_is_not_read_for_a_plan(lab, reads):
    made(lab, "a", "b", **OWN)
    del reads[:]
    assert finder(lab)(B) == Found("cache")
    assert reads == []


def test_a_state_in_a_pool_only_is_to_be_fetched_with_its_chain(lab):
    made(lab, "a", "b", "c")
    worker = other(lab)
    found = finder(worker)(B)
    assert found.where == f":{lab.pool}"
    assert dict(found.fetch) == {
        str(worker.state(name)): allocated(str(lab.shared(name))) for name in "ab"
    }
    get(worker, "a")
    assert files(finder(worker)(B)) == ["b.qcow2"]
    get(worker, "b")
    assert finder(worker)(B) == Found("cache")


def test_a_state_that_is_only_linked_takes_no_room(lab):
    made(lab, "a", "b")
    worker = other(lab)
    linked = {"shared_pool": f":{lab.pool};"}
    found = finder(worker, **linked)(B)
    assert (found.where, {size for _, size in found.fetch}) == (f":{lab.pool};", {0})
    get(worker, "b", **linked)
    assert finder(worker, **linked)(B) == Found("cache")


def test_a_state_that_differs_in_the_pool_is_fetched_from_there(lab):
    made(lab, "a", "b")
    worker = other(lab)
    made(worker, "a", first=50, **OWN)
    found = finder(worker)(A)
    assert (found.where, files(found), found.good) == (f":{lab.pool}", ["a.qcow2"], True)


def test_a_state_is_looked_for_where_its_verb_looks(lab):
    made(lab, "a")
    elsewhere = str(lab.root / "elsewhere")
    worker = other(lab)
    assert finder(worker, get_location=f":{elsewhere}")(A) == Found()
    assert finder(worker, verb="set", set_location=f":{elsewhere}")(A) == Found()
    assert finder(worker, verb="set", get_location=f":{elsewhere}")(A).good
    # who gets it knows best
    both = [
        node_of("sets", dict(worker.params(set_state_images="a", set_location=f":{elsewhere}"))),
        node_of("gets", dict(worker.params(get_state_images="a"))),
    ]
    assert Finder.of(both)(A).where == f":{lab.pool}"


def test_the_first_mirror_that_has_it_counts(lab):
    made(lab, "a")
    made(lab, "b", shared_pool=f":{lab.root}/second")
    worker = other(lab)
    mirrors = {"shared_pool": f":{lab.pool} :{lab.root}/second"}
    assert finder(worker, **mirrors)(A).where == f":{lab.pool}"
    assert finder(worker, **mirrors)(B).where == f":{lab.root}/second"


# states that are there but no good


@dataclass(frozen=True)
class Case:
    """A condition of the states a, b and c of a worker whose pool had them all."""

    spoil: Callable[[Lab], object]
    good: bool
    says: str = ""
    more: tuple[tuple[str, str], ...] = ()


def damage(path: Path) -> None:
    edit(path, path.stat().st_size - 512, b"x" * 100)


def touch(path: Path) -> None:
    os.utime(path)


def lose(path: Path) -> None:
    path.unlink()


def replace_parent(lab: Lab, where: Path) -> None:
    """Put another state a under b, as someone does who does not ask."""
    again = Lab(lab.root / "again")
    made(again, "a", first=90, **OWN)
    lose(where)
    put_image(again.state("a"), where)


def point(path: Path, backing: str) -> None:
    path.chmod(0o644)
    qemu.rename_backing(str(path), backing)


def circle(lab: Lab) -> None:
    point(lab.state("a"), "c.qcow2")
    forget(lab.state("a").parent)


def again(lab: Lab) -> None:
    """Set another c on b."""
    get(lab, "b", **OWN)
    write(lab.image(), 99, "9M")
    put(lab, "c", **OWN)


def outside(lab: Lab) -> Path:
    return make_qcow2(lab.root / "base.qcow2", size="16M")


def stray(lab: Lab) -> None:
    """Name a parent in another cache, as avocado-i2n does."""
    copy = lab.root / "else" / "vm1" / "image1" / "b.qcow2"
    copy.parent.mkdir(parents=True)
    for name in "ab":
        shutil.copy(lab.state(name), copy.with_name(f"{name}.qcow2"))
    point(lab.state("c"), str(copy))
    forget(lab.state("c").parent)


OWN_ONLY = tuple(OWN.items())
CASES = {
    "whole": Case(lambda lab: None, True),
    "cache corrupt": Case(lambda lab: damage(lab.state("c")), True),
    "cache corrupt, no pool": Case(
        lambda lab: damage(lab.state("c")), False, "is corrupt in the cache", OWN_ONLY
    ),
    "cached parent corrupt, no pool": Case(
        lambda lab: damage(lab.state("a")),
        False,
        "stands on 'a', which is corrupt in the cache",
        OWN_ONLY,
    ),
    "cached parent lost": Case(lambda lab: lose(lab.state("b")), True),
    "cached parent lost, no pool": Case(
        lambda lab: lose(lab.state("b")), False, "stands on 'b', which is missing", OWN_ONLY
    ),
    "cached parent replaced, no pool": Case(
        lambda lab: replace_parent(lab, lab.state("a")), False, "on another 'a'", OWN_ONLY
    ),
    "cache touched": Case(lambda lab: touch(lab.state("b")), True, more=OWN_ONLY),
    "pool corrupt": Case(lambda lab: damage(lab.shared("c")), True),
    "pool lacks a parent": Case(lambda lab: lose(lab.shared("a")), True),
    "pool lacks it": Case(lambda lab: lose(lab.shared("c")), True),
    "pool corrupt, cache without it": Case(
        lambda lab: (damage(lab.shared("c")), lose(lab.state("c"))), False, "is corrupt in :"
    ),
    "pool lacks a parent, cache without it": Case(
        lambda lab: (lose(lab.shared("a")), lose(lab.state("c"))),
        False,
        "stands on 'a', which is missing in :",
    ),
    "pool's parent replaced, cache without it": Case(
        lambda lab: (replace_parent(lab, lab.shared("a")), lose(lab.state("c"))),
        False,
        "on another 'a' than the one in :",
    ),
    "both corrupt": Case(
        lambda lab: (damage(lab.shared("c")), damage(lab.state("c"))),
        False,
        "is corrupt in the cache and is corrupt in :",
    ),
    "pool corrupt, cache another": Case(
        lambda lab: (damage(lab.shared("c")), again(lab)), False, "is corrupt in :"
    ),
    "no records in the cache": Case(lambda lab: forget(lab.state("a").parent), True, more=OWN_ONLY),
    "no records anywhere": Case(
        lambda lab: (forget(lab.state("a").parent), forget(lab.shared("a").parent)), True
    ),
    "circle": Case(circle, False, "stands on itself in the cache", OWN_ONLY),
    "stands on no state": Case(
        lambda lab: point(lab.state("a"), str(outside(lab))), False, "is no state", OWN_ONLY
    ),
    "named by a path": Case(stray, False, "by another path", OWN_ONLY),
    "named by a path, pool good": Case(stray, True),
    "no image at all": Case(
        lambda lab: (lab.state("c").chmod(0o644), lab.state("c").write_bytes(b"none")),
        False,
        "can't be used",
        OWN_ONLY,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_plan_and_a_get_agree(lab, name):
    case = CASES[name]
    made(lab, "a", "b", "c")
    case.spoil(lab)
    more = dict(case.more)
    found = finder(lab, **more)(C)
    assert (found.good, case.says in found.problem) == (case.good, True), found
    assert bool(found.where), "it is there, so making it anew replaces it"
    try:
        get(lab, "c", **more)
        got = True
    except PoolError:
        got = False
    assert got == case.good


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].good])
def test_what_a_get_heals_needs_no_fetch_any_more(lab, name):
    case = CASES[name]
    made(lab, "a", "b", "c")
    case.spoil(lab)
    more = dict(case.more)
    get(lab, "c", **more)
    assert finder(lab, **more)(C) == Found("cache")


def test_a_bad_copy_in_the_cache_is_what_is_fetched(lab):
    made(lab, "a", "b", "c")
    damage(lab.state("b"))
    found = finder(lab)(C)
    assert (found.where, files(found)) == (f":{lab.pool}", ["b.qcow2"])


def test_a_copy_that_leads_elsewhere_is_what_is_fetched(lab):
    made(lab, "a", "b", "c")
    stray(lab)
    found = finder(lab)(C)
    assert (found.where, files(found)) == (f":{lab.pool}", ["c.qcow2"])


def test_a_changed_stamp_costs_one_reading(lab, reads):
    made(lab, "a", "b", "c")
    touch(lab.state("a"))
    del reads[:]
    seeing = finder(lab)
    assert [seeing(state).good for state in (A, B, C)] == [True] * 3
    assert reads == [lab.state("a").stat().st_size]


def test_verify_always_reads_each_file_once(lab, reads):
    made(lab, "a", "b", **OWN)
    del reads[:]
    seeing = finder(lab, pool_verify="always", **OWN)
    assert [seeing(state).good for state in (A, B)] == [True] * 2
    assert sorted(reads) == sorted(lab.state(name).stat().st_size for name in "ab")


def test_looking_changes_nothing(lab):
    made(lab, "a", "b", "c")
    damage(lab.state("b"))
    (lab.root / "two").mkdir()
    before = contents(lab.cache) | contents(lab.pool)
    for state in (A, B, C):
        finder(lab)(state)
        finder(lab, **OWN)(state)
    # knowledge about what was read is no change of states
    after = contents(lab.cache) | contents(lab.pool)
    assert {p: s for p, s in after.items() if p.suffix != ".seen"} == {
        p: s for p, s in before.items() if p.suffix != ".seen"
    }


# places that can't be looked at


@pytest.fixture
def loop(lab) -> str:
    """A location that is neither there nor absent."""
    (lab.root / "loop").symlink_to("loop")
    return f":{lab.root}/loop"


def test_an_unreachable_mirror_is_passed_by(lab, loop, caplog):
    made(lab, "a")
    mirrors = {"shared_pool": f"{loop} :{lab.pool}"}
    assert finder(other(lab), **mirrors)(A).where == f":{lab.pool}"
    assert "loop" in caplog.text


def test_a_cached_state_is_used_when_the_mirror_is_unreachable(lab, loop):
    made(lab, "a", **OWN)
    assert finder(lab, shared_pool=loop)(A) == Found("cache")
    get(lab, "a", shared_pool=loop)


def test_a_state_that_only_an_unreachable_mirror_may_have_is_an_error(lab, loop):
    with pytest.raises(PoolUnreachable, match="loop"):
        finder(lab, shared_pool=loop)(A)
    made(lab, "a", **OWN)
    damage(lab.state("a"))
    with pytest.raises(PoolUnreachable, match="loop"):
        finder(lab, shared_pool=loop)(A)


# other backends


class Box(setup.StateBackend):
    """Keeps states where nobody can look."""

    asked: list[str] = []  # noqa: RUF012

    @classmethod
    def show(cls, params, object=None):
        cls.asked.append(params["object_name"])
        return ["a"]


class Bare:
    """A backend that derives from nothing."""

    @staticmethod
    def show(params, object=None):
        return ["a"] if params["show_location"] == ":/x" else []


def test_other_backends_are_asked(lab, monkeypatch):
    monkeypatch.setitem(setup.BACKENDS, "box", Box)
    seeing = finder(lab, states_images="box")
    assert (seeing(A), seeing(B)) == (Found("backend box"), Found())
    assert Box.asked == ["vm1/image1"] * 2


def test_a_backend_that_is_no_state_backend_is_told_where(lab, monkeypatch):
    monkeypatch.setitem(setup.BACKENDS, "bare", Bare)
    assert finder(lab, states_images="bare", get_location=":/x")(A) == Found("backend bare")
    assert finder(lab, states_images="bare", get_location=":/y")(A) == Found()


def test_file_operations_of_the_users_are_not_passed_by(lab, monkeypatch):
    class Ops(pool_module.TransferOps):
        @classmethod
        def list_local(cls, pool_path, params):
            return ["a.qcow2"]

    class Transfer(pool_module.QCOW2ImageTransfer):
        ops = Ops

    class Mine(setup.BACKENDS["qcow2ext"]):
        transport = Transfer

    monkeypatch.setitem(setup.BACKENDS, "mine", Mine)
    seeing = finder(lab, states_images="mine")
    assert (seeing(A).good, seeing(B).good) == (True, False)


def test_a_backend_that_is_not_installed_is_an_error(lab):
    with pytest.raises(BackendUnknown, match="nothing"):
        finder(lab, states_images="nothing")(A)


# states of vms


@pytest.fixture
def running(lab, monkeypatch) -> Finder:
    """A vm with two images and a state of it in the pool, and who looks for it."""
    monkeypatch.setitem(setup.BACKENDS, "ramfile", setup.BACKENDS["qcow2ext"])
    names = "image1 data"
    for image in names.split():
        lab.make_image(image=image)
        put(lab, "base", images=names, skip_types="vms", image_name="x") if image == "data" else 0
    put(lab, "running", images=names)
    path = lab.pool / RAM.path
    path.write_bytes(b"memory" * 1000)
    return params_of_vm(lab)


def params_of_vm(lab: Lab) -> Finder:
    params = lab.params(images="image1 data", get_state_vms="running", skip_types="")
    return Finder.of([node_of("t", dict(params))])


def test_a_vm_state_is_its_file_and_the_states_of_its_images(lab, running):
    found = running(RAM)
    # the images' states are in the cache already
    assert (found.where, files(found)) == (f":{lab.pool}", ["running.state"])
    assert found.fetch[0][1] == allocated(str(lab.pool / RAM.path))
    data = State("vm1", "data", "running")
    assert running(data) == Found("cache")
    shutil.copy(lab.pool / RAM.path, lab.cache / RAM.path)
    assert params_of_vm(lab)(RAM) == Found("cache")


def test_a_vm_state_without_one_of_its_images_is_no_good(lab, running):
    for root in (lab.cache, lab.pool):
        (root / "vm1" / "data" / "running.qcow2").unlink()
    found = params_of_vm(lab)(RAM)
    assert (found.where, found.problem) == (
        f":{lab.pool}",
        f"lacks its state of image 'data' in :{lab.pool}",
    )
    damage(lab.pool / "vm1" / "image1" / "running.qcow2")
    problem = params_of_vm(lab)(RAM).problem
    assert problem.startswith("has a state of image 'image1' that is corrupt")


def test_a_vm_state_is_not_there_without_its_file(lab, running):
    (lab.pool / RAM.path).unlink()
    assert params_of_vm(lab)(RAM) == Found()


# speed


def test_a_chain_is_checked_once_for_all_that_stand_on_it(lab, monkeypatch):
    made(lab, "a", "b", "c")
    looked: list[str] = []
    real = knowledge.believe
    monkeypatch.setattr(
        knowledge, "believe", lambda path, *rest: (looked.append(path), real(path, *rest))[1]
    )
    seeing = finder(lab)
    for state in (C, B, A):
        assert seeing(state).good
    assert len(looked) == len(set(looked)) == 6  # three files in each of two places


def test_two_thousand_states_are_looked_at_in_a_second(lab, caplog):
    made(lab, "a", "b")
    caplog.set_level(logging.WARNING)
    home = lab.state("a").parent
    names = [f"s{number}" for number in range(2000)]
    body = lab.state("b").read_bytes()
    record = (home / META / "b.qcow2.json").read_text()
    for name in names:
        for place in (home, lab.shared("a").parent):
            path = place / f"{name}.qcow2"
            path.write_bytes(body)
            stat = path.stat()
            stamp = f'"ctime_ns": {stat.st_ctime_ns}, "inode": {stat.st_ino}, "mtime_ns": '
            stamp += f'{stat.st_mtime_ns}, "size": {stat.st_size}'
            (place / META / f"{path.name}.json").write_text(
                record.partition('"stamp"')[0] + f'"stamp": {{{stamp}}}}}'
            )
    assert chain.states_in(str(home)) == sorted([*names, "a", "b"])
    seeing = finder(lab, *names)
    started = time.process_time()
    found = [seeing(State("vm1", "image1", name)) for name in names]
    took = time.process_time() - started
    print(f"2000 states in cache and pool: {took:.2f} s")
    assert found == [Found("cache")] * 2000
    assert took < 3  # it is 0.6 where nothing else runs
