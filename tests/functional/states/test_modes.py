"""Every cell of the table of modes, on images, vms and nets: what becomes of their files."""

import itertools

import pytest
from avocado.core import exceptions

from avocado_pool_plugin.core.errors import SettingRefused, StateMissing
from avocado_pool_plugin.states import setup
from tests.support.hooks import RunningHooks
from tests.support.states import OWN, SHARED, leftovers
from tests.support.things import RUNNING, THINGS, thing
from tests.support.vms import holds

#: What a letter says to do: if the state exists, and if it does not.
EXISTS = {
    "get": {"a": "abort", "r": "get", "i": "leave"},
    "set": {"a": "abort", "r": "leave", "f": "set"},
    "unset": {"r": "leave", "f": "unset"},
}
MISSING = {
    "get": {"a": "abort", "i": "leave"},
    "set": {"a": "abort", "f": "set"},
    "unset": {"a": "abort", "i": "leave"},
}
DEFAULTS = {"get": "ra", "set": "ff", "unset": "fi", "push": "af", "pop": "ra"}
#: The verb whose letters a verb has.
LIKE = {"get": "get", "set": "set", "unset": "unset", "push": "set", "pop": "get"}
#: A pop gets and removes.
POPPED = {"get": "pop"}

CELLS = [
    (verb, one + two, there, POPPED.get(done, done) if verb == "pop" else done)
    for verb, like in LIKE.items()
    for one, two in itertools.product(EXISTS[like], MISSING[like])
    for there, done in ((True, EXISTS[like][one]), (False, MISSING[like][two]))
]
ROOT_CELLS = [cell for cell in CELLS if cell[0] in EXISTS]
INVALID = [
    (verb, one + two)
    for verb, like in LIKE.items()
    for one, two in itertools.product("arfix ", repeat=2)
    if one not in EXISTS[like] or two not in MISSING[like]
] + [(verb, mode) for verb in LIKE for mode in ("r", "raa", "RA", "a r")]


def name_of(cell):
    verb, mode, there, done = cell
    return f"{verb}-{mode}-{'exists' if there else 'missing'}-{done}"


@pytest.fixture(params=THINGS)
def it(request, lab, monkeypatch):
    """An object that is like 9 now."""
    monkeypatch.setitem(setup.BACKENDS, RUNNING, RunningHooks)
    found = thing(lab, request.param)
    found.write(9)
    return found


def places(it):
    """Return the directories where its states are."""
    return [it.lab.cache, it.lab.pool] if it.pools else [it.lab.cache]


def scope(it):
    return {"pool_scope": "own shared"} if it.pools else OWN


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_state(it, cell):
    verb, mode, there, done = cell
    if there:
        it.write(5)
        it.ask("set", "s", **scope(it))
        it.write(9)
    it.ask("set", "other", **scope(it))
    before = it.everything()
    if done == "abort":
        with pytest.raises(exceptions.TestAbortError) as caught:
            it.ask(verb, "s", **{f"{verb}_mode": mode}, **scope(it))
        assert "'s' of " + it.name in str(caught.value)
    else:
        it.ask(verb, "s", **{f"{verb}_mode": mode}, **scope(it))
    if done in ("abort", "leave"):
        assert it.everything() == before, "nothing is touched"
    assert it.like(5 if done in ("get", "pop") else 9)
    for place in places(it):
        assert it.saved("other", 9, place)
        if done in ("unset", "pop"):
            assert not it.state("s", place).exists()
        elif done == "set":
            assert it.saved("s", 9, place)
        else:
            assert it.saved("s", 5, place) == it.state("s", place).exists() == there
    assert leftovers(it.lab.root) == []


@pytest.mark.parametrize("verb", DEFAULTS)
@pytest.mark.parametrize("there", [True, False])
def test_default(it, verb, there):
    """Without a mode it is the one of the table."""
    outcomes = []
    for mode in ({}, {f"{verb}_mode": DEFAULTS[verb]}):
        if there:
            it.write(5)
            it.ask("set", "s", **scope(it))
            it.write(9)
        try:
            it.ask(verb, "s", **mode, **scope(it))
            outcome = ""
        except exceptions.TestAbortError:
            outcome = "abort"
        outcomes.append((outcome, it.like(9), it.saved("s", 9), it.saved("s", 5)))
        it.ask("unset", "s", **scope(it))
        it.write(9)
    assert outcomes[0] == outcomes[1]


def test_any_other_letter_lists_the_allowed_ones(it):
    it.ask("set", "s", **scope(it))
    before = it.everything()
    for (verb, mode), state in itertools.product(INVALID, ("s", "missing", "root")):
        if state == "root" and verb in ("push", "pop"):
            continue  # which no root is
        with pytest.raises(exceptions.TestError) as caught:
            it.ask(verb, state, **{f"{verb}_mode": mode}, **scope(it))
        assert type(caught.value) is exceptions.TestError, "and not that the test is to be aborted"
        text = str(caught.value)
        assert repr(mode) in text and it.name in text
        first, second = text.split("the second")
        like = LIKE[verb]
        for letters, told in ((EXISTS[like], first), (MISSING[like], second)):
            assert {letter for letter in "arfix" if f"'{letter}' (" in told} == set(letters)
    assert it.everything() == before


