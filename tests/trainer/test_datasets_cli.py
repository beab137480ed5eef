import functools
import gzip
import json
import shlex
from pathlib import Path

import forkserver
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from index.errors import InputError
from trainer import encoders
from trainer.data import load_dataset, read_info
from trainer.datasets.amazon import IMAGE_WIDTH
from trainer.datasets.cli import prepare_app

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
WITHOUT_ENCODERS = ("--text-encoder", "none", "--image-encoder", "none")


def documented_commands():
    """The lines between ```sh and ``` of docs/data.md, continued lines joined."""
    blocks = PAGE.read_text(encoding="utf-8").split("```sh\n")[1:]
    lines = "".join(block.partition("```")[0] for block in blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("python -m trainer prepare ") for line in lines]


def write_films(folder):
    rows = [
        f"u{user},{item},{(user + item) % 5 + 1},{10**9 + user * 100 + item}" for user in range(8) for item in range(8)
    ]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(rows))
    films = [f"{item},Film {item},Drama,What happens in {item},{1990 + item}" for item in range(8)]
    (folder / "items.csv").write_text("movieId,title,genres,overview,year\n" + "\n".join(films) + "\n")
    (folder / "posters").mkdir()
    for item in range(7):
        Image.new("RGB", (16, 24), (30 * item, 100, 200)).save(folder / "posters" / f"{item}.png")
    for name, width in (("text", 4), ("image", 6), ("fused", 5)):
        np.save(folder / f"{name}.npy", np.random.default_rng(0).random((8, width), np.float32))


def write_mmrec(folder):
    for name in ("baby", "baby_beit3"):
        (folder / name).mkdir()
        np.save(folder / name / "image_feat.npy", np.ones((4, 3), np.float16))
    rows = [f"{user}\t{item}\t5.0\t{item}\t{item % 3}" for user in range(3) for item in range(4)]
    (folder / "baby" / "baby.inter").write_text("userID\titemID\trating\ttimestamp\tx_label\n" + "\n".join(rows))


def write_amazon(folder):
    pairs = [(f"A{user}", f"B00000000{item}", 10**9 + item) for user in range(5) for item in range(5)]
    (folder / "ratings_Toys.csv").write_text("\n".join(f"{user},{asin},5.0,{time}" for user, asin, time in pairs))
    keys = ("reviewerID", "asin", "unixReviewTime")
    reviews = [json.dumps(dict(zip(keys, pair, strict=True)) | {"overall": 5.0}) for pair in pairs]
    (folder / "reviews_Toys.json.gz").write_bytes(gzip.compress("\n".join(reviews).encode()))
    asins = sorted({asin for _, asin, _ in pairs})
    metadata = [repr({"asin": asin, "title": f"Toy {asin[-1]}"}) for asin in asins]
    (folder / "meta_Toys.json.gz").write_bytes(gzip.compress("\n".join(metadata).encode()))
    vectors = np.random.default_rng(0).random((len(asins), IMAGE_WIDTH)).astype("<f4")
    np.save(folder / "beit3.npy", np.ones((len(asins), 9), np.float16))
    records = (asin.encode() + vector.tobytes() for asin, vector in zip(asins, vectors, strict=True))
    (folder / "image_features_Toys.b").write_bytes(b"".join(records))


