"""Fits power laws to what stages took on growing sizes, and draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

CONFIDENCE = 0.9
POINTS = 100  # of a drawn law
SMALLEST = 1e-3  # seconds or GB beyond the start that a logarithm is taken of


@dataclass(frozen=True)
class Estimate:
    """What y = start + factor * n^exponent, fitted by least squares of logarithms, gives at the full size."""

    start: float
    exponent: float
    factor: float
    value: float
    low: float
    high: float
    """Bounds of the prediction interval of one more measurement there; unbounded where two sizes were measured."""
    straight: float
    """What the straight line through the smallest and the largest size gives there: what grows with no power of n is
    not taken for a smaller exponent."""

    def at(self, n: float) -> float:
        """The law at another size."""
        return float(self.start + self.factor * n**self.exponent)


def estimated(sizes: Sequence[int], measured: Sequence[float], *, start: float, full_size: int) -> Estimate:
    """Extrapolate measurements (n,) at their sizes (n,), two or more of them different, to the full size.

    The interval holds if the law does: it covers the scatter about the line, and no change of regime beyond it.
    """
    rest = np.asarray(measured, float) - start
    x, y = np.log(np.asarray(sizes, float)), np.log(np.maximum(rest, SMALLEST))
    exponent, intercept = np.polyfit(x, y, 1)
    freedom, at = len(x) - 2, np.log(full_size)
    value = exponent * at + intercept
    margin = np.inf
    if freedom:
        scatter = np.square(y - exponent * x - intercept).sum() / freedom
        spread = scatter * (1 + 1 / len(x) + (at - x.mean()) ** 2 / np.square(x - x.mean()).sum())
        margin = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(spread)
    at_full, low, high = (float(start + np.exp(each)) for each in (value, value - margin, value + margin))
    first, last = int(np.argmin(sizes)), int(np.argmax(sizes))
    slope = (measured[last] - measured[first]) / (sizes[last] - sizes[first])
    straight = float(measured[first] + slope * (full_size - sizes[first]))
    return Estimate(start, float(exponent), float(np.exp(intercept)), at_full, low, high, straight)


def plot_pipeline(
    costs: Sequence[Any], found: Mapping[str, Mapping[str, Estimate]], full_size: int, file: Path
) -> None:
    """Draw seconds (left) and peak memory (right) of `StageCost`s by items, with the laws to the full size.

    A cross marks what a straight line gives there.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = zip(figure.subplots(1, 2), (("seconds", "seconds"), ("peak_gb", "GB of memory")), strict=True)
    for axes, (field, label) in panels:
        for number, stage in enumerate(dict.fromkeys(cost.stage for cost in costs)):
            those = [cost for cost in costs if cost.stage == stage]
            sizes, colour = [cost.n_items for cost in those], f"C{number}"
            axes.plot(sizes, [getattr(cost, field) for cost in those], "o", color=colour, label=stage)
            if law := found.get(stage, {}).get(field):
                line = np.geomspace(min(sizes), full_size, POINTS)
                axes.plot(line, [law.at(n) for n in line], "--", color=colour, linewidth=1)
                axes.plot(full_size, law.straight, "x", color=colour)
                if np.isfinite(law.high):
                    axes.plot([full_size] * 2, [law.low, law.high], "-_", color=colour, linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="items (2 users and 50 interactions each)", ylabel=label)
        axes.grid(which="both", alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(file, dpi=110)
