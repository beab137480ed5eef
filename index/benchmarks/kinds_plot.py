"""Draws recall against speed for each kind of index, one panel for each data and size."""

import re
from collections.abc import Sequence
from pathlib import Path

from index.benchmarks.kinds_benchmark import FLOOR, KindSpeed
from index.flat import FLAT

_WIDTH, _HEIGHT = 5.2, 4.2
_LEAST_RECALL = 0.9
_PANELS_A_ROW = 2
_MARKERS = "osvD^P*<X>hd"
_NUMBER = re.compile(r"(?<=IVF|PCA)\d+|(?<=PQ)\d+|(?<=RR)\d+")


def plot_kinds(lines: Sequence[KindSpeed], file: Path) -> None:
    """Write a PNG. ImportError where matplotlib is not installed (extra `trainer`)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - index runs without it
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter  # noqa: PLC0415

    panels = list(dict.fromkeys((line.data, line.items, line.size) for line in lines))
    n_rows = -(-len(panels) // _PANELS_A_ROW)
    figure = Figure(figsize=(_WIDTH * _PANELS_A_ROW, _HEIGHT * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    families = dict.fromkeys(_family(line.kind) for line in lines if line.kind != FLAT)
    styles = {family: (f"C{i % 10}", _MARKERS[i % len(_MARKERS)]) for i, family in enumerate(families)}
    styles[FLAT] = ("black", ".")
    grid = figure.subplots(n_rows, _PANELS_A_ROW, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid, panels, strict=False):
        of_panel = [line for line in lines if (line.data, line.items, line.size) == panel]
        for kind in dict.fromkeys(line.kind for line in of_panel):
            tries = [line for line in of_panel if line.kind == kind and line.recall >= _LEAST_RECALL]
            speeds, recalls = [line.times_exact for line in tries], [line.recall for line in tries]
            if tries:
                colour, marker = styles[_family(kind)]
                axes.plot(speeds, recalls, marker=marker, color=colour, label=kind, linewidth=1, markersize=4)
        axes.axhline(FLOOR, color="grey", linestyle=":", linewidth=1)
        title = f"{panel[1]:,} items of {panel[2]}" + ("" if panel[0] == "generated" else f", {panel[0]}")
        axes.set(title=title, xscale="log", xlabel="times as fast as exact search", ylabel="recall@20")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(which="both", alpha=0.3)
        axes.legend(fontsize="x-small", loc="lower left")
    figure.savefig(file, dpi=110)


def _family(kind: str) -> str:
    """A kind without its numbers, so that it has one colour in all panels."""
    return _NUMBER.sub("", kind)
