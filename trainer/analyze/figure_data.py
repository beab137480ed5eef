"""The tables behind the figures of the report: its CSV files, and the tables on its page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from index.errors import InputError
from trainer.analyze import numbers
from trainer.analyze.runs import FINAL, AnalyzedRun, ComparedRuns
from trainer.expressiveness import TOP, collapses, nearest_others, pair_cosines
from trainer.progress import track

Array = np.ndarray[Any, np.dtype[Any]]

RANDOM = "random items"
"""The name of the rows of `proximity` for random pairs of items."""
MEASURED = ("valid", "test", "test_low", "test_high")
"""The fields of a run's result that hold accuracy figures."""
HEADLINE = ("recall@20", "ndcg@20")
TSNE_SPACES = {"origin id": "ID", "origin multimodal": "multimodal", FINAL: "final"}


def accuracy(compared: ComparedRuns) -> pl.DataFrame:
    """One row a metric and run: on validation, on test, and the bounds of the test figure; null where not measured."""
    measured = {run.name: asdict(run.result) for run in compared.runs}
    metrics = dict.fromkeys(name for result in measured.values() for part in MEASURED for name in result[part])
    rows = [
        {"metric": metric, "run": run} | {part.replace("_", " "): result[part].get(metric) for part in MEASURED}
        for metric in metrics
        for run, result in measured.items()
    ]
    text, number = dict.fromkeys(("metric", "run"), pl.String()), pl.Float64()
    return pl.DataFrame(rows, schema=text | {part.replace("_", " "): number for part in MEASURED})