@pytest.fixture
def here(tmp_path, monkeypatch):
    write_films(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(*arguments):
    """The command's output; an InputError passes through."""
    result = CliRunner(env={"COLUMNS": "120"}).invoke(prepare_app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_every_command_of_the_page_works(here, monkeypatch):
    for name in ("text_encoder", "image_encoder"):
        monkeypatch.setattr(encoders, name, functools.cache(getattr(encoders, name)))  # loading takes longer than using
    write_mmrec(here)
    write_amazon(here)
    for command in documented_commands():
        prepare(*shlex.split(command))
    widths = {
        folder.name: read_info(folder).features
        for folder in (here / "data").iterdir()
        if (folder / "dataset.json").exists()
    }
    assert widths == {
        "plain": {},
        "films": {"text": 384, "image": 1280, "multimodal": 392},  # eight films have no more than eight components
        "likes": {"text": 384},
        "typed": {},
        "ready": {"text": 4, "image": 6, "multimodal": 5},
        "baby": {"image": 3, "multimodal": 3},
        "toys": {"text": 384, "image": 4096, "multimodal": 9},
        "toys-ratings": {},
        "shop": {"text": 384, "image": 1280, "multimodal": 424},  # as many components as there are items
    }
    films = load_dataset(here / "data" / "films")
    without_poster = films.item_ids.index("7")
    pictured = np.delete(films.features["image"], without_poster, axis=0)
    np.testing.assert_allclose(films.features["image"][without_poster], pictured.mean(axis=0), atol=1e-6)


def test_the_report_tells_sizes_splits_and_what_was_dropped_and_filled_in(here):
    rows = (here / "ratings.csv").read_text()
    (here / "ratings.csv").write_text(rows + "\nu0,0,5,2000000000\nu0,unheard,5,2000000000\n")
    np.save("text.npy", np.vstack([np.zeros((1, 4), np.float32), np.load("text.npy")[1:]]))
    told = prepare(
        *("table", "ratings.csv", "--items", "items.csv", "--text-features", "text.npy", "--out", "out"),
        *("--k-core", 0, *WITHOUT_ENCODERS),
    )
    assert "ratings.csv: user: userId, item: movieId, rating: rating, time: timestamp" in told
    counts = {
        " ".join(cells[:-1]): cells[-1] for cells in (line.strip("│ ").split() for line in told.splitlines()) if cells
    }
    counts = {name.rstrip(" │"): count for name, count in counts.items()}
    assert counts["users"] == "8"
    assert counts["items"] == "9"
    assert counts["density"] == "90.278%"
    assert (counts["train"], counts["valid"], counts["test"]) == ("49", "8", "8")
    assert counts["dropped repeats of a user and item"] == "1"
    assert counts["items missing in the item table"] == "1"
    assert counts["items with the mean text vector"] == "2"
    assert counts["items without picture"] == "9"


def test_how_times_are_written_can_be_said(here):
    (here / "log.csv").write_text("user,item,date\nu,x,01/10/2019\nv,x,02/10/2019\n")
    told = prepare("table", "log.csv", "--out", "out", "--k-core", 0, "--time-format", "%d/%m/%Y", *WITHOUT_ENCODERS)
    assert "times from 2019-10-01 to 2019-10-02, 0 interactions without" in told
    assert read_info(here / "out").source["interactions"]["times"] == {"unit": "auto", "format": "%d/%m/%Y"}
    told = prepare("table", "ratings.csv", "--out", "ms", "--k-core", 0, "--time-unit", "ms", *WITHOUT_ENCODERS)
    assert "times from 1970-01-12 to 1970-01-12" in told


def test_options_reach_the_recipe_and_the_source(here):
    prepare(
        *("table", "ratings.csv", "--items", "items.csv", "--out", "out", "--split", "global-time", "--seed", 9),
        *("--k-core", 3, "--unknown-items", "drop", "--cold-items", "drop", "--min-rating", 2, *WITHOUT_ENCODERS),
    )
    info = read_info(here / "out")
    assert info.recipe.model_dump() == {
        "split": "global-time",
        "seed": 9,
        "k_core": 3,
        "unknown_items": "drop",
        "cold_items": "drop",
    }
    assert info.source["interactions"]["min_rating"] == 2
    assert info.source["text_encoder"] == "none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--items", "gone.csv"], "no such file: gone.csv"),
        (["--items", "items.csv", "--fused", "gone.npy"], "no such file of features: gone.npy"),
        (["--items", "items.csv", "--text-features", "short.npy"], "have 5 rows, but there are 8 items"),
        (
            ["--items", "items.csv", "--image-features", "nan.npy"],
            "NaN or infinite values in 1 of 8 rows; first items: 2",
        ),
        (["--k-core", "9"], "no interactions are left after the filters"),
        (["--text-columns", "overview"], "--text-columns is of an item table; name the table with --items"),
        (["--image-column", "poster"], "--image-column is of an item table; name the table with --items"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(here, arguments, message):
    np.save("short.npy", np.ones((5, 2), np.float32))
    np.save("nan.npy", np.where(np.arange(8) == 2, np.nan, 1.0)[:, None])
    with pytest.raises(InputError, match=message):
        prepare("table", "ratings.csv", "--out", "out", *WITHOUT_ENCODERS, *arguments)
    assert not any("out" in file.name for file in here.iterdir())


def test_without_an_item_table_what_the_k_core_drops_is_no_cold_item(here):
    (here / "ratings.csv").write_text((here / "ratings.csv").read_text() + "\nu0,rare,5,2000000000\n")
    prepare("table", "ratings.csv", "--out", "out", *WITHOUT_ENCODERS)
    assert load_dataset(here / "out").item_ids == [str(item) for item in range(8)]


def test_an_occupied_folder_is_refused_before_anything_is_read(here):
    with pytest.raises(InputError, match="posters exists and holds something that is not a prepared dataset"):
        prepare("table", "gone.csv", "--out", "posters", "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unknown-items", "guess"], "'guess' is not one of"),
        (["--split", "fair"], "'fair' is not one of"),
        (["--k-core", "-1"], "greater than or equal to 0"),
        (["--seed", "-1"], "greater than or equal to 0"),
    ],
)
def test_an_option_that_is_none_is_refused_with_those_there_are(here, arguments, message):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(prepare_app, ["table", "ratings.csv", "--out", "o", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_the_command_line_says_one_sentence_and_exits_with_2(here):
    result = forkserver.run("trainer", "prepare", "table", "gone.csv", "--out", "out")
    assert result.returncode == 2
    assert result.stderr == "error: no such file: gone.csv\n"
