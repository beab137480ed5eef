"""Tables of results for the terminal, for Markdown and for spreadsheets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from trainer.config import RunConfig
from trainer.evaluator import Evaluation
from trainer.experiment_matrix import BaselineComparison, Cell, Results
from trainer.expressiveness import COLLAPSE
from trainer.run_folder import RunResult

USUAL_K = 20
TITLE = "full ranking, training items masked, test at the best validation epoch"
REST_TITLE = "beyond accuracy, on test; cost of training"
ABSENT = "-"
NAMES = ("data", "run", "metric")
"""Headings of text columns."""

Rows = list[list[str]]


def usual_k(figures: Iterable[str]) -> int:
    """20, or else the longest list measured."""
    ks = {int(name.partition("@")[2]) for name in figures if name.startswith("recall@")}
    return USUAL_K if USUAL_K in ks else max(ks, default=USUAL_K)


def usual_metrics(figures: Iterable[str]) -> tuple[str, ...]:
    """The default metrics to show: recall and ndcg, and recall in the slices."""
    k = usual_k(figures)
    return tuple(f"{metric}@{k}" for metric in ("recall", "ndcg", "tail/recall", "cold/recall"))


def rich_table(header: Sequence[str], rows: Rows, *, title: str) -> Table:
    """Names to the left, numbers to the right."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in header:
        justify: JustifyMethod = "left" if heading in NAMES else "right"
        table.add_column(_broken(heading), justify=justify, overflow="fold", no_wrap=heading in NAMES)
    for row in rows:
        table.add_row(*row)
    return table


def _broken(heading: str) -> str:
    """In two lines, so that a column is no wider than its numbers."""
    head, mark, tail = heading.rpartition("/" if "/" in heading else " ")
    return f"{head}{mark}".strip() + f"\n{tail}" if head else heading


def markdown_table(header: Sequence[str], rows: Rows) -> str:
    """A pipe table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))


def comparison_rows(results: Results, metrics: Sequence[str]) -> tuple[list[str], Rows]:
    """Accuracy, one row a cell: means over the seeds, with the standard deviation where there are several.

    The first metric is shown on validation too, and with the bounds of its interval on test.
    """
    first, *others = metrics
    header = ["data", "run", f"valid {first}", f"test {first}", "interval", *(f"test {name}" for name in others)]
    return header, [[*cell, *_accuracy(list(runs.values()), first, others)] for cell, runs in results.items()]


def _accuracy(runs: Sequence[RunResult], first: str, others: Sequence[str]) -> list[str]:
    low, high = (_mean([getattr(run, bound).get(first) for run in runs]) for bound in ("test_low", "test_high"))
    return [
        _mean_and_deviation([run.valid.get(first) for run in runs]),
        _mean_and_deviation([run.test.get(first) for run in runs]),
        ABSENT if low is None or high is None else f"{low:.4f}-{high:.4f}",
        *(_mean_and_deviation([run.test.get(name) for run in runs]) for name in others),
    ]


def rest_rows(results: Results) -> tuple[list[str], Rows]:
    """Everything but accuracy, one row a cell: means over the seeds, of memory the most."""
    runs_of = {cell: list(runs.values()) for cell, runs in results.items()}
    k = usual_k(name for runs in runs_of.values() for name in runs[0].test)
    shown = {f"coverage@{k}": 3, f"novelty@{k}": 2, "text_cosine": 3, "image_cosine": 3, COLLAPSE: 3}
    costs = ["seconds", "peak GB", "params"]
    header = ["data", "run", *(name.removeprefix("positional_").replace("_", " ") for name in shown), *costs]
    rows = [
        [*cell, *(_rounded([run.test.get(name) for run in runs], digits) for name, digits in shown.items()),
         *_cost(runs)]
        for cell, runs in runs_of.items()
    ]  # fmt: skip
    return header, rows


def _cost(runs: Sequence[RunResult]) -> list[str]:
    peaks = [run.peak_gb for run in runs if run.peak_gb is not None]
    peak = f"{max(peaks):.2f}" if peaks else ABSENT
    return [_rounded([run.seconds for run in runs], 1), peak, f"{runs[0].n_parameters:,}"]


def _rounded(values: Sequence[float | None], digits: int) -> str:
    mean = _mean(values)
    return ABSENT if mean is None else f"{mean:,.{digits}f}"


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_and_deviation(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ABSENT
    deviation = f" ±{np.std(known, ddof=1):.4f}" if len(known) > 1 else ""
    return f"{np.mean(known):.4f}{deviation}"


def tests_rows(tests: Sequence[BaselineComparison]) -> tuple[list[str], Rows]:
    """Header and one row a comparison with the baseline."""
    header = ["data", "run", "metric", "change", "interval", "effect size d", "p t", "p Wilcoxon", "p bootstrap"]
    return header, [_test_row(versus) for versus in tests]


def _test_row(versus: BaselineComparison) -> list[str]:
    test = versus.test
    numbers = [f"{test.difference:+.4f}", f"{test.low:+.4f} to {test.high:+.4f}", f"{test.effect_size:+.3f}"]
    p_values = [f"{p:.2g}" for p in (versus.holm_t, versus.holm_wilcoxon, versus.holm_bootstrap)]
    return [*versus.cell, versus.metric, *numbers, *p_values]


def comparison_tables(results: Results, metrics: Sequence[str], *, title: str, named: bool = True) -> Group:
    """Accuracy, and everything else below it; without `named` the name of the data set is left out."""
    tables = ((comparison_rows(results, metrics), title), (rest_rows(results), REST_TITLE))
    start = 0 if named else 1
    return Group(
        *(rich_table(header[start:], [row[start:] for row in rows], title=above) for (header, rows), above in tables)
    )


def figures_table(results: Mapping[str, RunResult]) -> Group:
    """Single runs on the same data by name."""
    metrics = usual_metrics(next(iter(results.values())).valid)
    cells = {Cell("", name): {0: result} for name, result in results.items()}
    return comparison_tables(cells, metrics, title=TITLE, named=False)


def evaluation_table(evaluation: Evaluation, *, title: str) -> Group:
    """Metrics down, list lengths across, each value over its interval; below them what is measured of items."""
    cells: dict[str, dict[int, str]] = {}
    for name, value in evaluation.figures.items():
        metric, at, k = name.partition("@")
        if at:
            cells.setdefault(metric, {})[int(k)] = _with_interval(name, value, evaluation)
    ks = sorted({k for by_k in cells.values() for k in by_k})
    rows = [[metric, *(by_k[k] for k in ks)] for metric, by_k in cells.items()]
    of_items = [f"{name} {value:.4f}" for name, value in evaluation.figures.items() if "@" not in name]
    return Group(rich_table(["metric", *(f"@{k}" for k in ks)], rows, title=title), Text(", ".join(of_items)))


def _with_interval(name: str, value: float, evaluation: Evaluation) -> str:
    if name not in evaluation.low:
        return f"{value:.4f}"
    return f"{value:.4f}\n[dim]{evaluation.low[name]:.4f}-{evaluation.high[name]:.4f}[/]"


def chosen_settings(config: RunConfig) -> str:
    """What a configuration sets besides the model's defaults, and its learning rate, in one line."""
    chosen = {
        name: value
        for name, value in config.model.model_dump(mode="json").items()
        if name != "name" and value != type(config.model).model_fields[name].get_default()
    }
    chosen["learning_rate"] = config.training.learning_rate
    return ", ".join(f"{name} {value}" for name, value in chosen.items())


