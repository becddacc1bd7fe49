import os
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avocado_pool_plugin.core.errors import PoolUnreachable, SettingRefused, ToolFailed
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph import picture
from avocado_pool_plugin.graph.model import Graph, Made, Node, Want
from avocado_pool_plugin.graph.plan import Found, Wish, make_plan
from tests.support.needs import need_programs

SVG = "{http://www.w3.org/2000/svg}"
INSTALL, CUSTOMIZE = State("vm1", "image1", "install"), State("vm1", "image1", "customize")
RAM = State("vm1", None, "booted")


def chain(last="uses"):
    """A test whose state is there, one that makes another, and one that gets them."""
    return Graph.of([
        Node("installs", (), (Made(INSTALL),)),
        Node("customizes", (Want(INSTALL),), (Made(CUSTOMIZE, INSTALL),)),
        Node(last, (Want(CUSTOMIZE), Want(RAM, optional=True))),
        Node("does not matter", (Want(INSTALL),), (Made(State("vm9", "image1", "unused")),)),
    ])  # fmt: skip


def plan_of(graph, *tests, passed=()):
    world = {INSTALL: Found("cache")}
    wish = Wish(tests or tuple(graph.nodes)[:3], passed=dict.fromkeys(passed, "passed before"))
    return make_plan(graph, wish, lambda state: world.get(state, Found()))


def shapes(dot):
    """Labels and colours of tests and states in DOT."""
    found = re.findall(r'^  (\w+) \[.*?fillcolor="(.*?)", label="(.*?)"', dot, re.M)
    return {name: (label.split(r"\n")[0], colour) for name, colour, label in found}


def texts(svg):
    """The lines of text in a drawing, all but those of the legend."""
    root = ElementTree.fromstring(svg)
    legend = [
        node
        for node in root.iter(f"{SVG}g")
        if re.fullmatch("l[ts][0-9]+", node.findtext(f"{SVG}title") or "")
    ]
    of_legend = {id(text) for node in legend for text in node.iter(f"{SVG}text")}
    return [
        (text.text or "").replace("\xa0", " ")
        for text in root.iter(f"{SVG}text")
        if id(text) not in of_legend
    ]


def draw(graph, path, **results):
    need_programs("dot")
    picture.write(str(path), graph, plan_of(graph), results)
    return path.read_bytes()


def test_tests_are_boxes_and_states_are_ellipses_with_arrows_between():
    graph = chain()
    dot = picture.to_dot(graph, plan_of(graph))
    assert [name for name, _ in shapes(dot).values()][:6] == [
        "installs", "customizes", "uses", "install", "customize", "booted",
    ]  # fmt: skip
    assert dot.count("shape=box") == 3 + 2 and dot.count("shape=ellipse") == 3 + 3
    assert re.findall(r"^  (\w+ -> .*);$", dot, re.M) == [
        "t0 -> s0", "s0 -> t1", "t1 -> s1", "s1 -> t2", "s2 -> t2 [style=dashed]",
    ]  # fmt: skip


def test_only_what_matters_for_the_plan_is_shown():
    graph = chain()
    dot = picture.to_dot(graph, plan_of(graph, "customizes"))
    assert [name for name, _ in shapes(dot).values()][:3] == ["customizes", "install", "customize"]
    assert "matter" not in dot and "uses" not in dot


def test_colours_say_what_is_to_become_of_tests_and_the_legend_what_they_mean():
    graph = chain()
    dot = picture.to_dot(graph, plan_of(graph, passed=["uses"]))
    colours = [colour for _, colour in shapes(dot).values()]
    assert len(set(colours[:3])) == 3
    legend = dict(re.findall(r'fillcolor="(.*?)", label="test: (.*?)"', dot))
    assert [legend[colour] for colour in colours[:3]] == ["reuse", "skip", "run"]
    states = dict(re.findall(r'fillcolor="(.*?)", label="state: (.*?)"', dot))
    assert [states[colour] for colour in colours[3:6]] == [
        "there already", "made here", "not used",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["PASS", "FAIL", "ERROR", "SKIP", "WARN", "CANCEL", "INTERRUPTED"])
def test_colours_say_what_became_of_tests(word):
    graph = chain()
    plan = plan_of(graph)
    dot = picture.to_dot(graph, plan, {"uses": word.lower(), "installs": "SKIP", "other": "FAIL"})
    legend = re.findall(r"test: (\w+)", dot)
    assert set(legend) == {"reuse", "run", word}
    assert shapes(dot)["t2"][1] == picture._TESTS[word] != picture._OTHER
    assert shapes(dot)["t0"] == shapes(picture.to_dot(graph, plan))["t0"]


def test_good_is_green_and_bad_is_red():
    for word, strong in (("PASS", 1), ("FAIL", 0), ("ERROR", 0)):
        parts = [int(picture._TESTS[word][at : at + 2], 16) for at in (1, 3, 5)]
        assert max(parts) == parts[strong]


