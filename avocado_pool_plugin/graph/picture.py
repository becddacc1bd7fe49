"""The picture of a plan: its tests and their states, drawn by Graphviz."""

import os
import subprocess
from collections.abc import Container, Iterable, Iterator, Mapping

from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.errors import SettingRefused, ToolFailed
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.graph.model import Graph
from avocado_pool_plugin.graph.plan import REUSE, RUN, SKIP, Plan, Step

#: Graphviz' program for graphs with a direction, and the seconds it may take.
PROGRAM, _TIMEOUT = "dot", 60
#: Colours of tests, by what becomes of them or by what became of them.
_TESTS = {
    RUN: "#9ecae1",
    REUSE: "#e5f5e0",
    SKIP: "#d9d9d9",
    "PASS": "#74c476",
    "WARN": "#fed976",
    "FAIL": "#fb6a4a",
    "ERROR": "#fb6a4a",
    "INTERRUPTED": "#fd8d3c",
    "CANCEL": "#d9d9d9",
    "SKIP": "#d9d9d9",
}
_OTHER = "#ffffff"
#: Colours of states, by where they come from.
_STATES = {"made here": "#deebf7", "there already": "#e5f5e0", "not used": _OTHER}
_HEAD = """\
digraph plan {
  rankdir=LR;
  node [style=filled, fontname="sans-serif", fontsize=11];
"""


def write(path: str, graph: Graph, plan: Plan, results: Mapping[str, str] | None = None) -> None:
    """
    Write a picture: Graphviz' own text into a ``.dot`` file, or a drawing into a ``.svg`` file.

    :param results: of the tests that have run already
    :raises SettingRefused: the file's name ends in something else
    :raises ToolFailed: Graphviz is not installed, or it failed
    :raises PoolError: the file can't be written
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".dot", ".svg"):
        raise SettingRefused(
            f"picture {path} ends neither in .svg nor in .dot; name it *.svg to have it drawn, or "
            f"*.dot for Graphviz' own text"
        )
    data = to_dot(graph, plan, results).encode()
    if ending == ".svg":
        data = _draw(data)
    path = os.path.abspath(path)
    with durable.typed_failures(path):
        durable.write_whole(path, data)


def to_dot(graph: Graph, plan: Plan, results: Mapping[str, str] | None = None) -> str:
    """
    Return the picture of a plan in Graphviz' language.

    :param results: Avocado's words (``PASS``, ``FAIL``...) by test, for those that have run already
    """
    words = {step.test: _word(step, results or {}) for step in plan.steps}
    states = _states(graph, plan)
    return "".join((
        _HEAD,
        *_tests(plan.steps, words),
        *_ellipses(states),
        *_arrows(graph, plan, {state: number for number, state in enumerate(states)}),
        *_legend(words.values(), states.values()),
        "}\n",
    ))  # fmt: skip


def _word(step: Step, results: Mapping[str, str]) -> str:
    """Return what became of a test, or what is to become of it."""
    if step.action == REUSE or step.test not in results:
        return step.action
    return results[step.test].upper()


def _states(graph: Graph, plan: Plan) -> dict[State, str]:
    """Return the states of a plan's tests, with where they come from."""
    nodes = [(graph.nodes[step.test], step.action == RUN) for step in plan.steps]
    made = {one.state for node, runs in nodes if runs for one in node.sets}
    touched: dict[State, None] = {}
    for node, _ in nodes:
        touched |= dict.fromkeys(want.state for want in node.gets)
        touched |= dict.fromkeys(one.state for one in node.sets)
    return {state: _origin(state, made, plan.reused) for state in touched}


def _origin(state: State, made: Container[State], reused: Container[State]) -> str:
    if state in made:
        return "made here"
    return "there already" if state in reused else "not used"


def _tests(steps: Iterable[Step], words: Mapping[str, str]) -> Iterator[str]:
    for number, step in enumerate(steps):
        word = words[step.test]
        yield _shape(f"t{number}", "box", (step.test, word), _TESTS.get(word, _OTHER), step.reason)


def _ellipses(states: Mapping[State, str]) -> Iterator[str]:
    for number, (state, origin) in enumerate(states.items()):
        label = (state.name, state.owner)
        yield _shape(f"s{number}", "ellipse", label, _STATES[origin], f"{state}, {origin}")


def _arrows(graph: Graph, plan: Plan, numbers: Mapping[State, int]) -> Iterator[str]:
    for number, step in enumerate(plan.steps):
        node = graph.nodes[step.test]
        for want in node.gets:
            style = " [style=dashed]" if want.optional else ""
            yield f"  s{numbers[want.state]} -> t{number}{style};\n"
        for made in node.sets:
            yield f"  t{number} -> s{numbers[made.state]};\n"


def _legend(words: Iterable[str], origins: Iterable[str]) -> Iterator[str]:
    """Yield what the colours mean, as far as they occur."""
    yield '  subgraph cluster_legend {\n    label="legend"; fontname="sans-serif"; fontsize=11;\n'
    for number, word in enumerate(sorted(set(words))):
        yield "  " + _shape(f"lt{number}", "box", (f"test: {word}",), _TESTS.get(word, _OTHER))
    for number, origin in enumerate(sorted(set(origins))):
        yield "  " + _shape(f"ls{number}", "ellipse", (f"state: {origin}",), _STATES[origin])
    yield "  }\n"


def _shape(name: str, shape: str, lines: Iterable[str], colour: str, tooltip: str = "") -> str:
    label = r"\n".join(_escape(line) for line in lines)
    # in tooltips Graphviz resolves what comes after a backslash once more, so there is none
    hover = _escape(tooltip.replace("\\", "\N{SET MINUS}"))
    return f'  {name} [shape={shape}, fillcolor="{colour}", label="{label}", tooltip="{hover}"];\n'


def _escape(text: str) -> str:
    """Return a text as a part of a quoted label; what can't be printed is written as in Python."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return shown.replace("\\", r"\\").replace('"', r"\"").replace("&", "&amp;")


def _draw(dot: bytes) -> bytes:
    """Return the drawing of a graph as SVG."""
    try:
        done = subprocess.run(
            [PROGRAM, "-Tsvg"], input=dot, capture_output=True, timeout=_TIMEOUT, check=False
        )
    except OSError as error:
        raise ToolFailed(
            f"{PROGRAM}, which draws pictures, can't be started ({error.strerror}); install "
            f"graphviz or ask for a .dot file"
        ) from None
    except subprocess.TimeoutExpired:
        raise ToolFailed(
            f"{PROGRAM} did not draw the picture within {_TIMEOUT} seconds; ask for a .dot file"
        ) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().replace("\n", "; ")
        raise ToolFailed(f"{PROGRAM} failed with status {done.returncode}: {said}")
    return done.stdout
