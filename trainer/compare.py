"""A comparison from command line to files: comparison.json, comparison.csv, comparison.md and tests.csv."""

import json
from collections.abc import Callable, Collection, Sequence
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
    REST_TITLE,
    TITLE,
    chosen_settings,
    comparison_frame,
    comparison_rows,
    markdown_table,
    rest_rows,
    tests_frame,
    tests_rows,
    usual_metrics,
)
from trainer.splits import Protocol

TESTS_TITLE = (
    "mean change from {baseline} over users, seeds averaged per user first, with its {confidence:.0%} bootstrap "
    "interval; p-values of paired tests, adjusted by Holm over all rows of a metric"
)

N_TESTED = 2
"""Of the usual metrics: recall and ndcg."""


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
    optional: Collection[str] = (),
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
        optional: configurations that are left out where the data lack what they need.
        baseline: name of the configuration that the others are tested against; the first on all data by default.
        metrics: figures to show and test; else recall and ndcg at 20, and untested the recall in the slices.
        on_run: called with the name of each run before it starts.

    Raises:
        InputError: as `make_plan` and `check_choice` raise, before anything is run.
    """
    plan = make_plan(data, configs, out, overrides=overrides, seeds=seeds, splits=splits, optional=optional)
    chosen = baseline or plan.first_on_all()
    usual = usual_metrics(figure_names(plan.configs[plan.first_on_all()]))
    shown, tested = metrics or usual, metrics or usual[:N_TESTED]
    check_choice(plan, chosen, shown)
    results = run_plan(plan, on_run)
    tests_title = TESTS_TITLE.format(baseline=chosen, confidence=plan.configs[chosen].evaluation.confidence)
    comparison = Comparison(results, paired_tests(plan, chosen, tested), shown, _title(plan), tests_title)
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
    results = comparison.results
    figures = f"{comparison.title}:\n\n{markdown_table(*comparison_rows(results, comparison.metrics))}"
    figures += f"\n{REST_TITLE}:\n\n{markdown_table(*rest_rows(results))}"
    run = dict.fromkeys(cell.config for cell in results)
    settings = "".join(f"* {name}: {chosen_settings(plan.configs[name])}\n" for name in run)
    figures += f"\nSettings besides each model's defaults:\n\n{settings}"
    if plan.left_out:
        reasons = "".join(f"* {cell.config} on {cell.data}: {reason}\n" for cell, reason in plan.left_out.items())
        figures += f"\nLeft out:\n\n{reasons}"
    if not comparison.tests:
        return figures
    return f"{figures}\n{comparison.tests_title}:\n\n{markdown_table(*tests_rows(comparison.tests))}"