def test_a_word_that_avocado_may_learn_is_no_problem():
    graph = chain()
    assert "test: ODD" in picture.to_dot(graph, plan_of(graph), {"uses": "odd"})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('say "hello"', 'say "hello"'),
        ("Prüfung für Änderungen 測試 😀", None),
        ("<b>bold</b> & more", None),
        ("already &amp; escaped &lt;", None),
        (r"back\slash \N \G \n \l end" + "\\", None),
        ("two  blanks", None),
        ("; } digraph { a -> b", None),
        ("two\nlines\tand \x1b[31m \x00", r"two\nlines\tand \x1b[31m \x00"),
        (os.fsdecode(b"no unicode \xff"), r"no unicode \udcff"),
    ],
)
def test_any_name_is_drawn_as_it_is(tmp_path, name, shown):
    svg = draw(chain(name), tmp_path / "plan.svg")
    assert texts(svg).count(shown or name) == 1
    # whatever is above it, such as the reason why a test runs, is sound as well
    assert {"installs", "customizes", "install", "customize", "booted"} <= set(texts(svg))


@settings(max_examples=25)
@given(name=st.text(st.characters(), min_size=1, max_size=20))
def test_no_name_breaks_a_drawing(tmp_path, name):
    svg = draw(chain(f"({name})"), tmp_path / "plan.svg", customizes="PASS")
    assert len(texts(svg)) == len(texts(draw(chain(), tmp_path / "plan.svg")))


def test_each_name_is_in_a_drawing_once_and_its_reason_is_shown_over_it(tmp_path):
    svg = draw(chain(), tmp_path / "plan.svg", customizes="PASS")
    assert all(texts(svg).count(name) == 1 for name in ("installs", "customizes", "uses"))
    assert texts(svg).count("PASS") == 1
    tooltips = {
        value for node in ElementTree.fromstring(svg).iter() for value in node.attrib.values()
    }
    assert "makes 'customize' of vm1/image1, which does not exist" in tooltips


def test_graphviz_text_needs_no_graphviz(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    graph = chain("Prüfung")
    picture.write(str(tmp_path / "plan.DOT"), graph, plan_of(graph))
    assert (tmp_path / "plan.DOT").read_text(encoding="utf-8") == picture.to_dot(
        graph, plan_of(graph)
    )


def test_a_name_without_a_directory_is_in_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    graph = chain()
    picture.write("plan.dot", graph, plan_of(graph))
    assert os.listdir(tmp_path) == ["plan.dot"]


def fails(path, error):
    """Try to write a picture where there is one already; return what was said."""
    path.write_text("old")
    graph = chain()
    with pytest.raises(error) as caught:
        picture.write(str(path), graph, plan_of(graph))
    assert path.read_text() == "old" and os.listdir(path.parent) == [path.name]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_graphviz_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert fails(tmp_path / "plan.svg", ToolFailed) == (
        "dot, which draws pictures, can't be started (No such file or directory); install "
        "graphviz or ask for a .dot file"
    )


@pytest.mark.parametrize("name", ["plan.png", "plan", "plan.svg.txt", "svg"])
def test_other_endings_are_refused(tmp_path, name):
    said = fails(tmp_path / name, SettingRefused)
    assert said.startswith(f"picture {tmp_path / name} ends neither in .svg nor in .dot; name it")


def program(directory, monkeypatch, text):
    """Put a program in the place of Graphviz."""
    path = directory / "bin" / "dot"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    place = directory / "out"
    place.mkdir()
    return place / "plan.svg"


def test_a_failure_of_graphviz_is_an_error_that_says_why(tmp_path, monkeypatch):
    path = program(tmp_path, monkeypatch, "echo half; echo 'Error: one\ntwo' >&2; exit 3")
    assert fails(path, ToolFailed) == "dot failed with status 3: Error: one; two"


def test_a_program_that_cannot_be_started_is_an_error(tmp_path, monkeypatch):
    path = program(tmp_path, monkeypatch, "")
    (tmp_path / "bin" / "dot").chmod(0o644)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "can't be started (Permission denied); install graphviz or" in fails(path, ToolFailed)


def test_graphviz_may_not_take_for_ever(tmp_path, monkeypatch):
    path = program(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(picture, "_TIMEOUT", 0.2)
    assert fails(path, ToolFailed) == (
        "dot did not draw the picture within 0.2 seconds; ask for a .dot file"
    )


def test_a_directory_that_is_not_there_is_an_error_of_ours(tmp_path):
    graph = chain()
    with pytest.raises(PoolUnreachable, match=r"plan\.dot"):
        picture.write(str(tmp_path / "none" / "plan.dot"), graph, plan_of(graph))
