"""Bundles that earlier versions wrote open, pass the gate and answer; they lie beside this file, unchanged."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from index.bundle import Bundle, open_bundle
from index.content_path import ContentPath
from index.gate import check_bundle
from index.manifest import FORMAT, READABLE
from index.recency import Recency
from index.reindex import reindex

HERE = Path(__file__).parent
WRITTEN = {number: next((HERE / f"bundle_of_format_{number}").iterdir()) for number in READABLE}


@pytest.mark.parametrize("number", READABLE)
def test_the_first_bundle_of_each_format_opens_whole_and_passes_the_gate(number):
    assert open_bundle(WRITTEN[number]).manifest.format == number  # every file's sum is checked
    assert check_bundle(WRITTEN[number], None).passed


def best_two(bundle: Bundle, user_row: int) -> list[tuple[int, float]]:
    rows, scores = bundle.index().search(bundle.user_embeddings[user_row], 2, bundle.seen(user_row))
    return list(zip(rows[0].tolist(), scores[0].tolist(), strict=True))


def test_a_bundle_of_format_1_answers_as_on_its_first_day():
    bundle = open_bundle(WRITTEN[1])
    assert bundle.seen(2).tolist() == [6, 5, 0, 2, 7, 3]
    assert best_two(bundle, 2) == [(4, 9.205496788024902), (1, -3.0707683563232422)]
    assert bundle.item_ids[4] == "item-4"
    assert (bundle.recency, bundle.anchor) == (None, None)
    assert bundle.user_own.any()


def test_a_bundle_of_format_2_answers_as_on_its_first_day():
    bundle = open_bundle(WRITTEN[2])
    assert bundle.seen(1).tolist() == [6, 0, 4, 1, 5, 2]
    assert best_two(bundle, 1) == [(3, 2.782644271850586), (7, -0.49364399909973145)]
    assert bundle.recency == Recency(tau=3, floor=0.1)
    assert bundle.anchor is not None
    assert (bundle.anchor.kappa, bundle.anchor.rho, bundle.anchor.widths) == (2, 1.25, {"text": 5, "image": 7})
    assert not bundle.user_own.any()


def test_a_bundle_of_format_3_answers_as_on_its_first_day():
    bundle = open_bundle(WRITTEN[3])
    assert bundle.manifest.tables.precision == "int8"
    assert bundle.seen(1).tolist() == [6, 0, 4, 1, 5, 2]
    assert best_two(bundle, 1) == [(3, 2.785470485687256), (7, -0.48902058601379395)]


def test_a_bundle_of_format_4_answers_as_on_its_first_day():
    bundle = open_bundle(WRITTEN[4])
    assert bundle.seen(3).tolist() == [5, 1, 4, 7, 0, 3, 6]
    assert best_two(bundle, 3)[0] == (2, 11.794596672058105)
    assert bundle.manifest.attribute_types == {"material": "string"}
    assert bundle.manifest.encoders["text"].digest == "ab" * 32
    assert bundle.manifest.projections == {"image": 7}
    rows = ContentPath.of(bundle).rows([{"text": [1, 0, 0, 0, 0], "image": [0, 0, 0, 0, 0, 0, 1]}])
    np.testing.assert_allclose(rows.embeddings[0], [0.652109, -3.677341, -2.530547, -1.263605], rtol=1e-5)
    np.testing.assert_allclose(rows.fold_in[0], [-2.976512, 1.857604, 0.073722, -0.799891], rtol=1e-5)
    assert rows.neighbours["image"].shape == (1, 6)


def test_a_bundle_of_format_5_answers_as_on_its_first_day():
    bundle = open_bundle(WRITTEN[5])
    assert bundle.seen(2).tolist() == [3, 0, 4, 1, 8, 5, 7, 6]
    assert best_two(bundle, 2)[0] == (2, 5.179197788238525)
    assert bundle.map is not None
    assert bundle.map.positions[1].tolist() == [0.5177621841430664, 0.34327083826065063]
    assert bundle.map.cluster_of.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert {open_bundle(WRITTEN[number]).map for number in READABLE[:-1]} == {None}


def test_a_sibling_of_an_old_bundle_is_of_the_newest_format(tmp_path):
    path = Path(shutil.copytree(WRITTEN[1], tmp_path / WRITTEN[1].name))
    sibling = reindex(path, "HNSW8", created_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert open_bundle(sibling).manifest.format == FORMAT
    assert check_bundle(sibling, None).passed
