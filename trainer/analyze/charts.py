"""Tables -> SVG: one function a figure. Text and axes take the colour of the page around them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from trainer.analyze.canvas import GREY, PALETTE, STYLE, Chart, add_legend, colours_of, make_panels, to_chart
from trainer.analyze.figure_data import HEADLINE, RANDOM


def accuracies(accuracy: pl.DataFrame, colours: Mapping[str, str]) -> Chart:
    """Each metric's figures on test as points, with their intervals where there are any."""
    metrics = accuracy["metric"].unique(maintain_order=True).to_list()
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(len(metrics), width=4.8, height=0.9 + 0.3 * len(colours))
        for axes, metric in zip(panels, metrics, strict=True):
            for row in accuracy.filter(metric=metric).iter_rows(named=True):
                if row["test"] is not None:
                    axes.plot(row["test"], row["run"], "o", color=colours[row["run"]])
                if row["test low"] is not None:
                    axes.hlines(row["run"], row["test low"], row["test high"], color=colours[row["run"]], linewidth=2)
            axes.set_title(f"test {metric}")
            axes.invert_yaxis()
            axes.margins(y=0.3)
        return to_chart(figure, f"{' and '.join(metrics)} on test of each run, with intervals.")


def training_curves(curves: pl.DataFrame, colours: Mapping[str, str]) -> Chart:
    """Loss and validation metrics by epoch, one line a run."""
    metrics = [name for name in HEADLINE if name in curves.columns]
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(1 + len(metrics), width=3.6, height=2.9)
        for axes, name in zip(panels, ("loss", *metrics), strict=True):
            for run, rows in _by_run(curves):
                line = rows.select("epoch", name).drop_nulls()
                axes.plot(line["epoch"], line[name], color=colours[run], label=run, marker="o", markersize=2.5)
            axes.set(title=name if name == "loss" else f"validation {name}", xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0].set_yscale("log")
        add_legend(figure, panels[0])
        return to_chart(figure, f"Loss and validation {' and '.join(metrics)} by epoch for each run.")


def loss_terms(curves: pl.DataFrame) -> Chart:
    """The weighted terms of each run's loss by epoch."""
    runs = list(_by_run(curves))
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(len(runs), width=3.8, height=3.0)
        for axes, (run, rows) in zip(panels, runs, strict=True):
            terms = [name for name in rows.columns if name.startswith("term ") and rows[name].null_count() < len(rows)]
            for term, colour in zip(terms, colours_of(len(terms)), strict=True):
                axes.plot(rows["epoch"], rows[term], color=colour, label=term.removeprefix("term "))
            axes.set(title=run, xlabel="epoch", yscale="log")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        return to_chart(figure, "Weighted loss terms by epoch, one panel for each run.")


def costs(cost: pl.DataFrame, colours: Mapping[str, str]) -> Chart:
    """Horizontal bars: seconds of training, parameters, and peak memory where it was recorded."""
    wanted = ("seconds_per_epoch", "seconds", "n_parameters")
    shown = [c for c in cost.columns if c in wanted or c.startswith("peak")]
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(len(shown), width=3.6, height=0.8 + 0.35 * len(cost))
        for axes, name in zip(panels, shown, strict=True):
            bars = axes.barh(cost["run"].to_list(), cost[name].fill_null(0).to_list(), color=[*colours.values()])
            axes.bar_label(bars, [_short(value) for value in cost[name]], padding=3)
            axes.set_title(name.replace("_", " ").removeprefix("n "))
            axes.invert_yaxis()
            axes.margins(x=0.25)
            axes.grid(visible=False)
            axes.set_xticks([])
        return to_chart(figure, "Seconds of training, parameters and recorded memory of each run.")


def overlap_matrix(overlaps: pl.DataFrame, run: str, k: int) -> Chart:
    """The overlap matrix of one run as a heat map with its numbers (Fig. 4)."""
    rows = overlaps.filter(run=run)
    spaces = rows["space"].to_list()
    values = rows.select(spaces).to_numpy()  # (n_spaces, n_spaces)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        side = 1.9 + 0.5 * len(spaces)
        figure, [axes] = make_panels(1, width=side + 0.6, height=side)
        image = axes.imshow(values, cmap="viridis", norm=PowerNorm(0.5, vmin=0, vmax=1))
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if value < 0.45 else "black"
            axes.text(column, row, f"{value:.2f}".replace("0.", "."), ha="center", va="center", color=ink, fontsize=8)
        axes.set_title(run)
        axes.set_xticks(range(len(spaces)), spaces, rotation=45, ha="right")
        axes.set_yticks(range(len(spaces)), spaces)
        axes.spines[:].set_visible(False)
        for edge in _group_edges(spaces):
            axes.axhline(edge, color="white", linewidth=2.5)
            axes.axvline(edge, color="white", linewidth=2.5)
        figure.colorbar(image, ax=axes, shrink=0.7, label=f"overlap@{k} (root scale)")
        return to_chart(figure, f"Neighbourhood overlap at {k} between the {len(spaces)} spaces of {run}.")


