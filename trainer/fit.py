"""The one loop: from a data set and a configuration to a run folder with the best state."""

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar, cast

import torch
from rich.console import Console
from torch import Tensor

from index.errors import InputError
from trainer.config import RunConfig, TrainingSettings
from trainer.data import Dataset
from trainer.device import choose_device, compile_steps
from trainer.evaluator import Evaluation, Evaluator, HeldOut
from trainer.inputs import build_inputs, require_data
from trainer.memory import peak_gb, reset_peak
from trainer.models import FittedModel, GradientModel, RecommenderModel, Shared, Work, build_model, sums_over_users
from trainer.models.fitted import Tensors
from trainer.parallel import WHOLE, Share, on_first_rank, sum_gradients, sum_terms
from trainer.plots import plot_curves
from trainer.progress import EpochProgress, print_status
from trainer.run_folder import RunFolder, RunResult, TrainingState, parameters_of
from trainer.sampling import Batch, Sampler, make_sampler

T = TypeVar("T")
OnEvaluation = Callable[[int, float], None]
"""Called with each epoch's number and validation score, also for epochs before a resume; an exception ends the run."""


def fit(
    dataset: Dataset,
    config: RunConfig,
    folder: RunFolder,
    *,
    on_evaluation: OnEvaluation | None = None,
    final: bool = True,
    share: Share = WHOLE,
    begin: Callable[[RecommenderModel], None] | None = None,
    shared: Shared | None = None,
) -> RunResult:
    """Train until validation stops improving, then measure the best epoch once on the test split.

    Where nothing is held out for validation, every epoch is run and the last one kept; where nothing is held out for
    test, nothing is measured.

    The result of a finished folder is read from it; an interrupted run is resumed from its last checkpoint and computes
    the same numbers as an uninterrupted one.

    Args:
        dataset: training and evaluation data.
        config: all other settings.
        folder: an empty folder, or one of this very run.
        on_evaluation: called after each evaluation on the validation split, once the epoch is recorded.
        final: off while settings are still being chosen; then test is not measured and no picture drawn.
        share: of this process among the ranks that train together; every rank calls, with its `own_part` of the
            data, and the first one writes.
        begin: called with the new model, to replace its random initial values.
        shared: what earlier fits on the same data have computed, and this one may use and add to.

    Raises:
        InputError: the folder belongs to another run, the data lack what the model needs, or the loss is not finite.
    """
    mine = Share(dataset.rank, dataset.n_ranks)
    require_data(config.model, dataset)
    finished = on_first_rank(share, lambda: _claim(folder, config, dataset))
    if finished is not None:
        return finished
    reset_peak()
    evaluator = Evaluator(dataset, config)
    if share.is_first:
        _tell_what_is_missing(evaluator, dataset)
    started = perf_counter()
    model = make_model(dataset, config)
    building = perf_counter() - started
    if begin:
        begin(model)
    progress = TrainingState(best_epoch=0)
    if isinstance(model, GradientModel):
        progress = _train(model, dataset, config, evaluator, folder, on_evaluation=on_evaluation, share=share)
    elif isinstance(model, FittedModel):
        progress = _on_ranks_with_data(dataset, share, lambda: _solve(model, evaluator, folder, shared, mine))
        for record in progress.history:
            _notify(on_evaluation, record, config.training.metric)
    if share.is_first and not (folder.path / "best.pt").is_file():  # no epoch was run
        folder.save_best(model)
    return _on_ranks_with_data(
        dataset, share, lambda: _conclude(model, evaluator, folder, progress, building, final=final, share=mine)
    )


def own_part(dataset: Dataset, config: RunConfig, share: Share) -> Dataset:
    """What a rank needs: its own users' interactions for a model that is computed of sums over users, else all."""
    return dataset.of_rank(share.rank, share.n_ranks) if sums_over_users(config.model) else dataset


def _on_ranks_with_data(dataset: Dataset, share: Share, action: Callable[[], T]) -> T:
    """Run on every rank where each has its own users' interactions; on the first one where all have all."""
    return action() if dataset.n_ranks > 1 else on_first_rank(share, action)


