"""Content read in blocks of rows is the table made at once, and products with it are those of the table."""

import numpy as np
import pytest
import torch
from worlds import topics_dataset

from trainer.graph import normalise_interactions
from trainer.histories import Histories
from trainer.inputs import build_inputs, modality_features
from trainer.model_settings import AnchorEASESettings
from trainer.models import content_rows
from trainer.models.content_rows import Content, column_mean
from trainer.nearest import nearest_items

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def features(monkeypatch):
    monkeypatch.setattr(content_rows, "_ROWS_AT_ONCE", 7)
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)).half()
    features[4] = features[3]
    return features


def at_once(features: torch.Tensor) -> torch.Tensor:
    centred = features.float() - features.float().mean(dim=0)
    return centred / centred.norm(dim=1, keepdim=True)


def test_blocks_are_the_rows_of_the_whole_table(features):
    content, whole = Content(features, column_mean(features)), at_once(features)
    torch.testing.assert_close(torch.cat([rows for _, rows in content.blocks()]), whole, **CLOSE)
    torch.testing.assert_close(content.columns(slice(1, 4)), whole[:, 1:4], **CLOSE)
    assert [part.start for part, _ in content.blocks()] == [0, 7, 14, 21, 28]


def test_products_are_those_of_the_whole_table(features):
    content, whole = Content(features, column_mean(features)), at_once(features)
    right, left = torch.randn(5, 3), torch.randn(30, 2)
    torch.testing.assert_close(content @ right, whole @ right, **CLOSE)
    torch.testing.assert_close(content.transposed_times(left), whole.T @ left, **CLOSE)


def test_nearest_items_of_rows_made_on_access_are_those_of_the_table(features):
    content = Content(features, column_mean(features))
    made, table = nearest_items(content.on_cpu(), 4), nearest_items(content[:].numpy(), 4)
    np.testing.assert_array_equal(made.rows, table.rows)
    np.testing.assert_array_equal(made.cosines, table.cosines)


def test_anchorease_takes_memory_mapped_half_precision_without_a_copy(tmp_path):
    np.save(tmp_path / "text.npy", np.ones((4, 3), np.float16))
    mapped = np.load(tmp_path / "text.npy", mmap_mode="r")
    assert modality_features({"text": mapped}, AnchorEASESettings())["text"] is mapped


def test_interactions_and_pairs_are_made_on_demand_of_the_histories(tmp_path):
    dataset = topics_dataset(tmp_path / "topics", n_users=20)
    inputs = build_inputs(dataset, AnchorEASESettings(), torch.device("cpu"))
    assert not {"interactions", "pairs"} & vars(inputs).keys()
    train = dataset.split("train")
    expected = np.zeros((dataset.n_users, dataset.n_items))
    expected[train.user_rows, train.item_rows] = 1
    np.testing.assert_array_equal(inputs.pairs.numpy(), np.stack(np.nonzero(expected)))
    graph = inputs.interactions @ torch.eye(dataset.n_items)
    histories = Histories.of(train, dataset.n_users, dataset.n_items)
    np.testing.assert_array_equal(graph.numpy(), normalise_interactions(histories.by_item()).toarray())
