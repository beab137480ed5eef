"""The change of metric brings items alike in content nearer; that scores stay is in test_anchorease.py."""

import numpy as np
import torch

from index.ranking import unit_rows
from trainer.models.content_metric import content_metric
from trainer.models.content_rows import Content


def test_of_two_kinds_of_neighbours_those_alike_in_content_come_nearer():
    rng = np.random.default_rng(0)
    topics, tastes = np.arange(60) % 3, np.arange(60) // 20
    embeddings = torch.from_numpy(np.hstack([np.eye(3)[topics], 3 * np.eye(3)[tastes], rng.random((60, 2))])).float()
    content = {"text": Content(torch.from_numpy(np.eye(3)[topics]).float(), torch.full((3,), 1 / 3))}

    def advantage(weight: float) -> float:
        rows = unit_rows((embeddings @ content_metric(embeddings, content, weight).items).numpy())
        cosines, alike = rows @ rows.T, topics[:, None] == topics
        return float(cosines[alike].mean() - cosines[~alike].mean())

    assert advantage(0.0) < 0.3
    assert advantage(10.0) > 0.6


def test_embeddings_or_content_of_zeros_leave_the_metric_as_it_is():
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for embeddings, text in ((torch.zeros(5, 3), rows), (rows, torch.zeros(5, 3))):
        content = {"text": Content(text, torch.zeros(3))}
        torch.testing.assert_close(content_metric(embeddings, content, 10.0).items, torch.eye(3))
