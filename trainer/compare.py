"""A comparison from command line to files: comparison.json, comparison.csv, comparison.md and tests.csv."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from index.storage import replace_file
from trainer.evaluator import figure_names
from trainer.experiment_matrix import (
    BaselineComparison,
    ExperimentPlan,
    Results,
    check_choice,
    make_plan,
    paired_tests,
    run_plan,
)
from trainer.result_tables import (
    TITLE,
    chosen_settings,
    comparison_frame,
    comparison_rows,
    markdown_table,
    tests_frame,
    tests_rows,
    usual_metrics,
)
from trainer.splits import Protocol

TESTS_TITLE = (
    "mean change from {baseline} over users, seeds averaged per user first, with its {confidence:.0%} bootstrap "
    "interval; p-values of paired tests, adjusted by Holm over all rows of a metric"
)


@dataclass(frozen=True)
class Comparison:
    """The results, and the metrics to show."""

    results: Results
    tests: list[BaselineComparison]
    metrics: tuple[str, ...]
    title: str
    tests_title: str


def compare_runs(
    data: Sequence[Path],
    configs: Sequence[str],
    out: Path,
    *,
    overrides: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    splits: Sequence[Protocol] = (),
    baseline: str | None = None,
    metrics: tuple[str, ...] = (),
    on_run: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Fit every configuration on every data set with every seed, test all against the baseline, write the results.

    Args:
        data: prepared folders.
        configs: shipped names or TOML files.
        out: gets the run folders, whose finished runs are not repeated, and the files named above.
        overrides: `key=value` applied to every configuration.
        seeds: in place of the configurations' own.
        splits: of every data set; as prepared where none are given.
        baseline: name of the configuration that the others are tested against; the first where none is given.
        metrics: figures to show and test; recall and ndcg at 20 where none are given.
        on_run: called with the name of each run before it starts.

    Raises:
        InputError: as `make_plan` and `check_choice` raise, before anything is run.
    """
    plan = make_plan(data, configs, out, overrides=overrides, seeds=seeds, splits=splits)
    first = next(iter(plan.configs))
    chosen, shown = baseline or first, metrics or usual_metrics(figure_names(plan.configs[first]))
    check_choice(plan, chosen, shown)
    results = run_plan(plan, on_run)
    tests_title = TESTS_TITLE.format(baseline=chosen, confidence=plan.configs[chosen].evaluation.confidence)
    comparison = Comparison(results, paired_tests(plan, chosen, shown), shown, _title(plan), tests_title)
    _write(plan, comparison)
    return comparison


def _title(plan: ExperimentPlan) -> str:
    n = len(plan.seeds)
    return TITLE + (f", mean ± standard deviation over {n} seeds" if n > 1 else "")


def _write(plan: ExperimentPlan, comparison: Comparison) -> None:
    record = json.dumps(_record(plan, comparison.results), indent=1)
    replace_file(plan.out / "comparison.md", _markdown(plan, comparison).encode())
    replace_file(plan.out / "comparison.csv", comparison_frame(comparison.results, plan.configs).write_csv().encode())
    replace_file(plan.out / "tests.csv", tests_frame(comparison.tests).write_csv().encode())
    replace_file(plan.out / "comparison.json", record.encode())


def _record(plan: ExperimentPlan, results: Results) -> dict[str, Any]:
    """config -> result where folders are flat, else data -> config -> seed -> result."""
    if plan.flat:
        return {cell.config: asdict(result) for cell, runs in results.items() for result in runs.values()}
    return {
        data: {
            cell.config: {str(seed): asdict(result) for seed, result in runs.items()}
            for cell, runs in results.items()
            if cell.data == data
        }
        for data in plan.datasets
    }


def _markdown(plan: ExperimentPlan, comparison: Comparison) -> str:
    figures = f"{comparison.title}:\n\n{markdown_table(*comparison_rows(comparison.results, comparison.metrics))}"
    settings = "".join(f"* {name}: {chosen_settings(config)}\n" for name, config in plan.configs.items())
    figures += f"\nSettings besides each model's defaults:\n\n{settings}"
    if not comparison.tests:
        return figures
    return f"{figures}\n{comparison.tests_title}:\n\n{markdown_table(*tests_rows(comparison.tests))}"
