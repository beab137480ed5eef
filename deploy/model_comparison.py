"""Test metrics of the served model and of simpler models, as `trainer compare` writes them beside the bundle."""

import json
from pathlib import Path

from rich.table import Table

from index.errors import InputError

METRICS = ("recall@20", "ndcg@20")
REQUIRED_RATIO = 1.1
"""How many times the metrics of the other models the served model must reach on the demo shop."""

MetricsByModel = dict[str, dict[str, float]]
"""By model and metric."""


def read_comparison(path: Path) -> MetricsByModel:
    """Read the test metrics of each model from a comparison.json."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: {metric: float(run["test"][metric]) for metric in METRICS} for name, run in record.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no comparison (made by `python -m trainer compare`): {error!r}") from None


def comparison_table(comparison: MetricsByModel) -> Table:
    """Return a table with one row per model."""
    table = Table("model", *METRICS, title="tried on interactions held back", title_justify="left")
    for name, values in comparison.items():
        table.add_row(name, *(f"{values[metric]:.4f}" for metric in METRICS))
    return table


def compare_with_baselines(comparison: MetricsByModel, model: str) -> tuple[bool, str]:
    """Return whether the served model reaches REQUIRED_RATIO over every other model, and the ratios as text."""
    served = comparison.get(model)
    if served is None:
        raise InputError(f"the comparison has no run {model!r}, found {', '.join(comparison)}")
    ratios = {
        f"{metric} over {name}": served[metric] / values[metric] if values[metric] else float("inf")
        for name, values in comparison.items()
        if name != model
        for metric in METRICS
    }
    text = ", ".join(f"{what} x{ratio:.2f}" for what, ratio in ratios.items())
    return all(ratio >= REQUIRED_RATIO for ratio in ratios.values()), text
