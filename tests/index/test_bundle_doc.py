"""The page about the bundle is right: its example runs, and it names every file."""

import re
from pathlib import Path

import numpy as np
import pytest
from bundles import MADE_AT, make_anchor, make_living_content, write_small_bundle

from index.bundle import open_bundle, write_bundle
from index.gate_report import limits_table
from index.recency import Recency

PAGE = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()


EXAMPLE, UNKNOWN_ITEM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NEWEST = {"recency": Recency(tau=3, floor=0.1), "has_own": False, "anchor": make_anchor()}


def test_the_example_needs_nothing_but_numpy():
    assert set(re.findall(r"^import (\w+)", EXAMPLE + UNKNOWN_ITEM, re.MULTILINE)) == {"json", "numpy"}


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("content", [{}, NEWEST], ids=["plain", "with recency"])
def test_a_bundle_is_read_as_the_page_says(tmp_path, capsys, content, precision):
    bundle = open_bundle(write_small_bundle(tmp_path, precision=precision, **content))
    names = {"path": bundle.path}
    exec(EXAMPLE, names)
    rows, _ = bundle.index().search(bundle.user_embeddings[0], 10, bundle.seen(0))
    assert names["titles"] == [bundle.item(row)["title"] for row in rows[0].tolist()]
    assert capsys.readouterr().out.startswith("user-0 ")


def test_an_item_that_nobody_has_had_has_the_embedding_of_its_features(tmp_path):
    anchor = make_anchor()
    bundle = open_bundle(write_small_bundle(tmp_path, **NEWEST))
    names = {"path": bundle.path}
    exec(EXAMPLE + UNKNOWN_ITEM, names)
    features = {"text": np.arange(5), "image": anchor.centers["image"]}  # an average picture predicts nothing
    centred = features["text"] - anchor.centers["text"]
    expected = 1.25 * (anchor.mean + (centred / np.linalg.norm(centred)) @ anchor.weights["text"])
    np.testing.assert_allclose(names["anchor_embedding"](features), expected, rtol=1e-5)


def test_every_file_of_a_bundle_is_on_the_page(tmp_path):
    written = write_bundle(tmp_path, make_living_content(), created_at=MADE_AT, factory="Flat", precision="int8")
    for name in open_bundle(written).manifest.files:
        folder = name.partition("/")[0]
        named = re.sub("text|image", "<m>", name)
        assert f"`{name}`" in PAGE or f"`{named}`" in PAGE or f"`{folder}/<" in PAGE or f"`{folder}/`" in PAGE, name


def test_every_limit_of_the_gate_is_on_the_page_as_the_code_has_it():
    assert limits_table() in PAGE