def comparison_frame(results: Results, configs: Mapping[str, RunConfig]) -> pl.DataFrame:
    """One row a cell with every figure of both splits: `test recall@20` the mean, `test recall@20 sd` the deviation."""
    rows = [
        _wide_row(cell, list(runs.values())) | {"settings": chosen_settings(configs[cell.config])}
        for cell, runs in results.items()
    ]
    columns = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in columns})


def _wide_row(cell: Cell, runs: Sequence[RunResult]) -> dict[str, Any]:
    peaks = [run.peak_gb for run in runs if run.peak_gb is not None]
    row: dict[str, Any] = {**cell._asdict(), "seeds": len(runs), "parameters": runs[0].n_parameters}
    row["peak GB"] = max(peaks, default=None)
    flat = [_flat_figures(run) for run in runs]
    for name in flat[0]:
        values = [value for figures in flat if (value := figures.get(name)) is not None]
        row[name] = _mean(values)
        row[f"{name} sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return row | _bounds(runs)


def _flat_figures(run: RunResult) -> dict[str, float | None]:
    measured = {f"{split} {name}": value for split in ("valid", "test") for name, value in getattr(run, split).items()}
    return measured | {
        "best epoch": run.best_epoch,
        "seconds per epoch": run.seconds_per_epoch,
        "seconds": run.seconds,
    }


def _bounds(runs: Sequence[RunResult]) -> dict[str, float | None]:
    return {
        f"test {name} {side}": _mean([getattr(run, f"test_{side}").get(name) for run in runs])
        for name in runs[0].test_low
        for side in ("low", "high")
    }


def tests_frame(tests: Sequence[BaselineComparison]) -> pl.DataFrame:
    """One row a comparison, p-values as found and as adjusted."""
    return pl.DataFrame([_flat(asdict(versus)) for versus in tests])


def _flat(versus: Mapping[str, Any]) -> dict[str, Any]:
    data, config = versus["cell"]
    rest = {name: value for name, value in versus.items() if name not in ("cell", "test")}
    adjusted = {name: rest.pop(name) for name in ("holm_t", "holm_wilcoxon", "holm_bootstrap")}
    return {"data": data, "config": config, **rest, **versus["test"], **adjusted}
