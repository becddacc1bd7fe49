import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.core.errors import LocationRefused, NameRefused, PoolError
from avocado_pool_plugin.core.location import Location, split_locations
from avocado_pool_plugin.core.names import MAX_NAME, State, check_name, state_name

LABELS = st.text(string.ascii_letters + string.digits + "_.-", max_size=8)
PATHS = st.one_of(
    st.text(st.sampled_from("/ab ;:'\"$.\\é\u00a0\t\n"), max_size=12).map(lambda t: "/" + t),
    st.lists(st.text(st.sampled_from("ab ;:'$"), max_size=4), max_size=3).map(
        lambda parts: "/" + "/".join(part + "x" for part in parts)
    ),
)


@given(path=PATHS, label=LABELS, link=st.booleans())
def test_what_is_a_location_reads_back_as_itself(path, label, link):
    try:
        location = Location(path, label, link)
    except LocationRefused:
        return
    assert Location.parse(str(location)) == location
    assert Location.from_setting(str(location)) == location


@given(st.text(st.sampled_from("/ab ;:.\n"), max_size=14))
def test_any_text_is_a_location_or_refused(text):
    try:
        location = Location.parse(text)
    except LocationRefused:
        return
    assert location.path.startswith("/")
    assert Location.parse(str(location)) == location


@pytest.mark.parametrize(
    ("text", "path", "label", "link"),
    [
        (":/p", "/p", "", False),
        (":/p;", "/p", "", True),
        (":/p;/vm1/image1", "/p/vm1/image1", "", True),
        ("host:/p", "/p", "host", False),
        (":/with space/x", "/with space/x", "", False),
        (":/a;b", "/a;b", "", False),
        (":/a:b/c", "/a:b/c", "", False),
        ("h:/a:b", "/a:b", "h", False),
        (":/p//q/", "/p/q", "", False),
        (":/", "/", "", False),
    ],
)
def test_parts_of_a_location(text, path, label, link):
    assert Location.parse(text) == Location(path, label, link)


@pytest.mark.parametrize(
    "text",
    ["", "/p", "p", ":p", "host:p", ":", "h/x:/p", "a b:/p", "host:/p;", ":/a;/b;", ":/p ", ":/p /",
     ":/a\nb", ":/a\x00b", ":/;;"],
)  # fmt: skip
def test_no_location(text):
    with pytest.raises(LocationRefused) as caught:
        Location.parse(text)
    assert isinstance(caught.value, PoolError) and isinstance(caught.value, ValueError)


def test_a_bare_path_is_local_only_in_settings():
    assert Location.from_setting("/p q") == Location("/p q")
    with pytest.raises(LocationRefused, match="write ':/p'"):
        Location.parse("/p")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (":/a", [":/a"]),
        (":/a :/b", [":/a", ":/b"]),
        (":/a b :/c d; host:/e f", [":/a b", ":/c d;", "host:/e f"]),
        ("  :/a \n h.x-1:/b  ", [":/a", "h.x-1:/b"]),
        (":/a:b c:d", [":/a:b c:d"]),
    ],
)
def test_lists_split_only_before_a_location(text, parts):
    assert split_locations(text) == parts


BAD = ["", "../x", "a/b", "a;b", "a:b", ".", "..", ".hidden", "a\nb", "a\x00", "\x7f", "x" * 300,
       "é" * 101, "\udc80", "a\tb", "\x85"]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_refused(name):
    with pytest.raises(NameRefused) as caught:
        check_name("state", name)
    assert isinstance(caught.value, ValueError)
    for state in ((name, "i", "s"), ("o", name, "s"), ("o", "i", name)):
        with pytest.raises(NameRefused):
            State(*state)


GOOD = ["a", "a b", "it's", 'say "x"', "$(touch x)", "x" * MAX_NAME, "é-1", "a..b", "-rf", "%s",
        "*", "a.qcow2"]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_names_that_work(name):
    assert State("o", "i", name).path == f"o/i/{name}.qcow2"
    assert State("o", None, name).path == f"o/{name}.state"
    assert state_name(f"{name}.qcow2") == name


@given(st.text(max_size=12))
def test_no_name_leaves_its_directory(name):
    import os.path

    try:
        path = State("o", "i", name).path
    except NameRefused:
        return
    assert os.path.normpath(path) == path and os.path.dirname(path) == "o/i"


@pytest.mark.parametrize(
    "file", ["x", "x.state", ".qcow2", ".x.qcow2", "x.qcow2.lock", "a;b.qcow2"]
)
def test_files_that_are_no_states(file):
    assert state_name(file) is None
