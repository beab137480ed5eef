"""Evaluates a run's best state again: on either split, at any list length."""

from pathlib import Path
from typing import cast, get_args

import polars as pl

from index.errors import InputError
from trainer.evaluator import Evaluation, Evaluator, HeldOut
from trainer.fit import make_model
from trainer.run_folder import RunFolder


def evaluate_run(
    folder: RunFolder, split: str, *, ks: tuple[int, ...] = (), bootstrap: int | None = None
) -> Evaluation:
    """All figures of a run's best state, from its checkpoint.

    Args:
        folder: a run that has saved a best state, finished or not.
        split: valid or test.
        ks: list lengths; empty: those of the run's configuration.
        bootstrap: resamples behind the intervals; None: as configured.

    Raises:
        InputError: no such split, a length below 1, no state yet, or the data have changed since.
    """
    if split not in get_args(HeldOut):
        raise InputError(f"split is {split!r}, expected valid or test")
    if not all(1 <= k < 2**31 for k in ks):
        raise InputError(f"list lengths are {ks}, expected at least 1 and less than 2^31")
    config = folder.config()
    if not (folder.path / "best.pt").is_file():
        raise InputError(f"{folder.path} has no best.pt: its training has not evaluated an epoch yet")
    dataset = folder.dataset()
    if not len(dataset.split(cast(HeldOut, split))):
        raise InputError(f"{dataset.path}: nothing is held out for {split}: there is nothing to measure")
    if bootstrap is not None:
        evaluation = config.evaluation.model_copy(update={"bootstrap": bootstrap})
        config = config.model_copy(update={"evaluation": evaluation})
    model = make_model(dataset, config)
    folder.load_best(model)
    return Evaluator(dataset, config, ks).evaluate(model, cast(HeldOut, split))


def figures_frame(evaluation: Evaluation) -> pl.DataFrame:
    """One row a figure: its name, its value and the bounds of its interval, null where it has none."""
    return pl.DataFrame(
        [(name, value, evaluation.low.get(name), evaluation.high.get(name))
         for name, value in evaluation.figures.items()],
        schema={"figure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64},
        orient="row",
    )  # fmt: skip


def users_frame(evaluation: Evaluation, user_ids: list[str]) -> pl.DataFrame:
    """One row a user: user_id, user_row, and every metric that has one value a user."""
    ids = pl.Series("user_id", [user_ids[row] for row in evaluation.users], dtype=pl.String)
    return evaluation.table().insert_column(0, ids)


def check_suffix(path: Path) -> None:
    """Refuse a table file that is neither CSV nor Parquet, before the evaluation starts."""
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path} ends in {path.suffix!r}, expected .csv or .parquet")


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write CSV or Parquet, by the name's suffix."""
    check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # polars reads more into a path than its name
        (frame.write_csv if path.suffix == ".csv" else frame.write_parquet)(file)