def _tell_what_is_missing(evaluator: Evaluator, dataset: Dataset) -> None:
    missing = {
        "validation": evaluator.measures("valid") or "every epoch is run, and the last one is kept",
        "test": evaluator.measures("test") or "there is nothing to measure at the end",
    }
    for split, outcome in missing.items():
        if isinstance(outcome, str):
            print_status(f"{dataset.path}: nothing is held out for {split}: {outcome}")


def _claim(folder: RunFolder, config: RunConfig, dataset: Dataset) -> RunResult | None:
    folder.claim(config, dataset)
    return folder.result()


def _conclude(
    model: RecommenderModel,
    evaluator: Evaluator,
    folder: RunFolder,
    progress: TrainingState,
    building: float,
    *,
    final: bool,
    share: Share,
) -> RunResult:
    peak, seconds = peak_gb(), [record["seconds"] for record in progress.history]
    folder.load_best(model)
    evaluation = evaluator.evaluate(model, "test") if final else Evaluation()
    result = RunResult(
        best_epoch=progress.best_epoch,
        valid=evaluator.accuracy(model, "valid"),
        test=evaluation.figures,
        n_parameters=_n_numbers(model),
        seconds_per_epoch=_mean(seconds),
        seconds=building + sum(seconds),
        peak_gb=round(peak, 3),
        test_low=evaluation.low,
        test_high=evaluation.high,
        served=_served(model, evaluator, final=final),
    )

    def write() -> RunResult:
        if final:
            folder.write_users(evaluation.table())
            if isinstance(model, GradientModel):
                plot_curves(progress.history, folder.path / "curves.png")
        folder.write_result(result)
        return result

    return on_first_rank(share, write)


def _served(model: RecommenderModel, evaluator: Evaluator, *, final: bool) -> dict[str, dict[str, float]]:
    if model.served_exactly:
        return {}
    splits: tuple[HeldOut, ...] = ("valid", "test") if final else ("valid",)
    return {split: evaluator.accuracy(model, split, served=True) for split in splits if evaluator.measures(split)}


def _n_numbers(model: RecommenderModel) -> int:
    learned = model.solution.values() if isinstance(model, FittedModel) else parameters_of(model)
    return sum(tensor.numel() for tensor in learned)


def make_model(dataset: Dataset, config: RunConfig) -> RecommenderModel:
    """Build the graphs and a freshly initialised model on the configured device."""
    device = choose_device(config.device)
    inputs = build_inputs(dataset, config.model, device)
    training = config.training
    if training.compile:
        _ = inputs.interactions  # compiled steps use it and cannot make it
    model = build_model(
        config.model, inputs, batch_size=training.batch_size, seed=config.seed, precision=training.precision
    )
    return model.to(device)


def _train(
    model: GradientModel,
    dataset: Dataset,
    config: RunConfig,
    evaluator: Evaluator,
    folder: RunFolder,
    *,
    on_evaluation: OnEvaluation | None,
    share: Share,
) -> TrainingState:
    settings = config.training
    if settings.compile:
        compile_steps(model, choose_device(config.device))
    train = dataset.split("train")
    sampler = make_sampler(settings.sampler, train.user_rows, train.item_rows, dataset.n_items, seed=config.seed)
    optimiser = torch.optim.Adam(parameters_of(model), lr=settings.learning_rate, fused=True)
    progress = folder.load_checkpoint(model, optimiser)
    for record in progress.history:
        _notify(on_evaluation, record, settings.metric)
    console = None if share.is_first else Console(quiet=True)
    with EpochProgress(config.model.name, settings.epochs, start=progress.epoch, console=console) as bar:
        while progress.epoch < settings.epochs and progress.waited <= settings.patience:
            record = _run_epoch(model, optimiser, sampler, config, progress.epoch, share=share)
            progress.epoch += 1
            if progress.epoch % settings.evaluate_every == 0 or progress.epoch == settings.epochs:
                record |= on_first_rank(share, lambda: evaluator.accuracy(model, "valid"))
                _update_best(record, settings, progress)
            progress.history.append(record)
            if share.is_first:
                _save_epoch(folder, model, optimiser, progress, settings)
            bar.advance(loss=record["loss"], score=progress.best_score, metric=settings.metric)
            _notify(on_evaluation, record, settings.metric)
    return progress


