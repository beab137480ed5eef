"""The table and the summary of several draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.cold_items.measuring import CONTENT, MODEL, DrawResult


def summary(results: Sequence[DrawResult]) -> dict[str, Any]:
    """The means over the draws, and how many times the content baseline the content path finds."""
    methods = results[0].among_cold
    among_cold = {name: float(np.mean([result.among_cold[name] for result in results])) for name in methods}
    among_all = {name: float(np.mean([result.among_all[name] for result in results])) for name in methods}
    return {
        "among_cold": among_cold,
        "among_all": among_all,
        "times_the_content_baseline": among_cold[MODEL] / among_cold[CONTENT],
        "times_the_content_baseline_by_draw": [r.among_cold[MODEL] / r.among_cold[CONTENT] for r in results],
        "warm_alone": float(np.mean([result.warm_alone for result in results])),
        "warm_beside_cold": float(np.mean([result.warm_beside_cold for result in results])),
        "n_hidden": results[0].n_hidden,
        "n_wanted": [result.n_wanted for result in results],
    }


def table(results: Sequence[DrawResult]) -> Table:
    """Recall@20 of cold items by method, means over the draws."""
    found = summary(results)
    shown = Table(
        title=f"recall@20 of {found['n_hidden']} cold items, {len(results)} draws",
        caption=(
            f"{found['times_the_content_baseline']:.2f} times mean features among cold items; recall@20 of warm items: "
            f"{found['warm_alone']:.4f} without the cold ones, {found['warm_beside_cold']:.4f} beside them"
        ),
    )
    shown.add_column("")
    shown.add_column("among cold items", justify="right")
    shown.add_column("among all items", justify="right")
    for name in found["among_cold"]:
        shown.add_row(name, f"{found['among_cold'][name]:.4f}", f"{found['among_all'][name]:.4f}")
    return shown
