"""Small worlds whose right answers are known, for the tests of the trainer and of the whole line."""

from pathlib import Path

import numpy as np
import polars as pl

from trainer.data import Dataset, Recipe, Source, load_dataset
from trainer.prepare import prepare_dataset


def topics_source(
    *,
    n_users: int = 60,
    n_items: int = 48,
    n_topics: int = 4,
    per_user: int = 10,
    seed: int = 0,
    modalities: tuple[str, ...] = ("text", "image", "multimodal"),
) -> Source:
    """Item i is of topic i % n_topics, user u likes topic u % n_topics, and the features say an item's topic.

    So a model that learns anything ranks the unseen items of a user's own topic first.
    """
    rng = np.random.default_rng(seed)
    topics = np.arange(n_items) % n_topics
    pairs = [
        (user, item)
        for user in range(n_users)
        for item in rng.choice(np.flatnonzero(topics == user % n_topics), per_user, replace=False)
    ]
    users, items = np.array(pairs).T
    features = {
        name: np.eye(n_topics)[topics] @ rng.normal(size=(n_topics, width)) + 0.1 * rng.normal(size=(n_items, width))
        for name, width in (("text", 12), ("image", 20), ("multimodal", 16))
        if name in modalities
    }
    return Source(
        name="topics",
        interactions=pl.DataFrame(
            {
                "user_id": [f"user {user}" for user in users],
                "item_id": [f"item/{item}" for item in items],
                "timestamp": 1_600_000_000 + rng.integers(0, 10**7, len(users)),
            }
        ),
        items=pl.DataFrame(
            {
                "item_id": [f"item/{item}" for item in range(n_items)],
                "title": [f"thing {item} of topic {topic}" for item, topic in enumerate(topics)],
                "category": [f"topic {topic}" for topic in topics],
                "attributes": [f'{{"shelf": {item // 8}}}' for item in range(n_items)],
            }
        ),
        features={name: value.astype(np.float32) for name, value in features.items()},
    )


def topics_dataset(folder: Path, **options: object) -> Dataset:
    """The same, prepared into a folder with the paper's random split."""
    prepare_dataset(topics_source(**options), folder, Recipe(split="random", seed=0))  # type: ignore[arg-type]
    return load_dataset(folder)


def topic_of(outside_id: str) -> int:
    """The topic that an item is of or that a user likes, from the id."""
    return int(outside_id.replace("/", " ").split()[1]) % 4