def _solve(
    model: FittedModel, evaluator: Evaluator, folder: RunFolder, shared: Shared | None, share: Share
) -> TrainingState:
    """Compute the model at once: a training of one epoch."""
    if (folder.path / "best.pt").is_file():  # killed after it
        folder.load_best(model)
        return TrainingState(epoch=1, best_epoch=0, history=folder.history())
    started = perf_counter() - folder.seconds_of_steps()

    def save(steps: Tensors) -> None:
        if share.is_first:
            folder.save_steps(steps, perf_counter() - started)

    with torch.no_grad():  # what is kept for other fits is freed before the evaluation, where there are none
        model.solution = model.solve(Work({} if shared is None else shared, folder.load_steps, save))
    record = {"epoch": 0, "terms": {}, "seconds": perf_counter() - started}
    progress = TrainingState(epoch=1, best_epoch=0, history=[record | evaluator.accuracy(model, "valid")])

    def write() -> None:
        folder.write_history(progress)
        folder.save_best(model)

    on_first_rank(share, write)  # the others go on when it is there to be read
    return progress


def _notify(on_evaluation: OnEvaluation | None, record: dict[str, Any], metric: str) -> None:
    if on_evaluation and metric in record:
        on_evaluation(record["epoch"], record[metric])


def _run_epoch(
    model: GradientModel,
    optimiser: torch.optim.Optimizer,
    sampler: Sampler,
    config: RunConfig,
    epoch: int,
    *,
    share: Share,
) -> dict[str, Any]:
    """One pass over all training pairs; returns the mean of each loss term over the batches."""
    settings = config.training
    started = perf_counter()
    model.train()
    # A model's random draws depend on the seed and the epoch alone, so that a resumed run draws the same.
    torch.manual_seed(config.seed * 1_000_003 + epoch)
    model.begin_epoch()
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * settings.decay ** (epoch / settings.decay_epochs)
    sums: dict[str, Tensor] = {}
    n_batches = 0
    for batch in sampler.epoch(epoch, settings.batch_size):
        terms = _step(model, optimiser, batch, share)
        sums |= {name: sums[name] + term if name in sums else term for name, term in terms.items()}
        n_batches += 1
    totals = sum_terms(share, {name: float(total) for name, total in sums.items()})
    means = {name: total / n_batches for name, total in totals.items()}
    loss = sum(means.values())
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss} in epoch {epoch} (terms {means}): lower training.learning_rate")
    return {"epoch": epoch, "loss": loss, "terms": means, "seconds": perf_counter() - started}


def _step(model: GradientModel, optimiser: torch.optim.Optimizer, batch: Batch, share: Share) -> dict[str, Tensor]:
    """Returns this rank's terms."""
    device = next(model.parameters()).device
    users, positives, negatives = (torch.from_numpy(rows).to(device) for rows in batch)
    optimiser.zero_grad(set_to_none=True)
    mine = share.of_batch(len(users))
    terms = model(users, positives, negatives, share=mine) if mine else {}
    if terms:
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    sum_gradients(share, parameters_of(model))
    optimiser.step()
    return {name: term.detach() for name, term in terms.items()}


def _update_best(record: dict[str, Any], settings: TrainingSettings, progress: TrainingState) -> None:
    """Update the best epoch where the chosen metric improved; among equals the earliest epoch stays the best.

    Where nothing is held out for validation, the latest epoch is the best.
    """
    if settings.metric not in record:
        progress.best_epoch = record["epoch"]
        return
    score = cast(float, record[settings.metric])
    if score > progress.best_score:
        progress.best_score, progress.best_epoch, progress.waited = score, record["epoch"], 0
    else:
        progress.waited += 1


def _save_epoch(
    folder: RunFolder,
    model: GradientModel,
    optimiser: torch.optim.Optimizer,
    progress: TrainingState,
    settings: TrainingSettings,
) -> None:
    """Write the best state if the last epoch is the best, the history, and every few epochs a checkpoint."""
    if progress.best_epoch == progress.epoch - 1:
        folder.save_best(model)
    folder.write_history(progress)
    if progress.epoch % settings.checkpoint_every == 0:
        folder.save_checkpoint(model, optimiser, progress)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
