"""The sections of the report: their tables, charts and explanations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trainer.analyze import charts, figure_data
from trainer.analyze.canvas import run_colours
from trainer.analyze.page import Example, Section, Table, Tile
from trainer.analyze.runs import ComparedRuns
from trainer.analyze.thumbnails import thumbnail
from trainer.expressiveness import TOP


@dataclass(frozen=True)
class AnalysisSettings:
    """What the report is made with."""

    overlap_k: int = 20
    """Neighbours of the overlap matrix."""
    items: tuple[str, ...] = ()
    """Item ids of the targets shown with pictures."""
    n_examples: int = 4
    """Targets drawn by seed where none is named."""
    tsne_items: int = 5000
    """Items on the t-SNE map, at most; 0 leaves the map out."""
    pair_lines: int = 0
    """Items whose points on the map are joined by lines."""
    seed: int = 42
    """Of everything drawn at random."""


def all_sections(compared: ComparedRuns, settings: AnalysisSettings) -> list[Section]:
    """Every section that the runs have data for.

    Raises:
        InputError: an item of the settings is not in the data set.
    """
    targets = figure_data.example_rows(compared, settings.items, settings.n_examples, settings.seed)
    return list(_sections(compared, settings, targets))


def _sections(compared: ComparedRuns, settings: AnalysisSettings, targets: list[int]) -> Iterator[Section]:
    yield _accuracy(compared)
    if any("loss" in record for run in compared.runs for record in run.history):
        yield _curves(compared)
    yield _cost(compared)
    if all(run.final is None for run in compared.runs):
        return
    yield _overlap(compared, settings.overlap_k)
    pairs = figure_data.top_neighbours(compared, np.random.default_rng(settings.seed))
    yield _proximity(compared, pairs)
    if targets:
        yield _examples(compared, pairs, targets)
    if any(space.startswith("origin ") for run in compared.runs for space in run.spaces):
        yield _collapse(compared, settings.seed)
    if settings.tsne_items:
        yield _tsne(compared, settings)


def _colours(compared: ComparedRuns) -> dict[str, str]:
    return run_colours([run.name for run in compared.runs])


def _accuracy(compared: ComparedRuns) -> Section:
    accuracy = figure_data.accuracy(compared)
    headline = accuracy.filter(pl.col("metric").is_in(figure_data.HEADLINE))
    return Section(
        anchor="accuracy",
        title="Accuracy",
        seen="How well each run ranks the held-out items of a user.",
        computed="Full ranking over all items, training items left out; measured once, at the epoch that was best on "
        "validation; averaged over users with held-out items. Low and high bound the bootstrap interval of a test "
        "figure, where the run recorded one.",
        charts=[charts.accuracies(headline, _colours(compared))] if len(headline) else [],
        tables=[
            Table("headline", "The metrics that are quoted most.", headline),
            Table("accuracy", "Every metric that a run recorded.", accuracy, "folded"),
        ],
    )


def _curves(compared: ComparedRuns) -> Section:
    curves = figure_data.curves(compared)
    return Section(
        anchor="curves",
        title="Training curves",
        seen="Whether training has settled, and whether validation still rose when it ended. Losses of different "
        "models are sums of different terms: compare their course, not their height.",
        computed="The mean over an epoch's batches of each weighted loss term, as recorded in metrics.jsonl; terms of "
        "weight 0 and values that are not positive do not show on the logarithmic axis.",
        charts=[charts.training_curves(curves, _colours(compared)), charts.loss_terms(curves)],
        tables=[Table("curves", "Every epoch of every run.", curves, "folded")],
    )


def _cost(compared: ComparedRuns) -> Section:
    cost = figure_data.cost(compared)
    return Section(
        anchor="cost",
        title="Cost",
        seen="What a run takes: time of training, an epoch and in all (evaluation not counted), and trained numbers.",
        computed="As each run recorded it on the machine that it ran on; compare times only of runs of one machine.",
        charts=[charts.costs(cost, _colours(compared))],
        tables=[Table("cost", "Cost by run.", cost)],
    )


def _overlap(compared: ComparedRuns, k: int) -> Section:
    k = min(k, compared.dataset.n_items - 1)
    overlaps = figure_data.overlaps(compared, k)
    trained = any(space.startswith("trained ") for space in overlaps["space"])
    return Section(
        anchor="overlap",
        title=f"Neighbourhood overlap@{k} (Fig. 4)",
        seen="Where two spaces agree on which items are near each other. High overlap of a modality's raw and origin "
        "space: its structure is preserved. High overlap among the projected spaces: they are aligned. "
        f"Two unrelated spaces would overlap by {k / (compared.dataset.n_items - 1):.4f}.",
        computed=f"Rows scaled to length 1; each item's {k} nearest by cosine, itself left out, ties by lower row; the "
        f"mean over items of the number of neighbours in common, divided by {k}. Raw: the features as given. Origin: "
        "h^id and h^m, 64-d after propagation or whatever the run's embedding size is. Projected: p^id and p^m. Final: "
        "the vectors that are scored."
        + (" Trained: the feature tables that training moved, which the released scripts plot as h^t, h^v." * trained),
        charts=[charts.overlap_matrix(overlaps, run, k) for run in overlaps["run"].unique(maintain_order=True)],
        tables=[Table("overlap", "Overlap between spaces, one row a run and space.", overlaps, "folded")],
    )


def _proximity(compared: ComparedRuns, pairs: pl.DataFrame) -> Section:
    means = figure_data.proximity(pairs)
    return Section(
        anchor="proximity",
        title=f"What the nearest {TOP} have in common with an item (Fig. 5a)",
        seen="Whether an item's nearest items look and read like it (modality cosines) or are consumed by the same "
        "people (pair proximity). The dashed line is what random items give.",
        computed=f"Each item's {TOP} nearest by cosine of final vectors, itself left out, averaged over "
        "all items. Modality cosines are of the features as given. 2-hop count: the paper's released number, the "
        "distinct other items consumed by the users who consumed the neighbour; it measures the neighbour's popularity "
        "and does not depend on the item. Pair proximity: users in common, divided by the root of the product of both "
        "items' users. Both are taken over all interactions, held-out ones included, as released.",
        charts=[charts.proximities(means, _colours(compared))],
        tables=[
            Table("proximity", "Means by run and rank.", means),
            Table("neighbours", "Every item's nearest items and their measures:", pairs, "named"),
        ],
    )


def _examples(compared: ComparedRuns, pairs: pl.DataFrame, targets: list[int]) -> Section:
    ids = [compared.dataset.item_ids[row] for row in targets]
    shown = pairs.filter((pl.col("run") != figure_data.RANDOM) & pl.col("item_id").is_in(ids))
    titles = pl.DataFrame({"id": compared.dataset.item_ids, "title": compared.dataset.items["title"]})
    shown = shown.join(titles, left_on="item_id", right_on="id", maintain_order="left").rename({"title": "item"})
    shown = shown.join(titles, left_on="neighbour_id", right_on="id", maintain_order="left").rename(
        {"title": "neighbour"}
    )
    items = {row["item_id"]: row for row in compared.dataset.items.iter_rows(named=True)}
    return Section(
        anchor="examples",
        title="Nearest items with their pictures (Fig. 5b)",
        seen="The same target in every run: do its nearest items look alike, read alike, or only sell together?",
        computed="Nearest by cosine of final vectors. Targets are those requested, or drawn by seed: a chosen few "
        "prove nothing; the section before has the means over all items.",
        examples=[_example(item_id, shown, items) for item_id in ids],
        tables=[Table("examples", "The same as numbers.", shown, "folded")],
    )


def _example(item_id: str, shown: pl.DataFrame, items: Mapping[str, Mapping[str, Any]]) -> Example:
    mine = shown.filter(item_id=item_id)
    runs = mine["run"].unique(maintain_order=True)
    neighbours = {
        run: [
            _tile(items[pair["neighbour_id"]], _measures(pair)) for pair in mine.filter(run=run).iter_rows(named=True)
        ]
        for run in runs
    }
    category = items[item_id]["category"]
    return Example(_tile(items[item_id], (category.replace("|", ", "),) if category else ()), neighbours)


def _tile(item: Mapping[str, Any], lines: tuple[str, ...]) -> Tile:
    return Tile(item["title"] or item["item_id"], thumbnail(item["image"]), lines)


def _measures(pair: Mapping[str, Any]) -> tuple[str, ...]:
    cosines = [f"{name.removesuffix(' cosine')} {pair[name]:.2f}" for name in pair if name.endswith(" cosine")]
    return (*cosines, f"{pair['users in common']} users in common")


def _collapse(compared: ComparedRuns, seed: int) -> Section:
    collapse = figure_data.collapse(compared, np.random.default_rng(seed))
    return Section(
        anchor="collapse",
        title="Positional collapse as a number (Fig. 1)",
        seen="How near the modality embeddings of one item stand to each other. Ratio 0: they have collapsed into one "
        "position; 1 (dashed): no nearer than those of two random items. The paper aims for collapse in the projected "
        "spaces only.",
        computed="Rows scaled to length 1; the mean distance between an item's embeddings of two modalities, divided "
        "by the mean distance over 100,000 random pairs of different items, one from each modality. All pairs: the "
        "means of both distances over the pairs, then their ratio.",
        charts=[charts.collapses(collapse, _colours(compared))],
        tables=[Table("collapse", "Distances and ratio by run, group of spaces and pair of modalities.", collapse)],
    )


def _tsne(compared: ComparedRuns, settings: AnalysisSettings) -> Section:
    placed = figure_data.tsne(compared, settings.tsne_items, settings.seed)
    ids = placed["item_id"].unique(maintain_order=True).to_list()
    joined = [ids[row] for row in figure_data.chosen_rows(len(ids), settings.pair_lines, settings.seed)]
    return Section(
        anchor="tsne",
        title="Map of the embeddings (Fig. 1)",
        seen="Whether ID, multimodal and final embeddings keep regions of their own or lie on top of each other, and "
        "whether items of a category lie together. Distances between far regions of such a map mean nothing.",
        computed=f"t-SNE (scikit-learn's defaults, random state {settings.seed}) of {len(ids):,} items drawn by seed; "
        "all spaces of a run in one map, vectors unscaled. ID is h^id, multimodal is h^mm, both after propagation; a "
        "run without modalities has its final vectors alone. An item takes the colour of its first category."
        + (f" Lines join the points of {len(joined):,} items drawn by seed, short or long." if joined else ""),
        charts=[charts.tsne_maps(placed, run, joined) for run in placed["run"].unique(maintain_order=True)],
        tables=[Table("tsne", "Every point of the maps:", placed, "named")],
    )
