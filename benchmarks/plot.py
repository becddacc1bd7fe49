"""
A plot of rows as SVG: for each work a bar for each contender, as a multiple of our time.

The axis is logarithmic: a bar to the right of 1 took longer than we, one to the left less. Ours is
the line at 1 itself. Whiskers go from the shortest to the longest run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.measure import Samples, show
from benchmarks.table import Row

OURS = "ours"
#: Contenders in the order of their bars; colours that differ for the colour-blind as well.
COLOURS = {
    OURS: "#0072b2",
    "avocado-i2n": "#d55e00",
    "Avocado-VT": "#8a8a8a",
    "cp": "#009e73",
    "rsync": "#cc79a7",
    "scp": "#c79a00",
}
_STYLE = """
text { font: 12px sans-serif; fill: #1f2328 }
.small { font-size: 10px; fill: #59636e }
.paper { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.one { stroke: #0072b2; stroke-width: 2 }
.whisker { stroke: #1f2328; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .small { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .grid { stroke: #3d444d }
  .whisker { stroke: #f0f6fc }
}
"""
#: Pixels: the whole, the words on the left, what is right of the longest bar, a bar, its share.
_WIDTH, _LEFT, _RIGHT, _BAR, _STEP = 900, 240, 170, 9, 12
#: Pixels above the first group and between two.
_TOP, _GAP = 70, 10
#: What the axis may have marks at: 1, 2 and 5 times all powers of ten that matter.
_TICKS = [float(f"{digit}e{power}") for power in range(-9, 10) for digit in (1, 2, 5)]


@dataclass(frozen=True)
class Scale:
    """
    Where multiples of our time are on the axis.

    :param least: the multiple at its left end; ``most`` is that at the right one
    """

    least: float
    most: float

    @classmethod
    def over(cls, ratios: Sequence[float]) -> "Scale":
        """Return one that has room for some multiples, and for a half and twice ours."""
        least, most = min(*ratios, 0.5), max(*ratios, 2.0)
        return cls(
            max(tick for tick in _TICKS if tick <= least),
            min(tick for tick in _TICKS if tick >= most),
        )

    def at(self, ratio: float) -> float:
        """Return how many pixels from the left a multiple is."""
        share = math.log(ratio / self.least) / math.log(self.most / self.least)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    @property
    def ticks(self) -> Iterator[float]:
        """The round figures on it."""
        return (tick for tick in _TICKS if self.least <= tick <= self.most)


def svg(rows: Sequence[Row], title: str) -> str:
    """
    Return the plot of those rows that have a short name.

    :param title: one line
    """
    drawn = [row for row in rows if row.short]
    shown = [(row, _contenders(row.found)) for row in drawn]
    ends = (
        end / row.found[OURS].median
        for row, contenders in shown
        for samples in contenders.values()
        for end in (min(samples.seconds), max(samples.seconds))
    )
    scale = Scale.over([*ends, 1.0])
    height = _TOP + sum(len(each) * _STEP + _GAP for _, each in shown) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
        f'<text x="10" y="20">{escape(title)}</text>',
        *_legend({name for _, each in shown for name in each}),
        *_axis(scale, height),
    ]
    top = float(_TOP)
    for row, contenders in shown:
        parts += _group(row.short, contenders, scale, top)
        top += len(contenders) * _STEP + _GAP
    return "\n".join([*parts, "</svg>", ""])


def _contenders(found: Mapping[str, Samples]) -> dict[str, Samples]:
    """Return those that are drawn, in order."""
    return {name: found[name] for name in COLOURS if name in found}


def _legend(names: set[str]) -> Iterator[str]:
    x = 10
    for name, colour in COLOURS.items():
        if name in names:
            yield f'<rect x="{x}" y="32" width="{_BAR}" height="{_BAR}" fill="{colour}"/>'
            yield f'<text x="{x + 14}" y="41">{escape(name)}</text>'
            x += 40 + 7 * len(name)
    note = "left of 1: faster than ours, right: slower; whiskers: shortest and longest run"
    yield f'<text class="small" x="{_WIDTH - 10}" y="41" text-anchor="end">{note}</text>'


def _axis(scale: Scale, height: int) -> Iterator[str]:
    bottom = height - 10
    for tick in scale.ticks:
        x, kind = scale.at(tick), "one" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" y1="62" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text class="small" x="{x:.1f}" y="58" text-anchor="middle">{tick:g} x</text>'


def _group(work: str, found: Mapping[str, Samples], scale: Scale, top: float) -> Iterator[str]:
    """Yield the bars of one work."""
    ours = found[OURS].median
    middle = top + len(found) * _STEP / 2 + 3
    yield f'<text x="{_LEFT - 12}" y="{middle:.1f}" text-anchor="end">{escape(work)}</text>'
    for number, (name, samples) in enumerate(found.items()):
        ratio = samples.median / ours
        told = f"{escape(name)} {show(samples.median)}"
        if name != OURS:
            told += f", {_short(ratio)} x"
        yield from _bar(name, samples, ours, scale, top + number * _STEP)
        x = scale.at(max(ratio, max(samples.seconds) / ours, 1.0)) + 6
        y = top + number * _STEP + _BAR
        yield f'<text class="small" x="{x:.1f}" y="{y:.1f}">{told}</text>'


def _short(ratio: float) -> str:
    """Return a multiple with two digits that count."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _bar(name: str, samples: Samples, ours: float, scale: Scale, top: float) -> Iterator[str]:
    one, end = scale.at(1), scale.at(samples.median / ours)
    x, length = min(one, end), abs(end - one)
    if name == OURS:
        x, length = one - 3, 6
    yield (
        f'<rect class="bar" x="{x:.1f}" y="{top:.1f}" width="{max(length, 2):.1f}" '
        f'height="{_BAR}" fill="{COLOURS[name]}"><title>{escape(name)}: {samples}</title></rect>'
    )
    least, most = (scale.at(edge(samples.seconds) / ours) for edge in (min, max))
    y = top + _BAR / 2
    yield (f'<path class="whisker" d="M{least:.1f} {y - 2.5:.1f}v5m0 -2.5H{most:.1f}m0 -2.5v5"/>')
