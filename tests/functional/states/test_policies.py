"""Every letter of every mode, asked of a backend that only notes what it is told to do."""

import pytest
from avocado.core import exceptions
from virttest.utils_params import Params

from avocado_pool_plugin.states import setup
from tests.support.states import OWN, ask, doing, get, made, put, show, unset

#: Per verb and mode: what is done if the state exists, and if it does not.
MODES = {
    "get": {"ra": ("get", "abort"), "ri": ("get", "-"), "aa": ("abort", "abort"),
            "ai": ("abort", "-"), "ia": ("-", "abort"), "ii": ("-", "-")},
    "set": {"ff": ("unset set", "set"), "fa": ("unset set", "abort"), "rf": ("-", "set"),
            "ra": ("-", "abort"), "af": ("abort", "set"), "aa": ("abort", "abort")},
    "unset": {"fi": ("unset", "-"), "fa": ("unset", "abort"), "ri": ("-", "-"),
              "ra": ("-", "abort")},
}  # fmt: skip
DEFAULTS = {"get": "ra", "set": "ff", "unset": "fi"}
LETTERS = "arfix"
INVALID = [
    (verb, one + two)
    for verb, modes in MODES.items()
    for one in LETTERS
    for two in LETTERS
    if one + two not in modes
] + [("get", "r"), ("set", "fff"), ("unset", "RF")]


class Notebook(setup.StateBackend):
    """Keeps names of states in a list."""

    states: list[str] = []  # noqa: RUF012
    root = True
    done: list[str] = []  # noqa: RUF012
    told: list[dict[str, str]] = []  # noqa: RUF012

    @classmethod
    def _note(cls, what, params):
        cls.done.append(what)
        cls.told.append(dict(params))

    @classmethod
    def show(cls, params, object=None):
        return list(cls.states)

    @classmethod
    def get(cls, params, object=None):
        cls._note("get", params)

    @classmethod
    def set(cls, params, object=None):
        cls._note("set", params)
        cls.states.append(params["set_state"])

    @classmethod
    def unset(cls, params, object=None):
        cls._note("unset", params)
        cls.states.remove(params["unset_state"])

    @classmethod
    def check_root(cls, params, object=None):
        return cls.root

    @classmethod
    def get_root(cls, params, object=None):
        cls._note("get_root", params)

    @classmethod
    def set_root(cls, params, object=None):
        cls._note("set_root", params)
        cls.root = True

    @classmethod
    def unset_root(cls, params, object=None):
        cls._note("unset_root", params)
        cls.root = False


@pytest.fixture
def book(monkeypatch):
    monkeypatch.setitem(setup.BACKENDS, "notebook", Notebook)
    Notebook.states, Notebook.done, Notebook.told, Notebook.root = [], [], [], True
    return Notebook


def params(**more):
    base = {"vms": "vm1", "images": "image1", "states_chain": "images", "states": "notebook"}
    return Params({**base, **more})


def do(verb, **more):
    asked = params(**more)
    before = dict(asked)
    try:
        return getattr(setup, f"{verb}_states")(asked)
    finally:
        assert dict(asked) == before, "the caller's params stay as they are"


def verbs_of(book):
    return " ".join(what for what in book.done if not what.endswith("_root")) or "-"


CASES = [
    (verb, mode, exists, expected)
    for verb, modes in MODES.items()
    for mode, outcomes in modes.items()
    for exists, expected in zip((True, False), outcomes, strict=True)
]


@pytest.mark.parametrize(("verb", "mode", "exists", "expected"), CASES)
def test_mode(book, verb, mode, exists, expected):
    book.states = ["s"] if exists else ["other"]
    asked = {f"{verb}_state": "s", f"{verb}_mode": mode}
    if expected == "abort":
        with pytest.raises(exceptions.TestAbortError, match="'s' of image1"):
            do(verb, **asked)
        assert verbs_of(book) == "-"
        return
    do(verb, **asked)
    assert verbs_of(book) == expected
    if mode == DEFAULTS[verb]:
        book.states, book.done = ["s"] if exists else [], []
        do(verb, **{f"{verb}_state": "s"})
        assert verbs_of(book) == expected, "this mode is the default"


@pytest.mark.parametrize(("verb", "mode"), INVALID)
@pytest.mark.parametrize("exists", [True, False])
def test_any_other_letter_is_an_error_that_lists_the_allowed(book, verb, mode, exists):
    book.states = ["s"] if exists else []
    with pytest.raises(exceptions.TestError) as caught:
        do(verb, **{f"{verb}_state": "s", f"{verb}_mode": mode})
    text = str(caught.value)
    assert not isinstance(caught.value, exceptions.TestAbortError)
    assert f"{verb}_mode" in text and repr(mode) in text and "image1" in text
    first, second = text.split("the second")
    assert {letter for letter in LETTERS if f"'{letter}' (" in first} == {m[0] for m in MODES[verb]}
    assert {letter for letter in LETTERS if f"'{letter}' (" in second} == {
        m[1] for m in MODES[verb]
    }
    assert book.done == [] and book.states == (["s"] if exists else [])


CHECKS = {
    # check_mode, root exists: what is done with the root, whether the state can exist
    ("rf", True): (["get_root"], True),
    ("rf", False): (["set_root"], True),
    ("rr", True): (["get_root"], True),
    ("rr", False): ([], False),
    ("ff", True): (["unset_root", "set_root"], True),
    ("ff", False): (["set_root"], True),
    ("fr", True): (["unset_root", "set_root"], True),
    ("fr", False): ([], False),
}