def cost(compared: ComparedRuns) -> pl.DataFrame:
    """One row a run: its epochs, and the costs that it recorded."""
    rows = [
        {
            "run": run.name,
            "epochs": len(run.history),
            **{name: value for name, value in asdict(run.result).items() if isinstance(value, int | float)},
        }
        for run in compared.runs
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def curves(compared: ComparedRuns) -> pl.DataFrame:
    """One row a run and epoch: loss, its terms, seconds, validation metrics where measured.

    A model that is computed at once has no such course.
    """
    rows = [
        {"run": run.name, "epoch": record["epoch"], "loss": record["loss"]}
        | {f"term {name}": value for name, value in record["terms"].items()}
        | {name: value for name, value in record.items() if name not in ("epoch", "loss", "terms")}
        for run in compared.runs
        for record in run.history
        if "loss" in record
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def overlaps(compared: ComparedRuns, k: int) -> pl.DataFrame:
    """Fig. 4: one row a run and space, one column a space; null where the run lacks it."""
    raw = _neighbourhoods({f"raw {m}": features for m, features in compared.raw.items()}, k, "raw")
    rows = [
        {"run": run.name, "space": space, **{name: numbers.overlap(near, other) for name, other in spaces.items()}}
        for run in compared.runs
        if run.final is not None
        for spaces in [raw | _neighbourhoods(run.spaces, k, run.name)]
        for space, near in spaces.items()
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _neighbourhoods(spaces: Mapping[str, Array], k: int, of: str) -> dict[str, Array]:
    return {
        name: nearest_others(vectors, k)[0] for name, vectors in track(list(spaces.items()), f"neighbourhoods, {of}")
    }


def top_neighbours(compared: ComparedRuns, rng: np.random.Generator) -> pl.DataFrame:
    """Fig. 5: one row a run, item and rank: the neighbour, and how alike the two are by every measure.

    The last run is RANDOM: as many random items in the place of neighbours, without a cosine of final vectors.
    """
    k = min(TOP, compared.dataset.n_items - 1)
    hops = numbers.two_hop_counts(compared.interactions)
    chosen = {run.name: nearest_others(run.final, k) for run in compared.runs if run.final is not None}
    chance = numbers.random_others(compared.dataset.n_items, k, rng)
    frames = [_pairs(compared, name, rows, cosines, hops) for name, (rows, cosines) in chosen.items()]
    return pl.concat([*frames, _pairs(compared, RANDOM, chance, np.full(chance.shape, np.nan), hops)])


def _pairs(compared: ComparedRuns, run: str, rows: Array, cosines: Array, hops: Array) -> pl.DataFrame:
    n_items, k = rows.shape
    ids = np.array(compared.dataset.item_ids)
    shared = numbers.users_in_common(compared.interactions, rows)
    n_users_of = np.asarray(compared.interactions.sum(axis=0), dtype=np.int64).ravel()
    measured = {
        f"{m} cosine": pair_cosines(features, rows).ravel().astype(np.float64) for m, features in compared.raw.items()
    }
    return pl.DataFrame(
        {
            "run": [run] * (n_items * k),
            "item_id": ids.repeat(k),
            "rank": np.tile(np.arange(1, k + 1), n_items),
            "neighbour_id": ids[rows].ravel(),
            "final cosine": pl.Series(cosines.ravel().astype(np.float64)).fill_nan(None),
            "2-hop count": hops[rows].ravel(),
            "users in common": shared.ravel(),
            "pair proximity": numbers.pair_proximity(shared, n_users_of, rows).ravel(),
            **measured,
        }
    )


def proximity(pairs: pl.DataFrame) -> pl.DataFrame:
    """Fig. 5a: means over all items, one row a run and rank, and one for the ranks together."""
    measures = [name for name in pairs.columns if name not in ("run", "item_id", "rank", "neighbour_id")]
    means = [pl.col(name).mean() for name in measures]
    by_rank = pairs.group_by("run", "rank", maintain_order=True).agg(means)
    together = pairs.group_by("run", maintain_order=True).agg(means)
    labelled = by_rank.with_columns(pl.col("rank").cast(pl.String)), together.with_columns(rank=pl.lit("all"))
    order = {name: place for place, name in enumerate(pairs["run"].unique(maintain_order=True))}
    both = pl.concat([labelled[0], labelled[1].select(labelled[0].columns)])
    return both.sort(pl.col("run").replace_strict(order, return_dtype=pl.Int64), "rank")


def collapse(compared: ComparedRuns, rng: np.random.Generator) -> pl.DataFrame:
    """Fig. 1 as numbers: one row a run, group of spaces and pair of modalities, and one for the pairs together."""
    rows = [row for run in compared.runs for group in ("origin", "projected") for row in _collapse_of(run, group, rng)]
    return pl.DataFrame(rows, infer_schema_length=None)


def _collapse_of(run: AnalyzedRun, group: str, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    spaces = {name.removeprefix(f"{group} "): v for name, v in run.spaces.items() if name.startswith(f"{group} ")}
    for pair, measured in collapses(spaces, rng).items():
        distances = {"same item": measured.same, "random items": measured.random, "ratio": measured.ratio}
        yield {"run": run.name, "space": group, "modalities": pair, **distances}


def tsne(compared: ComparedRuns, n_items: int, seed: int) -> pl.DataFrame:
    """Fig. 1: one row a run, space and chosen item: where t-SNE puts it, and the item's leading category."""
    rows = chosen_rows(compared.dataset.n_items, n_items, seed)
    categories = [leading_category(compared.dataset.items["category"][int(row)]) for row in rows]
    ids = [compared.dataset.item_ids[row] for row in rows]
    frames = []
    for run in track([run for run in compared.runs if run.final is not None], "t-SNE"):
        spaces = {label: run.spaces[name][rows] for name, label in TSNE_SPACES.items() if name in run.spaces}
        for label, placed in zip(spaces, numbers.tsne(list(spaces.values()), seed), strict=True):
            x, y = placed.T
            columns = {"run": [run.name] * len(ids), "space": [label] * len(ids), "item_id": ids}
            frames.append(pl.DataFrame(columns | {"category": categories, "x": x, "y": y}))
    return pl.concat(frames)


def chosen_rows(n_items: int, n_chosen: int, seed: int) -> Array:
    """Item rows drawn by seed, ascending; all where there are no more."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n_items, size=min(n_chosen, n_items), replace=False))


def leading_category(category: str) -> str:
    """The first of "Comedy|Drama"; an item is drawn in one colour."""
    return category.partition("|")[0].strip()


def example_rows(compared: ComparedRuns, item_ids: Sequence[str], n_random: int, seed: int) -> list[int]:
    """Rows of the targets of Fig. 5b: those given by id, else `n_random` drawn by seed.

    Raises:
        InputError: an id is not in the data set.
    """
    if not item_ids:
        return [int(row) for row in chosen_rows(compared.dataset.n_items, n_random, seed)]
    row_of = {item_id: row for row, item_id in enumerate(compared.dataset.item_ids)}
    for item_id in item_ids:
        if item_id not in row_of:
            raise InputError(f"item {item_id!r} is not in the data set; expected an id such as {next(iter(row_of))!r}")
    return [row_of[item_id] for item_id in item_ids]
