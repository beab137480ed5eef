"""Tables of results for the terminal, for Markdown and for spreadsheets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Table

from trainer.config import RunConfig
from trainer.evaluator import Evaluation
from trainer.experiment_matrix import BaselineComparison, Cell, Results
from trainer.run_folder import RunResult

USUAL_K = 20
TITLE = "full ranking, training items masked, test at the best validation epoch"
ABSENT = "-"
NAMES = ("data", "run", "metric")
"""Headings of text columns."""

Rows = list[list[str]]


def usual_metrics(figures: Iterable[str]) -> tuple[str, str]:
    """The default metrics to show: recall and ndcg at 20, or else at the longest list measured."""
    ks = {int(name.partition("@")[2]) for name in figures if name.startswith("recall@")}
    k = USUAL_K if USUAL_K in ks else max(ks, default=USUAL_K)
    return f"recall@{k}", f"ndcg@{k}"


def rich_table(header: Sequence[str], rows: Rows, *, title: str) -> Table:
    """Names to the left, numbers to the right."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in header:
        justify: JustifyMethod = "left" if heading in NAMES else "right"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=heading in NAMES)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(header: Sequence[str], rows: Rows) -> str:
    """A pipe table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---"] * len(header), *rows))


def comparison_rows(results: Results, metrics: Sequence[str]) -> tuple[list[str], Rows]:
    """Header and one row a cell: mean over the seeds, with the standard deviation where there are several."""
    figures = [f"{split} {metric}" for split in ("valid", "test") for metric in metrics]
    header = ["data", "run", *figures, "best epoch", "params", "s/epoch", "peak GB"]
    rows = [[*cell, *_summary(list(runs.values()), metrics)] for cell, runs in results.items()]
    return header, rows


def _summary(runs: Sequence[RunResult], metrics: Sequence[str]) -> list[str]:
    splits = ([run.valid for run in runs], [run.test for run in runs])
    figures = [_mean_and_deviation([of.get(metric) for of in split]) for split in splits for metric in metrics]
    epochs = np.mean([run.best_epoch for run in runs])
    seconds = np.mean([run.seconds_per_epoch for run in runs])
    peaks = [run.peak_gb for run in runs if run.peak_gb is not None]
    peak = f"{max(peaks):.2f}" if peaks else ABSENT
    return [*figures, f"{epochs:.0f}", f"{runs[0].n_parameters:,}", f"{seconds:.2f}", peak]


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


def figures_table(results: Mapping[str, RunResult]) -> Table:
    """Single runs on the same data by name."""
    metrics = usual_metrics(next(iter(results.values())).valid)
    header, rows = comparison_rows({Cell("", name): {0: result} for name, result in results.items()}, metrics)
    return rich_table(header[1:], [row[1:] for row in rows], title=TITLE)


def evaluation_table(evaluation: Evaluation, *, title: str) -> Table:
    """Metrics down, list lengths across, each value over its interval."""
    cells: dict[str, dict[int, str]] = {}
    for name, value in evaluation.figures.items():
        metric, _, k = name.partition("@")
        cells.setdefault(metric, {})[int(k)] = _with_interval(name, value, evaluation)
    ks = sorted({k for by_k in cells.values() for k in by_k})
    rows = [[metric, *(by_k[k] for k in ks)] for metric, by_k in cells.items()]
    return rich_table(["metric", *(f"@{k}" for k in ks)], rows, title=title)


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
    flat = [{f"{split} {name}": value for split in ("valid", "test") for name, value in getattr(run, split).items()}
            | {"best epoch": run.best_epoch, "seconds per epoch": run.seconds_per_epoch} for run in runs]  # fmt: skip
    peaks = [run.peak_gb for run in runs if run.peak_gb is not None]
    row: dict[str, Any] = {**cell._asdict(), "seeds": len(runs), "parameters": runs[0].n_parameters}
    row["peak GB"] = max(peaks, default=None)
    for name in flat[0]:
        values = [figures[name] for figures in flat]
        row[name] = float(np.mean(values))
        row[f"{name} sd"] = float(np.std(values, ddof=1)) if len(runs) > 1 else None
    return row


def tests_frame(tests: Sequence[BaselineComparison]) -> pl.DataFrame:
    """One row a comparison, p-values as found and as adjusted."""
    return pl.DataFrame([_flat(asdict(versus)) for versus in tests])


def _flat(versus: Mapping[str, Any]) -> dict[str, Any]:
    data, config = versus["cell"]
    rest = {name: value for name, value in versus.items() if name not in ("cell", "test")}
    adjusted = {name: rest.pop(name) for name in ("holm_t", "holm_wilcoxon", "holm_bootstrap")}
    return {"data": data, "config": config, **rest, **versus["test"], **adjusted}
