"""File names that readers take for patterns, home folders or URLs."""

import os
from pathlib import Path

import polars as pl
import pytest
from worlds import topics_source

from service.retrain.archive import archived_position
from trainer.data import Recipe, load_dataset
from trainer.datasets.event_log import COLUMNS, read_feedback
from trainer.datasets.reading import read_table
from trainer.evaluate_run import write_frame
from trainer.parquet import read_parquet
from trainer.prepare import prepare_dataset

NAMES = [
    "a[12]",
    "a*",
    "a?b=1",
    "{a,b}",
    "~",
    "~root",
    "s3:",
    "file:",
    "http:",
    "a%20b",
    "a#b",
    "user=3",
    "$HOME",
    "-a",
]
TABLE = pl.DataFrame({"user": ["u"], "item": ["i"]})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for decoy in ("a1", "a2", "b"):  # what patterns would find
        Path(decoy).mkdir()
        for suffix in ("csv", "jsonl", "parquet"):
            Path(decoy, f"t.{suffix}").write_text("wrong")
            Path(f"{decoy}.{suffix}").write_text("wrong")


@pytest.mark.parametrize("name", NAMES)
def test_the_very_file_is_read_and_written(here, name):
    Path(name).mkdir()
    for stem in (name, f"{name}/t"):
        Path(f"{stem}.csv").write_bytes(TABLE.write_csv().encode())
        Path(f"{stem}.jsonl").write_bytes(TABLE.write_ndjson().encode())
        for suffix in ("csv", "jsonl"):
            assert read_table(Path(f"{stem}.{suffix}")).frame.equals(TABLE)
        write_frame(TABLE, Path(f"{stem}.parquet"))
        assert read_parquet(Path(f"{stem}.parquet")).equals(TABLE)
        assert read_table(Path(f"{stem}.parquet")).frame.equals(TABLE)
        assert sorted(os.listdir(name)) == [] or stem.endswith("/t")


@pytest.mark.parametrize("name", ["a[12]", "~", "position=3"])
def test_datasets_and_exported_events_lie_in_any_folder(here, name):
    prepare_dataset(topics_source(), Path(name, "data"), Recipe(split="random"))
    assert load_dataset(Path(name, "data")).n_items == 48
    events = pl.DataFrame([["e", "user 0", "item/5", "like", 1.0, 7]], COLUMNS, orient="row")
    with Path(name, "log.parquet").open("wb") as file:
        events.write_parquet(file)
    feedback = read_feedback(Path(name))
    assert feedback.last_position == archived_position(Path(name)) == 7
