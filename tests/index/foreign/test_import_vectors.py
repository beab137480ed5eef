"""`python -m index import-vectors` reads vectors, ids and tables of every format."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from index import InputError, open_bundle
from index.__main__ import app
from index.foreign.files import read_ids, read_vectors, table_blocks, table_rows

INTERACTIONS = {"user_id": ["u", "v"], "item_id": ["a", "b"], "timestamp": ["2026-01-01", "2026-01-02"]}
METADATA = [
    {"item_id": "a", "title": "An apple", "price": 3, "code": "007"},
    {"item_id": "b", "title": "A pear", "price": 2.5, "code": "123"},
]


def as_csv(path: Path, columns: dict[str, list[object]]) -> None:
    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))


def as_jsonl(path: Path, columns: dict[str, list[object]]) -> None:
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(path: Path, columns: dict[str, list[object]]) -> None:
    parquet.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), path)


@pytest.mark.parametrize(("suffix", "write"), [("csv", as_csv), ("jsonl", as_jsonl), ("parquet", as_parquet)])
def test_the_command_makes_a_bundle_and_publishes_it(tmp_path: Path, suffix: str, write: Callable[..., None]) -> None:
    np.save(tmp_path / "items.npy", np.eye(2))
    np.save(tmp_path / "users.npy", np.eye(2)[::-1])
    (tmp_path / "items.txt").write_text("a\nb\n")
    np.save(tmp_path / "user_ids.npy", np.array(["u", "v"]))
    write(tmp_path / f"had.{suffix}", INTERACTIONS)
    write(tmp_path / f"items.{suffix}", {name: [row[name] for row in METADATA] for name in METADATA[0]})
    options = {
        "--item-vectors": "items.npy",
        "--item-ids": "items.txt",
        "--user-vectors": "users.npy",
        "--user-ids": "user_ids.npy",
        "--interactions": f"had.{suffix}",
        "--items": f"items.{suffix}",
    }
    files = [one for name, file in options.items() for one in (name, str(tmp_path / file))]
    features = ["--features", f"text={tmp_path / 'items.npy'}"]
    found = CliRunner().invoke(app, ["import-vectors", str(tmp_path / "bundles"), *files, *features, "--publish"])
    assert found.exit_code == 0, found.output
    bundle = open_bundle(tmp_path / "bundles")
    assert found.stdout.splitlines()[-1] == str(bundle.path)
    assert "2 users, 2 items, 2 interactions" in found.stderr
    assert bundle.item(0)["attributes"] == {"price": 3, "code": "007"}
    assert [item.title for item in bundle.recommend("u")] == ["A pear"]
    assert bundle.similar("a", by="text")[0].item_id == "b"


def test_files_that_cannot_be_read_are_named_with_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("user_id,item_id\nu,a\nv\n")
    (tmp_path / "list.jsonl").write_text("[1]\n")
    (tmp_path / "text.npy").write_text("nonsense")
    (tmp_path / "table.xlsx").write_text("")
    (tmp_path / "two.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"rows.csv, line 3 has 1 values; expected 2"):
        list(table_blocks(tmp_path / "rows.csv"))
    with pytest.raises(InputError, match=r"list.jsonl, line 1 is a list; expected a JSON object a line"):
        list(table_blocks(tmp_path / "list.jsonl"))
    with pytest.raises(InputError, match=r"text.npy: .*; expected an array written by numpy.save"):
        read_vectors(tmp_path / "text.npy")
    with pytest.raises(InputError, match=r"ends in .xlsx; expected .csv, .jsonl, .parquet"):
        list(table_blocks(tmp_path / "table.xlsx"))
    with pytest.raises(InputError, match=r"has the columns x, y; expected item_id among them"):
        read_ids(tmp_path / "two.csv", "item_id")
    with pytest.raises(InputError, match="No such file"):
        list(table_rows(tmp_path / "missing.csv"))


def test_features_need_a_name() -> None:
    found = CliRunner().invoke(app, ["import-vectors", "x", "--item-vectors", "x", "--item-ids", "x.npy"])
    assert isinstance(found.exception, InputError)
