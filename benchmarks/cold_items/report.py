"""The tables and the summary of several draws."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.cold_items.draw import Draw
from benchmarks.cold_items.measuring import CONTENT, MODEL, OfflineResult
from benchmarks.cold_items.serving import ServedResult


def summary(draws: Sequence[Draw]) -> dict[str, Any]:
    """The means over the draws, and how many times the content baseline the content path finds."""
    offline = [draw.offline for draw in draws]
    among_cold = _means(offline, lambda result: result.among_cold)
    return {
        "n_hidden": offline[0].n_hidden,
        "n_wanted": [result.n_wanted for result in offline],
        "among_cold": among_cold,
        "among_all": _means(offline, lambda result: result.among_all),
        "times_the_content_baseline": among_cold[MODEL] / among_cold[CONTENT],
        "times_by_draw": [_times(result) for result in offline],
        "warm_alone": _mean(result.warm_alone for result in offline),
        "warm_beside_cold": _mean(result.warm_beside_cold for result in offline),
        "served": {ways[0].given: _served(ways) for ways in zip(*(draw.served for draw in draws), strict=True)},
    }


def _times(result: OfflineResult) -> float:
    return result.among_cold[MODEL] / result.among_cold[CONTENT]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _means(results: Sequence[OfflineResult], of: Callable[[OfflineResult], dict[str, float]]) -> dict[str, float]:
    return {name: _mean(of(result)[name] for result in results) for name in of(results[0])}


def _served(results: Sequence[ServedResult]) -> dict[str, float]:
    return {
        "among_cold": _mean(result.among_cold for result in results),
        "among_all": _mean(result.among_all for result in results),
        "warm_before": _mean(result.warm_before for result in results),
        "warm_after": _mean(result.warm_after for result in results),
        "explored_among_all": _mean(result.explored_among_all for result in results),
        "explored_warm": _mean(result.explored_warm for result in results),
        "first_s": max(result.first_s for result in results),
        "median_s": _mean(result.median_s for result in results),
        "longest_s": max(result.longest_s for result in results),
    }


def tables(draws: Sequence[Draw]) -> list[Table]:
    """Recall@20 of cold items by method, and what a service gave, where it was asked; means over the draws."""
    found = summary(draws)
    shown = Table(
        title=f"recall@20 of {found['n_hidden']} cold items, {len(draws)} draws",
        caption=(
            f"{found['times_the_content_baseline']:.2f} times mean features among cold items; recall@20 of warm items: "
            f"{found['warm_alone']:.4f} without the cold ones, {found['warm_beside_cold']:.4f} beside them"
        ),
    )
    for name in ("", "among cold items", "among all items"):
        shown.add_column(name, justify="right" if name else "left")
    for name in found["among_cold"]:
        shown.add_row(name, f"{found['among_cold'][name]:.4f}", f"{found['among_all'][name]:.4f}")
    return [shown, _served_table(found["served"])] if found["served"] else [shown]


def _served_table(served: dict[str, dict[str, float]]) -> Table:
    table = Table(title="put to a running service")
    table.add_column("")
    for given in served:
        table.add_column(given, justify="right")
    for name in next(iter(served.values())):
        table.add_row(name, *(f"{figures[name]:.4f}" for figures in served.values()))
    return table
