"""The plot of the benchmarks: well-formed, complete, and to scale."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from benchmarks import document, plot
from benchmarks.measure import Samples
from benchmarks.table import Row, Table

SVG = "{http://www.w3.org/2000/svg}"


def row(short="get, cold", **seconds):
    found = {name.replace("_", "-"): Samples(list(runs)) for name, runs in seconds.items()}
    return Row("a get", "none", "1 s", "", "", found=found, short=short)


def drawn(*rows, title="a machine"):
    return ET.fromstring(plot.svg(rows, title))


def bars(root):
    """Return left edge and length of each bar, by the contender that its tooltip names."""
    return {
        bar.find(f"{SVG}title").text.partition(":")[0]: (
            float(bar.get("x")),
            float(bar.get("width")),
        )
        for bar in root.iter(f"{SVG}rect")
        if bar.get("class") == "bar"
    }


def texts(root):
    return [text.text for text in root.iter(f"{SVG}text")]


def test_all_that_was_measured_is_there():
    root = drawn(
        row("a < b & c", ours=[1], cp=[2], avocado_i2n=[3]),
        row("second", ours=[1], rsync=[0.5], scp=[3]),
        title="x & y",
    )
    told = texts(root)
    assert {"a < b & c", "second", "x & y", *plot.COLOURS} - {"Avocado-VT"} <= set(told)
    assert "Avocado-VT" not in told
    assert set(bars(root)) == {"ours", "cp", "avocado-i2n", "rsync", "scp"}


def test_bars_are_as_long_as_the_logarithm_of_the_ratio():
    found = bars(drawn(row(ours=[0.1], cp=[1], rsync=[10], scp=[0.05])))
    assert found["rsync"][1] == pytest.approx(2 * found["cp"][1], abs=0.2)
    assert found["scp"][1] == pytest.approx(math.log10(2) * found["cp"][1], abs=0.2)
    # to the right of 1 from there on, to the left of it up to there
    assert found["cp"][0] == found["rsync"][0] == pytest.approx(sum(found["scp"]), abs=0.2)


def test_whiskers_go_from_the_shortest_to_the_longest_run():
    root = drawn(row(ours=[1], cp=[2, 4, 8]))
    scale = plot.Scale.over([1, 8])
    (_, whisker) = (path.get("d") for path in root.iter(f"{SVG}path"))
    assert whisker.startswith(f"M{scale.at(2):.1f} ")
    assert f"H{scale.at(8):.1f}m" in whisker


@pytest.mark.parametrize("ratios", [[1], [0.5], [9.5], [10], [0.001, 2000]])
def test_everything_has_room(ratios):
    scale = plot.Scale.over(ratios)
    root = drawn(row(ours=[1], **{"cp": ratios}))
    width = float(root.get("width"))
    assert all(0 < scale.at(ratio) < width for ratio in [1, *ratios])
    assert {f"{tick:g} x" for tick in scale.ticks} <= set(texts(root))


def test_other_contenders_and_rows_without_a_short_name_are_left_out():
    root = drawn(row(ours=[1], live=[2]), row("", ours=[1], cp=[2]))
    assert set(bars(root)) == {"ours"}


def test_a_run_is_written_and_drawn_again_from_its_figures(tmp_path):
    names = ("machine", "local", "vm")
    marks = "".join(f".. table {name} begins\n.. table {name} ends\nbetween\n" for name in names)
    (tmp_path / document.PAGE).write_text(f"before\n{marks}after\n")
    table = Table(("a note",), (row(ours=[1, 2], cp=[2, 3]),))
    results = document.Results("2026-01-01", 3.0, ("a machine",), {"local": table, "vm": table})
    document.save(results, tmp_path)
    assert document.load(tmp_path) == results
    page = (tmp_path / document.PAGE).read_text()
    assert page.startswith("before") and page.endswith("between\nafter\n")
    assert page.count("   * - a get\n") == 2
    assert "* a machine\n* 2026-01-01, all in one run of 3 minutes\n" in page
    ET.parse(tmp_path / document.PLOT)
    other = replace(results, date="2026-01-02")
    document.save(other, tmp_path)
    assert (tmp_path / document.PAGE).read_text() == page.replace("2026-01-01", "2026-01-02")
