"""Shared by all charts: colours, style, panels, conversion to SVG."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PALETTE = ("#1f86c8", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#8c6bb1", "#56b4e9", "#9a8f00", "#7f7f7f")
"""Okabe and Ito's colours, told apart with any colour vision; yellow, black and the
darkest blue replaced, which vanish on a light or a dark page."""
GREY = "#8a8a8a"
_WIDEST = 11.6
"""Inches that a page is wide: beyond, a figure is shrunk and its letters with it."""

# A colour that no chart uses: it becomes currentColor, so that the same SVG suits a light page and a dark one.
_INK = "#010203"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    "grid.color": _INK,
}


@dataclass(frozen=True)
class Chart:
    """One picture of the page."""

    svg: str
    description: str
    """The text alternative for screen readers."""


def run_colours(runs: Sequence[str]) -> dict[str, str]:
    """A colour for each run of the report; a run keeps it in every figure."""
    return dict(zip(runs, colours_of(len(runs)), strict=True))


def colours_of(n: int) -> list[str]:
    """n colours, the first again after the last."""
    return [PALETTE[place % len(PALETTE)] for place in range(n)]


def make_panels(n: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of n panels side by side, in more than one row where they would not fit a page."""
    columns = min(n, int(_WIDEST // width))
    lines = -(-n // columns)
    figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
    FigureCanvasSVG(figure)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in grid[n:]:
        spare.set_visible(False)
    return figure, list(grid[:n])


def add_legend(figure: Figure, axes: Axes) -> None:
    """One legend above all panels, from what is drawn in `axes`."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 5))


def to_chart(figure: Figure, description: str) -> Chart:
    """The figure as SVG for an HTML page; `description` must differ from those of the other charts there."""
    written = io.StringIO()
    # Without a salt of its own, ids of one figure would be those of another on the same page.
    with mpl.rc_context({"svg.hashsalt": description}):
        figure.savefig(written, format="svg", dpi=150, metadata={"Date": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return Chart(_without_idle_ids(svg), description)


def _without_idle_ids(svg: str) -> str:
    """Ids such as "axes_1" are in every figure and must not repeat on a page; only those referred to stay."""
    used = set(re.findall(r"""(?:url\(#|href="#)([^)"]+)""", svg))
    return re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