@pytest.mark.parametrize("verb", ["check", "get", "set", "unset"])
@pytest.mark.parametrize(("mode", "root"), CHECKS)
def test_check_mode_is_about_the_root(book, verb, mode, root):
    book.root, book.states = root, ["s"]
    done, possible = CHECKS[mode, root]
    asked = {f"{verb}_state": "s", "check_mode": mode}
    if verb == "get" and not possible:
        with pytest.raises(exceptions.TestAbortError):
            do(verb, **asked)
    else:
        found = do(verb, **asked)
        assert verb != "check" or found is possible
    assert [what for what in book.done if what.endswith("_root")] == done
    scopes = [told.get("pool_scope") for told, what in zip(book.told, book.done, strict=True)
              if what in ("set_root", "unset_root")]  # fmt: skip
    assert set(scopes) <= {"own"}, "a root is only made here"


@pytest.mark.parametrize("mode", ["rx", "xf", "ri", "ar", "r", "rff"])
def test_invalid_check_mode(book, mode):
    with pytest.raises(exceptions.TestError, match="check_mode"):
        do("check", check_state="s", check_mode=mode)
    assert book.done == []


def test_the_root_is_made_by_default(book):
    """avocado-i2n's meaning of a backend that says nothing else: check_mode = rf."""
    book.root = False
    assert do("check", check_state="s") is False
    assert book.done == ["set_root"]
    assert do("check", check_state="root") is True


def test_check_wants_all_states(book):
    book.states = ["a", "b"]
    assert do("check", check_state="a") is True
    both = {"vms": "vm1", "images": "image1 image2", "check_state_image1": "a"}
    assert do("check", **both, check_state_image2="b") is True
    assert do("check", **both, check_state_image2="c") is False
    assert do("check") is True, "nothing is asked for"


def test_push_only_what_is_not_there(book):
    do("push", push_state="s")
    assert verbs_of(book) == "set"
    with pytest.raises(exceptions.TestAbortError, match="'s' of image1"):
        do("push", push_state="s")
    do("push", push_state="s", push_mode="ff")
    assert verbs_of(book) == "set unset set"


def test_pop_gets_and_removes(book):
    book.states = ["s"]
    do("pop", pop_state="s")
    assert verbs_of(book) == "get unset" and book.states == []
    with pytest.raises(exceptions.TestAbortError):
        do("pop", pop_state="s")
    with pytest.raises(exceptions.TestError, match="get_mode"):
        do("pop", pop_state="s", pop_mode="fa")


@pytest.mark.parametrize("verb", ["push", "pop"])
@pytest.mark.parametrize("root", setup.ROOTS)
def test_roots_are_not_pushed_or_popped(book, verb, root):
    do(verb, **{f"{verb}_state": root})
    assert book.done == []


def test_a_backend_of_another_package_needs_no_base_class(monkeypatch):
    """As avocado-i2n's, which know nothing of ours."""

    class Foreign:
        done: list[str] = []  # noqa: RUF012
        show = classmethod(lambda cls, params, object=None: ["s"])
        get = classmethod(lambda cls, params, object=None: cls.done.append("get"))
        check_root = classmethod(lambda cls, params, object=None: True)
        get_root = classmethod(lambda cls, params, object=None: cls.done.append("get_root"))

    monkeypatch.setitem(setup.BACKENDS, "notebook", Foreign)
    do("get", get_state="s")
    assert Foreign.done == ["get_root", "get"]
    with pytest.raises(exceptions.TestAbortError, match=r"'t' of image1.*notebook"):
        do("get", get_state="t")


def test_modes_of_the_real_thing(lab):
    made(lab, "s")
    with pytest.raises(exceptions.TestAbortError) as caught:
        get(lab, "nowhere")
    for part in ("'nowhere'", "vm1/image1", str(lab.cache), f":{lab.pool}"):
        assert part in str(caught.value)
    with doing() as done:
        get(lab, "nowhere", get_mode="ri")
        put(lab, "s", set_mode="rf")
        unset(lab, "nowhere")
        unset(lab, "s", unset_mode="ri")
    assert done == []
    with pytest.raises(exceptions.TestAbortError, match="'s' of vm1/image1"):
        ask(lab, "push", "s")
    with pytest.raises(exceptions.TestAbortError, match="'nowhere'"):
        unset(lab, "nowhere", unset_mode="fa")
    with pytest.raises(exceptions.TestAbortError) as caught:
        get(lab, "nowhere", **OWN)
    assert str(lab.pool) not in str(caught.value), "only what was looked at is named"
    assert show(lab) == ["s"]
    assert ask(lab, "check", "s") is True
    assert ask(lab, "check", "nowhere") is False
    unset(lab, "s")
    assert show(lab) == []


def test_a_check_leaves_the_image_alone(lab):
    """qcow2ext: a state can be looked for without an image, and none is made unasked."""
    made(lab, "s")
    lab.image().unlink()
    assert ask(lab, "check", "s", check_mode="rr") is False
    assert show(lab) == ["s"]
    get(lab, "s")
    inode = lab.image().stat().st_ino
    assert ask(lab, "check", "s") is True
    assert lab.image().stat().st_ino == inode
