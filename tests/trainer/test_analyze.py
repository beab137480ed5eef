"""The report of trained runs: one page that needs nothing else, and the same numbers as CSV beside it."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner
from worlds import topics_dataset, topics_source

from index.errors import InputError
from trainer.__main__ import app
from trainer.analyze.figure_data import MEASURED
from trainer.analyze.page import as_shown, raised
from trainer.analyze.report import analyze
from trainer.analyze.runs import open_runs
from trainer.analyze.sections import AnalysisSettings
from trainer.config import load_config
from trainer.data import Recipe, load_dataset
from trainer.fit import fit
from trainer.prepare import prepare_dataset
from trainer.run_folder import RunFolder

OVERRIDES = ("training.epochs=2", "training.batch_size=128")
SMALL = (*OVERRIDES, "model.embedding_size=8")
SETTINGS = AnalysisSettings(items=("item/0", "item/5"), tsne_items=12, pair_lines=3)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tables by id, references, ids, and whether every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.tables, self.tags = [], [], [], {}, set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.references += [values[name] for name in ("href", "src", "xlink:href", "srcset") if name in values]
        if tag == "table":
            self.rows = self.tables[values["id"].removeprefix("table-")] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def trained(dataset, folder, name, overrides=SMALL):
    fit(dataset, load_config(name, overrides), RunFolder(folder))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data set with pictures of its first items, and a run of every kind of model on it."""
    root = tmp_path_factory.mktemp("world")
    for item in range(8):
        Image.new("RGB", (300, 450), (30 * item, 90, 120)).save(root / f"{item}.png")
    (root / "7.png").write_bytes(b"not a picture")
    source = topics_source()
    pictures = [str(root / f"{item}.png") if item < 8 else "" for item in range(len(source.items))]
    source = replace(source, items=source.items.with_columns(image=pl.Series(pictures)))
    prepare_dataset(source, root / "data", Recipe(split="random", seed=0))
    dataset = load_dataset(root / "data")
    trained(dataset, root / "popularity", "popularity", OVERRIDES)
    for name in ("lightgcn", "anchorrec", "anchorrec-official"):
        trained(dataset, root / name, name)
    return root


@pytest.fixture(scope="module")
def report(world):
    """The folder of a report on all runs."""
    runs = [world / name for name in ("popularity", "lightgcn", "anchorrec", "anchorrec-official")]
    return analyze(runs, world / "report", SETTINGS, trained_tables=True).parent


@pytest.fixture(scope="module")
def page(report):
    return Page((report / "report.html").read_text())


def table(folder, name):
    return pl.read_csv(folder / f"{name}.csv")


