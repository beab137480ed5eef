"""A small shop whose users like items of one topic each, and bundles that the real trainer makes from it."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from index.errors import InputError

USERS, ITEMS, TOPICS, ITEMS_PER_USER = 400, 240, 8, 12
TRAINING = {
    "model.embedding_size": "16",
    "training.epochs": "20",
    "training.batch_size": "256",
    "training.learning_rate": "0.01",
    "evaluation.bootstrap": "0",
}
UNTRAINED = {"training.epochs": "1", "training.learning_rate": "0.000001"}
EVENT_COLUMNS = {"event_id": pa.string(), "user_id": pa.string(), "item_id": pa.string(), "kind": pa.string(),
                 "timestamp": pa.float64(), "position": pa.int64()}  # fmt: skip


@dataclass(frozen=True)
class SampleShop:
    """Training data and the folder of bundles."""

    data: Path
    registry: Path
    events: Path  # an empty file

    def trained(self, out: Path, changes: dict[str, str] | None = None) -> str:
        """Make a bundle with `trainer retrain`, without publishing it, and return its id."""
        paths = ["--events", self.events, "--registry", self.registry, "--out", out]
        output = _run("trainer", "retrain", self.data, *paths, *arguments(changes))
        return str(json.loads(output.splitlines()[-1])["bundle"])

    def publish(self, bundle: str) -> None:
        """Publish a bundle without the gate."""
        _run("index", "publish", self.registry / bundle)


def arguments(changes: dict[str, str] | None = None) -> list[str]:
    """Return arguments of `trainer retrain` for a model that trains within seconds."""
    settings = TRAINING | (changes or {})
    return [
        "--config",
        "lightgcn",
        *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
    ]


def create_shop(folder: Path, rng: np.random.Generator) -> SampleShop:
    """Make the shop's data and prepare it with `trainer prepare`."""
    folder.mkdir()
    _write(folder / "items.csv", ["item_id", "title"], [[item_id(row), f"item no. {row}"] for row in range(ITEMS)])
    _write(folder / "ratings.csv", ["user_id", "item_id", "timestamp"], _ratings(rng))
    shop = SampleShop(folder / "data", folder / "bundles", folder / "none.parquet")
    pq.write_table(pa.table({name: pa.array([], kind) for name, kind in EVENT_COLUMNS.items()}), shop.events)
    tables = [folder / "ratings.csv", "--items", folder / "items.csv", "--out", shop.data]
    _run("trainer", "prepare", "table", *tables, "--text-encoder", "none", "--image-encoder", "none")
    return shop


def user_id(row: int) -> str:
    """Return the user id of a row."""
    return f"user-{row}"


def item_id(row: int) -> str:
    """Return the item id of a row."""
    return f"item-{row}"


def liked_item(user: int, rng: np.random.Generator) -> int:
    """Draw an item of the user's topic, some more often than others."""
    n_topic = ITEMS // TOPICS
    return int(rng.random() ** 2 * n_topic) * TOPICS + user % TOPICS


def _ratings(rng: np.random.Generator) -> list[list[str]]:
    rows: list[list[str]] = []
    for user in range(USERS):
        liked: set[int] = set()
        while len(liked) < ITEMS_PER_USER:
            liked.add(liked_item(user, rng))
        times = 1_600_000_000 + rng.integers(0, 10**7, ITEMS_PER_USER)
        rows += [[user_id(user), item_id(item), str(at)] for item, at in zip(sorted(liked), times, strict=True)]
    return rows


def _write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _run(module: str, *words: object) -> str:
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        raise InputError(f"{' '.join(command[2:5])} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout
