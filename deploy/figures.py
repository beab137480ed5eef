"""How the served model compares with simpler ones: the table that `trainer compare` left beside the bundle."""

import json
from pathlib import Path

from rich.table import Table

from index.errors import InputError

SHOWN = ("recall@20", "ndcg@20")
SERVED = "anchorrec"
CLEARLY = 1.1
"""How many times the others' figures the served model must reach on the demo shop."""

Figures = dict[str, dict[str, float]]


def read_figures(path: Path) -> Figures:
    """Test figures by model, from a comparison.json."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: {metric: float(run["test"][metric]) for metric in SHOWN} for name, run in record.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no comparison (made by `python -m trainer compare`): {error!r}") from None


def figures_table(figures: Figures) -> Table:
    """One row a model."""
    table = Table("model", *SHOWN, title="on the test split, full ranking")
    for name, values in figures.items():
        table.add_row(name, *(f"{values[metric]:.4f}" for metric in SHOWN))
    return table


def beaten_clearly(figures: Figures) -> tuple[bool, str]:
    """Whether the served model is clearly ahead of every other, and by how much."""
    served = figures.get(SERVED)
    if served is None:
        raise InputError(f"the comparison has no run {SERVED!r}, found {', '.join(figures)}")
    ratios = {
        f"{metric} over {name}": served[metric] / values[metric] if values[metric] else float("inf")
        for name, values in figures.items()
        if name != SERVED
        for metric in SHOWN
    }
    said = ", ".join(f"{what} x{ratio:.2f}" for what, ratio in ratios.items())
    return all(ratio >= CLEARLY for ratio in ratios.values()), said
