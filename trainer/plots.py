"""Plots the curves of a run."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Draw loss terms (left, log scale) and validation recall and ndcg at 20 (right) by epoch into a PNG file."""
    if not history:
        return
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, metrics = figure.subplots(1, 2)
    for name in history[0]["terms"]:
        losses.plot([record["epoch"] for record in history], [record["terms"][name] for record in history], label=name)
    losses.set(title="loss terms (weighted)", xlabel="epoch", yscale="log")
    evaluated = [record for record in history if "recall@20" in record]
    for name in ("recall@20", "ndcg@20"):
        metrics.plot([r["epoch"] for r in evaluated], [r[name] for r in evaluated], label=name)
    metrics.set(title="validation", xlabel="epoch")
    for axes in (losses, metrics):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)