def test_the_page_asks_the_network_for_nothing(report, page):
    beside = {file.name for file in report.glob("*.csv")}
    for reference in page.references:
        assert reference.startswith(("#", "data:image/")) or reference in beside
    text = (report / "report.html").read_text()
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert re.findall(r"url\((?!#)|@import", text) == []
    assert set(re.findall(r"\bhttps?://[^\s\"<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_what_is_raised_in_the_text_is_raised_on_the_page_and_nothing_else_becomes_markup(report):
    page = (report / "report.html").read_text()
    assert "h<sup>id</sup> and h<sup>m</sup>" in page
    assert not re.search(r"\b[hp]\^", page)
    assert raised("a <b> & x^2") == "a &lt;b&gt; &amp; x<sup>2</sup>"


def test_no_id_stands_twice_and_every_anchor_leads_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)


def test_the_tables_of_the_page_are_the_csv_files(report, page):
    assert set(page.tables) == {
        "headline",
        "accuracy",
        "curves",
        "cost",
        "overlap",
        "proximity",
        "examples",
        "collapse",
    }
    for name, (headings, *rows) in page.tables.items():
        with (report / f"{name}.csv").open(newline="") as file:
            expected_headings, *expected = csv.reader(file)
        assert headings == expected_headings
        assert rows == [[shown(cell) for cell in row] for row in expected]


def shown(cell):
    """A CSV cell as the page writes it."""
    for kind in (int, float):
        try:
            return as_shown(kind(cell))
        except ValueError:
            continue
    return cell or as_shown(None)


def test_every_number_of_the_overlap_matrix_stands_in_its_picture(report):
    text = (report / "report.html").read_text()
    [picture] = re.findall(r'aria-label="Neighbourhood overlap[^"]* of anchorrec\.">(.*?)</figure>', text, re.DOTALL)
    rows = table(report, "overlap").filter(run="anchorrec")
    spaces = rows["space"].to_list()
    numbers = re.findall(r">([01]?\.\d\d)</text>", picture)
    expected = [f"{value:.2f}".replace("0.", ".") for row in rows.select(spaces).rows() for value in row]
    assert numbers[: len(expected)] == expected


def test_every_space_overlaps_itself_and_a_run_shows_only_the_spaces_that_it_has(report):
    overlaps = table(report, "overlap")
    for row in overlaps.iter_rows(named=True):
        assert row[row["space"]] == 1
    by_run = {run: set(rows["space"]) for (run,), rows in overlaps.group_by("run")}
    raw = {"raw text", "raw image", "raw multimodal"}
    parts = {f"{group} {m}" for group in ("origin", "projected") for m in ("id", "text", "image", "multimodal")}
    assert by_run == {
        "lightgcn": raw | {"final"},
        "anchorrec": raw | parts | {"final"},
        "anchorrec-official": raw | parts | {"trained text", "trained image", "final"},
    }


def test_origins_are_the_propagated_embeddings_and_trained_tables_the_moved_features(world):
    official = open_runs([world / "anchorrec-official"], trained_tables=True)
    spaces = official.runs[0].spaces
    assert spaces["origin text"].shape == (48, 8)
    assert spaces["trained text"].shape == official.raw["text"].shape
    assert not np.array_equal(spaces["trained text"], official.raw["text"])
    np.testing.assert_array_equal(official.raw["text"], official.dataset.features["text"])


def test_the_means_are_those_of_the_pairs_and_random_items_are_less_alike(report):
    pairs, means = table(report, "neighbours"), table(report, "proximity")
    assert len(pairs) == 4 * 48 * 3
    [anchorrec] = means.filter(run="anchorrec", rank="all").rows(named=True)
    mine = pairs.filter(run="anchorrec")
    assert anchorrec["text cosine"] == pytest.approx(mine["text cosine"].mean())
    assert anchorrec["2-hop count"] == pytest.approx(mine["2-hop count"].mean())
    [chance] = means.filter(run="random items", rank="all").rows(named=True)
    assert chance["pair proximity"] < anchorrec["pair proximity"]
    assert chance["final cosine"] is None


def test_a_run_records_the_figures_of_the_report(world, report):
    means, collapse = table(report, "proximity"), table(report, "collapse")
    for name in ("lightgcn", "anchorrec"):
        measured = RunFolder(world / name).result().test
        [row] = means.filter(run=name, rank="all").rows(named=True)
        assert [measured["text_cosine"], measured["image_cosine"]] == pytest.approx(
            [row["text cosine"], row["image cosine"]]
        )
    [pairs] = collapse.filter(run="anchorrec", space="origin", modalities="all pairs").rows(named=True)
    assert measured["positional_collapse"] == pytest.approx(pairs["ratio"], rel=0.01)  # other random pairs


def test_pictures_are_inlined_and_missing_ones_said(report):
    text = (report / "report.html").read_text()
    blocks = re.findall(r'<div class="example">.*?</div>\s*<div class="runs">', text, re.DOTALL)
    assert ["data:image/jpeg;base64," in block for block in blocks] == [True, True]
    assert "thing 0 of topic 0" in blocks[0]
    assert "no picture" in text


def test_a_map_has_every_space_of_every_chosen_item(report):
    placed = table(report, "tsne")
    counts = dict(placed.group_by("run").agg(pl.col("space").n_unique()).iter_rows())
    assert counts == {"lightgcn": 1, "anchorrec": 3, "anchorrec-official": 3}
    assert len(placed) == 12 * 7
    assert set(placed["category"]) <= {f"topic {topic}" for topic in range(4)}


def test_the_report_says_what_the_runs_recorded(world, report):
    result = json.loads((world / "lightgcn" / "result.json").read_text())
    [recall] = table(report, "accuracy").filter(run="lightgcn", metric="recall@20").rows(named=True)
    measured = {part.replace("_", " "): result[part]["recall@20"] for part in MEASURED}
    assert recall == {"metric": "recall@20", "run": "lightgcn", **measured}
    [cost] = table(report, "cost").filter(run="lightgcn").rows(named=True)
    assert (cost["epochs"], cost["n_parameters"]) == (2, result["n_parameters"])
    history = [json.loads(line) for line in (world / "lightgcn" / "metrics.jsonl").read_text().splitlines()]
    assert table(report, "curves").filter(run="lightgcn")["loss"].to_list() == [record["loss"] for record in history]


def test_a_report_made_again_is_the_same_to_the_byte_and_leaves_nothing_stale(world, tmp_path):
    runs = [world / "lightgcn"]
    analyze(runs, tmp_path / "report", SETTINGS)
    first = {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir()}
    analyze(runs, tmp_path / "report", SETTINGS)
    assert {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir()} == first
    analyze(runs, tmp_path / "report", replace(SETTINGS, tsne_items=0))
    assert {file.name for file in (tmp_path / "report").iterdir()} == set(first) - {"tsne.csv"}


def test_without_features_the_parts_that_apply_are_shown(tmp_path):
    dataset = topics_dataset(tmp_path / "data", modalities=())
    run = trained(dataset, tmp_path / "lightgcn", "lightgcn")
    page = Page(analyze([run], tmp_path / "report", replace(SETTINGS, items=())).read_text())
    assert set(page.tables) == {"headline", "accuracy", "curves", "cost", "overlap", "proximity", "examples"}
    assert page.tables["overlap"][0] == ["run", "space", "final"]


def test_popularity_alone_has_figures_of_accuracy_and_cost(world, tmp_path):
    page = Page(analyze([world / "popularity"], tmp_path / "report", SETTINGS).read_text())
    assert set(page.tables) == {"headline", "accuracy", "cost"}


def test_runs_that_measured_none_of_the_usual_metrics_are_reported_by_what_they_have(world, tmp_path):
    overrides = (*OVERRIDES, "evaluation.ks=[7]", "training.metric=recall@7")
    run = trained(load_dataset(world / "data"), tmp_path / "short", "popularity", overrides)
    page = Page(analyze([run], tmp_path / "report", SETTINGS).read_text())
    assert len(page.tables["headline"]) == 1
    assert "recall@7" in [row[0] for row in page.tables["accuracy"]]


def test_runs_of_one_name_are_told_apart(world, tmp_path):
    twin = trained(load_dataset(world / "data"), tmp_path / "lightgcn", "lightgcn")
    compared = open_runs([world / "lightgcn", twin])
    assert [run.name for run in compared.runs] == [str(world / "lightgcn"), str(twin)]


def test_a_run_without_embeddings_is_opened_without_vectors(world):
    run = trained(load_dataset(world / "data"), world / "vsknn", "vsknn", OVERRIDES)
    (opened,) = open_runs([run]).runs
    assert (opened.spaces, opened.final) == ({}, None)


def refused(runs, out, settings=SETTINGS, **options):
    with pytest.raises(InputError) as error:
        analyze(runs, out, settings, **options)
    return str(error.value)


def test_runs_of_other_data_are_refused(world, tmp_path):
    other = trained(topics_dataset(tmp_path / "data", seed=1), tmp_path / "other", "lightgcn")
    assert "other data" in refused([world / "lightgcn", other], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_what_is_no_finished_run_is_refused(world, tmp_path):
    assert "not a run folder" in refused([tmp_path], tmp_path / "report")
    unfinished = RunFolder(tmp_path / "unfinished")
    unfinished.claim(load_config("lightgcn"), load_dataset(world / "data"))
    assert "not finished" in refused([unfinished.path], tmp_path / "report")
    assert "must differ" in refused([world / "lightgcn", world / "lightgcn"], tmp_path / "report")


def test_an_unknown_item_is_refused_before_anything_is_written(world, tmp_path):
    said = refused([world / "lightgcn"], tmp_path / "report", AnalysisSettings(items=("item/99",)))
    assert "'item/99' is not in the data set" in said
    assert not (tmp_path / "report").exists()


def test_trained_tables_are_refused_where_no_run_has_them(world, tmp_path):
    assert "train_features" in refused([world / "anchorrec"], tmp_path / "report", trained_tables=True)


def test_a_folder_of_something_else_is_not_written_into(world, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "holds no report" in refused([world / "lightgcn"], tmp_path)
    assert "is a file" in refused([world / "lightgcn"], tmp_path / "thesis.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_command_writes_the_report_and_says_where(world, tmp_path):
    arguments = [str(world / "lightgcn"), "--out", str(tmp_path / "report"), "--tsne-items", "0", "--neighbours", "5"]
    result = CliRunner().invoke(app, ["analyze", *arguments])
    assert result.exit_code == 0
    assert Path(result.stdout.strip()) == tmp_path / "report" / "report.html"
    assert "Neighbourhood overlap@5" in (tmp_path / "report" / "report.html").read_text()