# -- roots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ROOT_CELLS, ids=name_of)
def test_root(it, cell):
    verb, mode, there, done = cell
    it.ask("set", "s", **OWN)
    if not there:
        it.file.unlink()
    before = it.everything()
    # a root that is missing is not made by the look at it
    asked = {f"{verb}_mode": mode, "check_mode": "rr", **OWN}
    if done == "abort":
        with pytest.raises(exceptions.TestAbortError) as caught:
            it.ask(verb, "root", **asked)
        assert "'root' of " + it.name in str(caught.value)
    else:
        it.ask(verb, "root", **asked)
    if done in ("abort", "leave", "get"):
        assert it.everything() == before
    elif done == "set":
        assert it.like(0), "made, and made anew"
    else:
        assert not it.file.exists()
    assert it.saved("s", 9), "other states stay"


@pytest.mark.parametrize("name", setup.ROOTS)
def test_all_names_of_a_root_mean_the_same(it, name):
    it.file.unlink()
    it.ask("set", name, **OWN)
    assert it.like(0) and it.show(**OWN) == []
    it.ask("get", name, **OWN)
    assert it.ask("check", name, **OWN) is True
    it.ask("unset", name, **OWN)
    assert not it.file.exists()
    for verb in ("push", "pop"):
        it.ask(verb, name, **OWN)
    assert not it.file.exists(), "roots are not pushed or popped"


#: Per check_mode and whether the root exists: what the object is like then, None for no object.
CHECKS = {
    ("rr", True): 9,
    ("rf", True): 9,
    ("fr", True): 0,
    ("ff", True): 0,
    ("rr", False): None,
    ("fr", False): None,
    ("rf", False): 0,
    ("ff", False): 0,
}


@pytest.mark.parametrize(("mode", "there"), CHECKS)
@pytest.mark.parametrize("state", ["root", "s", "missing"])
def test_check_mode(it, mode, there, state):
    it.ask("set", "s", **OWN)
    it.write(9)  # so that nothing stands on the state
    if not there:
        it.file.unlink()
    like = CHECKS[mode, there]
    found = it.ask("check", state, check_mode=mode, **OWN)
    assert found is (like is not None and state != "missing")
    assert not it.file.exists() if like is None else it.like(like)
    assert it.saved("s", 9)


@pytest.mark.parametrize("mode", ["rx", "xf", "ri", "ar", "r", "rff", "if"])
@pytest.mark.parametrize("there", [True, False])
def test_any_other_check_mode_lists_the_allowed_letters(it, mode, there):
    if not there:
        it.file.unlink()
    before = it.everything()
    for verb in ("check", "get", "set", "unset"):
        with pytest.raises(exceptions.TestError, match=r"check_mode.*'r'.*'f'") as caught:
            it.ask(verb, "s", check_mode=mode, **OWN)
        assert type(caught.value) is exceptions.TestError
    assert it.everything() == before


def test_a_missing_root_is_made_by_default_if_the_backend_needs_one(it):
    """And else not: a state of an image can be got without it."""
    it.ask("set", "s", **OWN)
    it.file.unlink()
    assert it.ask("check", "s", **OWN) is True
    assert it.file.exists() == (it.kind != "images")
    it.file.unlink(missing_ok=True)
    it.ask("get", "s", **OWN)
    assert it.like(9)


@pytest.mark.parametrize("cell", ROOT_CELLS, ids=name_of)
def test_root_in_the_pool(lab, cell):
    """It exists if it is here or there, and is got from and set to the pool."""
    verb, mode, there, done = cell
    it, shared = thing(lab, "image in a net"), lab.pool / "vm1" / "vm1-image1.qcow2"
    if there:
        it.write(5)
        it.ask("set", "root", **SHARED)
        it.write(9)
    before = it.everything()
    if done == "abort":
        with pytest.raises(exceptions.TestAbortError, match="'root' of net1/vm1/image1"):
            it.ask(verb, "root", **{f"{verb}_mode": mode}, **SHARED)
    elif done == "set" and not there:
        with pytest.raises(StateMissing, match="does not exist locally"):
            it.ask(verb, "root", **{f"{verb}_mode": mode}, **SHARED)
    else:
        it.ask(verb, "root", **{f"{verb}_mode": mode}, **SHARED)
    if done in ("abort", "leave"):
        assert it.everything() == before
    assert it.file.exists() == there and (not there or it.like(5 if done == "get" else 9))
    assert shared.exists() == (there and done != "unset")
    assert not shared.exists() or holds(shared, 9 if done == "set" else 5)


def test_root_of_what_runs_is_in_no_pool(lab, monkeypatch):
    monkeypatch.setitem(setup.BACKENDS, RUNNING, RunningHooks)
    for what in ("vm", "vm in a net", "net"):
        it = thing(lab, what)
        it.write(9)
        for verb in ("set", "unset"):
            with pytest.raises(SettingRefused, match=f"{it.name} is that it runs"):
                it.ask(verb, "root", **SHARED)
        it.ask("get", "root", **SHARED)
        assert it.like(9) and not lab.pool.exists()
