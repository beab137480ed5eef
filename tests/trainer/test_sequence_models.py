"""The models of the order of events, beside what a few loops compute."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from worlds import topics_source

from index.errors import InputError
from trainer.config import load_config
from trainer.data import Dataset, Recipe, Source, load_dataset
from trainer.fit import fit
from trainer.inputs import make_inputs
from trainer.model_settings import ModelSettings, SASRecSettings, VSKNNSettings
from trainer.models import Inputs, Work, build_model
from trainer.models.sasrec import SASRec
from trainer.models.vsknn import VSKNN
from trainer.prepare import prepare_dataset
from trainer.run_folder import RunFolder

CPU = torch.device("cpu")
HISTORIES = [[3, 1, 4, 0, 5], [2], [5, 3, 1], [], [0, 4, 2, 5, 1, 3, 6], [6, 0]]
N_ITEMS = 8
SMALL = SASRecSettings(embedding_size=8, max_length=3, n_heads=2, dropout=0.0)


def inputs_of(histories: list[list[int]], settings: ModelSettings) -> Inputs:
    """Users whose newest item is at the time of their row."""
    pairs = [(user, item, user - place) for user, row in enumerate(histories) for place, item in enumerate(row[::-1])]
    users, items, times = np.array(pairs).T
    options = {"features": {}, "settings": settings, "device": CPU, "timestamps": times + 1_000}
    return make_inputs(users, items, len(histories), N_ITEMS, **options)


def sasrec(histories: list[list[int]] = HISTORIES, settings: SASRecSettings = SMALL) -> SASRec:
    model = build_model(settings, inputs_of(histories, settings), batch_size=8, seed=0)
    assert isinstance(model, SASRec)
    with torch.no_grad():  # else all scores are about 0
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


def state_after(model: SASRec, items: list[int]) -> Tensor:
    """The last state over these items, one window, by matrices alone; -1 is the start."""
    table = torch.cat([model.item_embedding, model.start])
    x = math.sqrt(8) * table[items] + model.position[: len(items)]
    past = torch.ones(len(items), len(items)).tril() > 0
    for block in model.blocks:
        heads = block.query_key_value(block.norms[0](x)).view(len(items), 3, 2, 4)
        mixed = []
        for head in range(2):
            query, key, value = heads[:, :, head].unbind(dim=1)
            weights = (query @ key.T / 2).masked_fill(~past, -torch.inf).softmax(dim=1)
            mixed.append(weights @ value)
        x = x + block.attended(torch.cat(mixed, dim=1))
        x = x + block.outer(block.inner(block.norms[1](x)).relu())
    return model.norm(x)[-1]


def test_a_user_of_sasrec_is_the_last_state_over_the_latest_items():
    model = sasrec()
    users, items = model.embeddings()
    for user, row in enumerate(HISTORIES):
        torch.testing.assert_close(users[user], state_after(model, [-1, *row][-3:]))
    assert items is model.item_embedding


def test_the_loss_of_sasrec_is_the_softmax_of_each_positive_after_the_items_before_it():
    model = sasrec()
    # A window has three targets at most, counted from the newest: those of user 4 are 0 | 4, 2, 5 | 1, 3, 6.
    windows = {(0, 3): [-1], (0, 5): [1, 4, 0], (2, 1): [-1, 5, 3], (4, 0): [-1], (4, 5): [0, 4, 2]}
    windows |= {(4, 1): [5], (4, 3): [5, 1], (4, 6): [5, 1, 3]}
    users, positives = torch.tensor(list(windows)).T
    expected = [
        -(state_after(model, before) @ model.item_embedding.T).log_softmax(dim=0)[item]
        for (_, item), before in windows.items()
    ]
    (found,) = model.loss_terms(users, positives, positives).values()
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_no_later_item_changes_an_earlier_state_of_sasrec():
    long = SMALL.model_copy(update={"max_length": 10})
    losses = []
    for last in ([0, 5], [5, 7]):
        model = sasrec([[3, 1, 4, *last], *HISTORIES[1:]], long)
        users, positives = torch.tensor([[0, 0, 0], [3, 1, 4]])
        losses.append(model.loss_terms(users, positives, positives)["softmax"])
    assert torch.equal(*losses)


def test_the_softmax_over_drawn_items_is_near_that_over_the_catalogue():
    drawn = sasrec(settings=SMALL.model_copy(update={"n_negatives": 20_000}))
    users, positives = torch.tensor([[0, 0, 4, 2], [5, 3, 6, 1]])
    torch.manual_seed(0)
    losses = [model.loss_terms(users, positives, positives)["softmax"] for model in (sasrec(), drawn)]
    torch.testing.assert_close(*losses, rtol=0.02, atol=0)


def test_heads_that_do_not_divide_the_size_are_refused():
    with pytest.raises(InputError, match="n_heads is 3, expected a divisor of embedding_size 64"):
        load_config("sasrec", ("model.n_heads=3",))


def cycle_source() -> Source:
    """Every user goes round the same circle of items, each from another place: after item i comes item i + 1."""
    source = topics_source(n_users=80, n_items=40)
    rows = [(user, (7 * user + step) % 40, step) for user in range(80) for step in range(14)]
    users, items, steps = zip(*rows, strict=True)
    interactions = pl.DataFrame(
        {
            "user_id": [f"user {user}" for user in users],
            "item_id": [f"item/{item}" for item in items],
            "timestamp": [1_600_000_000 + step for step in steps],
        }
    )
    return Source(name="cycle", interactions=interactions, items=source.items, features={})


@pytest.fixture(scope="module")
def cycle(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "cycle"
    prepare_dataset(cycle_source(), folder, Recipe(split="time"))
    return load_dataset(folder)


def test_sasrec_learns_what_comes_next(cycle: Dataset, tmp_path: Path):
    quick = ("training.epochs=10", "training.batch_size=128", "training.learning_rate=0.01", "training.patience=3")
    options = (*quick, "model.embedding_size=16", "model.dropout=0.0", "training.metric=recall@3")
    floor = fit(cycle, load_config("popularity", options[-1:]), RunFolder(tmp_path / "popularity"), final=False)
    learned = fit(cycle, load_config("sasrec", options), RunFolder(tmp_path / "sasrec"), final=False)
    assert floor.valid["recall@3"] < 0.3
    assert learned.valid["recall@3"] > 0.9


DECAYS = {
    "none": lambda rank, n: 1.0,
    "linear": lambda rank, n: 1 - rank / n,
    "quadratic": lambda rank, n: (1 - rank / n) ** 2,
    "logarithmic": lambda rank, n: 1 / math.log(rank + math.e),
    "reciprocal": lambda rank, n: 1 / (rank + 1),
}


def naive_vsknn(user: int, settings: VSKNNSettings) -> list[float]:
    having = [sum(item in row for row in HISTORIES) for item in range(N_ITEMS)]
    idf = [math.log(len(HISTORIES) / max(n, 1)) if settings.idf else 1.0 for n in having]
    session = HISTORIES[user][::-1][: settings.max_length]
    weights = {item: DECAYS[settings.decay](rank, settings.max_length) * idf[item] for rank, item in enumerate(session)}
    similar = {
        other: sum(weights.get(item, 0.0) for item in row) / len(row) ** settings.length_penalty
        for other, row in enumerate(HISTORIES)
        if other != user and set(row) & set(session)
    }
    sampled = sorted(similar, reverse=True)[: settings.sample_size]  # a later user was active later
    nearest = sorted(sampled, key=lambda other: (-similar[other], -other))[: settings.k]
    return [sum(similar[other] for other in nearest if item in HISTORIES[other]) for item in range(N_ITEMS)]


@pytest.mark.parametrize(
    "options",
    [
        *({"decay": decay} for decay in DECAYS),
        {"k": 1},
        {"k": 2, "sample_size": 3, "max_length": 2},
        {"idf": True, "length_penalty": 0.0},
        {"idf": True, "max_length": 3, "k": 3, "length_penalty": 1.0},
    ],
    ids=str,
)
def test_vsknn_scores_as_a_loop_over_users_does(options):
    settings = VSKNNSettings(**options)
    model = build_model(settings, inputs_of(HISTORIES, settings), batch_size=8, seed=0)
    assert isinstance(model, VSKNN)
    model.solution = model.solve(Work())
    asked = [5, 0, 4, 3, 1]
    found = model.scorer()(torch.tensor(asked))
    expected = torch.tensor([naive_vsknn(user, settings) for user in asked])
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)


def test_vsknn_says_that_it_has_no_embeddings():
    settings = VSKNNSettings()
    model = build_model(settings, inputs_of(HISTORIES, settings), batch_size=8, seed=0)
    with pytest.raises(InputError, match="vsknn has no embeddings: it can be compared, not exported"):
        model.embeddings()