def proximities(proximity: pl.DataFrame, colours: Mapping[str, str]) -> Chart:
    """How alike an item and its neighbours are, by rank and run, one panel a measure (Fig. 5a)."""
    measures = [c for c in proximity.columns if c not in ("run", "rank", "final cosine", "users in common")]
    ranked = proximity.filter(pl.col("rank") != "all")
    runs = [run for run in ranked["run"].unique(maintain_order=True) if run != RANDOM]
    with mpl.rc_context(STYLE):
        figure, panels = make_panels(len(measures), width=2.3, height=2.9)
        for axes, measure in zip(panels, measures, strict=True):
            for place, run in enumerate(runs):
                bars = ranked.filter(run=run)
                at = _beside(place, len(runs), len(bars))
                axes.bar(at, bars[measure], width=0.8 / len(runs), color=colours[run], label=run)
            chance = proximity.filter(run=RANDOM, rank="all")[measure].item()
            axes.axhline(chance, color=GREY, linestyle="--", label=RANDOM)
            axes.set_xticks(range(ranked["rank"].n_unique()), ranked["rank"].unique(maintain_order=True).to_list())
            axes.set(title=measure, xlabel="rank of the neighbour")
            axes.grid(visible=False, axis="x")
        add_legend(figure, panels[0])
        return to_chart(figure, f"Means of {', '.join(measures)} of the nearest neighbours by rank and run.")


def collapses(collapse: pl.DataFrame, colours: Mapping[str, str]) -> Chart:
    """Same-item distance over random distance, by pair of modalities, in the origin and the projected spaces."""
    groups = collapse["space"].unique(maintain_order=True).to_list()
    runs = collapse["run"].unique(maintain_order=True).to_list()
    with mpl.rc_context(STYLE):
        tallest = max(collapse.filter(space=group)["modalities"].n_unique() for group in groups)
        figure, panels = make_panels(len(groups), width=4.8, height=1.2 + (0.15 + 0.17 * len(runs)) * tallest)
        for axes, group in zip(panels, groups, strict=True):
            pairs = collapse.filter(space=group)["modalities"].unique(maintain_order=True).to_list()
            for place, run in enumerate(runs):
                ratios = dict(collapse.filter(space=group, run=run).select("modalities", "ratio").iter_rows())
                lengths = [ratios.get(pair) or 0 for pair in pairs]
                at = _beside(place, len(runs), len(pairs))
                axes.barh(at, lengths, height=0.8 / len(runs), color=colours[run], label=run)
            axes.axvline(1, color=GREY, linestyle="--")
            axes.set_yticks(range(len(pairs)), pairs)
            axes.invert_yaxis()
            axes.set(title=f"{group} spaces", xlabel="distance of the same item / of random items", xlim=(0, None))
            axes.grid(visible=False, axis="y")
        add_legend(figure, panels[0])
        return to_chart(figure, "Ratio of same-item to random distance for each pair of modalities, by run.")


def tsne_maps(placed: pl.DataFrame, run: str, lines_of: Sequence[str]) -> Chart:
    """One run's t-SNE twice: coloured by space, and by category where items have one (Fig. 1).

    Args:
        placed: the t-SNE table.
        run: whose points.
        lines_of: items whose points are joined by lines.
    """
    points = placed.filter(run=run)
    by_category = points["category"].n_unique() > 1
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, panels = make_panels(1 + by_category, width=5.4, height=4.6)
        for item in lines_of:
            path = points.filter(item_id=item)
            panels[0].plot(path["x"], path["y"], color=GREY, linewidth=0.4, alpha=0.7, zorder=0)
        _scatter(panels[0], points, "space", points["space"].unique(maintain_order=True).to_list())
        if by_category:
            _scatter(panels[1], points.with_columns(category=_frequent(points["category"])), "category", None)
        for axes in panels:
            axes.set(xticks=[], yticks=[], title=f"{run}, by {'space' if axes is panels[0] else 'category'}")
            axes.spines[:].set_visible(False)
        return to_chart(figure, f"t-SNE map of the items of {run}, coloured by space and by category.")


def _scatter(axes: Axes, points: pl.DataFrame, column: str, values: list[str] | None) -> None:
    kinds = values or points[column].value_counts(sort=True)[column].to_list()
    kinds = [kind for kind in kinds if kind != _OTHER] + [_OTHER] * (_OTHER in kinds)
    size = float(np.clip(12000 / len(points), 3, 30))
    for kind, colour in zip(kinds, colours_of(len(kinds)), strict=True):
        chosen = points.filter(pl.col(column) == kind)
        tint = GREY if kind == _OTHER else colour
        # Thousands of points are one picture inside the SVG, not thousands of elements.
        axes.scatter(
            chosen["x"], chosen["y"], s=size, color=tint, alpha=0.75, linewidths=0, label=kind, rasterized=True
        )
    axes.legend(markerscale=12 / size**0.5 / 2, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)


_OTHER = "other"


def _frequent(categories: pl.Series) -> pl.Series:
    """The most frequent categories by name, all others as one."""
    kept = categories.filter(categories != "").value_counts(sort=True)["category"][: len(PALETTE) - 1]
    return pl.Series("category", [c if c in set(kept) else _OTHER for c in categories])


def _by_run(table: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    return ((run, table.filter(run=run)) for run in table["run"].unique(maintain_order=True))


def _beside(place: int, n_places: int, n_groups: int) -> Any:
    """Where the bars of one run stand when each group of bars holds one of every run."""
    return np.arange(n_groups) + (place + 0.5) / n_places * 0.8 - 0.4


def _group_edges(spaces: Iterable[str]) -> list[float]:
    """Where "raw", "origin", "projected" and "final" meet."""
    groups = [space.split()[0] for space in spaces]
    return [place - 0.5 for place in range(1, len(groups)) if groups[place] != groups[place - 1]]


def _short(value: Any) -> str:
    if value is None:
        return "not recorded"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
